#include "services/control/portable_tenant.h"

#include <array>
#include <optional>
#include <vector>

#include <sodium.h>

#include "services/control/cipher.h"

namespace tributary::control {
namespace {

constexpr std::size_t kPassphraseBytesMin = 12;
constexpr std::size_t kSaltBytes = crypto_pwhash_argon2id_SALTBYTES;
// Fixed with the version, so that a file cannot ask for more.
constexpr unsigned long long kPasses = crypto_pwhash_argon2id_OPSLIMIT_MODERATE;
constexpr std::size_t kMemoryBytes = crypto_pwhash_argon2id_MEMLIMIT_INTERACTIVE;
constexpr char kFileVersion = 1;
constexpr std::size_t kHeadBytes = 1 + kSaltBytes + kNonceBytes;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

struct Key {
  std::array<unsigned char, kKeyBytes> bytes = {};
  ~Key() { sodium_memzero(bytes.data(), bytes.size()); }
};

bool DeriveKey(std::string_view passphrase, std::string_view salt, Key& key) {
  return sodium_init() >= 0 &&
         crypto_pwhash(key.bytes.data(), key.bytes.size(), passphrase.data(), passphrase.size(),
                       Bytes(salt), kPasses, kMemoryBytes, crypto_pwhash_ALG_ARGON2ID13) == 0;
}

// The name under which a file was given, and its content into the order. Empty: the integration's
// own.
std::string FileOf(const std::string& sha256, bool is_default,
                   const std::map<std::string, v1::Blob>& blobs, v1::ApplyRequest& order) {
  const auto blob = blobs.find(sha256);
  if (is_default || blob == blobs.end()) {
    return "";
  }
  // Two files of one name and other contents may stand in one tenant.
  const std::string name =
      sha256.substr(0, 12) + "/" + blob->second.name().substr(blob->second.name().rfind('/') + 1);
  (*order.mutable_files())[name] = blob->second.content();
  return name;
}

}  // namespace

v1::ApplyRequest OrderOf(const std::string& name, const StoredTenant& tenant,
                         const std::map<std::string, v1::Blob>& blobs) {
  v1::ApplyRequest order;
  v1::TenantConfig& config = *order.add_tenants();
  config.set_name(name);
  for (const auto& [connection_name, stored] : tenant.connections) {
    const v1::Connection& connection = stored.connection;
    if (connection.state() == v1::CONNECTION_STATE_UNLINKED) {
      continue;
    }
    v1::ConnectionConfig& out = *config.add_connections();
    out.set_name(connection_name);
    out.set_integration(connection.integration());
    out.set_url(connection.url());
    out.set_allow_insecure_loopback(connection.allow_insecure_loopback());
    *out.mutable_settings() = connection.settings();
    out.set_concurrency(connection.concurrency());
    out.set_requests_per_second(connection.requests_per_second());
    out.set_quota_share(connection.quota_share());
    out.set_connector_file(
        FileOf(connection.connector_file(), stored.has_default_connector_file, blobs, order));
  }
  for (const auto& [sync_name, stored] : tenant.syncs) {
    const v1::Sync& sync = stored.sync;
    if (sync.state() == v1::SYNC_STATE_REMOVED) {
      continue;
    }
    v1::SyncConfig& out = *config.add_syncs();
    out.set_name(sync_name);
    out.set_source(sync.source());
    out.set_target(sync.target());
    out.set_mapping(FileOf(sync.mapping(), stored.has_default_mapping, blobs, order));
    out.set_rules(FileOf(sync.rules(), stored.has_default_rules, blobs, order));
    out.set_paused(sync.state() == v1::SYNC_STATE_PAUSED);
    out.set_on_missing(sync.on_missing() == v1::Sync::ON_MISSING_LEAVE ? "leave" : "recreate");
  }
  return order;
}

absl::StatusOr<std::string> SealUnder(std::string_view passphrase, std::string_view place,
                                      std::string_view secret) {
  if (passphrase.size() < kPassphraseBytesMin) {
    return absl::InvalidArgumentError("the passphrase is shorter than " +
                                      std::to_string(kPassphraseBytesMin) + " bytes");
  }
  std::string sealed(kHeadBytes + secret.size() + kTagBytes, '\0');
  auto* const bytes = reinterpret_cast<unsigned char*>(sealed.data());
  sealed[0] = kFileVersion;
  if (sodium_init() < 0) {
    return absl::InternalError("libsodium does not start");
  }
  randombytes_buf(bytes + 1, kSaltBytes + kNonceBytes);
  Key key;
  if (!DeriveKey(passphrase, std::string_view(sealed).substr(1, kSaltBytes), key)) {
    return absl::ResourceExhaustedError("deriving a key needs 64 MiB of memory");
  }
  crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + kHeadBytes, nullptr, Bytes(secret),
                                             secret.size(), Bytes(place), place.size(), nullptr,
                                             bytes + 1 + kSaltBytes, key.bytes.data());
  return sealed;
}

absl::StatusOr<std::string> UnsealUnder(std::string_view passphrase, std::string_view place,
                                        std::string_view sealed) {
  const absl::Status refused =
      absl::DataLossError("the credentials do not open: another passphrase, or a damaged file");
  if (sealed.size() < kHeadBytes + kTagBytes || sealed[0] != kFileVersion) {
    return refused;
  }
  Key key;
  if (!DeriveKey(passphrase, sealed.substr(1, kSaltBytes), key)) {
    return absl::ResourceExhaustedError("deriving a key needs 64 MiB of memory");
  }
  const std::string_view nonce = sealed.substr(1 + kSaltBytes, kNonceBytes);
  const std::string_view text = sealed.substr(kHeadBytes);
  std::string secret(text.size() - kTagBytes, '\0');
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(
          reinterpret_cast<unsigned char*>(secret.data()), nullptr, nullptr, Bytes(text),
          text.size(), Bytes(place), place.size(), Bytes(nonce), key.bytes.data()) != 0) {
    return refused;
  }
  return secret;
}

}  // namespace tributary::control
