// Preloaded into a program under test, to be on a machine that is not well. By the environment:
//
//   CHAOS_CLOCK=FILE         its wall clock is off by as many seconds as the file says
//   CHAOS_NO_ENTROPY=FILE    while it exists, the kernel gives no random numbers
//   CHAOS_READ_ONLY=FILE     while it exists, files take no writes (EROFS), but for output and
//   errors

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

bool IsOrdered(const char* variable) {
  const char* const order = std::getenv(variable);
  return order != nullptr && access(order, F_OK) == 0;
}

long ClockOff() {
  static const char* const order = std::getenv("CHAOS_CLOCK");
  if (order == nullptr) return 0;
  const int fd = open(order, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[32] = {};
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  return size > 0 ? std::strtol(text, nullptr, 10) : 0;
}

bool HasNoEntropy() {
  if (!IsOrdered("CHAOS_NO_ENTROPY")) return false;
  errno = ENOSYS;
  return true;
}

bool IsReadOnly(int fd) {
  if (fd <= STDERR_FILENO || !IsOrdered("CHAOS_READ_ONLY")) return false;
  struct stat status {};
  if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  errno = EROFS;
  return true;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, struct timespec* time) {
  static auto* const real = Real<int(clockid_t, struct timespec*)>("clock_gettime");
  const int result = real(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    time->tv_sec += ClockOff();
  }
  return result;
}

int gettimeofday(struct timeval* time, void* zone) noexcept {
  static auto* const real = Real<int(struct timeval*, void*)>("gettimeofday");
  const int result = real(time, zone);
  if (result == 0) time->tv_sec += ClockOff();
  return result;
}

time_t time(time_t* out) noexcept {
  struct timespec now {};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}

ssize_t getrandom(void* buffer, size_t length, unsigned int flags) {
  if (HasNoEntropy()) return -1;
  return Real<ssize_t(void*, size_t, unsigned int)>("getrandom")(buffer, length, flags);
}

int getentropy(void* buffer, size_t length) {
  if (HasNoEntropy()) return -1;
  return Real<int(void*, size_t)>("getentropy")(buffer, length);
}

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = static_cast<mode_t>(va_arg(more, int));
  va_end(more);
  if (std::strstr(path, "/dev/") == path && std::strstr(path, "random") != nullptr &&
      HasNoEntropy()) {
    return -1;
  }
  static auto* const real = Real<int(const char*, int, ...)>("open");
  return real(path, flags, mode);
}

ssize_t write(int fd, const void* data, size_t size) {
  static auto* const real = Real<ssize_t(int, const void*, size_t)>("write");
  return IsReadOnly(fd) ? -1 : real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec* data, int count) {
  static auto* const real = Real<ssize_t(int, const struct iovec*, int)>("writev");
  return IsReadOnly(fd) ? -1 : real(fd, data, count);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  static auto* const real = Real<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return IsReadOnly(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  static auto* const real = Real<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  return IsReadOnly(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pwritev(int fd, const struct iovec* data, int count, off_t at) {
  static auto* const real = Real<ssize_t(int, const struct iovec*, int, off_t)>("pwritev");
  return IsReadOnly(fd) ? -1 : real(fd, data, count, at);
}

ssize_t pwritev64(int fd, const struct iovec* data, int count, off64_t at) {
  static auto* const real = Real<ssize_t(int, const struct iovec*, int, off64_t)>("pwritev64");
  return IsReadOnly(fd) ? -1 : real(fd, data, count, at);
}

int ftruncate(int fd, off_t size) noexcept {
  static auto* const real = Real<int(int, off_t)>("ftruncate");
  return IsReadOnly(fd) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size) noexcept {
  static auto* const real = Real<int(int, off64_t)>("ftruncate64");
  return IsReadOnly(fd) ? -1 : real(fd, size);
}

}  // extern "C"
