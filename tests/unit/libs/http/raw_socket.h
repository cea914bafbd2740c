#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// Bytes over TCP, for tests that care about them.

namespace tributary::http::testing {

inline sockaddr_in Loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/// One end of a connection. Closes it at the end.
class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() { Close(); }

  static std::unique_ptr<Socket> Connect(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const sockaddr_in address = Loopback(port);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      close(fd);
      return nullptr;
    }
    return std::make_unique<Socket>(fd);
  }

  int fd() const { return fd_; }

  void Write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// Whatever comes next within the time. Empty: nothing, or the end.
  std::string ReadSome(int timeout_ms = 5'000) {
    pollfd wait{.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, timeout_ms) <= 0) return "";
    std::string buffer(65'536, '\0');
    const ssize_t got = recv(fd_, buffer.data(), buffer.size(), 0);
    buffer.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return buffer;
  }
  std::string ReadUntil(std::string_view delimiter) {
    while (buffered_.find(delimiter) == std::string::npos) {
      const std::string more = ReadSome();
      if (more.empty()) break;
      buffered_ += more;
    }
    const std::size_t end = buffered_.find(delimiter);
    const std::size_t size = end == std::string::npos ? buffered_.size() : end + delimiter.size();
    std::string result = buffered_.substr(0, size);
    buffered_.erase(0, size);
    return result;
  }
  std::string ReadToEnd() {
    std::string all = std::exchange(buffered_, {});
    for (std::string more = ReadSome(); !more.empty(); more = ReadSome()) all += more;
    return all;
  }
  /// A whole request with Content-Length. Empty: the client has gone.
  std::string ReadRequest() {
    std::string request = ReadUntil("\r\n\r\n");
    const std::size_t at = request.find("Content-Length: ");
    if (at == std::string::npos) return request;
    const std::size_t length = std::stoul(request.substr(at + 16));
    while (buffered_.size() < length) {
      const std::string more = ReadSome();
      if (more.empty()) return "";
      buffered_ += more;
    }
    request += buffered_.substr(0, length);
    buffered_.erase(0, length);
    return request;
  }
  void Reset() {
    const linger now{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    Close();
  }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
  std::string buffered_;
};

/// Runs `serve` for each connection, one after the other, on a thread of its own.
class ScriptedServer {
 public:
  using Serve = std::function<void(Socket& socket, int connection)>;

  explicit ScriptedServer(Serve serve) : serve_(std::move(serve)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = Loopback(0);
    bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    listen(listener_, 16);
    socklen_t size = sizeof address;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~ScriptedServer() {
    stop_ = true;
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
  }

  std::uint16_t port() const { return port_; }
  std::string url(std::string_view path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + std::string(path);
  }

 private:
  void Run() {
    for (int connection = 0; !stop_; ++connection) {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      Socket socket(fd);
      serve_(socket, connection);
    }
  }

  Serve serve_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace tributary::http::testing
