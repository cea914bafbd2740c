#pragma once

#include <cstddef>

#include <sodium.h>

// Private to this library: XChaCha20-Poly1305, which seals what lies on disk and what leaves in a
// file.

namespace tributary::control {

inline constexpr std::size_t kKeyBytes = crypto_aead_xchacha20poly1305_ietf_KEYBYTES;
inline constexpr std::size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
inline constexpr std::size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;

}  // namespace tributary::control
