#include "services/control/vault.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <sodium.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "services/control/cipher.h"

namespace tributary::control {
namespace {

constexpr std::size_t kTextBytes =
    sodium_base64_ENCODED_LEN(kKeyBytes, sodium_base64_VARIANT_ORIGINAL);
constexpr char kSecretVersion = 1;

const unsigned char* Bytes(const char* data) {
  return reinterpret_cast<const unsigned char*>(data);
}
unsigned char* Bytes(char* data) { return reinterpret_cast<unsigned char*>(data); }

// Its names stay after a loss of power.
bool SyncDirectory(const std::filesystem::path& directory) {
  const int fd =
      open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool is_synced = fd >= 0 && fsync(fd) == 0;
  if (fd >= 0) {
    close(fd);
  }
  return is_synced;
}

// Never there in part, and never in place of a key that another process has made meanwhile.
absl::Status MakeKeyFile(const std::string& file) {
  std::error_code error;
  const std::filesystem::path directory = std::filesystem::path(file).parent_path();
  if (!directory.empty()) {
    std::filesystem::create_directories(directory, error);
  }
  std::array<unsigned char, kKeyBytes> key = {};
  randombytes_buf(key.data(), key.size());
  std::array<char, kTextBytes> text = {};
  sodium_bin2base64(text.data(), text.size(), key.data(), key.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  text.back() = '\n';
  // For its owner only.
  std::string temporary = file + ".XXXXXX";
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  const bool is_written =
      fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      fsync(fd) == 0 && (link(temporary.c_str(), file.c_str()) == 0 || errno == EEXIST) &&
      SyncDirectory(directory);
  const int problem = errno;
  if (fd >= 0) {
    close(fd);
    unlink(temporary.c_str());
  }
  sodium_memzero(key.data(), key.size());
  sodium_memzero(text.data(), text.size());
  if (!is_written) {
    return absl::InternalError("making master key file " + file + ": " +
                               std::generic_category().message(problem));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Vault>> Vault::Open(const std::string& key_file) {
  // libsodium ends the process without a word where there are none.
  if (char probe = 0; getrandom(&probe, 1, 0) != 1) {
    return absl::InternalError("the kernel gives no random numbers: " +
                               std::generic_category().message(errno));
  }
  if (sodium_init() < 0) {
    return absl::InternalError("libsodium cannot be initialised");
  }
  struct stat status = {};
  if (stat(key_file.c_str(), &status) != 0) {
    if (errno != ENOENT) {
      return absl::InternalError("master key file " + key_file + ": " +
                                 std::generic_category().message(errno));
    }
    if (absl::Status made = MakeKeyFile(key_file); !made.ok()) {
      return made;
    }
  } else if ((status.st_mode & S_IRWXO) != 0) {
    return absl::FailedPreconditionError("master key file " + key_file +
                                         " is open to everybody; run: chmod o-rwx " + key_file);
  }
  const int fd = open(key_file.c_str(), O_RDONLY | O_CLOEXEC);
  // Room for one byte more than a key needs, to notice a file that is something else.
  std::array<char, kTextBytes + 1> text = {};
  const ssize_t size = fd < 0 ? -1 : read(fd, text.data(), text.size());
  if (fd >= 0) {
    close(fd);
  }
  if (size < 0) {
    return absl::FailedPreconditionError("master key file " + key_file + " cannot be read");
  }
  auto* key = static_cast<unsigned char*>(sodium_malloc(kKeyBytes));
  if (key == nullptr) {
    return absl::ResourceExhaustedError("no memory for the master key");
  }
  std::size_t length = 0;
  const bool is_key =
      sodium_base642bin(key, kKeyBytes, text.data(), static_cast<std::size_t>(size), "\r\n",
                        &length, nullptr, sodium_base64_VARIANT_ORIGINAL) == 0 &&
      length == kKeyBytes;
  sodium_memzero(text.data(), text.size());
  if (!is_key) {
    sodium_free(key);
    return absl::FailedPreconditionError("master key file " + key_file +
                                         " does not hold 32 bytes in base64");
  }
  sodium_mprotect_readonly(key);
  return std::unique_ptr<Vault>(new Vault(key));
}

Vault::~Vault() { sodium_free(key_); }

std::string Vault::Seal(std::string_view place, std::string_view secret) const {
  std::string sealed(1 + kNonceBytes + secret.size() + kTagBytes, '\0');
  sealed[0] = kSecretVersion;
  randombytes_buf(sealed.data() + 1, kNonceBytes);
  crypto_aead_xchacha20poly1305_ietf_encrypt(
      Bytes(sealed.data()) + 1 + kNonceBytes, nullptr, Bytes(secret.data()), secret.size(),
      Bytes(place.data()), place.size(), nullptr, Bytes(sealed.data()) + 1, key_);
  return sealed;
}

absl::StatusOr<std::string> Vault::Unseal(std::string_view place, std::string_view sealed) const {
  if (sealed.size() < 1 + kNonceBytes + kTagBytes || sealed[0] != kSecretVersion) {
    return absl::DataLossError("a sealed secret is damaged");
  }
  std::string secret(sealed.size() - 1 - kNonceBytes - kTagBytes, '\0');
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(
          Bytes(secret.data()), nullptr, nullptr, Bytes(sealed.data()) + 1 + kNonceBytes,
          sealed.size() - 1 - kNonceBytes, Bytes(place.data()), place.size(),
          Bytes(sealed.data()) + 1, key_) != 0) {
    return absl::DataLossError(
        "a sealed secret does not open: it is damaged, or the master key is another one");
  }
  return secret;
}

}  // namespace tributary::control
