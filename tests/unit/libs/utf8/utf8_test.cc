#include "libs/utf8/utf8.h"

#include <gtest/gtest.h>

namespace tributary::utf8 {
namespace {

TEST(Utf8Test, KnowsWhereACharacterEnds) {
  EXPECT_EQ(CharacterBytes(std::string_view("\0a", 2)), 1u);
  EXPECT_EQ(CharacterBytes("\u00e9x"), 2u);
  EXPECT_EQ(CharacterBytes("\u20acx"), 3u);
  EXPECT_EQ(CharacterBytes("\U0001f600x"), 4u);
  for (const std::string_view none :
       {"", "\xE9", "\xE9t", "\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
        "\xE2\x82", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
    EXPECT_EQ(CharacterBytes(none), 0u) << none;
  }
}

TEST(Utf8Test, ReplacesWhatIsNoCharacterByteByByte) {
  EXPECT_EQ(Cleaned("plain \u20ac text\n"), "plain \u20ac text\n");
  EXPECT_EQ(Cleaned(""), "");
  EXPECT_EQ(Cleaned("Service indisponible, r\xE9\x65ssayez"),
            "Service indisponible, r\uFFFDessayez");
  EXPECT_EQ(Cleaned("\xE2\x82"), "\uFFFD\uFFFD");
  EXPECT_EQ(Cleaned("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
}

TEST(Utf8Test, CutsWhereACharacterBegins) {
  EXPECT_EQ(Cleaned("abc", 3), "abc");
  EXPECT_EQ(Cleaned("abc", 2), "ab");
  EXPECT_EQ(Cleaned("a\u20acb", 3), "a");
  EXPECT_EQ(Cleaned("a\u20acb", 4), "a\u20ac");
  EXPECT_EQ(Cleaned("abc", 0), "");
  // The replacement counts as what it is.
  EXPECT_EQ(Cleaned("\xFF\xFF", 5), "\uFFFD");
}

}  // namespace
}  // namespace tributary::utf8
