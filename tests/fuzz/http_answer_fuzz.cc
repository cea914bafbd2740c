#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http.hpp>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libs/http/client.h"
#include "tests/fuzz/invariant.h"

// What a server may answer the client, over a real connection. Input: a byte for the request and
// for how the connection ends; the bytes that come. Every request ends once; a write is sent once;
// and what another reader, Boost.Beast's, finds cut is never called complete.

namespace tributary::http {
namespace {

using fuzz::Require;

constexpr std::size_t kBodyBytesMax = 1'000;

/// One listener for all inputs, and what was sent to it.
class Peer {
 public:
  Peer() : listener_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    Require(bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
                listen(listener_, 16) == 0 &&
                getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0,
            "a listener");
    port_ = ntohs(address.sin_port);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }
  int Accept() const { return accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK); }

 private:
  int listener_;
  std::uint16_t port_ = 0;
};

/// True: Beast can read what there is, and it is certainly not all.
bool IsCut(std::string_view bytes, bool is_head) {
  // libcurl takes a line feed alone for the end of a line.
  for (std::size_t at = bytes.find('\n'); at != std::string_view::npos;
       at = bytes.find('\n', at + 1)) {
    if (at == 0 || bytes[at - 1] != '\r') return false;
  }
  namespace beast = boost::beast::http;
  beast::response_parser<beast::string_body> parser;
  parser.eager(true);
  parser.skip(is_head);
  parser.body_limit(boost::none);
  boost::system::error_code error;
  std::size_t used = 0;
  while (!parser.is_done() && used < bytes.size()) {
    const std::size_t took =
        parser.put(boost::asio::buffer(bytes.data() + used, bytes.size() - used), error);
    used += took;
    if (error == beast::error::need_more) break;
    // Not the same strictness: no word on it.
    if (error) return false;
    if (parser.is_header_done() && parser.get().result_int() < 200) return false;
    if (took == 0) break;
  }
  if (parser.is_done()) return false;
  // libcurl waits for the line feed behind the last chunk, and does not miss it.
  if (parser.is_header_done() && parser.chunked() && bytes.ends_with('\r')) {
    const std::string last = std::string(bytes.substr(used)) + '\n';
    parser.put(boost::asio::buffer(last), error);
    if (parser.is_done() || error != beast::error::need_more) return false;
  }
  // What is coded otherwise than `chunked` ends with its connection, whatever length it gives (RFC
  // 9112, 6.3). Beast goes by the length, and takes `chunked` with anything behind it for the same.
  if (parser.is_header_done() && parser.get().count(beast::field::transfer_encoding) != 0 &&
      parser.get()[beast::field::transfer_encoding] != "chunked") {
    return false;
  }
  // libcurl does not take so large a length for one.
  if (parser.content_length_remaining().value_or(0) > (std::uint64_t{1} << 62)) return false;
  // Else it ends with its connection.
  return !parser.is_header_done() || !parser.need_eof();
}

void Check(std::string_view input) {
  static const Peer peer;
  fuzz::Choices choices(input);
  const std::size_t how = choices.Byte();
  const std::string_view answer = choices.rest();
  Client client({.header_bytes_max = 2'048}, [](RequestId) { return true; });
  const char* const kMethods[] = {"GET", "POST", "HEAD", "PUT"};
  const std::string method = kMethods[how % 4];
  const bool is_write = method == "POST" || method == "PUT";
  client.Send(1, {.method = method,
                  .url = peer.url(),
                  .body = is_write ? "{}" : "",
                  .timeout = std::chrono::milliseconds(500),
                  .body_bytes_max = kBodyBytesMax,
                  .allow_insecure_loopback = true,
                  .is_write = is_write});
  std::vector<int> connections;
  std::vector<Completion> ended;
  for (int turns = 0; ended.empty(); ++turns) {
    Require(turns < 10'000, "a request ends");
    // At once as a rule; a machine that is busy gets its time.
    ended = client.Poll({}, std::chrono::milliseconds(connections.empty() || turns > 100 ? 1 : 0));
    const int fd = peer.Accept();
    if (fd < 0) continue;
    connections.push_back(fd);
    // Not before the request: what comes unasked is dropped.
    pollfd asked{.fd = fd, .events = POLLIN, .revents = 0};
    for (int i = 0; i < 100 && poll(&asked, 1, 1) == 0 && ended.empty(); ++i) {
      ended = client.Poll({}, Duration::zero());
    }
    static_cast<void>(send(fd, answer.data(), answer.size(), MSG_NOSIGNAL));
    shutdown(fd, SHUT_WR);
  }
  Require(client.Poll({}, Duration::zero()).empty() && client.open() == 0, "and it ends once");
  Require(!is_write || connections.size() <= 1, "a write is sent once");
  const Completion& completion = ended.front();
  Require(completion.delivery != Delivery::kNotSent || connections.size() <= 1, "it was sent");
  Require(completion.body.size() <= kBodyBytesMax, "a body stays within its limit");
  Require(completion.status >= 0 && completion.status < 1'000, "a status has three digits");
  Require(completion.delivery != Delivery::kComplete || completion.status >= 200,
          "a complete answer is a final one");
  if (completion.delivery == Delivery::kComplete && connections.size() == 1) {
    Require(!IsCut(answer, method == "HEAD"), "what is cut is not complete");
  }
  for (const int fd : connections) {
    const linger now{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
  }
}

}  // namespace
}  // namespace tributary::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::http::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}
