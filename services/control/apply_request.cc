#include "services/control/apply_request.h"

#include <chrono>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

#include "libs/config/config.h"
#include "libs/time/rfc3339.h"

namespace tributary::control {
namespace {

constexpr std::size_t kFileBytesMax = 256 << 10;

void AddFile(const std::string& path, BuiltApplyRequest& built) {
  if (path.empty() || built.request.files().contains(path)) {
    return;
  }
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  if (!stream || !(text << stream.rdbuf())) {
    built.problems.push_back(path + ": error: cannot be read, or is empty");
    return;
  }
  std::string content = text.str();
  if (content.size() > kFileBytesMax) {
    built.problems.push_back(path + ": error: is larger than 256 KiB");
    return;
  }
  (*built.request.mutable_files())[path] = std::move(content);
}

}  // namespace

BuiltApplyRequest BuildApplyRequest(const v1::ConfigFile& config, bool with_secrets) {
  BuiltApplyRequest built;
  *built.request.mutable_tenants() = config.tenants();
  for (v1::TenantConfig& tenant : *built.request.mutable_tenants()) {
    for (v1::ConnectionConfig& connection : *tenant.mutable_connections()) {
      AddFile(connection.connector_file(), built);
      // In the order of names, for messages.
      std::map<std::string, v1::SecretReference> references(connection.credentials().begin(),
                                                            connection.credentials().end());
      // Where this machine keeps its secrets is nobody else's business.
      connection.clear_credentials();
      if (references.empty() || !with_secrets) {
        continue;
      }
      v1::SealedInput& input = *built.request.add_credentials();
      input.set_tenant(tenant.name());
      input.set_connection(connection.name());
      for (const auto& [name, reference] : references) {
        if (const std::optional<WallTime> end = ParseDateOrTime(reference.expires())) {
          (*input.mutable_expires_at())[name].set_seconds(
              std::chrono::floor<std::chrono::seconds>(end->time_since_epoch()).count());
        }
        absl::StatusOr<std::string> secret = config::ReadSecret(reference);
        if (secret.ok()) {
          (*input.mutable_fields())[name] = *std::move(secret);
        } else {
          built.problems.push_back("credential `" + name + "` of " + tenant.name() + "/" +
                                   connection.name() + ": " +
                                   std::string(secret.status().message()));
        }
      }
    }
    for (const v1::SyncConfig& sync : tenant.syncs()) {
      AddFile(sync.mapping(), built);
      AddFile(sync.rules(), built);
    }
  }
  return built;
}

}  // namespace tributary::control
