// Preloaded into a service under test: while the file that CHAOS_FAILING_SYNC names exists, every
// sync fails with EIO, as it does on a disk that is going. Each failure leaves a byte in
// `<file>.hits`.

#include <cerrno>
#include <cstdlib>
#include <string>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

bool Fails() {
  static const char* const order = std::getenv("CHAOS_FAILING_SYNC");
  if (order == nullptr || access(order, F_OK) != 0) return false;
  const std::string hits = std::string(order) + ".hits";
  const int fd = open(hits.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd >= 0) {
    (void)!write(fd, ".", 1);
    close(fd);
  }
  errno = EIO;
  return true;
}

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int fsync(int fd) { return Fails() ? -1 : Real<int(int)>("fsync")(fd); }
int fdatasync(int fd) { return Fails() ? -1 : Real<int(int)>("fdatasync")(fd); }
int msync(void* address, std::size_t length, int flags) {
  return Fails() ? -1 : Real<int(void*, std::size_t, int)>("msync")(address, length, flags);
}

}  // extern "C"
