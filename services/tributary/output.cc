#include "services/tributary/output.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>
#include <string_view>

#include <google/protobuf/timestamp.pb.h>

#include "libs/json/value.h"
#include "libs/time/rfc3339.h"

namespace tributary::cli {
namespace {

using json::Array;
using json::Object;
using json::Value;

std::string Line(const Value& value) { return json::Write(value) + "\n"; }

Value TextOrNull(const std::string& text) { return text.empty() ? Value() : Value(text); }

Value VersionValue(const v1::Version& version) {
  return Object{{"generation", version.generation()},
                {"offset", version.offset()},
                {"revision", version.revision()}};
}

// The name of an enum's value without its prefix, in small letters.
std::string Word(const std::string& name, std::string_view prefix) {
  std::string word = name.substr(name.starts_with(prefix) ? prefix.size() : 0);
  std::transform(word.begin(), word.end(), word.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return word;
}

std::string KindWord(v1::AppliedChange::Kind kind) {
  return Word(v1::AppliedChange::Kind_Name(kind), "KIND_");
}
std::string ReasonWord(v1::Reason reason) { return Word(v1::Reason_Name(reason), "REASON_"); }
std::string SyncStateWord(v1::SyncState state) {
  return Word(v1::SyncState_Name(state), "SYNC_STATE_");
}

// As the design and Codat's users spell them.
std::string ConnectionStateWord(v1::ConnectionState state) {
  switch (state) {
    case v1::CONNECTION_STATE_PENDING_AUTH:
      return "PendingAuth";
    case v1::CONNECTION_STATE_LINKED:
      return "Linked";
    case v1::CONNECTION_STATE_UNLINKED:
      return "Unlinked";
    case v1::CONNECTION_STATE_DEAUTHORIZED:
      return "Deauthorized";
    default:
      return "unknown";
  }
}

// Only what is a number on its face.
json::Number DecimalOf(const std::string& text) {
  const bool is_decimal = !text.empty() && text.size() < 40 && text.front() != '.' &&
                          text.back() != '.' &&
                          text.find_first_not_of("0123456789.") == std::string::npos &&
                          std::count(text.begin(), text.end(), '.') <= 1;
  return {is_decimal ? text : "0"};
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  return FormatRfc3339(WallTime(std::chrono::seconds(time.seconds()) +
                                std::chrono::microseconds(time.nanos() / 1000)));
}

// When a credential ends; of a connection, or of a report about one.
template <typename Message>
Value EndValue(const Message& message) {
  return message.has_credential_expires_at() ? Value(TimeText(message.credential_expires_at()))
                                             : Value();
}

Value EndpointsValue(const v1::ConnectionReport& report) {
  if (!report.has_webhook_endpoints()) {
    return {};
  }
  const v1::WebhookEndpoints& endpoints = report.webhook_endpoints();
  return Object{{"enabled", endpoints.enabled()},
                {"paused", endpoints.paused()},
                {"disabled", endpoints.disabled()},
                {"other", endpoints.other()}};
}

const v1::ConnectionReport* FindReport(const v1::ListTenantsResponse& response,
                                       const std::string& tenant, const std::string& connection) {
  for (const v1::ConnectionReport& report : response.reports()) {
    if (report.tenant() == tenant && report.connection() == connection) {
      return &report;
    }
  }
  return nullptr;
}

std::string Place(const v1::Version& version) {
  return std::to_string(version.offset()) + " (revision " + std::to_string(version.revision()) +
         ")";
}

std::string Dash(const std::string& text) { return text.empty() ? "-" : text; }

// Columns count characters, not bytes.
std::size_t Width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string EndpointsText(const v1::WebhookEndpoints& endpoints) {
  return "the site has switched webhook endpoints of others off: " +
         std::to_string(endpoints.paused()) + " paused, " + std::to_string(endpoints.disabled()) +
         " disabled; Tributary itself misses nothing";
}

std::string Table(const std::vector<std::string>& names,
                  const std::vector<std::vector<std::string>>& rows, const std::string& nothing) {
  if (rows.empty()) {
    return nothing + "\n";
  }
  std::vector<std::size_t> widths;
  for (const std::string& name : names) {
    widths.push_back(Width(name));
  }
  for (const std::vector<std::string>& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], Width(row[i]));
    }
  }
  std::string text;
  const auto add = [&](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      line += cells[i];
      line.append(widths[i] - Width(cells[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add(names);
  for (const std::vector<std::string>& row : rows) {
    add(row);
  }
  return text;
}

std::string DurationText(double seconds) {
  if (!(seconds >= 1)) {
    return "0s";
  }
  auto rest = static_cast<std::int64_t>(std::min(seconds, 1e15));
  std::string text;
  int parts = 0;
  for (const auto& [name, unit] :
       {std::pair("d", 86400), std::pair("h", 3600), std::pair("m", 60), std::pair("s", 1)}) {
    if (rest >= unit && parts < 2) {
      text += (text.empty() ? "" : " ") + std::to_string(rest / unit) + name;
      rest %= unit;
      ++parts;
    } else if (parts > 0) {
      ++parts;
    }
  }
  return text;
}

std::string ApplyJson(const v1::ApplyResponse& response, bool dry_run) {
  Array changes;
  for (const v1::AppliedChange& change : response.changes()) {
    changes.push_back(Object{{"kind", KindWord(change.kind())},
                             {"what", change.what()},
                             {"detail", TextOrNull(change.detail())}});
  }
  Array problems(response.problems().begin(), response.problems().end());
  return Line(Object{
      {"changes", std::move(changes)}, {"problems", std::move(problems)}, {"dry_run", dry_run}});
}

std::string ApplyText(const v1::ApplyResponse& response, bool dry_run) {
  std::string text;
  bool is_changed = false;
  for (const v1::AppliedChange& change : response.changes()) {
    const bool is_shown_only = dry_run || change.kind() == v1::AppliedChange::KIND_WOULD_REMOVE;
    const char* verb = "";
    switch (change.kind()) {
      case v1::AppliedChange::KIND_CREATED:
        verb = is_shown_only ? "would create" : "created";
        break;
      case v1::AppliedChange::KIND_CHANGED:
        verb = is_shown_only ? "would change" : "changed";
        break;
      case v1::AppliedChange::KIND_REMOVED:
        verb = is_shown_only ? "would remove" : "removed";
        break;
      default:
        verb = "not in the file";
    }
    is_changed = is_changed || change.kind() != v1::AppliedChange::KIND_WOULD_REMOVE;
    const bool has_detail =
        !change.detail().empty() && change.kind() != v1::AppliedChange::KIND_WOULD_REMOVE;
    text += std::string(verb) + ": " + change.what() +
            (has_detail ? " (" + change.detail() + ")" : "") +
            (change.kind() == v1::AppliedChange::KIND_WOULD_REMOVE ? "; --prune removes it" : "") +
            "\n";
  }
  return is_changed ? text : text + "nothing to change\n";
}

std::string StatusJson(const v1::StatusResponse& response) {
  // Tenants in the order of their names.
  std::map<std::string, Array> tenants;
  for (const v1::SyncStatus& sync : response.syncs()) {
    tenants[sync.tenant()].push_back(Object{
        {"sync", sync.sync()},
        {"state", sync.state()},
        {"freshness_seconds", DecimalOf(sync.freshness_seconds())},
        {"pending", sync.pending()},
        {"retrying", sync.retrying()},
        {"parked", sync.parked()},
        {"problem", TextOrNull(sync.problem())},
        {"fix", TextOrNull(sync.fix())},
        {"applied", sync.applied()},
        {"noop", sync.noop()},
        {"superseded", sync.superseded()},
        {"dropped", sync.dropped()},
        {"in_doubt", sync.in_doubt()},
    });
  }
  Array list;
  for (auto& [name, syncs] : tenants) {
    list.push_back(Object{{"tenant", name}, {"syncs", std::move(syncs)}});
  }
  Array connections;
  for (const v1::ConnectionReport& report : response.connections()) {
    connections.push_back(Object{
        {"tenant", report.tenant()},
        {"connection", report.connection()},
        {"problem", TextOrNull(report.problem())},
        {"fix", TextOrNull(report.fix())},
        {"waits_for", TextOrNull(report.waits_for())},
        {"waits_until",
         report.has_waits_until() ? json::Value(TimeText(report.waits_until())) : json::Value()},
        {"credential_expires_at", EndValue(report)},
        {"webhook_endpoints", EndpointsValue(report)}});
  }
  Array streams;
  for (const v1::StreamStatus& stream : response.streams()) {
    streams.push_back(Object{{"tenant", stream.tenant()},
                             {"connection", stream.connection()},
                             {"stream", stream.stream()},
                             {"first_read_done", stream.first_read_done()},
                             {"read", stream.read()},
                             {"settled", stream.settled()},
                             {"unavailable", TextOrNull(stream.unavailable())},
                             {"problem", TextOrNull(stream.problem())}});
  }
  return Line(Object{{"tenants", std::move(list)},
                     {"settled", response.settled()},
                     {"connections", std::move(connections)},
                     {"streams", std::move(streams)},
                     {"missing_services", Array(response.missing_services().begin(),
                                                response.missing_services().end())}});
}

std::string StatusText(const v1::StatusResponse& response) {
  std::vector<std::vector<std::string>> rows;
  bool has_parked = false;
  for (const v1::SyncStatus& sync : response.syncs()) {
    rows.push_back({sync.tenant(), sync.sync(), sync.state(),
                    DurationText(std::strtod(sync.freshness_seconds().c_str(), nullptr)),
                    std::to_string(sync.pending()), std::to_string(sync.retrying()),
                    std::to_string(sync.parked())});
    has_parked = has_parked || sync.parked() > 0;
  }
  std::string text = Table({"TENANT", "SYNC", "STATE", "BEHIND", "PENDING", "RETRYING", "PARKED"},
                           rows, "no syncs; `tributary apply -f FILE` makes some");
  // What is wrong in lines of their own, which may be long; what a connection has told is not told
  // again by its syncs.
  std::set<std::string> told;
  const auto add = [&](const std::string& what, const std::string& problem,
                       const std::string& fix) {
    if (!problem.empty()) {
      text += what + ": " + problem + "\n" + (fix.empty() ? "" : "  fix: " + fix + "\n");
    }
  };
  for (const v1::ConnectionReport& report : response.connections()) {
    add("connection " + report.tenant() + "/" + report.connection(), report.problem(),
        report.fix());
    if (!report.waits_for().empty()) {
      text += "connection " + report.tenant() + "/" + report.connection() + ": waits for " +
              report.waits_for() + ", until " + TimeText(report.waits_until()) + "\n";
    }
    if (report.has_credential_expires_at()) {
      add("connection " + report.tenant() + "/" + report.connection(),
          "its credential is good until " + TimeText(report.credential_expires_at()),
          report.problem().empty() ? report.fix() : "");
    }
    if (const v1::WebhookEndpoints& endpoints = report.webhook_endpoints();
        endpoints.paused() + endpoints.disabled() > 0) {
      add("connection " + report.tenant() + "/" + report.connection(), EndpointsText(endpoints),
          kFixOfEndpoints);
    }
    told.insert(report.tenant() + "/connection " + report.connection() + ": " + report.problem());
    told.insert(report.tenant() + "/" + report.problem());
  }
  for (const v1::SyncStatus& sync : response.syncs()) {
    if (!told.contains(sync.tenant() + "/" + sync.problem())) {
      add("sync " + sync.tenant() + "/" + sync.sync(), sync.problem(), sync.fix());
    }
  }
  for (const v1::StreamStatus& stream : response.streams()) {
    add("stream " + stream.tenant() + "/" + stream.connection() + "/" + stream.stream(),
        stream.unavailable().empty() ? stream.problem() : stream.unavailable(), "");
  }
  for (const std::string& service : response.missing_services()) {
    add("nothing is known from", service, "start it, or see at its /readyz what it waits for");
  }
  return text + (has_parked ? "`tributary parked list` shows what waits for a person\n" : "");
}

std::string TenantsJson(const v1::ListTenantsResponse& response) {
  Array tenants;
  for (const v1::TenantSnapshot& tenant : response.tenants()) {
    tenants.push_back(Object{{"tenant", tenant.tenant()},
                             {"removed", tenant.removed()},
                             {"connections", std::int64_t{tenant.connections_size()}},
                             {"syncs", std::int64_t{tenant.syncs_size()}}});
  }
  return Line(Object{{"tenants", std::move(tenants)}});
}

std::string TenantsText(const v1::ListTenantsResponse& response) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::TenantSnapshot& tenant : response.tenants()) {
    rows.push_back({tenant.tenant(), tenant.removed() ? "removed" : "active",
                    std::to_string(tenant.connections_size()),
                    std::to_string(tenant.syncs_size())});
  }
  return Table({"TENANT", "STATE", "CONNECTIONS", "SYNCS"}, rows,
               "no tenants; `tributary apply -f FILE` makes some");
}

std::string ConnectionsJson(const v1::ListTenantsResponse& response) {
  Array connections;
  for (const v1::TenantSnapshot& tenant : response.tenants()) {
    for (const v1::Connection& connection : tenant.connections()) {
      const v1::ConnectionReport* const report =
          FindReport(response, tenant.tenant(), connection.name());
      connections.push_back(
          Object{{"tenant", tenant.tenant()},
                 {"connection", connection.name()},
                 {"integration", connection.integration()},
                 {"url", TextOrNull(connection.url())},
                 {"state", ConnectionStateWord(connection.state())},
                 {"problem", report == nullptr ? Value() : TextOrNull(report->problem())},
                 {"fix", report == nullptr ? Value() : TextOrNull(report->fix())},
                 {"credential_expires_at", EndValue(connection)}});
    }
  }
  return Line(Object{{"connections", std::move(connections)}});
}

std::string ConnectionsText(const v1::ListTenantsResponse& response) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::TenantSnapshot& tenant : response.tenants()) {
    for (const v1::Connection& connection : tenant.connections()) {
      const v1::ConnectionReport* const report =
          FindReport(response, tenant.tenant(), connection.name());
      rows.push_back({tenant.tenant(), connection.name(), connection.integration(),
                      ConnectionStateWord(connection.state()),
                      connection.has_credential_expires_at()
                          ? TimeText(connection.credential_expires_at())
                          : "-",
                      Dash(connection.url()), Dash(report == nullptr ? "" : report->problem())});
    }
  }
  return Table(
      {"TENANT", "CONNECTION", "INTEGRATION", "STATE", "CREDENTIAL ENDS", "URL", "PROBLEM"}, rows,
      "no connections; `tributary apply -f FILE` makes some");
}

std::string SyncsJson(const v1::ListTenantsResponse& response) {
  Array syncs;
  for (const v1::TenantSnapshot& tenant : response.tenants()) {
    for (const v1::Sync& sync : tenant.syncs()) {
      syncs.push_back(Object{{"tenant", tenant.tenant()},
                             {"sync", sync.name()},
                             {"source", sync.source()},
                             {"target", sync.target()},
                             {"state", SyncStateWord(sync.state())},
                             {"mapping", TextOrNull(sync.mapping())},
                             {"rules", TextOrNull(sync.rules())}});
    }
  }
  return Line(Object{{"syncs", std::move(syncs)}});
}

std::string SyncsText(const v1::ListTenantsResponse& response) {
  std::vector<std::vector<std::string>> rows;
  for (const v1::TenantSnapshot& tenant : response.tenants()) {
    for (const v1::Sync& sync : tenant.syncs()) {
      rows.push_back({tenant.tenant(), sync.name(), sync.source(), sync.target(),
                      SyncStateWord(sync.state())});
    }
  }
  return Table({"TENANT", "SYNC", "SOURCE", "TARGET", "STATE"}, rows,
               "no syncs; `tributary apply -f FILE` makes some");
}

std::string ParkedJson(const v1::ListParkedResponse& response) {
  Array items;
  for (const v1::ParkedItem& item : response.items()) {
    items.push_back(Object{{"key", item.key()},
                           {"version", item.has_version() ? VersionValue(item.version()) : Value()},
                           {"reason", ReasonWord(item.reason())},
                           {"since", item.has_since() ? Value(TimeText(item.since())) : Value()},
                           {"fix", TextOrNull(item.fix())},
                           {"detail", TextOrNull(item.detail())}});
  }
  return Line(Object{{"items", std::move(items)},
                     {"more", response.more()},
                     {"problem", TextOrNull(response.problem())}});
}

std::string ParkedText(const v1::ListParkedResponse& response) {
  if (response.items().empty()) {
    return "nothing is parked\n";
  }
  std::string text;
  for (const v1::ParkedItem& item : response.items()) {
    std::string detail = item.detail().substr(0, item.detail().find('\n'));
    if (detail.size() > 200) {
      detail.resize(200);
    }
    text += item.key() + "\n  " + ReasonWord(item.reason()) +
            (item.has_since() ? " since " + TimeText(item.since()) : "") +
            (detail.empty() ? "" : ": " + detail) + "\n" +
            (item.fix().empty() ? "" : "  fix: " + item.fix() + "\n");
  }
  text += "`tributary parked replay KEY` tries one again, `parked drop KEY` gives it up\n";
  if (response.more()) {
    text += "there are more; ask for one tenant\n";
  }
  return text;
}

std::string ParkedDetails(const v1::ListParkedResponse& response) {
  std::string text;
  for (const v1::ParkedItem& item : response.items()) {
    text += "key      " + item.key() + "\n";
    if (item.has_version()) {
      text += "version  " + Place(item.version()) + "\n";
    }
    text += "reason   " + ReasonWord(item.reason()) + "\n";
    text += "since    " + (item.has_since() ? TimeText(item.since()) : std::string("-")) + "\n";
    text += "detail   " + Dash(item.detail()) + "\n";
    text += "fix      " + Dash(item.fix()) + "\n";
    if (!item.kept_answer().empty()) {
      std::string shown;
      for (const char c : item.kept_answer()) {
        shown += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) && c != '\n' ? '?' : c;
      }
      text += "answer   " + shown + "\n";
    }
  }
  return text;
}

std::string SweepJson(const v1::SweepResponse& response) {
  Array connections;
  for (const v1::SweepStatus& status : response.connections()) {
    connections.push_back(Object{{"tenant", status.tenant()},
                                 {"connection", status.connection()},
                                 {"compared", status.compared()},
                                 {"repaired", status.repaired()},
                                 {"missing", status.missing()},
                                 {"second", status.second()},
                                 {"shown", status.shown()},
                                 {"due", status.due()},
                                 {"running", status.running()},
                                 {"problem", TextOrNull(status.problem())}});
  }
  return Line(
      Object{{"connections", std::move(connections)}, {"problem", TextOrNull(response.problem())}});
}

std::string SweepText(const v1::SweepResponse& response) {
  std::vector<std::vector<std::string>> rows;
  std::string problems;
  for (const v1::SweepStatus& status : response.connections()) {
    rows.push_back({status.tenant(), status.connection(), std::to_string(status.compared()),
                    std::to_string(status.repaired()), std::to_string(status.missing()),
                    std::to_string(status.shown()), std::to_string(status.due()),
                    status.running() ? "yes" : "no"});
    if (!status.problem().empty()) {
      problems += status.tenant() + "/" + status.connection() + ": " + status.problem() + "\n";
    }
  }
  return Table(
             {"TENANT", "CONNECTION", "COMPARED", "REPAIRED", "MISSING", "SHOWN", "DUE", "RUNNING"},
             rows, "no target connections") +
         problems;
}

std::string TraceJson(const v1::TraceResponse& response) {
  Array versions;
  for (const v1::Version& version : response.versions()) {
    versions.push_back(VersionValue(version));
  }
  Array records;
  for (const v1::TraceResponse::Record& record : response.records()) {
    records.push_back(
        Object{{"key", record.key()},
               {"id", TextOrNull(record.id())},
               {"desired", record.has_desired() ? VersionValue(record.desired()) : Value()},
               {"resolved", record.has_resolved() ? VersionValue(record.resolved()) : Value()},
               {"status", record.status()},
               {"reason", TextOrNull(record.reason())},
               {"next", TextOrNull(record.next())}});
  }
  return Line(Object{{"entity", response.entity()},
                     {"versions", std::move(versions)},
                     {"records", std::move(records)},
                     {"found", response.found()},
                     {"nearest", Array(response.nearest().begin(), response.nearest().end())},
                     {"problem", TextOrNull(response.problem())}});
}

std::string TraceText(const v1::TraceResponse& response) {
  std::string text = response.entity() + "\n";
  for (const v1::Version& version : response.versions()) {
    text += "  change at offset " + Place(version) + "\n";
  }
  if (response.records().empty()) {
    return text + "no sync wants it\n";
  }
  for (const v1::TraceResponse::Record& record : response.records()) {
    text += record.key() + "\n";
    const auto add = [&text](const char* name, const std::string& value) {
      if (!value.empty()) {
        text += std::string("  ") + name + value + "\n";
      }
    };
    add("status    ", record.status());
    add("reason    ", record.reason());
    add("id there  ", record.id());
    add("desired   ", record.has_desired() ? "change at offset " + Place(record.desired()) : "");
    add("resolved  ", record.has_resolved() ? "change at offset " + Place(record.resolved()) : "");
    add("next      ", record.next());
  }
  return text;
}

std::string VerifyJson(const v1::VerifyResponse& response) {
  return Line(Object{{"ok", response.ok()},
                     {"checked", response.checked()},
                     {"lost", response.lost()},
                     {"stale", response.stale()},
                     {"double_outcomes", response.double_outcomes()},
                     {"problems", Array(response.problems().begin(), response.problems().end())},
                     {"at_rest", response.at_rest()}});
}

std::string VerifyText(const v1::VerifyResponse& response) {
  std::string text;
  for (const std::string& problem : response.problems()) {
    text += problem + "\n";
  }
  if (response.ok()) {
    return "good: " + std::to_string(response.checked()) + " checks\n";
  }
  if (!response.at_rest()) {
    return text + "not at rest: something is under way; verify again when it is done\n";
  }
  return text + std::to_string(response.lost()) + " lost, " + std::to_string(response.stale()) +
         " stale, " + std::to_string(response.double_outcomes()) + " with two outcomes, of " +
         std::to_string(response.checked()) + " checks\n";
}

std::string BuildInfoJson(const v1::BuildInfo& info) {
  Object libraries;
  const std::map<std::string, std::string> sorted(info.libraries().begin(), info.libraries().end());
  for (const auto& [name, version] : sorted) {
    libraries.emplace_back(name, version);
  }
  return Line(Object{{"version", info.version()},
                     {"commit", TextOrNull(info.commit())},
                     {"compiler", info.compiler()},
                     {"libraries", std::move(libraries)}});
}

}  // namespace tributary::cli
