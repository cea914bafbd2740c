#include "libs/http/socket_poll.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tributary::http {
namespace {

constexpr int kEventsMax = 256;

std::uint32_t MaskOf(int events) {
  return ((events & SocketPoll::kIn) != 0 ? EPOLLIN : 0u) |
         ((events & SocketPoll::kOut) != 0 ? EPOLLOUT : 0u);
}

bool Add(int epoll, int fd, std::uint32_t mask) {
  epoll_event event{};
  event.events = mask;
  event.data.fd = fd;
  return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool IsConnection(int fd) {
  int domain = 0;
  int type = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return false;
  size = sizeof type;
  return (domain == AF_INET || domain == AF_INET6) &&
         getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

}  // namespace

SocketPoll::SocketPoll()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  // Without descriptors at the start nothing could ever be sent.
  if (epoll_ < 0 || wake_ < 0 || !Add(epoll_, wake_, EPOLLIN)) std::abort();
}

SocketPoll::~SocketPoll() {
  close(epoll_);
  close(wake_);
}

void SocketPoll::Register(int socket, Watched& watched, int events) const {
  if (watched.registered == events) return;
  epoll_event event{};
  event.events = MaskOf(events);
  event.data.fd = socket;
  const int operation = events == kNone               ? EPOLL_CTL_DEL
                        : watched.registered == kNone ? EPOLL_CTL_ADD
                                                      : EPOLL_CTL_MOD;
  // What cannot be watched any more shows in libcurl's own time-outs.
  static_cast<void>(epoll_ctl(epoll_, operation, socket, &event));
  watched.registered = events;
}

void SocketPoll::Watch(int socket, int events) {
  const auto [found, is_new] = sockets_.try_emplace(socket);
  Watched& watched = found->second;
  if (is_new) watched.is_connection = IsConnection(socket);
  watched.wanted = events;
  if (events == kNone && !watched.is_connection) {
    Forget(socket);
    return;
  }
  if (events == kNone && watched.registered == kIn) return;
  Register(socket, watched, events);
}

void SocketPoll::Forget(int socket) {
  const auto found = sockets_.find(socket);
  if (found == sockets_.end()) return;
  Register(socket, found->second, kNone);
  sockets_.erase(found);
}

std::vector<SocketPoll::Ready> SocketPoll::Wait(const std::vector<int>& wake_fds,
                                                Duration max_wait) {
  if (wake_fds != wake_fds_) {
    for (const int fd : wake_fds_) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
    wake_fds_ = wake_fds;
    for (const int fd : wake_fds_) static_cast<void>(Add(epoll_, fd, EPOLLIN));
  }
  std::array<epoll_event, kEventsMax> events;
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(
      std::clamp<Duration>(max_wait, Duration::zero(), std::chrono::minutes(1)));
  const int count = epoll_wait(epoll_, events.data(), kEventsMax, static_cast<int>(wait.count()));
  std::vector<Ready> ready;
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.fd == wake_) {
      eventfd_t calls = 0;
      eventfd_read(wake_, &calls);
      continue;
    }
    const auto found = sockets_.find(event.data.fd);
    if (found == sockets_.end()) continue;
    if (found->second.wanted == kNone) {
      Register(event.data.fd, found->second, kNone);
      continue;
    }
    int happened = kNone;
    if ((event.events & (EPOLLIN | EPOLLHUP)) != 0) happened |= kIn;
    if ((event.events & EPOLLOUT) != 0) happened |= kOut;
    if ((event.events & EPOLLERR) != 0) happened |= kError;
    ready.push_back({event.data.fd, happened});
  }
  return ready;
}

void SocketPoll::Wake() const { eventfd_write(wake_, 1); }

}  // namespace tributary::http
