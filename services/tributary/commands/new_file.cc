#include "services/tributary/commands/new_file.h"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace tributary::cli {

absl::Status WriteNewFile(const std::string& path, const std::string& bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) {
    const std::string what = std::generic_category().message(errno);
    return errno == EEXIST ? absl::FailedPreconditionError(path + " is there already")
                           : absl::InternalError(path + ": " + what);
  }
  std::size_t done = 0;
  int code = 0;
  while (code == 0 && done < bytes.size()) {
    const ssize_t size = write(fd, bytes.data() + done, bytes.size() - done);
    code = size < 0 ? errno : 0;
    done += size < 0 ? 0 : static_cast<std::size_t>(size);
  }
  if (code == 0 && fsync(fd) != 0) {
    code = errno;
  }
  close(fd);
  return code == 0 ? absl::OkStatus()
                   : absl::InternalError(path + ": " + std::generic_category().message(code));
}

}  // namespace tributary::cli
