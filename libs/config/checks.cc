#include "libs/config/checks.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include <google/protobuf/duration.pb.h>
#include <re2/re2.h>

#include "libs/config/option.h"
#include "libs/config/quantities.h"
#include "libs/nearest/nearest.h"

namespace tributary::config {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::size_t kProblemsMax = 200;

// Settings of librdkafka that we own: the guarantees rest on them, or an option of ours says them.
constexpr std::array<std::string_view, 16> kOwnKafkaSettings = {
    "acks",
    "bootstrap.servers",
    "client.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id"};

bool IsLoopback(std::string_view host) {
  static const RE2 pattern(R"(127(\.[0-9]{1,3}){3}|localhost|\[::1\])");
  return RE2::FullMatch(re2::StringPiece(host.data(), host.size()), pattern);
}

bool LooksLikeSecret(std::string_view name) {
  static const RE2 pattern("(?i).*(password|passwd|secret|token|api_?key|private_?key|bearer).*");
  return RE2::FullMatch(re2::StringPiece(name.data(), name.size()), pattern);
}

// Sets every scalar to what it is already, which its rules may refuse.
class FieldChecks {
 public:
  explicit FieldChecks(Findings& findings) : findings_(findings) {}

  void CheckFields(Message& message, const std::string& path) {
    const Descriptor& type = *message.GetDescriptor();
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      const std::string child = path.empty() ? field.name() : path + "." + field.name();
      if (field.is_map()) {
        CheckMap(message, field, child);
      } else if (field.is_repeated()) {
        for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
          CheckFields(*reflection.MutableRepeatedMessage(&message, &field, j),
                      child + "[" + std::to_string(j) + "]");
        }
      } else if (!IsScalar(field)) {
        if (reflection.HasField(message, &field)) {
          CheckFields(*reflection.MutableMessage(&message, &field), child);
        }
      } else {
        CheckField(message, field, child);
      }
    }
  }

  void CheckMap(Message& message, const FieldDescriptor& field, const std::string& path) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    if (field.message_type()->FindFieldByName("value")->message_type() == nullptr) {
      return;
    }
    for (int j = 0; j < reflection.FieldSize(message, &field); ++j) {
      Message& entry = *reflection.MutableRepeatedMessage(&message, &field, j);
      const std::string name =
          entry.GetReflection()->GetString(entry, entry.GetDescriptor()->FindFieldByName("key"));
      CheckFields(*entry.GetReflection()->MutableMessage(
                      &entry, entry.GetDescriptor()->FindFieldByName("value")),
                  path + "." + name);
    }
  }

  void CheckField(Message& message, const FieldDescriptor& field, const std::string& path) {
    const google::protobuf::Reflection& reflection = *message.GetReflection();
    std::string text;
    if (IsDuration(field)) {
      if (!reflection.HasField(message, &field)) {
        return;
      }
      google::protobuf::Duration duration;
      duration.CopyFrom(reflection.GetMessage(message, &field));
      text = FormatDuration(FromProto(duration));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      text = reflection.GetString(message, &field);
      if (text.empty()) {
        if (RulesOf(field).required()) {
          Report({findings_.file(), 0, 0}, path + ": must be set");
        }
        return;
      }
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32) {
      text = std::to_string(reflection.GetInt32(message, &field));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
      text = std::to_string(reflection.GetInt64(message, &field));
    } else {
      return;
    }
    if (const std::optional<std::string> problem = SetScalar(
            message, field, text, message.GetDescriptor() == v1::SecretReference::descriptor())) {
      Report({findings_.file(), 0, 0}, path + ": " + *problem);
    }
  }

 private:
  void Report(const Place& place, std::string message) {
    findings_.Report(place, std::move(message));
  }

  Findings& findings_;
};

class TogetherChecks {
 public:
  TogetherChecks(const LoadOptions& options, v1::ConfigFile& config, Findings& findings)
      : options_(options), config_(config), findings_(findings) {}

  void Check() {
    CheckKafka();
    CheckTimes();
    CheckTracing();
    CheckTenants();
  }

 private:
  Place PlaceOf(const std::string& path) const { return findings_.PlaceOf(path); }
  void Report(const Place& place, std::string message) {
    findings_.Report(place, std::move(message));
  }

  void CheckKafka() {
    // Sorted, because a protobuf map has no order of its own.
    std::set<std::string> names;
    for (const auto& [name, value] : config_.log().kafka()) {
      names.insert(name);
    }
    for (const std::string& name : names) {
      if (std::find(kOwnKafkaSettings.begin(), kOwnKafkaSettings.end(), name) !=
          kOwnKafkaSettings.end()) {
        Report(PlaceOf("log.kafka." + name),
               "log.kafka." + name + ": is set by Tributary itself; delete it here");
      }
    }
  }

  void CheckTimes() {
    const v1::LoaderConfig& loader = config_.loader();
    if (FromProto(loader.retry_delay_min()) > FromProto(loader.retry_delay_max())) {
      Report(PlaceOf("loader.retry_delay_min"),
             "loader.retry_delay_min: must not be above loader.retry_delay_max, which is " +
                 FormatDuration(FromProto(loader.retry_delay_max())));
    }
  }

  template <typename Items>
  void CheckNames(const Items& items, const std::string& path, const std::string& what) {
    std::map<std::string, int> first;
    for (int i = 0; i < items.size(); ++i) {
      if (items[i].name().empty()) {
        continue;
      }
      const auto [found, is_new] = first.emplace(items[i].name(), i);
      if (!is_new) {
        const std::string place = path + "[" + std::to_string(i) + "].name";
        const Place earlier = PlaceOf(path + "[" + std::to_string(found->second) + "].name");
        Report(PlaceOf(place), place + ": there is already a " + what + " " +
                                   Quoted(items[i].name()) + ", in line " +
                                   std::to_string(earlier.line));
      }
    }
  }

  void CheckTenants() {
    CheckNames(config_.tenants(), "tenants", "tenant");
    for (int i = 0; i < config_.tenants_size(); ++i) {
      v1::TenantConfig& tenant = *config_.mutable_tenants(i);
      const std::string path = "tenants[" + std::to_string(i) + "]";
      CheckNames(tenant.connections(), path + ".connections", "connection");
      CheckNames(tenant.syncs(), path + ".syncs", "sync");
      for (int j = 0; j < tenant.connections_size(); ++j) {
        CheckConnection(*tenant.mutable_connections(j),
                        path + ".connections[" + std::to_string(j) + "]");
      }
      for (int j = 0; j < tenant.syncs_size(); ++j) {
        CheckSync(tenant, tenant.syncs(j), path + ".syncs[" + std::to_string(j) + "]");
      }
    }
  }

  void CheckConnection(v1::ConnectionConfig& connection, const std::string& path) {
    const std::string& integration = connection.integration();
    if (!integration.empty() &&
        std::find(options_.integrations.begin(), options_.integrations.end(), integration) ==
            options_.integrations.end()) {
      Report(PlaceOf(path + ".integration"),
             path + ".integration: there is no integration " + Quoted(integration) +
                 DidYouMean(integration, options_.integrations,
                            "there are " + Join(options_.integrations, ", ")));
    }
    CheckConnectionUrl(connection, path);
    if (integration == "rest" && connection.connector_file().empty()) {
      Report(PlaceOf(path), path + ".connector_file: must be set for the integration `rest`");
    }
    std::map<std::string, const v1::SecretReference*> references;
    for (const auto& [name, reference] : connection.credentials()) {
      references[name] = &reference;
    }
    for (const auto& [name, reference] : references) {
      const std::string place = path + ".credentials." + name;
      // Where there is a problem already, another one about the same thing helps nobody.
      const bool reported = findings_.HasReported(place);
      if (reference->key_file().empty() == reference->env().empty() && !reported) {
        Report(PlaceOf(place), place + ": must have one of `key_file` and `env`");
      }
    }
    std::set<std::string> settings;
    for (const auto& [name, value] : connection.settings()) {
      settings.insert(name);
    }
    for (const std::string& name : settings) {
      if (LooksLikeSecret(name)) {
        const std::string place = path + ".settings." + name;
        Report(PlaceOf(place), place +
                                   ": looks like a secret; put it under `credentials` with "
                                   "`key_file:` or `env:`");
      }
    }
  }

  void CheckConnectionUrl(v1::ConnectionConfig& connection, const std::string& path) {
    if (!connection.url().empty()) {
      CheckUrl(connection.allow_insecure_loopback(), path + ".url", *connection.mutable_url());
    } else if (connection.integration() == "chargify") {
      Report(PlaceOf(path), path + ".url: must be set, e.g. https://SITE.chargify.com");
    }
  }

  void CheckTracing() {
    if (config_.tracing().endpoint().empty()) {
      return;
    }
    CheckUrl(/*allow_insecure_loopback=*/true, "tracing.endpoint",
             *config_.mutable_tracing()->mutable_endpoint());
  }

  // Without the slashes at its end afterwards.
  void CheckUrl(bool allow_insecure_loopback, const std::string& place, std::string& url) {
    static const RE2 pattern(R"((https?)://([^/?#]*)([^?#]*))");
    std::string scheme;
    std::string authority;
    std::string rest;
    if (!RE2::FullMatch(url, pattern, &scheme, &authority, &rest)) {
      Report(PlaceOf(place), place + ": expected https://HOST[:PORT][/PATH], without query");
      return;
    }
    if (authority.find('@') != std::string::npos) {
      Report(PlaceOf(place), place +
                                 ": must not hold a user or password; put them under "
                                 "`credentials` with `key_file:` or `env:`");
      return;
    }
    static const RE2 authority_pattern(R"(([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(?::([0-9]{1,5}))?)");
    std::string host;
    std::string port;
    if (!RE2::FullMatch(authority, authority_pattern, &host, &port) ||
        (!port.empty() && (std::stoi(port) < 1 || std::stoi(port) > 65535))) {
      Report(PlaceOf(place), place + ": " + Quoted(authority) + " is no HOST[:PORT]");
      return;
    }
    if (scheme == "http" && !IsLoopback(host)) {
      Report(PlaceOf(place), place +
                                 ": must be https; plain http goes to this machine only "
                                 "(127.0.0.1, [::1], localhost)");
    } else if (scheme == "http" && !allow_insecure_loopback) {
      Report(PlaceOf(place), place +
                                 ": must be https; for plain http to this machine add "
                                 "`allow_insecure_loopback: true`");
    }
    while (url.ends_with('/')) {
      url.pop_back();
    }
  }

  void CheckSync(const v1::TenantConfig& tenant, const v1::SyncConfig& sync,
                 const std::string& path) {
    std::vector<std::string> names;
    const auto find = [&](const std::string& name) -> const v1::ConnectionConfig* {
      for (const v1::ConnectionConfig& connection : tenant.connections()) {
        if (connection.name() == name) {
          return &connection;
        }
      }
      return nullptr;
    };
    for (const v1::ConnectionConfig& connection : tenant.connections()) {
      names.push_back(connection.name());
    }
    const auto check = [&](const std::string& end, const std::string& name) {
      if (name.empty() || find(name) != nullptr) {
        return;
      }
      Report(PlaceOf(path + "." + end),
             path + "." + end + ": there is no connection " + Quoted(name) + " in this tenant" +
                 DidYouMean(name, names, names.empty() ? "" : "there are " + Join(names, ", ")));
    };
    check("source", sync.source());
    check("target", sync.target());
    const v1::ConnectionConfig* source = find(sync.source());
    const v1::ConnectionConfig* target = find(sync.target());
    if (source != nullptr && source->integration() != "chargify" &&
        !source->integration().empty()) {
      Report(PlaceOf(path + ".source"), path + ".source: must be a `chargify` connection, and " +
                                            Quoted(source->name()) + " is `" +
                                            source->integration() + "`");
    }
    if (target != nullptr && target->integration() == "chargify") {
      Report(PlaceOf(path + ".target"),
             path + ".target: must be a CRM, and " + Quoted(target->name()) + " is `chargify`");
    }
  }

  const LoadOptions& options_;
  v1::ConfigFile& config_;
  Findings& findings_;
};

}  // namespace

Place Findings::PlaceOf(std::string path) const {
  while (true) {
    const auto found = places_.find(path);
    if (found != places_.end()) {
      return found->second;
    }
    const std::size_t cut = path.find_last_of(".[");
    if (cut == std::string::npos) {
      return {file_, 0, 0};
    }
    path.resize(cut);
  }
}

void Findings::Report(const Place& place, std::string message) {
  if (problems_.size() < kProblemsMax) {
    problems_.push_back({place.file, place.line, place.column, std::move(message)});
    return;
  }
  // Stays the last: what has no line is behind all that has one.
  if (left_out_ == 0) problems_.push_back({file_, 0, 0, {}});
  problems_.back().message = "and " + std::to_string(++left_out_) + " more";
}

bool Findings::HasReported(std::string_view begin) const {
  return std::any_of(problems_.begin(), problems_.end(),
                     [&](const Problem& problem) { return problem.message.starts_with(begin); });
}

void Findings::Sort() {
  std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
    return std::tuple(a.line == 0, a.line, a.column) < std::tuple(b.line == 0, b.line, b.column);
  });
}

void CheckFields(v1::ConfigFile& config, Findings& findings) {
  FieldChecks(findings).CheckFields(config, "");
}

void CheckTogether(const LoadOptions& options, v1::ConfigFile& config, Findings& findings) {
  TogetherChecks(options, config, findings).Check();
}

}  // namespace tributary::config
