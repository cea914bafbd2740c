#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/beast/http.hpp>

#include "libs/http/request_reader.h"
#include "libs/http/server.h"
#include "tests/fuzz/invariant.h"

// What a client may send to the server. Input: a byte that says in what pieces the rest comes; the
// bytes of one connection. However they are cut, they are the same requests; and what is accepted
// ends for another reader, Boost.Beast's, at the same byte and says the same.

namespace tributary::http {
namespace {

using fuzz::Require;

constexpr RequestReader::Limits kLimits = {
    .header_bytes_max = 512, .headers_max = 8, .body_bytes_max = 256};

struct Seen {
  std::vector<ServerRequest> requests;
  /// Bytes of the connection that belong to all requests up to each.
  std::vector<std::size_t> ends;
  int refused_status = 0;
};

Seen ReadAll(std::string_view connection, std::size_t piece) {
  Seen seen;
  RequestReader reader(kLimits);
  std::string in;
  std::size_t given = 0;
  for (;;) {
    switch (reader.Read(in)) {
      case RequestReader::Step::kMore: {
        if (given == connection.size()) return seen;
        const std::size_t size = std::min(piece, connection.size() - given);
        in.append(connection, given, size);
        given += size;
        Require(in.size() <= piece + kLimits.header_bytes_max, "what waits is bounded");
        break;
      }
      case RequestReader::Step::kContinue:
        Require(reader.is_header_read(), "a client waits behind its header");
        break;
      case RequestReader::Step::kWhole:
        seen.requests.push_back(reader.Take());
        seen.ends.push_back(given - in.size());
        break;
      case RequestReader::Step::kRefused:
        seen.refused_status = reader.refused_status();
        Require(!reader.refused_why().empty() && !reader.keep_alive(), "a refusal says why");
        return seen;
    }
  }
}

void CheckAgainstBeast(std::string_view bytes, const ServerRequest& request) {
  namespace beast = boost::beast::http;
  beast::request_parser<beast::string_body> parser;
  parser.eager(true);
  parser.header_limit(1'024);
  boost::system::error_code error;
  std::size_t used = 0;
  while (!parser.is_done() && used < bytes.size() && !error) {
    const std::size_t took =
        parser.put(boost::asio::buffer(bytes.data() + used, bytes.size() - used), error);
    used += took;
    if (took == 0) break;
  }
  Require(!error, "another reader accepts it too: " + error.message());
  Require(parser.is_done() && used == bytes.size(), "and sees it end at the same byte");
  const auto& other = parser.get();
  const auto text = [](auto view) { return std::string(view.data(), view.size()); };
  Require(text(other.method_string()) == request.method, "with the same method");
  Require(text(other.target()) == request.target, "target");
  Require(other.body() == request.body, "and body");
  std::size_t fields = 0;
  for (const auto& field : other) {
    static_cast<void>(field);
    ++fields;
  }
  Require(fields >= request.headers.size(), "and all header fields");
}

void CheckTexts(const ServerRequest& request) {
  if (const auto decoded = PercentDecode(request.path)) {
    Require(decoded->size() <= request.path.size(), "decoding makes nothing longer");
  }
  QueryParameter(request.query, "a");
  if (const auto listen = ParseListen(request.path)) {
    Require(!listen->first.empty(), "a place to listen at has a host");
  }
}

void Check(std::string_view input) {
  fuzz::Choices choices(input);
  const std::size_t piece = choices.Below(16) + 1;
  const std::string_view connection = choices.rest();
  const Seen whole = ReadAll(connection, connection.size() + 1);
  const Seen pieces = ReadAll(connection, piece);
  Require(whole.refused_status == pieces.refused_status, "refused the same, however it is cut");
  Require(whole.ends == pieces.ends, "and framed the same");
  std::size_t begin = 0;
  for (std::size_t i = 0; i < whole.requests.size(); ++i) {
    const ServerRequest& request = whole.requests[i];
    Require(request.body == pieces.requests[i].body, "the body too");
    Require(request.headers == pieces.requests[i].headers, "and the header");
    Require(request.body.size() <= kLimits.body_bytes_max, "within its limit");
    CheckAgainstBeast(connection.substr(begin, whole.ends[i] - begin), request);
    CheckTexts(request);
    begin = whole.ends[i];
  }
}

}  // namespace
}  // namespace tributary::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::http::Check(tributary::fuzz::TextOf(data, size));
  return 0;
}
