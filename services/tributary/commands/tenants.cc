#include <memory>
#include <optional>
#include <ostream>

#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

int ListTenants(const Streams& streams, const Connect& connect) {
  int code = kGood;
  const auto response = Ask<v1::ListTenantsResponse>(
      streams, connect, code, [](ControlCalls& control) { return control.ListTenants({}); });
  if (response) {
    Print(streams, TenantsJson(*response), TenantsText(*response));
  }
  return code;
}

// The tenant, or all. None: `code` is the exit code.
std::optional<v1::ListTenantsResponse> AskForTenant(const Streams& streams, const Connect& connect,
                                                    const std::string& tenant, int& code) {
  v1::ListTenantsRequest request;
  request.set_tenant(tenant);
  auto response = Ask<v1::ListTenantsResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.ListTenants(request); });
  if (response && !tenant.empty() && response->tenants().empty()) {
    streams.err << "error: there is no tenant `" << tenant << "`\n"
                << "fix: `tributary tenant list` shows them\n";
    code = kBad;
    return std::nullopt;
  }
  return response;
}

int ShowTenant(const Streams& streams, const Connect& connect, const std::string& tenant) {
  int code = kGood;
  const auto response = AskForTenant(streams, connect, tenant, code);
  if (!response) {
    return code;
  }
  if (streams.json) {
    // Both lists in one document.
    const std::string connections = ConnectionsJson(*response);
    const std::string syncs = SyncsJson(*response);
    streams.out << connections.substr(0, connections.size() - 2) << "," << syncs.substr(1);
  } else {
    streams.out << ConnectionsText(*response) << '\n' << SyncsText(*response);
  }
  return kGood;
}

// `name`: TENANT, TENANT/CONNECTION or empty.
int ListConnections(const Streams& streams, const Connect& connect, const std::string& name) {
  const std::vector<std::string> parts = SplitPath(name);
  if (parts.size() > 2) {
    streams.err << "error: `" << name << "` is not TENANT/CONNECTION\n";
    return kUsage;
  }
  int code = kGood;
  auto response = AskForTenant(streams, connect, parts[0], code);
  if (!response) {
    return code;
  }
  if (parts.size() == 2) {
    auto& connections = *response->mutable_tenants(0)->mutable_connections();
    for (int i = connections.size() - 1; i >= 0; --i) {
      if (connections[i].name() != parts[1]) {
        connections.DeleteSubrange(i, 1);
      }
    }
    if (connections.empty()) {
      streams.err << "error: tenant `" << parts[0] << "` has no connection `" << parts[1] << "`\n"
                  << "fix: `tributary connection list " << parts[0] << "` shows them\n";
      return kBad;
    }
  }
  Print(streams, ConnectionsJson(*response), ConnectionsText(*response));
  return kGood;
}

int ListSyncs(const Streams& streams, const Connect& connect, const std::string& tenant) {
  int code = kGood;
  const auto response = AskForTenant(streams, connect, tenant, code);
  if (response) {
    Print(streams, SyncsJson(*response), SyncsText(*response));
  }
  return code;
}

int PauseSync(const Streams& streams, const Connect& connect, const std::string& name,
              bool paused) {
  const std::vector<std::string> parts = SplitPath(name);
  if (parts.size() != 2) {
    streams.err << "error: `" << name << "` is not TENANT/SYNC\n";
    return kUsage;
  }
  v1::SetSyncPausedRequest request;
  request.set_tenant(parts[0]);
  request.set_sync(parts[1]);
  request.set_paused(paused);
  int code = kGood;
  const auto response = Ask<v1::SetSyncPausedResponse>(
      streams, connect, code,
      [&](ControlCalls& control) { return control.SetSyncPaused(request); });
  if (response) {
    Print(streams, "{}\n", name + (paused ? ": paused\n" : ": resumed\n"));
  }
  return code;
}

void AddConnections(CommandTree& tree) {
  const auto name = std::make_shared<std::string>();
  CLI::App& group = tree.AddGroup("connection", "Connections", "connection list acme");
  CLI::App& list = tree.AddTo(group, "list", "All, or a tenant's", "connection list acme");
  list.add_option("TENANT", *name, "Name");
  tree.Does(list, [&tree, name](const Streams& streams) {
    return ListConnections(streams, tree.connect(), *name);
  });
  CLI::App& show = tree.AddTo(group, "show", "One of them", "connection show acme/billing");
  show.add_option("TENANT/CONNECTION", *name, "Names")->required();
  tree.Does(show, [&tree, name](const Streams& streams) {
    if (name->find('/') == std::string::npos) {
      streams.err << "error: `" << *name << "` is not TENANT/CONNECTION\n";
      return static_cast<int>(kUsage);
    }
    return ListConnections(streams, tree.connect(), *name);
  });
}

void AddSyncs(CommandTree& tree) {
  const auto name = std::make_shared<std::string>();
  CLI::App& group = tree.AddGroup("sync", "Syncs", "sync list acme");
  CLI::App& list = tree.AddTo(group, "list", "All, or a tenant's", "sync list acme");
  list.add_option("TENANT", *name, "Name");
  tree.Does(list, [&tree, name](const Streams& streams) {
    return ListSyncs(streams, tree.connect(), *name);
  });
  for (const bool paused : {true, false}) {
    CLI::App& command =
        tree.AddTo(group, paused ? "pause" : "resume",
                   paused ? "Sends nothing until it is resumed" : "Goes on where it was paused",
                   paused ? "sync pause acme/contacts" : "sync resume acme/contacts");
    command.add_option("TENANT/SYNC", *name, "Names")->required();
    tree.Does(command, [&tree, name, paused](const Streams& streams) {
      return PauseSync(streams, tree.connect(), *name, paused);
    });
  }
}

}  // namespace

void AddTenants(CommandTree& tree) {
  const auto name = std::make_shared<std::string>();
  CLI::App& group = tree.AddGroup("tenant", "Tenants", "tenant list");
  CLI::App& list = tree.AddTo(group, "list", "All of them", "tenant list --json");
  tree.Does(list, [&tree](const Streams& streams) { return ListTenants(streams, tree.connect()); });
  CLI::App& show = tree.AddTo(group, "show", "Its connections and syncs", "tenant show acme");
  show.add_option("TENANT", *name, "Name")->required();
  tree.Does(show, [&tree, name](const Streams& streams) {
    return ShowTenant(streams, tree.connect(), *name);
  });
  AddConnections(tree);
  AddSyncs(tree);
}

}  // namespace tributary::cli
