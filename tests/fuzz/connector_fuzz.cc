#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/connector/connector.h"
#include "libs/connector/interpret.h"
#include "libs/connector/render.h"
#include "libs/json/value.h"
#include "tests/fuzz/invariant.h"

// Connector files. Input: YAML. What is accepted can be worked with: every call is rendered, stays
// at its account, has a body that is JSON, and its answers are read.

namespace tributary::connector {
namespace {

using fuzz::Require;

void AddField(const char* path, const char* text, v1::DesiredState& state) {
  v1::Field& field = *state.add_fields();
  field.set_path(path);
  if (text == nullptr) {
    field.mutable_value()->set_null(v1::FieldValue::NULL_VALUE);
    field.set_on_null(v1::Field::ON_NULL_CLEAR);
  } else {
    field.mutable_value()->set_text(text);
  }
}

Account AccountOf(const Connector& connector) {
  return connector.MakeAccount("https://crm.example.test", false,
                               {{"location", "L1"}, {"batch", "true"}});
}

void CheckCall(const Connector& connector, const Account& account, const Object* object,
               const Call& call, const CallInput& input) {
  const absl::StatusOr<http::Request> request = Render(connector, account, object, call, input);
  if (request.ok()) {
    Require(request->url.starts_with(account.url), "a call stays at its account");
    Require(request->url.find_first_of(" \r\n") == std::string::npos, "a URL is one word");
    if (!request->body.empty()) Require(json::Parse(request->body).ok(), "a body is JSON");
    const absl::StatusOr<http::Request> again = Render(connector, account, object, call, input);
    Require(HashOf(*request) == HashOf(*again), "a call is rendered the same each time");
  }
  http::Completion completion;
  completion.delivery = http::Delivery::kComplete;
  for (const int status : {200, 404, 409, 422}) {
    completion.status = status;
    completion.body = R"({"client":{"client_id":"c1"},"message":"duplicate","meta":{"id":"x"}})";
    Interpret(connector, call, completion, WallTime());
    InterpretLookup(connector, call, completion, "c1", "", WallTime());
  }
}

void Check(std::string_view yaml) {
  const absl::StatusOr<Connector> parsed = Connector::Parse("c.yaml", yaml);
  if (!parsed.ok()) {
    const std::string text(parsed.status().message());
    Require(text.starts_with("c.yaml:"), "a problem has its place");
    return;
  }
  const Connector& connector = *parsed;
  connector.CheckSettings({{"location", "L1"}, {"batcch", "true"}});
  const Account account = AccountOf(connector);
  Require(connector.SettleOf(account) >= Duration::zero(), "settle is a time");
  Require(connector.IndexLagOf(account) >= Duration::zero(), "so is the index's lag");

  v1::DesiredState state;
  AddField("client_id", "42", state);
  AddField("email", "a@example.com", state);
  AddField("name", "Zoë \"x\"", state);
  AddField("phone", nullptr, state);
  AddField("account.plan", "pro", state);
  v1::Action action;
  v1::Field& argument = *action.add_arguments();
  argument.set_path("text");
  argument.mutable_value()->set_text("a \"note\"");
  const CallInput input{
      .id = "id/1", .state = &state, .marker = "m-1", .tags = {"a", "B"}, .action = &action};
  for (const auto& [name, object] : connector.objects) {
    object.CheckField("email");
    object.CheckField("account.plan");
    const std::vector<std::string> tags = CanonicalTags(object, {"b", " A ", "b"});
    Require(CanonicalTags(object, tags) == tags, "canonical tags are canonical");
    for (const std::vector<Call>* calls : {&object.lookups, &object.create, &object.update}) {
      for (const Call& call : *calls) {
        if (Applies(call, state)) CheckCall(connector, account, &object, call, input);
      }
    }
    for (const std::optional<Call>* call : {&object.tags_add, &object.tags_remove}) {
      if (*call) CheckCall(connector, account, &object, **call, input);
    }
    if (object.read) CheckCall(connector, account, &object, object.read->call, input);
    if (object.batch && !object.update.empty()) {
      RenderBatch(connector, account, object, {{.state = &state, .body = R"({"a":1})"}})
          .IgnoreError();
    }
  }
  for (const auto& [name, operation] : connector.actions) {
    const Object* object = connector.FindObject(operation.object);
    Require(object != nullptr, "an action is about an object that there is");
    CheckCall(connector, account, object, operation.call, input);
    if (operation.lookup) CheckCall(connector, account, object, *operation.lookup, input);
  }
  if (connector.authentication.kind == Authentication::Kind::kTokenRequest) {
    RenderTokenRequest(connector, account, {{"api_key", "k"}, {"token", "t"}}).IgnoreError();
  }
  http::Request request;
  Authorise(connector, {{"api_key", "k"}, {"token", "t"}}, "t", request).IgnoreError();
}

}  // namespace
}  // namespace tributary::connector

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::connector::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}
