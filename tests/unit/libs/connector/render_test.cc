#include "libs/connector/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/libs/connector/builtin.h"

namespace tributary::connector {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void AddText(v1::DesiredState& state, const std::string& path, const std::string& text) {
  v1::Field& field = *state.add_fields();
  field.set_path(path);
  field.mutable_value()->set_text(text);
}

void AddNull(v1::DesiredState& state, const std::string& path, v1::Field::OnNull on_null) {
  v1::Field& field = *state.add_fields();
  field.set_path(path);
  field.mutable_value()->set_null(v1::FieldValue::NULL_VALUE);
  field.set_on_null(on_null);
}

v1::DesiredState Contact() {
  v1::DesiredState state;
  AddText(state, "companyName", "Acme");
  AddText(state, "customFields.chargify_customer_id", "17");
  AddNull(state, "customFields.chargify_plans", v1::Field::ON_NULL_CLEAR);
  AddText(state, "email", "a+b@x.test");
  AddNull(state, "phone", v1::Field::ON_NULL_LEAVE);
  AddNull(state, "city", v1::Field::ON_NULL_CLEAR);
  return state;
}

class HighLevelRenderTest : public testing::Test {
 protected:
  const Connector connector_ = Builtin("highlevel.yaml");
  const Object& contact_ = *connector_.FindObject("contact");
  const Account account_ =
      connector_.MakeAccount("http://127.0.0.1:9", true, {{"location", "L 1"}});
  const v1::DesiredState state_ = Contact();
};

TEST_F(HighLevelRenderTest, FieldsBecomeMembersAndCustomFieldsPairs) {
  const auto request =
      Render(connector_, account_, &contact_, contact_.create[0], {.state = &state_});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->method, "POST");
  EXPECT_EQ(request->url, "http://127.0.0.1:9/contacts/upsert");
  EXPECT_EQ(request->body,
            R"({"locationId":"L 1","companyName":"Acme","customFields":[)"
            R"({"key":"chargify_customer_id","field_value":"17"},)"
            R"({"key":"chargify_plans","field_value":""}],"email":"a+b@x.test","city":null})");
  EXPECT_EQ(*http::FindHeader(request->headers, "version"), "2021-07-28");
}

TEST_F(HighLevelRenderTest, WhatCannotBeNullIsClearedItsOwnWayOrLeftOut) {
  v1::DesiredState state;
  AddNull(state, "country", v1::Field::ON_NULL_CLEAR);
  AddNull(state, "postalCode", v1::Field::ON_NULL_CLEAR);
  const auto request =
      Render(connector_, account_, &contact_, contact_.update[0], {.id = "c1", .state = &state});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->body, R"({"postalCode":""})");
}

TEST_F(HighLevelRenderTest, ACompanyThatIsGoneIsClearedByAnUpsertOfItsOwn) {
  v1::DesiredState state;
  AddText(state, "email", "a@x.test");
  AddText(state, "customFields.chargify_customer_id", "7");
  EXPECT_FALSE(Applies(contact_.update[1], state));
  AddNull(state, "companyName", v1::Field::ON_NULL_CLEAR);
  EXPECT_TRUE(Applies(contact_.update[1], state));
  // Applied late it may make a contact of its own, which is known by the marker.
  const auto request =
      Render(connector_, account_, &contact_, contact_.update[1], {.id = "1", .state = &state});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->body, HasSubstr("chargify_customer_id"));
}

TEST_F(HighLevelRenderTest, UpdateSendsNeitherLocationNorCompany) {
  const auto request = Render(connector_, account_, &contact_, contact_.update[0],
                              {.id = "abc/1", .state = &state_});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->url, "http://127.0.0.1:9/contacts/abc%2F1");
  EXPECT_THAT(request->body, testing::Not(HasSubstr("companyName")));
  EXPECT_THAT(request->body, testing::Not(HasSubstr("locationId")));
}

TEST_F(HighLevelRenderTest, TagsTravelByTheirOwnCalls) {
  const auto request = Render(connector_, account_, &contact_, *contact_.tags_remove,
                              {.id = "c1", .tags = {"chargify:active"}});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->method, "DELETE");
  EXPECT_EQ(request->body, R"({"tags":["chargify:active"]})");
  EXPECT_THAT(CanonicalTags(contact_, {"Chargify:Active", " b ", "b"}),
              ElementsAre("b", "chargify:active"));
}

TEST_F(HighLevelRenderTest, AQueryIsPercentEncoded) {
  const auto request =
      Render(connector_, account_, &contact_, contact_.lookups[1], {.state = &state_});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->url,
            "http://127.0.0.1:9/contacts/search/duplicate?locationId=L%201&email=a%2Bb%40x.test");
}

TEST_F(HighLevelRenderTest, ANoteCarriesItsMarker) {
  v1::Action action;
  v1::Field& body = *action.add_arguments();
  body.set_path("body");
  body.mutable_value()->set_text("Trial ended");
  const ActionOperation& note = *connector_.FindAction("contact.note.create");
  const auto request = Render(connector_, account_, &contact_, note.call,
                              {.id = "c1", .marker = "0a0b", .action = &action});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->body, R"({"body":"Trial ended\n\n[0a0b]"})");
}

TEST_F(HighLevelRenderTest, AMissingArgumentIsNamed) {
  const v1::Action action;
  const auto request =
      Render(connector_, account_, &contact_, connector_.FindAction("contact.note.create")->call,
             {.id = "c1", .marker = "m", .action = &action});
  EXPECT_THAT(std::string(request.status().message()), HasSubstr("`arguments.body`"));
}

TEST_F(HighLevelRenderTest, AnUnknownFieldIsRefusedBeforeItIsSent) {
  v1::DesiredState state;
  AddText(state, "emial", "a@x.test");
  const auto request =
      Render(connector_, account_, &contact_, contact_.create[0], {.state = &state});
  EXPECT_THAT(std::string(request.status().message()), HasSubstr("did you mean `email`?"));
}

TEST(RestRenderTest, DottedPathsBecomeSectionsAndNumbersKeepTheirText) {
  const Connector rest = Builtin("rest.yaml");
  const Account account = rest.MakeAccount("http://h", false, {});
  const Object& client = *rest.FindObject("client");
  v1::DesiredState state;
  v1::Field& balance = *state.add_fields();
  balance.set_path("account.due_amount");
  balance.mutable_value()->set_decimal("90071992547409931.10");
  v1::FieldValue& states = *[&] {
    v1::Field& field = *state.add_fields();
    field.set_path("account.states");
    return field.mutable_value();
  }();
  states.mutable_list()->add_items()->set_text("active");
  AddText(state, "client_id", "7");

  const auto request = Render(rest, account, &client, client.update[0], {.state = &state});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->url, "http://h/clients/7");
  EXPECT_EQ(
      request->body,
      R"({"account":{"due_amount":90071992547409931.10,"states":["active"]},"client_id":"7"})");

  // What was rendered for the record alone is what goes with the others.
  const auto batch = RenderBatch(rest, account, client, {{&state, request->body}, {&state, ""}});
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->url, "http://h/clients/batch");
  EXPECT_EQ(batch->body, R"({"clients":[)" + request->body + "," + request->body + "]}");
}

TEST(RestRenderTest, ATokenIsAskedForWithABasicKeyAndSentAsBearer) {
  const Connector rest = Builtin("rest.yaml");
  const Account account = rest.MakeAccount("http://h", false, {});
  const auto request = RenderTokenRequest(rest, account, {{"api_key", "s3cret"}});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->url, "http://h/auth");
  EXPECT_EQ(*http::FindHeader(request->headers, "authorization"), "Basic czNjcmV0Og==");

  http::Request call;
  ASSERT_TRUE(Authorise(rest, {}, "t1", call).ok());
  EXPECT_EQ(*http::FindHeader(call.headers, "authorization"), "Bearer t1");
  EXPECT_FALSE(Authorise(rest, {}, "", call).ok());
}

}  // namespace
}  // namespace tributary::connector
