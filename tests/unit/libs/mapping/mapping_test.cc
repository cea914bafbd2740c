#include "libs/mapping/mapping.h"

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/unit/libs/mapping/compiling.h"

namespace tributary::mapping {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string ValueText(const v1::FieldValue& value) {
  switch (value.kind_case()) {
    case v1::FieldValue::kNull:
      return "null";
    case v1::FieldValue::kBoolean:
      return value.boolean() ? "true" : "false";
    case v1::FieldValue::kDecimal:
      return value.decimal();
    case v1::FieldValue::kText:
      return "'" + value.text() + "'";
    case v1::FieldValue::kTime:
      return value.time();
    case v1::FieldValue::kList: {
      std::string text = "[";
      for (const v1::FieldValue& item : value.list().items()) text += ValueText(item) + " ";
      return text + "]";
    }
    case v1::FieldValue::kMap: {
      std::string text = "{";
      for (const auto& member : value.map().members()) {
        text += member.name() + ":" + ValueText(member.value()) + " ";
      }
      return text + "}";
    }
    default:
      return "unset";
  }
}

std::string FieldText(const v1::DesiredState& state, std::string_view path) {
  for (const v1::Field& field : state.fields()) {
    if (field.path() == path) return ValueText(field.value());
  }
  return "absent";
}

View CustomerView() {
  View view;
  view.customer = Document(R"({"id": 42, "first_name": "Ada", "last_name": null,
      "email": "ada@x.test", "phone": null, "organization": "X", "zip": "1000",
      "never_seen_before": {"a":[1,"2",null]}})");
  view.subscriptions = Document(R"([
      {"id": 1, "state": "canceled", "balance_in_cents": -50, "product": {"handle": "pro"}},
      {"id": 2, "state": "trialing", "balance_in_cents": 1100, "product": {"handle": "basic"}},
      {"id": 3, "state": "canceled", "balance_in_cents": null, "product": {"handle": "pro"}}])");
  view.invoices = Document(R"([
      {"uid": "a", "status": "open", "due_amount": "12.10"},
      {"uid": "b", "status": "paid", "due_amount": "0.0"},
      {"uid": "c", "status": "open", "due_amount": "0.905"}])");
  view.components = Document(R"([
      {"component_id": 7, "component_handle": "seats", "kind": "quantity_based_component",
       "allocated_quantity": 3, "unit_balance": 0},
      {"component_id": 7, "component_handle": "seats", "kind": "quantity_based_component",
       "allocated_quantity": "1.50", "unit_balance": 0},
      {"component_id": 8, "component_handle": null, "kind": "metered_component",
       "allocated_quantity": 0, "unit_balance": "2.0"}])");
  view.past = Document(R"({"subscriptions": [], "invoices": [], "components": [
      {"component_id": 9, "component_handle": "old", "allocated_quantity": 5}]})");
  return view;
}

TEST(MappingTest, TheDefaultRestMappingFillsAccountAndReporting) {
  const DesiredRecord record =
      Compiled<Mapping>(FileText("rest.mapping.yaml")).Apply(CustomerView())[0];

  ASSERT_EQ(record.error, "");
  const v1::DesiredState& state = record.state;
  EXPECT_EQ(state.object(), "client");
  EXPECT_EQ(state.presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_EQ(FieldText(state, "client_id"), "'42'");
  EXPECT_EQ(FieldText(state, "name"), "'Ada'");
  EXPECT_EQ(FieldText(state, "phone"), "null");
  EXPECT_EQ(FieldText(state, "status"), "'active'");
  EXPECT_EQ(FieldText(state, "account.subscriptions"), "3");
  EXPECT_EQ(FieldText(state, "account.states"), "['canceled' 'trialing' ]");
  EXPECT_EQ(FieldText(state, "account.plans"), "['basic' 'pro' ]");
  EXPECT_EQ(FieldText(state, "account.balance_in_cents"), "1050");
  EXPECT_EQ(FieldText(state, "account.open_invoices"), "2");
  EXPECT_EQ(FieldText(state, "account.due_amount"), "13.005");
  EXPECT_EQ(FieldText(state, "reporting.seats"), "4.5");
  EXPECT_EQ(FieldText(state, "reporting.8"), "2");
  EXPECT_EQ(FieldText(state, "reporting.old"), "null");
  EXPECT_THAT(state.tags(), IsEmpty());
  ASSERT_THAT(state.match(), SizeIs(1));
  EXPECT_EQ(state.match(0).path(), "client_id");
  std::vector<std::string> paths;
  for (const v1::Field& field : state.fields()) {
    paths.push_back(field.path());
    EXPECT_EQ(field.on_null(), v1::Field::ON_NULL_CLEAR);
  }
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
}

TEST(MappingTest, TheDefaultHighLevelMappingKeepsTagsUnderItsPrefix) {
  const Mapping mapping = Compiled<Mapping>(FileText("highlevel.mapping.yaml"));
  View view = CustomerView();

  const v1::DesiredState present = mapping.Apply(view)[0].state;
  view.gone = true;
  const v1::DesiredState gone = mapping.Apply(view)[0].state;

  EXPECT_EQ(FieldText(present, "email"), "'ada@x.test'");
  EXPECT_EQ(FieldText(present, "postalCode"), "'1000'");
  EXPECT_EQ(FieldText(present, "city"), "absent");
  EXPECT_EQ(FieldText(present, "customFields.chargify_customer_id"), "'42'");
  EXPECT_EQ(FieldText(present, "customFields.chargify_plans"), "'basic, pro'");
  EXPECT_EQ(FieldText(present, "customFields.chargify_states"), "'canceled, trialing'");
  EXPECT_EQ(FieldText(present, "customFields.chargify_balance"), "'10.5'");
  EXPECT_EQ(present.tag_prefix(), "chargify:");
  EXPECT_THAT(present.tags(), ElementsAre("chargify:canceled", "chargify:trialing"));
  EXPECT_EQ(gone.presence(), v1::DesiredState::PRESENCE_GONE);
  EXPECT_THAT(gone.tags(), ElementsAre("chargify:gone"));
  EXPECT_NE(gone.content_hash(), present.content_hash());
}

TEST(MappingTest, TheDefaultMappingsTakeACustomerOfWhomNothingElseIsKnown) {
  for (const char* name : {"rest.mapping.yaml", "highlevel.mapping.yaml"}) {
    View view;
    view.customer = Document(R"({"id": 7})");
    EXPECT_EQ(Compiled<Mapping>(FileText(name)).Apply(view)[0].error, "") << name;
    view.subscriptions = Document(R"([{"id": 1}])");
    view.invoices = Document(R"([{"uid": "a", "status": "open"}])");
    view.components = Document(R"([{"component_id": 3}])");
    EXPECT_EQ(Compiled<Mapping>(FileText(name)).Apply(view)[0].error, "") << name;
  }
}

TEST(MappingTest, AKeyThatNobodyEverSawReachesATargetPath) {
  const Mapping mapping =
      Compiled<Mapping>("object: client\nfields: {custom.new: customer.never_seen_before}");

  const v1::DesiredState state = mapping.Apply(CustomerView())[0].state;

  EXPECT_EQ(FieldText(state, "custom.new"), "{a:[1 '2' null ] }");
}

TEST(MappingTest, AbsentIsLeftOutAndNullFollowsItsPolicy) {
  const Mapping mapping = Compiled<Mapping>(R"(
object: client
fields:
  a: customer.phone
  b: {value: customer.phone, on_null: clear}
  c: {value: customer.nothing, on_null: clear}
  d: {value: customer.email, owner: target}
  e: {value: customer.email, owner: source}
)");

  const v1::DesiredState state = mapping.Apply(CustomerView())[0].state;

  ASSERT_THAT(state.fields(), SizeIs(3));
  EXPECT_EQ(state.fields(0).on_null(), v1::Field::ON_NULL_LEAVE);
  EXPECT_EQ(state.fields(1).on_null(), v1::Field::ON_NULL_CLEAR);
  EXPECT_EQ(FieldText(state, "c"), "absent");
  EXPECT_EQ(FieldText(state, "d"), "absent");
  EXPECT_EQ(FieldText(state, "e"), "'ada@x.test'");
}

TEST(MappingTest, FieldsAreSortedAndTheLastRuleOfAPathCounts) {
  const Mapping mapping = Compiled<Mapping>(R"(
object: client
fields:
  a.*: {each: '["z", "b", "c"]', as: name, value: '"each " + name'}
  a.a: '"first"'
  a.b: '"rule"'
)");

  const v1::DesiredState state = mapping.Apply(CustomerView())[0].state;

  ASSERT_THAT(state.fields(), SizeIs(4));
  EXPECT_EQ(state.fields(0).path(), "a.a");
  EXPECT_EQ(state.fields(1).path(), "a.b");
  EXPECT_EQ(state.fields(2).path(), "a.c");
  EXPECT_EQ(state.fields(3).path(), "a.z");
  EXPECT_EQ(FieldText(state, "a.b"), "'rule'");
  EXPECT_EQ(FieldText(state, "a.c"), "'each c'");
}

TEST(MappingTest, ACustomerThatIsNotWantedIsUnwantedInThatObjectOnly) {
  const Mapping mapping = Compiled<Mapping>(R"(
objects:
  - {object: client, when: "customer.organization == 'Y'", fields: {a: customer.id}}
  - object: company
    fields: {b: customer.organization}
    tag_prefix: "t/"
    tags:
      - {tag: always}
      - {tag: never, when: "gone"}
)");

  const std::vector<DesiredRecord> records = mapping.Apply(CustomerView());

  EXPECT_THAT(mapping.objects(), ElementsAre("client", "company"));
  ASSERT_THAT(records, SizeIs(2));
  EXPECT_EQ(records[0].state.presence(), v1::DesiredState::PRESENCE_UNWANTED);
  EXPECT_THAT(records[0].state.fields(), IsEmpty());
  EXPECT_EQ(records[1].state.presence(), v1::DesiredState::PRESENCE_PRESENT);
  EXPECT_THAT(records[1].state.tags(), ElementsAre("t/always"));
}

TEST(MappingTest, AFailureNamesTheFieldAndThePlaceInTheFile) {
  const Mapping mapping = Compiled<Mapping>(
      "object: client\nfields:\n  a: customer.id\n  b: |\n"
      "    1 +\n      customer.phone.size()\n");

  const DesiredRecord record = mapping.Apply(CustomerView())[0];

  EXPECT_EQ(record.error,
            "`b`: f.yaml:6:22: `size` takes (string) or (list) or (map), not (null); default(x, y) "
            "gives a fallback\n"
            "  |       customer.phone.size()\n"
            "  |                      ^");
  EXPECT_EQ(record.state.object(), "client");
  EXPECT_THAT(record.state.fields(), IsEmpty());
}

TEST(MappingTest, OneFailureLeavesTheOtherObjectAlone) {
  const Mapping mapping = Compiled<Mapping>(R"(
objects:
  - {object: client, fields: {a: 1 / size(past.invoices)}}
  - {object: company, fields: {a: "1"}}
)");
  const std::vector<DesiredRecord> records = mapping.Apply(CustomerView());
  EXPECT_THAT(records[0].error, HasSubstr("division by zero"));
  EXPECT_EQ(records[1].error, "");
}

TEST(MappingTest, FailuresOfEveryPartAreShown) {
  const struct {
    std::string_view yaml;
    std::string_view error;
  } kCases[] = {
      {"when: customer.id\n", "`when`: f.yaml:2:7: wants bool, this is int"},
      {"tag_prefix: t\ntags: '[1]'\n", "`tags`: f.yaml:3:8: element 0 is int"},
      {"tag_prefix: t\ntags: customer.email\n", ""},
      {"tag_prefix: t\ntags: dyn(customer.email)\n", "`tags`: f.yaml:3:7: wants a list"},
      {"tag_prefix: t\ntags: [{tag: a, when: dyn(1)}]\n", "`tags`: f.yaml:3:23: wants bool"},
  };
  for (const auto& [part, error] : kCases) {
    const std::string yaml = "object: client\n" + std::string(part) + "fields: {a: '1'}\n";
    std::vector<std::string> problems;
    const std::optional<Mapping> mapping = Mapping::Compile("f.yaml", yaml, problems);
    if (error.empty()) {
      EXPECT_FALSE(mapping.has_value());
    } else {
      ASSERT_TRUE(mapping.has_value()) << problems[0];
      EXPECT_THAT(mapping->Apply(CustomerView())[0].error, HasSubstr(std::string(error)));
    }
  }
  const Mapping many =
      Compiled<Mapping>("object: c\nfields: {'r.*': {each: '[\"a.b\"]', as: k, value: k}}");
  EXPECT_THAT(many.Apply(CustomerView())[0].error, HasSubstr("is not a name without points"));
}

TEST(MappingTest, ReportsEveryProblemAtOnceWithLineColumnAndCaret) {
  EXPECT_EQ(Refusal<Mapping>(R"(object: client
filds: {}
on_null: erase
match: [emial]
fields:
  email: custmer.email
  phone: "customer.phone +"
  a..b: "1"
  note: now
  x: {value: "1", onnull: leave}
  y: {on_null: leave}
  list: [1]
)"),
            "f.yaml:2:1: error: unknown key `filds`; did you mean `fields`?\n"
            "  | filds: {}\n"
            "  | ^\n"
            "f.yaml:3:10: error: `on_null` is `leave` or `clear`\n"
            "  | on_null: erase\n"
            "  |          ^\n"
            "f.yaml:4:9: error: `match` names `emial`, which is not among the fields\n"
            "  | match: [emial]\n"
            "  |         ^\n"
            "f.yaml:6:10: error: unknown name `custmer`; did you mean `customer`?\n"
            "  |   email: custmer.email\n"
            "  |          ^\n"
            "f.yaml:7:27: error: expected a value, found the end\n"
            "  |   phone: \"customer.phone +\"\n"
            "  |                           ^\n"
            "f.yaml:8:9: error: `a..b` is no path: names joined by `.`, `.*` only at the end\n"
            "  |   a..b: \"1\"\n"
            "  |         ^\n"
            "f.yaml:9:9: error: `now` exists in rules only: a mapping sees nothing but the "
            "customer's entities\n"
            "  |   note: now\n"
            "  |         ^\n"
            "f.yaml:10:19: error: unknown key `onnull`; did you mean `on_null`?\n"
            "  |   x: {value: \"1\", onnull: leave}\n"
            "  |                   ^\n"
            "f.yaml:11:6: error: `value` is missing\n"
            "  |   y: {on_null: leave}\n"
            "  |      ^\n"
            "f.yaml:12:9: error: a map is wanted here\n"
            "  |   list: [1]\n"
            "  |         ^\n");
}

TEST(MappingTest, RefusesWhatIsNoMapping) {
  EXPECT_THAT(Refusal<Mapping>(""), HasSubstr("f.yaml:1:1: error: a map is wanted here"));
  EXPECT_THAT(Refusal<Mapping>("- a"), HasSubstr("a map is wanted here"));
  EXPECT_THAT(Refusal<Mapping>("{a: b"), HasSubstr("f.yaml:"));
  EXPECT_THAT(Refusal<Mapping>("fields: {a: '1'}"), HasSubstr("`object` is missing"));
  EXPECT_THAT(Refusal<Mapping>("object: a"), HasSubstr("`fields` is missing"));
  EXPECT_THAT(Refusal<Mapping>("object: a\nfields: {a: '1', a: '2'}"),
              HasSubstr("`a` stands twice"));
  EXPECT_THAT(Refusal<Mapping>("objects: []"), HasSubstr("`objects` is a list of objects"));
  EXPECT_THAT(Refusal<Mapping>("object: a\ntags: '[]'\nfields: {a: '1'}"),
              HasSubstr("want a `tag_prefix`"));
  EXPECT_THAT(Refusal<Mapping>("object: a\nwhen: customer.email\nfields: {a: '1'}"),
              HasSubstr("`when` wants bool, this is string"));
  EXPECT_THAT(Refusal<Mapping>("object: a\nfields: {r.*: '1'}"),
              HasSubstr("wants {each:, as:, value:}"));
  EXPECT_THAT(Refusal<Mapping>(std::string(300 * 1024, '#')), HasSubstr("longer than"));
  EXPECT_THAT(Refusal<Mapping>(std::string(100'000, '[')), HasSubstr("f.yaml:"));
}

TEST(MappingTest, AsksTheTargetWhetherItKnowsAField) {
  TargetCheck check;
  check.field = [](std::string_view object, std::string_view path) {
    return object == "client" && path == "nme" ? "`nme` is not known; did you mean `name`?"
                                               : std::string();
  };
  EXPECT_THAT(Refusal<Mapping>("object: client\nfields:\n  nme: customer.email", check),
              HasSubstr("f.yaml:3:8: error: `nme` is not known; did you mean `name`?"));
}

}  // namespace
}  // namespace tributary::mapping
