#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tributary::control {

/// Seals secrets under the master key: XChaCha20-Poly1305 with a random nonce. What is sealed opens
/// only at the place that it was sealed for, so that exchanged rows do not open. One thread.
class Vault {
 public:
  /// Reads the key (32 bytes, base64), or makes the file if there is none, mode 0600.
  ///
  /// Errors: kFailedPrecondition when the file is open to others or holds no key.
  static absl::StatusOr<std::unique_ptr<Vault>> Open(const std::string& key_file);

  Vault(const Vault&) = delete;
  Vault& operator=(const Vault&) = delete;
  ~Vault();

  /// Version byte, nonce, ciphertext and tag.
  std::string Seal(std::string_view place, std::string_view secret) const;
  /// Errors: kDataLoss when it was sealed under another key or for another place, or is damaged.
  absl::StatusOr<std::string> Unseal(std::string_view place, std::string_view sealed) const;

 private:
  explicit Vault(unsigned char* key) : key_(key) {}
  /// In guarded memory of libsodium's.
  unsigned char* key_;
};

}  // namespace tributary::control
