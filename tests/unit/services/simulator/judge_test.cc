#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/simulator/stored.h"
#include "tests/unit/services/simulator/client.h"

namespace tributary::simulator {
namespace {

using ::testing::HasSubstr;

constexpr JudgeScope kRestOnly{false, true};
constexpr JudgeScope kHighLevelOnly{true, false};

// What a correct pipeline would write, written here by hand from what the API shows.
class JudgeTest : public ::testing::Test {
 protected:
  JudgeTest() : client_(Options()) {}

  static WorldOptions Options() {
    WorldOptions options = Quiet(12);
    options.switches.null_products = false;
    return options;
  }

  std::string ClientBody(const json::Value& customer) {
    const std::string id = TextAt(customer, "id");
    std::set<std::string> states;
    std::set<std::string> plans;
    std::int64_t balance = 0;
    std::int64_t count = 0;
    std::map<std::string, std::int64_t> usage;
    const json::Value rows = BodyOf(client_.Chargify("/customers/" + id + "/subscriptions.json"));
    for (const json::Value& row : *rows.array()) {
      const json::Value& subscription = *row.Find("subscription");
      ++count;
      states.insert(TextAt(subscription, "state"));
      plans.insert(TextAt(subscription, "product.handle"));
      balance += *subscription.Find("balance_in_cents")->ToInt64();
      const json::Value parts = BodyOf(
          client_.Chargify("/subscriptions/" + TextAt(subscription, "id") + "/components.json"));
      for (const json::Value& part : *parts.array()) {
        const json::Value& component = *part.Find("component");
        const std::string quantity = CanonicalDecimal(TextAt(
            component, TextAt(component, "kind") == "metered_component" ? "unit_balance"
                                                                        : "allocated_quantity"));
        const std::size_t dot = quantity.find('.');
        usage[TextAt(component, "component_handle")] +=
            std::stoll(quantity.substr(0, dot)) * 10 +
            (dot == std::string::npos ? 0 : quantity[dot + 1] - '0');
      }
    }
    std::int64_t open = 0;
    std::int64_t due = 0;
    for (const json::Value& row : client_.List("/invoices.json?per_page=200", "invoices")) {
      if (TextAt(row, "customer_id") != id || TextAt(row, "status") != "open") continue;
      ++open;
      const std::string amount = TextAt(row, "due_amount");
      const std::size_t dot = amount.find('.');
      std::string part = amount.substr(dot + 1);
      part.resize(2, '0');
      due += std::stoll(amount.substr(0, dot)) * 100 + std::stoll(part);
    }
    bool is_live = false;
    for (const char* state : {"active", "trialing", "past_due", "unpaid"})
      is_live = is_live || states.count(state) > 0;
    const auto list = [](const std::set<std::string>& words) {
      json::Array array;
      for (const std::string& word : words) array.emplace_back(word);
      return json::Value(array);
    };
    json::Value body = json::Object{};
    body.Set("client_id", id);
    body.Set("name", TextAt(customer, "first_name") + " " + TextAt(customer, "last_name"));
    for (const char* field : {"email", "phone", "organization"})
      body.Set(field, *customer.Find(field));
    body.Set("status", is_live ? "active" : "inactive");
    json::Value account = json::Object{};
    account.Set("subscriptions", count);
    account.Set("states", list(states));
    account.Set("plans", list(plans));
    account.Set("balance_in_cents", balance);
    account.Set("open_invoices", open);
    account.Set("due_amount",
                json::Number{std::to_string(due / 100) + "." + (due % 100 < 10 ? "0" : "") +
                             std::to_string(due % 100)});
    body.Set("account", account);
    json::Value reporting = json::Object{};
    for (const auto& [handle, tenths] : usage) {
      reporting.Set(handle,
                    json::Number{std::to_string(tenths / 10) + "." + std::to_string(tenths % 10)});
    }
    body.Set("reporting", reporting);
    return json::Write(body);
  }

  void WriteAll() {
    for (const json::Value& customer : client_.List("/customers.json?per_page=200", "customer")) {
      const Answer answer =
          client_.Rest("PUT", "/clients/" + TextAt(customer, "id"), ClientBody(customer));
      ASSERT_LT(answer.status, 300) << answer.body;
    }
  }
  Judgement Judge(JudgeScope scope) { return client_.world.Judge(client_.now, scope); }
  std::string FirstId() { return TextAt(client_.List("/customers.json", "customer")[0], "id"); }

  Client client_;
};

TEST_F(JudgeTest, FindsNothingWhenEveryFieldIsRight) {
  WriteAll();
  Judgement judgement = Judge(kRestOnly);
  EXPECT_EQ(judgement.mismatches, 0) << ::testing::PrintToString(judgement.problems);
  client_.world.Mutate(client_.now, 25);
  EXPECT_GT(Judge(kRestOnly).mismatches, 0);
}

TEST_F(JudgeTest, FindsAPlantedDifference) {
  WriteAll();
  const std::string id = FirstId();
  client_.Rest("PUT", "/clients/" + id, R"({"organization":"Somebody Else"})");
  const Judgement judgement = Judge(kRestOnly);
  EXPECT_EQ(judgement.mismatches, 1);
  ASSERT_EQ(judgement.problems.size(), 1u);
  EXPECT_THAT(judgement.problems[0], HasSubstr("organization"));
  EXPECT_THAT(judgement.problems[0], HasSubstr(id));
}

TEST_F(JudgeTest, FindsAMissingRecordAndOneTooMany) {
  EXPECT_EQ(Judge(kRestOnly).mismatches, 12);
  WriteAll();
  client_.Rest("PUT", "/clients/99", R"({"name":"Nobody"})");
  EXPECT_EQ(Judge(kRestOnly).mismatches, 1);
}

TEST_F(JudgeTest, FindsAStateThatWentBack) {
  WriteAll();
  const json::Value before = client_.List("/customers.json", "customer")[0];
  const std::string old_body = ClientBody(before);
  const std::string id = TextAt(before, "id");
  ASSERT_TRUE(client_.world.Set(client_.now, "customers", id, R"({"organization":"Newer"})").ok());
  WriteAll();
  EXPECT_EQ(Judge(kRestOnly).regressions, 0);
  client_.Rest("PUT", "/clients/" + id, old_body);
  const Judgement judgement = Judge(kRestOnly);
  EXPECT_EQ(judgement.regressions, 1);
  EXPECT_EQ(judgement.mismatches, 1);
  // Repaired, it did rest on the older state all the same.
  WriteAll();
  EXPECT_EQ(Judge(kRestOnly).regressions, 1);
  EXPECT_EQ(Judge(kRestOnly).mismatches, 0);
}

TEST_F(JudgeTest, TakesAStateThatComesAgainForTheNewerOne) {
  WriteAll();
  const std::string id = FirstId();
  const auto name = [&](const char* organization) {
    ASSERT_TRUE(client_.world
                    .Set(client_.now, "customers", id,
                         "{\"organization\":\"" + std::string(organization) + "\"}")
                    .ok());
    WriteAll();
  };
  name("A");
  name("B");
  name("A");
  EXPECT_EQ(Judge(kRestOnly).regressions, 0);
  EXPECT_EQ(Judge(kRestOnly).mismatches, 0);
}

// The first request of the last state leaves the contact as it was in the first.
TEST_F(JudgeTest, TakesHalfOfAChangeForNoOlderState) {
  const std::string location = client_.world.access().highlevel_location;
  const std::string id = FirstId();
  std::string contact;
  const auto set = [&](const std::string& customer) {
    ASSERT_TRUE(client_.world.Set(client_.now, "customers", id, customer).ok());
  };
  const auto company = [&] {
    const json::Value customer = client_.List("/customers.json", "customer")[0];
    contact =
        TextAt(BodyOf(client_.HighLevel(
                   "POST", "/contacts/upsert",
                   "{\"locationId\":\"" + location + "\",\"email\":\"" + TextAt(customer, "email") +
                       "\",\"companyName\":\"" + TextAt(customer, "organization") +
                       "\",\"customFields\":[{\"key\":\"chargify_customer_id\",\"field_value\":\"" +
                       id + "\"}]}")),
               "contact.id");
  };
  const auto update = [&] {
    const json::Value customer = client_.List("/customers.json", "customer")[0];
    json::Value body = json::Object{};
    for (const auto& [path, field] : std::map<std::string, std::string>{{"firstName", "first_name"},
                                                                        {"lastName", "last_name"},
                                                                        {"email", "email"},
                                                                        {"phone", "phone"},
                                                                        {"address1", "address"},
                                                                        {"city", "city"},
                                                                        {"state", "state"},
                                                                        {"postalCode", "zip"},
                                                                        {"country", "country"}}) {
      const std::string text = TextAt(customer, field);
      body.Set(path, path == "phone" ? PlainPhone(text) : text);
    }
    const Answer answer = client_.HighLevel("PUT", "/contacts/" + contact, json::Write(body));
    ASSERT_LT(answer.status, 300) << answer.body;
  };
  set(R"({"city":"Lyon","organization":"Juniper"})");
  company();
  update();
  set(R"({"city":"Leeds"})");
  update();
  company();
  set(R"({"city":"Lyon","organization":"Ember"})");
  update();
  company();
  EXPECT_EQ(Judge(kHighLevelOnly).regressions, 0);
  set(R"({"city":"Leeds"})");
  update();
  set(R"({"city":"Paris"})");
  update();
  client_.HighLevel("PUT", "/contacts/" + contact, R"({"city":"Leeds"})");
  EXPECT_EQ(Judge(kHighLevelOnly).regressions, 1);
}

// Two customers have one e-mail for a while: the second's state comes over the first's contact, and
// the first's own again.
TEST_F(JudgeTest, TakesTheStateOfAnotherCustomerForNoOlderOne) {
  const std::string location = client_.world.access().highlevel_location;
  const std::vector<json::Value> customers = client_.List("/customers.json", "customer");
  const std::string id = TextAt(customers[0], "id");
  const auto set = [&](const std::string& company) {
    ASSERT_TRUE(
        client_.world.Set(client_.now, "customers", id, "{\"organization\":\"" + company + "\"}")
            .ok());
  };
  const auto write = [&](const std::string& of, const std::string& company) {
    const Answer answer = client_.HighLevel(
        "POST", "/contacts/upsert",
        "{\"locationId\":\"" + location + R"(","email":"shared@example.com","companyName":")" +
            company + R"(","customFields":[{"key":"chargify_customer_id","field_value":")" + of +
            "\"}]}");
    ASSERT_LT(answer.status, 300) << answer.body;
  };
  set("Juniper");
  write(id, "Juniper");
  set("Ember");
  write(id, "Ember");
  write(TextAt(customers[1], "id"), "Juniper");
  write(id, "Ember");
  EXPECT_EQ(Judge(kHighLevelOnly).regressions, 0);
}

TEST_F(JudgeTest, FindsASecondContactAndASecondNote) {
  const std::string location = client_.world.access().highlevel_location;
  const std::string id = FirstId();
  const auto upsert = [&](const std::string& email) {
    return TextAt(
        BodyOf(client_.HighLevel(
            "POST", "/contacts/upsert",
            "{\"locationId\":\"" + location + "\",\"email\":\"" + email +
                "\",\"customFields\":[{\"key\":\"chargify_customer_id\",\"field_value\":\"" + id +
                "\"}]}")),
        "contact.id");
  };
  const std::string contact = upsert("one@example.com");
  EXPECT_EQ(Judge(kHighLevelOnly).duplicate_records, 0);
  upsert("two@example.com");
  EXPECT_EQ(Judge(kHighLevelOnly).duplicate_records, 1);
  for (int i = 0; i < 2; ++i) {
    client_.HighLevel("POST", "/contacts/" + contact + "/notes", R"({"body":"began [m1]"})");
  }
  EXPECT_EQ(Judge(kHighLevelOnly).duplicate_records, 2);
}

TEST_F(JudgeTest, WantsNoMoreOfACustomerThatIsGoneThanTheMark) {
  WriteAll();
  std::string gone;
  for (int i = 0; i < 3'000 && gone.empty(); ++i) {
    client_.world.Mutate(client_.now, 1);
    for (const auto& row : client_.List("/events.json?filter=customer_delete", "event")) {
      gone = TextAt(row, "customer_id");
    }
  }
  ASSERT_FALSE(gone.empty());
  const auto problems_of = [&] {
    int count = 0;
    for (const std::string& problem : Judge(kRestOnly).problems) {
      count += problem.find("rest " + gone + " ") != std::string::npos ? 1 : 0;
    }
    return count;
  };
  WriteAll();
  EXPECT_EQ(problems_of(), client_.Rest("GET", "/clients/" + gone).status == 200 ? 1 : 0);
  client_.Rest("PUT", "/clients/" + gone, R"({"status":"gone"})");
  EXPECT_EQ(problems_of(), 0);
}

TEST(Stored, ComparesDecimalsByValue) {
  EXPECT_EQ(CanonicalDecimal("2.50"), "2.5");
  EXPECT_EQ(CanonicalDecimal("0.0"), "0");
  EXPECT_EQ(CanonicalDecimal("-0.0"), "0");
  EXPECT_EQ(CanonicalDecimal("007"), "7");
  EXPECT_EQ(CanonicalDecimal("1e3"), "1e3");
  EXPECT_EQ(CanonicalDecimal("x.y"), "x.y");
}

}  // namespace
}  // namespace tributary::simulator
