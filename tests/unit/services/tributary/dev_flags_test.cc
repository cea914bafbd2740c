#include "services/tributary/dev_flags.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::dev {
namespace {

ParsedFlags Parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "dev");
  return ParseFlags(static_cast<int>(arguments.size()), arguments.data());
}

TEST(DevFlagsTest, HaveDefaultsThatMoveByThemselves) {
  const ParsedFlags parsed = Parse({});

  ASSERT_EQ(parsed.exit_code, std::nullopt);
  EXPECT_FALSE(parsed.flags.once);
  EXPECT_TRUE(parsed.flags.simulator);
  EXPECT_EQ(parsed.flags.customers, 50);
  EXPECT_EQ(parsed.flags.log, std::nullopt);
}

TEST(DevFlagsTest, TakeEverythingThatTheDesignNames) {
  const ParsedFlags parsed =
      Parse({"--once", "--customers", "200", "--seed", "18446744073709551615", "--log", "kafka",
             "--bootstrap-servers", "127.0.0.1:9092", "--topic-prefix", "p.", "--data", "/tmp/d",
             "--timeout", "90s", "--json"});

  ASSERT_EQ(parsed.exit_code, std::nullopt);
  EXPECT_TRUE(parsed.flags.once);
  EXPECT_EQ(parsed.flags.customers, 200);
  EXPECT_EQ(parsed.flags.seed, 18'446'744'073'709'551'615U);
  EXPECT_EQ(parsed.flags.log, "kafka");
  EXPECT_EQ(parsed.flags.bootstrap_servers, "127.0.0.1:9092");
  EXPECT_EQ(parsed.flags.topic_prefix, "p.");
  EXPECT_EQ(parsed.flags.data, "/tmp/d");
  EXPECT_EQ(parsed.flags.timeout, std::chrono::seconds(90));
  EXPECT_TRUE(parsed.flags.json);
  EXPECT_FALSE(Parse({"--no-simulator", "--config", "f.yaml"}).flags.simulator);
}

TEST(DevFlagsTest, RefuseWhatCannotBeMeant) {
  const std::vector<std::vector<const char*>> wrong = {
      {"--nonsense"},
      {"--customers", "0"},
      {"--customers", "many"},
      {"--log", "paper"},
      {"--once", "--timeout", "soon"},
      {"--timeout", "90s"},
      {"--no-simulator"},
      {"--config", "f.yaml"},
      {"--bootstrap-servers", "127.0.0.1:9092"},
      {"stray"},
  };
  for (const auto& arguments : wrong) {
    EXPECT_EQ(Parse(arguments).exit_code, 2) << ::testing::PrintToString(arguments);
  }
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
}

}  // namespace
}  // namespace tributary::dev
