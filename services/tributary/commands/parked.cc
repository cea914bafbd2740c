#include <memory>
#include <ostream>

#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

int ListParked(const Streams& streams, const Connect& connect, const std::string& tenant) {
  v1::ListParkedRequest request;
  request.set_tenant(tenant);
  int code = kGood;
  const auto response = Ask<v1::ListParkedResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.ListParked(request); });
  if (!response) {
    return code;
  }
  Print(streams, ParkedJson(*response), ParkedText(*response));
  if (!response->problem().empty()) {
    streams.err << "error: " << response->problem() << '\n'
                << "the list may lack something\n"
                << kFixOfService;
    return kTemporary;
  }
  return kGood;
}

int ShowParked(const Streams& streams, const Connect& connect, const std::string& key) {
  v1::ListParkedRequest request;
  request.set_key(key);
  int code = kGood;
  auto response = Ask<v1::ListParkedResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.ListParked(request); });
  if (!response) {
    return code;
  }
  auto& items = *response->mutable_items();
  for (int i = items.size() - 1; i >= 0; --i) {
    if (items[i].key() != key) {
      items.DeleteSubrange(i, 1);
    }
  }
  if (items.empty()) {
    if (!response->problem().empty()) {
      streams.err << "error: " << response->problem() << '\n' << kFixOfService;
      return kTemporary;
    }
    streams.err << "error: nothing is parked under `" << key << "`\n"
                << "fix: `tributary parked list` shows the keys\n";
    return kBad;
  }
  Print(streams, ParkedJson(*response), ParkedDetails(*response));
  return kGood;
}

int DecideParked(const Streams& streams, const Connect& connect, const std::string& key,
                 bool replay) {
  v1::DecideParkedRequest request;
  request.set_key(key);
  request.set_replay(replay);
  int code = kGood;
  const auto response = Ask<v1::DecideParkedResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.DecideParked(request); });
  if (!response) {
    return code;
  }
  if (!response->problem().empty()) {
    streams.err << "error: " << key << ": " << response->problem() << '\n';
    return kBad;
  }
  Print(streams, "{}\n", key + (replay ? ": will be tried again\n" : ": dropped\n"));
  return kGood;
}

}  // namespace

void AddParked(CommandTree& tree) {
  const auto name = std::make_shared<std::string>();
  CLI::App& group = tree.AddGroup("parked", "What waits for a person", "parked list");
  CLI::App& list = tree.AddTo(group, "list", "All, or a tenant's", "parked list acme");
  list.add_option("TENANT", *name, "Name");
  tree.Does(list, [&tree, name](const Streams& streams) {
    return ListParked(streams, tree.connect(), *name);
  });
  CLI::App& show = tree.AddTo(group, "show", "All that is known of one",
                              "parked show acme/contacts/s/contact/customers/42");
  show.add_option("KEY", *name, "As the list shows it")->required();
  tree.Does(show, [&tree, name](const Streams& streams) {
    return ShowParked(streams, tree.connect(), *name);
  });
  for (const bool replay : {true, false}) {
    CLI::App& command = tree.AddTo(group, replay ? "replay" : "drop",
                                   replay ? "Tries it again" : "Gives it up for good",
                                   std::string(replay ? "parked replay" : "parked drop") +
                                       " acme/contacts/s/contact/customers/42");
    command.add_option("KEY", *name, "As the list shows it")->required();
    tree.Does(command, [&tree, name, replay](const Streams& streams) {
      return DecideParked(streams, tree.connect(), *name, replay);
    });
  }
}

}  // namespace tributary::cli
