#include "libs/eventlog/log_mark.h"

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "gtest/gtest.h"

namespace tributary::eventlog {
namespace {

TEST(LogMarkTest, IsReadAsItWasWritten) {
  LogMark mark;
  EXPECT_EQ(FormatMark(mark), "");
  mark.generation = 1'767'225'600;
  EXPECT_EQ(FormatMark(mark), "generation=1767225600");
  mark.seen = {39, WallTime(std::chrono::microseconds(1'767'225'600'123'456))};
  EXPECT_EQ(FormatMark(mark), "generation=1767225600 seen=39@1767225600123456");

  const LogMark read = ParseMark(FormatMark(mark));

  EXPECT_EQ(read.generation, mark.generation);
  EXPECT_EQ(read.seen, mark.seen);
  EXPECT_EQ(ParseMark("seen=39@1767225600123456").seen, mark.seen);
}

TEST(LogMarkTest, OfTheLargestNumbersIsShortEnough) {
  constexpr std::int64_t kLargest = std::numeric_limits<std::int64_t>::max();
  const LogMark mark{.generation = kLargest,
                     .seen = LogMark::Seen{kLargest, WallTime(Duration(kLargest))}};
  EXPECT_LE(FormatMark(mark).size(), kMarkBytesMax);
  EXPECT_EQ(ParseMark(FormatMark(mark)).seen, mark.seen);
}

TEST(LogMarkTest, WhatCannotBeReadSaysNothing) {
  for (const char* const text :
       {"", " ", "generation=", "generation=x", "generation=5x", "seen=", "seen=3", "seen=3@",
        "seen=@3", "seen=-1@3", "seen=3@4@5", "seen", "somebody's own", "generation",
        "generation=99999999999999999999"}) {
    EXPECT_EQ(ParseMark(text).generation, 0) << text;
    EXPECT_EQ(ParseMark(text).seen, std::nullopt) << text;
  }
}

TEST(LogMarkTest, WhatALaterVersionAddsIsPassedOver) {
  const LogMark mark = ParseMark("colour=blue generation=5  new seen=3@4 topic=x");
  EXPECT_EQ(mark.generation, 5);
  ASSERT_TRUE(mark.seen);
  EXPECT_EQ(mark.seen->offset, 3);
}

}  // namespace
}  // namespace tributary::eventlog
