#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "libs/http/message.h"

// Reads HTTP/1.1 requests strictly: what two readers could take for different requests (RFC 9112,
// section 11.2) is refused, never repaired. No sockets here. Private to this library.

namespace tributary::http {

struct ServerRequest {
  std::string method;
  /// As sent: path and query.
  std::string target;
  /// The part before `?`, still percent-encoded.
  std::string path;
  /// The part behind `?`; empty: none.
  std::string query;
  Headers headers;
  std::string body;
};

class RequestReader {
 public:
  struct Limits {
    /// Request line and header fields; the same again for each chunk's line.
    std::size_t header_bytes_max = 8u << 10;
    int headers_max = 100;
    std::size_t body_bytes_max = 1u << 20;
  };
  enum class Step : std::uint8_t {
    /// Not whole yet: read on.
    kMore,
    /// The header is whole, and the client waits for `100 Continue` before it sends the body.
    kContinue,
    kWhole,
    /// Nothing more can be read from this client: see refused_status().
    kRefused,
  };

  explicit RequestReader(const Limits& limits) : limits_(limits) {}

  /// Takes what belongs to the present request off the front of `bytes`. Asked again with more
  /// after kMore, with whatever there is after kContinue.
  Step Read(std::string& bytes);

  /// Of a whole one; the reader begins the next.
  ServerRequest Take();

  /// From the end of the header on.
  bool is_header_read() const { return part_ != Part::kRequestLine && part_ != Part::kFields; }
  bool keep_alive() const { return keep_alive_; }
  bool is_head() const { return request_.method == "HEAD"; }

  int refused_status() const { return refused_status_; }
  std::string_view refused_why() const { return refused_why_; }

 private:
  enum class Part : std::uint8_t {
    kRequestLine,
    kFields,
    kBody,
    kChunkLine,
    kChunk,
    kChunkEnd,
    kTrailers,
    kWhole,
    kRefused,
  };

  bool Refuse(int status, std::string_view why);
  // False: refused.
  bool OnLine(std::string_view line);
  bool OnRequestLine(std::string_view line);
  bool OnField(std::string_view line);
  bool OnEndOfHeader();
  bool OnChunkLine(std::string_view line);

  Limits limits_;
  Part part_ = Part::kRequestLine;
  ServerRequest request_;
  /// Of the header or of a chunk's line, whichever is being read.
  std::size_t line_bytes_ = 0;
  int fields_ = 0;
  bool is_http_10_ = false;
  bool keep_alive_ = false;
  bool continue_due_ = false;
  /// Of the body, or of its present chunk.
  std::size_t left_ = 0;
  int refused_status_ = 0;
  std::string_view refused_why_;
};

}  // namespace tributary::http
