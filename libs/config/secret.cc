#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include <sys/stat.h>

#include "libs/config/config.h"

namespace tributary::config {

absl::StatusOr<std::string> ReadSecret(const v1::SecretReference& reference) {
  std::string secret;
  std::string source;
  if (!reference.env().empty()) {
    source = "environment variable " + reference.env();
    // Read before threads start.
    const char* value = std::getenv(reference.env().c_str());  // NOLINT(concurrency-mt-unsafe)
    if (value == nullptr) {
      return absl::NotFoundError(source + " is not set");
    }
    secret = value;
  } else {
    source = "key file " + reference.key_file();
    struct stat status = {};
    if (stat(reference.key_file().c_str(), &status) != 0) {
      return absl::NotFoundError(source + " does not exist");
    }
    if ((status.st_mode & S_IRWXO) != 0) {
      return absl::FailedPreconditionError(source + " is open to everybody; run: chmod o-rwx " +
                                           reference.key_file());
    }
    std::ifstream stream(reference.key_file(), std::ios::binary);
    std::ostringstream text;
    if (!stream) {
      return absl::NotFoundError(source + " cannot be read");
    }
    text << stream.rdbuf();
    secret = text.str();
  }
  if (secret.ends_with('\n')) {
    secret.pop_back();
    if (secret.ends_with('\r')) {
      secret.pop_back();
    }
  }
  if (secret.empty()) {
    return absl::NotFoundError(source + " is empty");
  }
  return secret;
}

}  // namespace tributary::config
