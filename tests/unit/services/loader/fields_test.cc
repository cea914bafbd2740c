#include "services/loader/fields.h"

#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "tributary/v1/records.pb.h"

namespace tributary::loader {
namespace {

using std::string_literals::operator""s;

struct Seen {
  int number = 0;
  std::string bytes;
  std::uint64_t integer = 0;
  friend bool operator==(const Seen&, const Seen&) = default;
};

bool Walk(std::string_view message, std::vector<Seen>* seen) {
  return ForEachField(message, [&](int number, std::string_view bytes, std::uint64_t integer) {
    seen->push_back({number, std::string(bytes), integer});
  });
}

TEST(FieldsTest, AWalkTellsNumbersTextsAndIntegersInTheirOrder) {
  v1::RecordEntry entry;
  entry.set_id("c-1");
  entry.set_sends(300);
  std::vector<Seen> seen;
  ASSERT_TRUE(Walk(entry.SerializeAsString(), &seen));
  std::vector<Seen> expected = {{v1::RecordEntry::kIdFieldNumber, "c-1", 0},
                                {v1::RecordEntry::kSendsFieldNumber, "", 300}};
  if (expected[1].number < expected[0].number) std::swap(expected[0], expected[1]);
  EXPECT_EQ(seen, expected);
}

TEST(FieldsTest, AnEmptyTextHasDataAndAnIntegerHasNone) {
  bool has_data = false;
  ASSERT_TRUE(ForEachField("\x0a\x00"s, [&](int, std::string_view bytes, std::uint64_t) {
    has_data = bytes.data() != nullptr;
  }));
  EXPECT_TRUE(has_data);
  ASSERT_TRUE(ForEachField("\x08\x01"s, [&](int, std::string_view bytes, std::uint64_t) {
    has_data = bytes.data() != nullptr;
  }));
  EXPECT_FALSE(has_data);
}

// What follows a tag of field 1000, which no message here has, or the tag itself.
TEST(FieldsTest, WhatParsingRefusesIsRefusedAndNothingElse) {
  const std::string varint = "\xc0\x3e"s;
  const std::string delimited = "\xc2\x3e"s;
  const std::string begin = "\xc3\x3e"s;
  const std::string end = "\xc4\x3e"s;
  const std::string messages[] = {
      ""s,
      "\x00"s,
      "\x02\x01x"s,  // Field 0.
      varint,        // Nothing behind the tag.
      varint + "\x01"s,
      varint + "\x80"s,  // Not ended.
      varint + std::string(9, '\x80') + "\x01"s,
      varint + std::string(10, '\x80') + "\x01"s,  // Eleven bytes.
      varint + std::string(9, '\xff') + "\x7f"s,
      delimited + "\x00"s,
      delimited +
          "\x03"
          "abc"s,
      delimited +
          "\x04"
          "abc"s,  // Longer than what is there.
      delimited +
          "\x83\x80\x00"
          "abc"s,  // Three, in three bytes.
      delimited +
          "\x83\x80\x80\x80\x00"
          "abc"s,
      delimited +
          "\x83\x80\x80\x80\x80\x00"
          "abc"s,  // In six.
      delimited +
          "\xff\xff\xff\xff\x0f"
          "abc"s,
      "\xc1\x3e"
      "12345678"s,  // Eight bytes.
      "\xc1\x3e"
      "1234567"s,
      "\xc5\x3e"
      "1234"s,  // Four.
      "\xc5\x3e"
      "123"s,
      begin + end,
      begin + varint + "\x01" + end,
      begin,                // A group that does not end.
      begin + "\xcc\x3e"s,  // That ends as another one.
      end,
      "\xc6\x3e"s,  // No wire type.
      "\xc7\x3e"s,
      "\xc0\xbe\x80\x80\x00\x01"s,      // A tag of five bytes.
      "\xc0\xbe\x80\x80\x80\x00\x01"s,  // Of six.
  };
  for (const std::string& message : messages) {
    std::vector<Seen> seen;
    EXPECT_EQ(Walk(message, &seen), v1::RecordEntry().ParseFromString(message))
        << testing::PrintToString(message);
  }
}

}  // namespace
}  // namespace tributary::loader
