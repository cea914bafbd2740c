#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/connector/connector.h"
#include "tests/unit/libs/connector/builtin.h"

namespace tributary::connector {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

TEST(ConnectorFileTest, TheShippedFilesParse) {
  const Connector highlevel = Builtin("highlevel.yaml");
  EXPECT_EQ(highlevel.integration, "highlevel");
  EXPECT_EQ(highlevel.settle, std::chrono::seconds(120));
  ASSERT_NE(highlevel.FindObject("contact"), nullptr);
  EXPECT_EQ(highlevel.FindObject("contact")->target, TargetKind::kMatchNotUnique);
  ASSERT_NE(highlevel.FindAction("contact.note.create"), nullptr);
  EXPECT_TRUE(highlevel.FindAction("contact.note.create")->lookup.has_value());

  const Connector rest = Builtin("rest.yaml");
  EXPECT_EQ(rest.authentication.kind, Authentication::Kind::kTokenRequest);
  ASSERT_NE(rest.FindObject("client"), nullptr);
  EXPECT_EQ(rest.FindObject("client")->target, TargetKind::kUpsertByUniqueKey);
  ASSERT_TRUE(rest.FindObject("client")->batch.has_value());
  EXPECT_EQ(rest.FindObject("client")->batch->size, 100);
}

TEST(ConnectorFileTest, TellsEveryProblemWithItsPlaceAndTheNearestName) {
  const auto parsed =
      Connector::Parse("mine.yaml",
                       "integration: mine\n"
                       "credential: [key]\n"
                       "authentication: {kind: bearer, value: \"{credentials.key}\"}\n"
                       "objects:\n"
                       "  person:\n"
                       "    target: create_onli\n"
                       "    fields: {names: [name]}\n"
                       "    upsert:\n"
                       "      - {method: PUTT, path: \"people/{record.idd}\"}\n");
  ASSERT_FALSE(parsed.ok());
  const std::string text(parsed.status().message());
  EXPECT_THAT(text,
              HasSubstr("mine.yaml:2:1: error: `credential` is not known in a connector file; "
                        "did you mean `credentials`?"));
  EXPECT_THAT(text, HasSubstr("mine.yaml:3:39: error: credential `key` is not declared"));
  EXPECT_THAT(text, HasSubstr("mine.yaml:6:13: error: `create_onli` is no kind of target; did you "
                              "mean `create_only`?"));
  EXPECT_THAT(text, HasSubstr("error: method must be"));
  EXPECT_THAT(text, HasSubstr("`record.idd` is not known; did you mean `record.id`?"));
  EXPECT_THAT(text, HasSubstr("a path begins with `/`"));
  EXPECT_THAT(text, HasSubstr("a write needs an `id`"));
}

TEST(ConnectorFileTest, LimitsSayWhatSharesAQuotaAndWhoTellsOfIt) {
  const Connector highlevel = Builtin("highlevel.yaml");
  ASSERT_EQ(highlevel.limits.windows.size(), 2U);
  EXPECT_EQ(highlevel.limits.windows[0].remaining_header, "X-RateLimit-Remaining");
  EXPECT_EQ(highlevel.limits.windows[1].kind, budget::WindowOptions::Kind::kFixed);
  EXPECT_EQ(highlevel.limits.windows[1].reserve_for_live, 0.1);
  EXPECT_EQ(highlevel.limits.windows[1].resets_at, Duration::zero());
  const auto scope = [&](const Connector& connector, const std::string& location) {
    return connector.ScopeOf(connector.MakeAccount("", false, {{"location", location}}));
  };
  EXPECT_EQ(scope(highlevel, "a"), scope(highlevel, "a"));
  EXPECT_NE(scope(highlevel, "a"), scope(highlevel, "b"));
  EXPECT_EQ(scope(Builtin("rest.yaml"), "a"), "");

  const auto parsed = Connector::Parse("mine.yaml",
                                       "integration: mine\n"
                                       "credentials: [key]\n"
                                       "limits:\n"
                                       "  scope: \"{credentials.key}\"\n"
                                       "  windows:\n"
                                       "    - {name: day, length: 24h, resets_at: \"25:00\"}\n"
                                       "    - {name: burst, kind: rolling, reserve_for_liv: 10}\n");
  ASSERT_FALSE(parsed.ok());
  const std::string text(parsed.status().message());
  EXPECT_THAT(text, HasSubstr("mine.yaml:4:10: error: `scope` is made of settings alone"));
  EXPECT_THAT(text, HasSubstr("mine.yaml:6:43: error: `resets_at` must be a time such as 00:00"));
  EXPECT_THAT(text, HasSubstr("`kind` must be sliding or fixed"));
  EXPECT_THAT(text, HasSubstr("did you mean `reserve_for_live`?"));
}

TEST(ConnectorFileTest, WhatProvesWhoWeAreIsMadeOfWhatIsThere) {
  const auto problem_of = [](const std::string& authentication) {
    const auto parsed = Connector::Parse("mine.yaml",
                                         "integration: mine\n"
                                         "credentials: [key]\n"
                                         "settings: {app: {required: true}}\n"
                                         "authentication: {" +
                                             authentication + "}\n");
    return std::string(parsed.status().message());
  };
  EXPECT_THAT(problem_of("kind: bearer, value: \"{settings.app} {credentials.key}\""),
              HasSubstr("mine.yaml:4:39: error: `value` is made of credentials alone"));
  EXPECT_THAT(problem_of("kind: bearer, value: \"{token}\""),
              HasSubstr("`value` is made of credentials alone"));
  const std::string request = "kind: token_request, request: {method: POST, path: /t}, token: t, ";
  EXPECT_THAT(problem_of(request + "value: \"{marker}\""),
              HasSubstr("`value` is made of {token} and credentials alone"));
  EXPECT_THAT(problem_of(request + "value: \"{token} {credentials.key}\""),
              Not(HasSubstr("`value`")));
}

TEST(ConnectorFileTest, MalformedYamlHasAPlace) {
  const auto parsed = Connector::Parse("mine.yaml", "integration: [mine\nobjects: }");
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("mine.yaml:2:"));
}

TEST(ConnectorFileTest, ATargetWithoutUniqueKeyMustBeSearchable) {
  const auto parsed = Connector::Parse(
      "mine.yaml",
      "integration: mine\nauthentication: {kind: bearer, value: x}\nobjects:\n  person:\n"
      "    target: create_only\n    fields: {names: [name]}\n"
      "    upsert: [{method: POST, path: /p, id: id}]\n");
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("needs `lookups`"));
}

TEST(ConnectorFileTest, ACallIsConfirmedByALookUpOfItsObject) {
  const Connector highlevel = Builtin("highlevel.yaml");
  const Object* const contact = highlevel.FindObject("contact");
  ASSERT_EQ(contact->update.back().confirmed_by, "email");
  EXPECT_EQ(contact->FindLookup("email")->path.Render({}, nullptr), "/contacts/search/duplicate");

  const auto parsed = Connector::Parse(
      "mine.yaml",
      "integration: mine\nauthentication: {kind: bearer, value: x}\nobjects:\n  person:\n"
      "    target: match_not_unique\n    marker: mark\n    fields: {names: [email, mark]}\n"
      "    lookups:\n"
      "      - {call: email, method: GET, path: /p, item: p, item_id: id}\n"
      "    create: [{method: POST, path: /p, id: id}]\n"
      "    update:\n"
      "      - {method: POST, path: /p, id: id, confirmed_by: emial}\n");
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(std::string(parsed.status().message()),
              HasSubstr("`update` is `confirmed_by` `emial`, which is no look-up of this object; "
                        "did you mean `email`?"));
}

TEST(ConnectorSettingsTest, SettleAndIndexLagAreOverriddenWithinBounds) {
  const Connector rest = Builtin("rest.yaml");
  EXPECT_THAT(rest.CheckSettings({{"settle", "2s"}, {"index_lag", "1s"}}), IsEmpty());
  const Account account =
      rest.MakeAccount("http://127.0.0.1:1/", true, {{"settle", "2s"}, {"index_lag", "1s"}});
  EXPECT_EQ(account.url, "http://127.0.0.1:1");
  EXPECT_EQ(rest.SettleOf(account), std::chrono::seconds(2));
  EXPECT_EQ(rest.IndexLagOf(account), std::chrono::seconds(1));
  EXPECT_EQ(account.settings.at("batch"), "false");

  EXPECT_THAT(rest.CheckSettings({{"settle", "0s"}}), Contains(HasSubstr("takes 100ms to 1h")));
  EXPECT_THAT(rest.CheckSettings({{"index_leg", "1s"}}),
              ElementsAre("setting `index_leg` is not known; did you mean `index_lag`?"));
  EXPECT_THAT(Builtin("highlevel.yaml").CheckSettings({}),
              ElementsAre("setting `location` is missing"));
}

TEST(ConnectorFileTest, AnUnknownFieldOfAnObjectIsToldWithTheNearestOne) {
  const Connector highlevel = Builtin("highlevel.yaml");
  const Object& contact = *highlevel.FindObject("contact");
  EXPECT_EQ(contact.CheckField("firstName"), "");
  EXPECT_EQ(contact.CheckField("customFields.chargify_plans"), "");
  EXPECT_THAT(contact.CheckField("firstname"), HasSubstr("did you mean `firstName`?"));
  EXPECT_THAT(contact.CheckField("customField.plan"), HasSubstr("`customFields.plan`"));
}

}  // namespace
}  // namespace tributary::connector
