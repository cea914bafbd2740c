#include "libs/nearest/nearest.h"

#include <gtest/gtest.h>

namespace tributary {
namespace {

const std::vector<std::string> kNames = {"request_timeout", "retry_delay_min", "lease", "url"};

TEST(NearestTest, FindsWhatAMistypedNameMeant) {
  EXPECT_EQ(Nearest("request_timout", kNames), "request_timeout");
  EXPECT_EQ(Nearest("Request_Timeout", kNames), "request_timeout");
  EXPECT_EQ(Nearest("laese", kNames), "lease");
  EXPECT_EQ(Nearest("uri", kNames), "url");
}

TEST(NearestTest, SuggestsNothingFarAway) {
  EXPECT_EQ(Nearest("password", kNames), "");
  EXPECT_EQ(Nearest("x", kNames), "");
  EXPECT_EQ(Nearest("", kNames), "");
  EXPECT_EQ(Nearest("lease", {}), "");
}

}  // namespace
}  // namespace tributary
