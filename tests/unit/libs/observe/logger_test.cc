#include "libs/observe/logger.h"

#include <cstdio>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tributary/v1/records.pb.h"

namespace tributary::observe {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class LoggerTest : public ::testing::Test {
 protected:
  LoggerTest() : file_(std::tmpfile()) {}
  ~LoggerTest() override { std::fclose(file_); }

  std::unique_ptr<Logger> Make(LogOptions::Format format,
                               Logger::Level level = Logger::Level::kInfo) {
    return MakeLogger(
        {.service = "loader", .level = level, .format = format, .descriptor = fileno(file_)},
        metrics_);
  }
  std::string Written() {
    std::string text(1 << 20, '\0');
    const ssize_t size = pread(fileno(file_), text.data(), text.size(), 0);
    text.resize(static_cast<std::size_t>(size));
    return text;
  }

  std::FILE* file_;
  Metrics metrics_;
};

TEST_F(LoggerTest, WritesOneJsonObjectALine) {
  Make(LogOptions::Format::kJson)
      ->Log(Logger::Level::kWarning, "Partition lost.", {{"partition", "3"}, {"level", "x"}});

  EXPECT_THAT(Written(),
              MatchesRegex(R"(\{"ts":"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z",)"
                           R"("level":"warning","service":"loader","msg":"Partition lost\.",)"
                           R"("partition":"3","level_":"x"\})"
                           "\n"));
}

TEST_F(LoggerTest, NobodyElseWritesBesideIt) {
  const auto logger = Make(LogOptions::Format::kJson);
  // Its id, a text that is no UTF-8.
  const std::string bytes = "\x0a\x02\xff\xfe";
  ::testing::internal::CaptureStderr();
  EXPECT_FALSE(v1::RecordEntry().ParseFromString(bytes));
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

TEST_F(LoggerTest, IsJsonWhereNobodyLooks) {
  Make(LogOptions::Format::kAuto)->Log(Logger::Level::kInfo, "Ready.", {});

  EXPECT_THAT(Written(), HasSubstr(R"("msg":"Ready.")"));
}

TEST_F(LoggerTest, EscapesWhatWouldForgeALineOrIsNoText) {
  Make(LogOptions::Format::kJson)
      ->Log(Logger::Level::kInfo, "Odd.", {{"text", "a\"b\\\n\x1b[0m\xff\xc3\xa9\xed\xa0\x80"}});

  EXPECT_THAT(Written(), HasSubstr(R"("text":"a\"b\\\n\u001b[0m\ufffd)"
                                   "\xc3\xa9"
                                   R"(\ufffd\ufffd\ufffd"})"));
}

TEST_F(LoggerTest, WritesForPeopleWithoutColourOutsideATerminal) {
  Make(LogOptions::Format::kHuman)
      ->Log(Logger::Level::kError, "Cannot listen.", {{"address", "a:1"}, {"why", "in use"}});

  EXPECT_THAT(Written(), MatchesRegex("[0-9:.]{12} error   loader: Cannot listen. address=a:1 "
                                      "why=\"in use\"\n"));
}

TEST_F(LoggerTest, CountsAllLevelsAndWritesFromItsOwnOn) {
  const auto logger = Make(LogOptions::Format::kJson);

  logger->Log(Logger::Level::kDebug, "Unseen.", {});
  logger->Log(Logger::Level::kError, "Seen.", {});

  EXPECT_THAT(Written(), ::testing::Not(HasSubstr("Unseen")));
  EXPECT_THAT(metrics_.Exposition(), HasSubstr("tributary_log_messages_total{level=\"debug\"} 1"));
  EXPECT_THAT(metrics_.Exposition(), HasSubstr("tributary_log_messages_total{level=\"error\"} 1"));
}

TEST_F(LoggerTest, KeepsLinesOfManyThreadsApart) {
  const auto logger = Make(LogOptions::Format::kHuman);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&logger] {
      for (int n = 0; n < 200; ++n) logger->Log(Logger::Level::kInfo, "Line.", {{"n", "1"}});
    });
  }
  for (std::thread& thread : threads) thread.join();

  const std::string text = Written();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 800);
  EXPECT_EQ(text.size() % 800, 0U) << "all lines are of one length";
}

TEST(ParseTest, KnowsLevelsAndFormats) {
  EXPECT_EQ(ParseLevel("warning"), Logger::Level::kWarning);
  EXPECT_EQ(ParseLevel("loud"), std::nullopt);
  EXPECT_EQ(ParseFormat("human"), LogOptions::Format::kHuman);
  EXPECT_EQ(ParseFormat("xml"), std::nullopt);
}

}  // namespace
}  // namespace tributary::observe
