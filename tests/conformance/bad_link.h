#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tributary::conformance {

/// A TCP link to one broker of Kafka that can be made bad in one direction alone. What the broker
/// says about where it listens is rewritten on the way, so that clients come back to the link.
class BadLink {
 public:
  /// `broker` is 127.0.0.1:PORT, as it advertises itself.
  explicit BadLink(std::string_view broker)
      : broker_port_(static_cast<std::uint16_t>(
            std::stoi(std::string(broker.substr(broker.rfind(':') + 1))))) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
    ::listen(listener_, 64);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~BadLink() {
    is_stopping_ = true;
    thread_.join();
    for (Pair& pair : pairs_) Close(pair);
    ::close(listener_);
  }
  BadLink(const BadLink&) = delete;
  BadLink& operator=(const BadLink&) = delete;

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  /// As packets that are lost in one direction: nothing arrives until they are no longer, and then
  /// all that was sent does.
  void HoldRequests(bool hold) { holds_requests_ = hold; }
  void HoldAnswers(bool hold) { holds_answers_ = hold; }
  /// The first byte of `text` is another one in the next so many answers that hold it.
  void Damage(std::string text, int answers) {
    const std::lock_guard lock(mutex_);
    damaged_text_ = std::move(text);
    damages_left_ = answers;
  }
  int damages_left() const {
    const std::lock_guard lock(mutex_);
    return damages_left_;
  }

 private:
  struct Direction {
    int from = -1;
    int to = -1;
    std::string bytes;
  };
  struct Pair {
    Direction requests;
    Direction answers;
    bool is_over = false;
  };

  static sockaddr_in Loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  static void Close(Pair& pair) {
    ::close(pair.requests.from);
    ::close(pair.requests.to);
  }

  void Run() {
    while (!is_stopping_) {
      std::vector<pollfd> waited{{.fd = listener_, .events = POLLIN, .revents = 0}};
      for (const Pair& pair : pairs_) {
        // Who may not be read is not waited for, or this loop would be busy.
        waited.push_back({.fd = pair.requests.from,
                          .events = static_cast<short>(holds_requests_ ? 0 : POLLIN),
                          .revents = 0});
        waited.push_back({.fd = pair.answers.from,
                          .events = static_cast<short>(holds_answers_ ? 0 : POLLIN),
                          .revents = 0});
      }
      (void)::poll(waited.data(), waited.size(), 10);
      if ((waited[0].revents & POLLIN) != 0) Accept();
      std::size_t at = 1;
      for (Pair& pair : pairs_) {
        if (at + 1 >= waited.size()) break;  // Accepted just now.
        if (!holds_requests_ && waited[at].revents != 0) Move(pair, pair.requests, false);
        if (!holds_answers_ && waited[at + 1].revents != 0) Move(pair, pair.answers, true);
        at += 2;
      }
      pairs_.remove_if([](Pair& pair) {
        if (pair.is_over) Close(pair);
        return pair.is_over;
      });
    }
  }

  void Accept() {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(broker_port_);
    if (::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      ::close(client);
      ::close(server);
      return;
    }
    pairs_.push_back({.requests = {client, server, {}}, .answers = {server, client, {}}});
  }

  void Move(Pair& pair, Direction& way, bool is_answer) {
    char piece[65536];
    const ssize_t got = ::recv(way.from, piece, sizeof piece, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      pair.is_over = true;
      return;
    }
    way.bytes.append(piece, static_cast<std::size_t>(got));
    // Whole messages: four bytes of size in front of each.
    while (way.bytes.size() >= 4) {
      std::uint32_t size = 0;
      way.bytes.copy(reinterpret_cast<char*>(&size), 4);
      const std::size_t whole = 4 + std::size_t{ntohl(size)};
      if (way.bytes.size() < whole) return;
      std::string message = way.bytes.substr(0, whole);
      way.bytes.erase(0, whole);
      if (is_answer) Change(message);
      for (std::size_t sent = 0; sent < message.size();) {
        const ssize_t count =
            ::send(way.to, message.data() + sent, message.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) {
          pair.is_over = true;
          return;
        }
        sent += static_cast<std::size_t>(count);
      }
    }
  }

  void Change(std::string& answer) {
    const auto place = [](std::uint32_t port) {
      const std::uint32_t number = htonl(port);
      return "127.0.0.1" + std::string(reinterpret_cast<const char*>(&number), 4);
    };
    const std::string theirs = place(broker_port_);
    for (std::size_t at = answer.find(theirs); at != std::string::npos;
         at = answer.find(theirs, at + 1)) {
      answer.replace(at, theirs.size(), place(port_));
    }
    const std::lock_guard lock(mutex_);
    if (damages_left_ == 0) return;
    if (const std::size_t at = answer.find(damaged_text_); at != std::string::npos) {
      answer[at] = static_cast<char>(answer[at] ^ 0x20);
      --damages_left_;
    }
  }

  const std::uint16_t broker_port_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::list<Pair> pairs_;
  std::atomic<bool> is_stopping_ = false;
  std::atomic<bool> holds_requests_ = false;
  std::atomic<bool> holds_answers_ = false;
  mutable std::mutex mutex_;
  std::string damaged_text_;
  int damages_left_ = 0;
  std::thread thread_;
};

}  // namespace tributary::conformance
