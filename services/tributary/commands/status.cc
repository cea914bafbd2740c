#include <algorithm>
#include <chrono>
#include <memory>
#include <ostream>
#include <thread>

#include "libs/config/quantities.h"
#include "libs/time/time.h"
#include "services/tributary/commands/ask.h"
#include "services/tributary/commands/commands.h"
#include "services/tributary/output.h"

namespace tributary::cli {
namespace {

int Status(const Streams& streams, const Connect& connect, const std::string& tenant) {
  v1::StatusRequest request;
  request.set_tenant(tenant);
  int code = kGood;
  const auto response = Ask<v1::StatusResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.GetStatus(request); });
  if (response) {
    Print(streams, StatusJson(*response), StatusText(*response));
  }
  return code;
}

// `name`: TENANT, TENANT/CONNECTION or empty. `starts`: everything is due now. `wait_max`: until
// nothing is due any more, at most so long; zero: not at all.
int Sweep(const Streams& streams, const Connect& connect, const std::string& name, bool starts,
          Duration wait_max) {
  const std::vector<std::string> parts = SplitPath(name);
  if (parts.size() > 2) {
    streams.err << "error: `" << name << "` is not TENANT/CONNECTION\n";
    return kUsage;
  }
  v1::SweepRequest request;
  request.set_tenant(parts[0]);
  if (parts.size() == 2) {
    request.set_connection(parts[1]);
  }
  request.set_start(starts);
  const auto deadline = std::chrono::steady_clock::now() + wait_max;
  while (true) {
    int code = kGood;
    const auto response = Ask<v1::SweepResponse>(
        streams, connect, code, [&](ControlCalls& control) { return control.Sweep(request); });
    if (!response) {
      return code;
    }
    const bool is_done = std::none_of(
        response->connections().begin(), response->connections().end(),
        [](const v1::SweepStatus& status) { return status.running() || status.due() > 0; });
    const bool is_late = std::chrono::steady_clock::now() >= deadline;
    if (!response->problem().empty() || is_done || is_late) {
      Print(streams, SweepJson(*response), SweepText(*response));
      if (!response->problem().empty()) {
        streams.err << "error: " << response->problem() << '\n';
        return kTemporary;
      }
      return wait_max > Duration::zero() && !is_done ? kTemporary : kGood;
    }
    // Ordered once.
    request.set_start(false);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

// `path`: TENANT/[CONNECTION/]KIND/ID.
int Trace(const Streams& streams, const Connect& connect, const std::string& path) {
  const std::vector<std::string> parts = SplitPath(path);
  const bool is_good =
      (parts.size() == 3 || parts.size() == 4) &&
      std::none_of(parts.begin(), parts.end(), [](const auto& part) { return part.empty(); });
  if (!is_good) {
    streams.err << "error: `" << path << "` is not TENANT/[CONNECTION/]customers/ID\n";
    return kUsage;
  }
  v1::TraceRequest request;
  request.set_tenant(parts[0]);
  if (parts.size() == 4) {
    request.set_connection(parts[1]);
  }
  request.set_kind(parts[parts.size() - 2]);
  request.set_id(parts.back());
  int code = kGood;
  const auto response = Ask<v1::TraceResponse>(
      streams, connect, code, [&](ControlCalls& control) { return control.Trace(request); });
  if (!response) {
    return code;
  }
  if (response->found()) {
    Print(streams, TraceJson(*response), TraceText(*response));
  } else if (streams.json) {
    streams.out << TraceJson(*response);
  }
  if (!response->problem().empty()) {
    // What it knows is not shown, and what is not found may be there.
    streams.err << "error: " << response->problem() << '\n' << kFixOfService;
    return kTemporary;
  }
  if (response->found()) {
    return kGood;
  }
  streams.err << "error: " << path << " is not known\n";
  for (const std::string& nearest : response->nearest()) {
    streams.err << "nearest: " << nearest << '\n';
  }
  return kBad;
}

struct SweepArguments {
  std::string name;
  bool starts = false;
  std::string wait = "0s";
};

void AddSweep(CommandTree& tree) {
  const auto arguments = std::make_shared<SweepArguments>();
  CLI::App& sweep =
      tree.Add("sweep", "Compares what CRMs have with what was written, and repairs it",
               "sweep acme/crm --now --wait 10m");
  sweep.add_option("TENANT[/CONNECTION]", arguments->name, "Only this one");
  sweep.add_flag("--now", arguments->starts,
                 "Everything is due now; without it, only tells how it stands");
  sweep.add_option("--wait", arguments->wait, "Until nothing is due, at most so long: 90s, 5m, 2h")
      ->type_name("DURATION");
  tree.Does(sweep, [&tree, arguments](const Streams& streams) -> int {
    const std::optional<Duration> wait = config::ParseDuration(arguments->wait);
    if (!wait) {
      streams.err << "error: --wait: `" << arguments->wait
                  << "` is no duration, like 90s, 5m or 2h\n";
      return kUsage;
    }
    return Sweep(streams, tree.connect(), arguments->name, arguments->starts, *wait);
  });
}

}  // namespace

void AddStatus(CommandTree& tree) {
  const auto name = std::make_shared<std::string>();
  CLI::App& status = tree.Add("status", "How every sync stands", "status acme --json");
  status.add_option("TENANT", *name, "Only this one");
  tree.Does(status, [&tree, name](const Streams& streams) {
    return Status(streams, tree.connect(), *name);
  });
  AddSweep(tree);
  CLI::App& trace =
      tree.Add("trace", "Which version of one entity is where, and why", "trace acme/customers/42");
  trace.add_option("TENANT/[CONNECTION/]customers/ID", *name, "What to follow")->required();
  tree.Does(trace, [&tree, name](const Streams& streams) {
    return Trace(streams, tree.connect(), *name);
  });
}

}  // namespace tributary::cli
