#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/json/tree.h"
#include "libs/mapping/content_hash.h"
#include "libs/mapping/mapping.h"
#include "libs/mapping/rules.h"
#include "tests/fuzz/invariant.h"
#include "tributary/v1/commands.pb.h"

// Mapping and rules files. Input: YAML, which is read as both. What compiles is applied to a
// customer; what comes of it can travel on a topic, and is the same each time.

namespace tributary::mapping {
namespace {

using fuzz::Require;

constexpr std::string_view kCustomer = R"({
  "id": 42, "first_name": "Zoë", "last_name": "van Dam", "email": "Z@X.test", "phone": null,
  "organization": "O", "created_at": "2021-03-29T07:47:00-04:00", "balance": "12.50", "vat": 1e2})";
constexpr std::string_view kSubscriptions = R"([
  {"id": 1, "state": "active", "balance_in_cents": 1050, "product": {"handle": "pro"}},
  {"id": 2, "state": "canceled", "balance_in_cents": -50, "product": {"handle": "basic"}}])";
constexpr std::string_view kInvoices =
    R"([{"uid": "inv_1", "status": "open", "due_amount": "10.5"}])";
constexpr std::string_view kComponents =
    R"([{"component_id": 7, "component_handle": "seats", "allocated_quantity": 3}])";
constexpr std::string_view kEvent = R"({"id": 9, "key": "signup_success",
  "event_specific_data": {"previous_subscription_state": "trialing"}})";

void CheckProblems(const std::vector<std::string>& problems, bool has_result) {
  Require(problems.empty() == has_result, "a result, or problems");
  for (const std::string& problem : problems) {
    Require(problem.starts_with("m.yaml"), "a problem names its file");
  }
}

/// Others must be able to read it: text that is no UTF-8 is refused by who does.
template <typename Message>
void CheckTravels(const Message& message) {
  Message read;
  Require(read.ParseFromString(message.SerializeAsString()), "what is made can be read again");
  Require(read.SerializeAsString() == message.SerializeAsString(), "and is the same");
}

void CheckErrorTravels(const std::string& error) {
  v1::Command command;
  command.set_mapping_error(error);
  CheckTravels(command);
}

void CheckMapping(std::string_view yaml) {
  std::vector<std::string> problems;
  const std::optional<Mapping> mapping = Mapping::Compile("m.yaml", yaml, problems);
  CheckProblems(problems, mapping.has_value());
  if (!mapping) return;
  json::Tree tree;
  View view;
  view.customer = *tree.Parse(kCustomer);
  view.subscriptions = *tree.Parse(kSubscriptions);
  view.invoices = *tree.Parse(kInvoices);
  view.components = *tree.Parse(kComponents);
  const std::vector<DesiredRecord> records = mapping->Apply(view);
  const std::vector<DesiredRecord> again = mapping->Apply(view);
  Require(records.size() == mapping->objects().size(), "one record of each object");
  for (std::size_t i = 0; i < records.size(); ++i) {
    CheckTravels(records[i].state);
    CheckErrorTravels(records[i].error);
    Require(records[i].error == again[i].error, "the same error each time");
    Require(records[i].state.SerializeAsString() == again[i].state.SerializeAsString(),
            "and the same state");
    Require(ContentHash(records[i].state) == ContentHash(again[i].state), "and the same hash");
    Require(records[i].error.empty() || records[i].state.fields().empty(),
            "an error has no fields");
  }
  View gone = view;
  gone.customer = json::Node();
  gone.gone = true;
  Require(mapping->Apply(gone).size() == records.size(), "also of a customer that is gone");
}

void CheckRules(std::string_view yaml) {
  std::vector<std::string> problems;
  const std::optional<Rules> rules = Rules::Compile("m.yaml", yaml, problems);
  CheckProblems(problems, rules.has_value());
  if (!rules) return;
  json::Tree tree;
  EventView view;
  view.event = *tree.Parse(kEvent);
  view.customer = *tree.Parse(kCustomer);
  view.subscriptions = *tree.Parse(kSubscriptions);
  view.subscription = view.subscriptions.items()[0];
  view.now = "2026-01-02T03:04:05Z";
  const std::vector<Step> steps = rules->Fire("signup_success", view);
  Require(steps.empty() || rules->ListensTo("signup_success"), "it fires what it listens to");
  for (const Step& step : steps) {
    Require(!step.rule.empty() && !step.operation.empty(), "a step says what is to be done");
    for (const v1::Field& argument : step.arguments) CheckTravels(argument);
    CheckErrorTravels(step.error);
  }
}

}  // namespace
}  // namespace tributary::mapping

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view yaml = tributary::fuzz::TextOf(data, size);
  tributary::mapping::CheckMapping(yaml);
  tributary::mapping::CheckRules(yaml);
  return 0;
}
