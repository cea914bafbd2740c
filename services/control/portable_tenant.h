#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "services/control/model.h"
#include "tributary/v1/control.pb.h"

// A tenant on its way from one installation to another.

namespace tributary::control {

/// The order that makes it again elsewhere, with the files that people gave. No secrets. A target
/// is not empty any more, whatever was said of it at first.
v1::ApplyRequest OrderOf(const std::string& name, const StoredTenant& tenant,
                         const std::map<std::string, v1::Blob>& blobs);

/// Seals `secret` under a passphrase: a key by Argon2id, then XChaCha20-Poly1305. `place` must be
/// the same at both ends. Takes some tenths of a second and 64 MiB.
///
/// Errors: kInvalidArgument when the passphrase is too short; kResourceExhausted without the
/// memory.
absl::StatusOr<std::string> SealUnder(std::string_view passphrase, std::string_view place,
                                      std::string_view secret);
/// Errors: kDataLoss when the passphrase is another one, or it is damaged.
absl::StatusOr<std::string> UnsealUnder(std::string_view passphrase, std::string_view place,
                                        std::string_view sealed);

}  // namespace tributary::control
