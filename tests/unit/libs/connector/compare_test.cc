#include "libs/connector/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/libs/connector/builtin.h"

namespace tributary::connector {
namespace {

using http::AnswerClass;
using testing::ElementsAre;
using testing::IsEmpty;

class CompareTest : public testing::Test {
 protected:
  CompareTest() {
    state_.set_tag_prefix("Chargify:");
    state_.add_tags("chargify:active");
    Text("email", "Ada@X.test");
    Text("phone", "+1 (555) 010-99");
    Text("customFields.chargify_customer_id", "7");
    v1::Field& balance = *state_.add_fields();
    balance.set_path("customFields.chargify_balance");
    balance.mutable_value()->set_decimal("12.50");
  }
  void Text(const std::string& path, const std::string& text) {
    v1::Field& field = *state_.add_fields();
    field.set_path(path);
    field.mutable_value()->set_text(text);
  }
  void Null(const std::string& path, v1::Field::OnNull on_null) {
    v1::Field& field = *state_.add_fields();
    field.set_path(path);
    field.mutable_value()->set_null(v1::FieldValue::NULL_VALUE);
    field.set_on_null(on_null);
  }
  Shown Compare(const std::string& members) const {
    return CompareRead(highlevel_, *highlevel_.FindObject("contact"),
                       Answer(200, R"({"contact":{"id":"c1",)" + members + "}}"), state_,
                       WallTime());
  }

  const Connector highlevel_ = *Connector::Parse("highlevel.yaml", *BuiltinFile("highlevel.yaml"));
  const Connector rest_ = *Connector::Parse("rest.yaml", *BuiltinFile("rest.yaml"));
  v1::DesiredState state_;
};

constexpr const char* kAsDesired =
    R"("email":"ada@x.test","phone":"+155501099","tags":["vip","chargify:Active"],
       "customFields":[{"id":"chargify_customer_id","value":"7"},
                       {"id":"chargify_balance","value":12.5}])";

TEST_F(CompareTest, WhatTheTargetKeepsInItsOwnWordsIsNoDifference) {
  const Shown shown = Compare(kAsDesired);
  EXPECT_EQ(shown.answer.answer, AnswerClass::kDone);
  EXPECT_EQ(shown.answer.id, "c1");
  EXPECT_THAT(shown.differing, IsEmpty());
  EXPECT_EQ(shown.hash, "");
  EXPECT_THAT(shown.tags, ElementsAre("chargify:active"));
}

TEST_F(CompareTest, NamesEveryFieldThatDiffersAndTellsDifferencesApart) {
  const Shown shown = Compare(
      R"("email":"b@x.test","phone":null,"tags":["chargify:active","chargify:trialing"],
         "customFields":[{"id":"chargify_customer_id","value":"7"},
                         {"id":"chargify_balance","value":"13"}])");
  EXPECT_THAT(shown.differing,
              ElementsAre("email", "phone", "customFields.chargify_balance", "tags"));
  EXPECT_EQ(shown.hash.size(), 16u);
  EXPECT_THAT(shown.tags, ElementsAre("chargify:active", "chargify:trialing"));
  EXPECT_NE(Compare(R"("email":"c@x.test","tags":[])").hash, shown.hash);
}

TEST_F(CompareTest, PairsUnderForeignIdsAreComparedByTheirValues) {
  EXPECT_THAT(Compare(R"("email":"ada@x.test","phone":"155501099","tags":["chargify:active"],
                "customFields":[{"id":"kQ2","value":"12.5"},{"id":"zz9","value":"7"}])")
                  .differing,
              IsEmpty());
  EXPECT_THAT(Compare(R"("email":"ada@x.test","phone":"155501099","tags":["chargify:active"],
                "customFields":[{"id":"kQ2","value":"11"},{"id":"zz9","value":"7"}])")
                  .differing,
              ElementsAre("customFields.chargify_balance"));
}

TEST_F(CompareTest, NoValueCountsOnlyWhereItIsToBeCleared) {
  Null("city", v1::Field::ON_NULL_LEAVE);
  Null("address1", v1::Field::ON_NULL_CLEAR);
  // Cannot be cleared at this target.
  Null("country", v1::Field::ON_NULL_CLEAR);
  EXPECT_THAT(
      Compare(std::string(kAsDesired) + R"(,"city":"Rome","address1":"","country":"IT")").differing,
      IsEmpty());
  EXPECT_THAT(Compare(std::string(kAsDesired) + R"(,"address1":"Old Street")").differing,
              ElementsAre("address1"));
}

TEST_F(CompareTest, WhoeverDoesNotTellTellsNothing) {
  const Object& contact = *highlevel_.FindObject("contact");
  const auto compare = [&](const http::Completion& completion) {
    return CompareRead(highlevel_, contact, completion, state_, WallTime());
  };
  EXPECT_TRUE(compare(Answer(404, R"({"message":"Contact not found"})")).answer.missing);
  EXPECT_TRUE(compare(Answer(404, R"({"message":"Cannot GET /x"})")).answer.misconfigured);
  EXPECT_FALSE(compare(Answer(404, R"({"message":"Cannot GET /x"})")).answer.missing);
  EXPECT_EQ(compare(Answer(200, R"({"contact":{}})")).answer.answer, AnswerClass::kUnknown);
  EXPECT_EQ(compare(Answer(500, "")).answer.answer, AnswerClass::kUnknown);
  EXPECT_TRUE(compare(Answer(500, "")).differing.empty());
}

TEST_F(CompareTest, SectionsAreComparedMemberByMember) {
  v1::DesiredState client;
  v1::Field& name = *client.add_fields();
  name.set_path("name");
  name.mutable_value()->set_text("Ada");
  v1::Field& balance = *client.add_fields();
  balance.set_path("account.balance_in_cents");
  balance.mutable_value()->set_decimal("1200");
  const Object& object = *rest_.FindObject("client");
  const auto compare = [&](const std::string& body) {
    return CompareRead(rest_, object, Answer(200, body), client, WallTime()).differing;
  };
  EXPECT_THAT(
      compare(R"({"client":{"client_id":"1","name":"Ada","account":{"balance_in_cents":1200.0}}})"),
      IsEmpty());
  // Letters count here.
  EXPECT_THAT(
      compare(R"({"client":{"client_id":"1","name":"ada","account":{"balance_in_cents":1}}})"),
      ElementsAre("name", "account.balance_in_cents"));
  EXPECT_THAT(compare(R"({"client":{"client_id":"1","name":"Ada"}})"),
              ElementsAre("account.balance_in_cents"));
}

TEST_F(CompareTest, AReadMustSayOfWhichRecordItsAnswerIs) {
  std::string file = *BuiltinFile("rest.yaml");
  const std::string id = "      id: client.client_id\n      record: client\n";
  ASSERT_NE(file.find(id), std::string::npos);
  file.replace(file.find(id), id.size(), "      record: client\n");
  EXPECT_THAT(std::string(Connector::Parse("rest.yaml", file).status().message()),
              testing::HasSubstr("a read needs an `id`"));
}

}  // namespace
}  // namespace tributary::connector
