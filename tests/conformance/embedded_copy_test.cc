#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libs/eventlog/admin.h"
#include "libs/eventlog/clock.h"
#include "libs/eventlog/embedded/copy.h"
#include "libs/eventlog/embedded/embedded_log.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/log_under_test.h"
#include "tests/conformance/temporary_directory.h"

namespace tributary::conformance {
namespace {

using eventlog::EmbeddedLog;
using eventlog::Record;
using eventlog::Topic;
using ::testing::HasSubstr;

EmbeddedLog::Options CopyOptionsFor(const std::string& directory) {
  EmbeddedLog::Options options;
  options.directory = directory;
  options.topics.partitions = kPartitions;
  // Grows while it is copied.
  options.map_bytes = std::size_t{1} << 20;
  return options;
}

/// Writes 0, 1, 2, … under keys of their own, tells each as soon as it is durable, and ends by a
/// signal only.
[[noreturn]] void WriteForEver(const std::string& directory, int told) {
  auto log = EmbeddedLog::Open(CopyOptionsFor(directory));
  if (!log.ok()) ::_exit(1);
  auto member = (*log)->Join("g", "one");
  if (!member.ok()) ::_exit(2);
  Driver driver(*std::move(member));
  const std::string value(2'000, 'v');
  for (std::uint64_t i = 0;; ++i) {
    if (driver.ProduceAndWait(Topic::kChanges, 1, std::to_string(i), value) !=
        static_cast<eventlog::Offset>(i)) {
      ::_exit(3);
    }
    const std::uint64_t count = i + 1;
    if (::write(told, &count, sizeof(count)) != sizeof(count)) ::_exit(4);
  }
}

TEST(EmbeddedCopyTest, IsOneStateThoughItsOwnerGoesOnWriting) {
  TemporaryDirectory directory;
  const std::string from = directory.path() + "/log";
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t writer = ::fork();
  ASSERT_GE(writer, 0);
  if (writer == 0) {
    ::close(pipe_ends[0]);
    WriteForEver(from, pipe_ends[1]);
  }
  ::close(pipe_ends[1]);
  std::uint64_t durable = 0;
  const auto read_until = [&](std::uint64_t count) {
    while (durable < count) {
      ASSERT_EQ(::read(pipe_ends[0], &durable, sizeof(durable)),
                static_cast<ssize_t>(sizeof(durable)))
          << "the writer has ended";
    }
  };
  for (int copy = 0; copy < 10; ++copy) {
    read_until(static_cast<std::uint64_t>(copy + 1) * 30);
    const std::uint64_t before = durable;
    const std::string to = directory.path() + "/copy-" + std::to_string(copy);

    const absl::Status copied = eventlog::CopyEmbeddedLog(from, to);

    ASSERT_TRUE(copied.ok()) << copied;
    const auto contents = eventlog::CheckEmbeddedLog(to);
    ASSERT_TRUE(contents.ok()) << contents.status();
    EXPECT_EQ(contents->partitions, kPartitions);
    EXPECT_GE(contents->records, static_cast<std::int64_t>(before)) << "what was durable is in it";
    // All of a beginning, and nothing else.
    auto log = EmbeddedLog::Open(CopyOptionsFor(to));
    ASSERT_TRUE(log.ok()) << log.status();
    std::int64_t next = 0;
    EXPECT_TRUE((*log)
                    ->MakeAdmin()
                    ->ReadAll(Topic::kChanges,
                              [&](const Record& record) {
                                EXPECT_EQ(record.key, std::to_string(next));
                                EXPECT_EQ(record.offset, next);
                                ++next;
                                return true;
                              })
                    .ok());
    EXPECT_EQ(next, contents->records);
  }
  ASSERT_EQ(::kill(writer, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(writer, &status, 0), writer);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it had ended by itself: " << WEXITSTATUS(status);
  ::close(pipe_ends[0]);
}

TEST(EmbeddedCopyTest, WritesNothingOverWhatIsThere) {
  TemporaryDirectory directory;
  const std::string from = directory.path() + "/log";
  EXPECT_EQ(eventlog::CopyEmbeddedLog(from, directory.path() + "/to").code(),
            absl::StatusCode::kNotFound);
  ASSERT_TRUE(EmbeddedLog::Open(CopyOptionsFor(from)).ok());
  ASSERT_TRUE(eventlog::CopyEmbeddedLog(from, directory.path() + "/to").ok());
  EXPECT_EQ(eventlog::CopyEmbeddedLog(from, directory.path() + "/to").code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(EmbeddedCopyTest, IsNoneWhenItWasInterrupted) {
  TemporaryDirectory directory;
  const std::string from = directory.path() + "/log";
  const std::string to = directory.path() + "/to";
  {
    auto log = EmbeddedLog::Open(CopyOptionsFor(from));
    ASSERT_TRUE(log.ok()) << log.status();
    Driver driver(*(*log)->Join("g", "one"));
    for (int i = 0; i < 100; ++i) {
      driver.Produce(Topic::kChanges, 1, std::to_string(i), std::string(2'000, 'v'));
    }
    ASSERT_TRUE(driver.UntilAllProduced());
  }
  const pid_t copier = ::fork();
  ASSERT_GE(copier, 0);
  if (copier == 0) {
    const rlimit no_core{};
    // Whole pages: LMDB copies past the cache.
    const rlimit bytes{.rlim_cur = 25 * 4096, .rlim_max = 25 * 4096};
    (void)::setrlimit(RLIMIT_CORE, &no_core);
    (void)::setrlimit(RLIMIT_FSIZE, &bytes);
    (void)::signal(SIGXFSZ, SIG_DFL);
    (void)eventlog::CopyEmbeddedLog(from, to);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(copier, &status, 0), copier);
  ASSERT_TRUE(WIFSIGNALED(status)) << "it has ended by itself: " << WEXITSTATUS(status);

  EXPECT_EQ(eventlog::CheckEmbeddedLog(to).status().code(), absl::StatusCode::kNotFound);
  const absl::Status again = eventlog::CopyEmbeddedLog(from, to);
  EXPECT_EQ(again.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(again.message()), HasSubstr("interrupted"));
}

TEST(EmbeddedCopyTest, IsNoLogBeforeItIsFoundedAnewWheneverItIsKilled) {
  TemporaryDirectory directory;
  const std::string from = directory.path() + "/log";
  {
    auto log = EmbeddedLog::Open(CopyOptionsFor(from));
    ASSERT_TRUE(log.ok()) << log.status();
    const auto founded = eventlog::Found(
        *(*log)->MakeAdmin(), {.now = eventlog::SystemTime(), .random = [] { return 1; }});
    ASSERT_TRUE(founded.ok()) << founded.status();
  }
  const auto restore = [&from](const std::string& to) {
    return eventlog::RestoreEmbeddedLog(from, to, eventlog::SystemTime(), [] { return 2; });
  };
  const std::string whole = directory.path() + "/whole";
  ASSERT_TRUE(restore(whole).ok());
  const std::int64_t records = eventlog::CheckEmbeddedLog(whole)->records;
  ASSERT_GT(records, eventlog::CheckEmbeddedLog(from)->records);

  bool is_done = false;
  for (int after_ms = 0; !is_done && after_ms < 3'000; after_ms += 3) {
    const std::string to = directory.path() + "/to-" + std::to_string(after_ms);
    const pid_t restorer = ::fork();
    ASSERT_GE(restorer, 0);
    if (restorer == 0) ::_exit(restore(to).ok() ? 0 : 1);
    ::usleep(static_cast<useconds_t>(after_ms) * 1'000);
    (void)::kill(restorer, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(restorer, &status, 0), restorer);
    is_done = WIFEXITED(status);
    EXPECT_FALSE(is_done && WEXITSTATUS(status) != 0);

    if (!std::filesystem::exists(to)) continue;
    const auto contents = eventlog::CheckEmbeddedLog(to);
    ASSERT_TRUE(contents.ok()) << contents.status();
    EXPECT_EQ(contents->records, records) << "killed after " << after_ms << " ms";
  }
  EXPECT_TRUE(is_done);
}

}  // namespace
}  // namespace tributary::conformance
