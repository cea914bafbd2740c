#include "libs/ids/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tributary::ids {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::Optional;

TEST(Murmur2Test, IsWhatKafkasDefaultPartitionerComputes) {
  EXPECT_EQ(static_cast<std::int32_t>(Murmur2("21")), -973932308);
  EXPECT_EQ(static_cast<std::int32_t>(Murmur2("foobar")), -790332482);
  EXPECT_EQ(static_cast<std::int32_t>(Murmur2("a-little-bit-long-string")), -985981536);
  EXPECT_EQ(static_cast<std::int32_t>(Murmur2("a-little-bit-longer-string")), -1486304829);
  EXPECT_EQ(static_cast<std::int32_t>(Murmur2("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8")),
            -58897971);
  EXPECT_EQ(static_cast<std::int32_t>(Murmur2("abc")), 479470107);
}

TEST(PartitionTest, IsThePositivePartOfTheHashModuloThePartitions) {
  EXPECT_EQ(PartitionOf("21", 64), (-973932308 & 0x7fffffff) % 64);
  EXPECT_EQ(PartitionOf("abc", 7), 479470107 % 7);
  EXPECT_EQ(PartitionOf("", 1), 0);
}

TEST(KeyTest, EncodesEveryByteThatIsNotPlain) {
  EXPECT_EQ(EncodePart("AZaz09._~-"), "AZaz09._~-");
  EXPECT_EQ(EncodePart("a/b %"), "a%2Fb%20%25");
  EXPECT_EQ(EncodePart("é"), "%C3%A9");
  EXPECT_EQ(EncodePart(std::string_view("\0!", 2)), "%00%21");
}

TEST(KeyTest, EveryPartComesBackAsItWas) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));

  EXPECT_THAT(DecodePart(EncodePart(all)), Optional(Eq(all)));
  EXPECT_THAT(SplitKey(JoinKey({"a/b", "", "c"})), Optional(ElementsAre("a/b", "", "c")));
}

TEST(KeyTest, RefusesASecondTextForTheSamePart) {
  EXPECT_EQ(DecodePart("%41"), std::nullopt);  // an A that should stand for itself
  EXPECT_EQ(DecodePart("%2f"), std::nullopt);  // lower case
  EXPECT_EQ(DecodePart("%2"), std::nullopt);
  EXPECT_EQ(DecodePart("a b"), std::nullopt);
  EXPECT_EQ(SplitKey("a/%zz"), std::nullopt);
}

TEST(KeyTest, HasTheFormsOfProtocolSection0) {
  EXPECT_EQ(ChangeKey("acme", "billing", "customers", "7"), "acme/billing/customers/7");
  EXPECT_EQ(CursorKey("acme", "billing", "events"), "acme/billing/events");
  EXPECT_EQ(StateKey("acme", "main", "contact", "customers", "a b"),
            "acme/main/s/contact/customers/a%20b");
  EXPECT_EQ(ActionKey("acme", "main", "00ff"), "acme/main/a/00ff");
  EXPECT_EQ(MappedKey("acme", "main"), "acme/main/mapped");
  EXPECT_EQ(BlobKey("00ff"), "!b/00ff");
}

TEST(KeyTest, TellsKindsOfCommandsApart) {
  const auto state = ParseCommandKey("acme/main/s/contact/customers/a%20b");
  ASSERT_TRUE(state.has_value());
  EXPECT_EQ(state->kind, CommandKey::Kind::kState);
  EXPECT_EQ(state->tenant, "acme");
  EXPECT_EQ(state->sync, "main");
  EXPECT_EQ(state->object, "contact");
  EXPECT_EQ(state->source_kind, "customers");
  EXPECT_EQ(state->source_id, "a b");

  const auto action = ParseCommandKey("acme/main/a/00ff");
  ASSERT_TRUE(action.has_value());
  EXPECT_EQ(action->kind, CommandKey::Kind::kAction);
  EXPECT_EQ(action->action_id, "00ff");

  const auto mapped = ParseCommandKey("acme/main/mapped");
  ASSERT_TRUE(mapped.has_value());
  EXPECT_EQ(mapped->kind, CommandKey::Kind::kMapped);

  EXPECT_FALSE(ParseCommandKey("acme/main").has_value());
  EXPECT_FALSE(ParseCommandKey("!f/loader/x/1").has_value());
  EXPECT_FALSE(ParseCommandKey("acme/main/s/contact").has_value());
}

TEST(KeyTest, TheKindOfACommandIsToldOfTheSameKeysAsItsParts) {
  for (const char* key :
       {"acme/main/s/contact/customers/a%20b", "acme/main/a/00ff", "acme/main/mapped", "acme/main",
        "!f/loader/x/1", "acme/main/s/contact", "acme/main/s/contact/customers/a%2", "",
        "acme/main/s/contact/customers/%41", "acme/ma in/a/00ff", "acme/main/s/c/c/1/2", "//mapped",
        "acme/main/x/00ff"}) {
    const auto parsed = ParseCommandKey(key);
    EXPECT_EQ(KindOfCommandKey(key), parsed ? std::optional(parsed->kind) : std::nullopt) << key;
  }
}

TEST(HashTest, Sha256OfAbcIsTheStandardsExample) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(ActionIdTest, Rule28_DependsOnEveryFieldAndOnWhereFieldsEnd) {
  const std::string id = ActionId("t", "s", "e", "r", 1, 0);

  EXPECT_EQ(id.size(), 32u);
  EXPECT_EQ(id, ActionId("t", "s", "e", "r", 1, 0));
  EXPECT_NE(id, ActionId("ts", "", "e", "r", 1, 0));
  EXPECT_NE(id, ActionId("t", "s", "e2", "r", 1, 0));
  EXPECT_NE(id, ActionId("t", "s", "e", "r2", 1, 0));
  EXPECT_NE(id, ActionId("t", "s", "e", "r", 2, 0));
  EXPECT_NE(id, ActionId("t", "s", "e", "r", 1, 1));
}

TEST(ActionIdTest, Rule28_StaysWhatItIs) {
  // First 16 bytes of SHA-256 over "v1", "t", "s", "e", "r", "1", "0", each behind its length in
  // eight bytes, little end first. Another value would do every action of the past again.
  EXPECT_EQ(ActionId("t", "s", "e", "r", 1, 0), "cc75b82e660bf1009885558b14f568ae");
}

TEST(TraceParentTest, HasTheFormOfTheStandard) {
  const std::string trace = TraceId("x");
  EXPECT_THAT(TraceParent(trace, RootSpanId(trace)),
              ::testing::MatchesRegex("00-[0-9a-f]{32}-[0-9a-f]{16}-01"));
  EXPECT_EQ(trace, TraceId("x"));
  EXPECT_NE(trace, TraceId("y"));
  EXPECT_EQ(SpanId(trace, "k").size(), kSpanIdBytes);
  EXPECT_NE(SpanId(trace, "k"), SpanId(trace, "l"));
  EXPECT_NE(SpanId(trace, "k"), SpanId(TraceId("y"), "k"));
}

}  // namespace
}  // namespace tributary::ids
