#include "libs/http/request_reader.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

namespace tributary::http {
namespace {

constexpr std::size_t kMethodBytesMax = 32;
/// A chunk is below 4 GiB; a line with more digits is somebody's try.
constexpr std::size_t kChunkDigitsMax = 8;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return Lower(x) == Lower(y); });
}

/// RFC 9110, section 5.6.2.
bool IsToken(std::string_view text) {
  static constexpr std::string_view kSigns = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kSigns.find(c) != std::string_view::npos;
  });
}

/// Bytes that may stand in a field's value.
bool IsText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte == '\t' || (byte >= 0x20 && byte != 0x7F);
  });
}

std::string_view Trim(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// Elements of a list of words. None: something in it is no word.
std::optional<std::vector<std::string_view>> WordsOf(std::string_view list) {
  std::vector<std::string_view> words;
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    const std::string_view word = Trim(list.substr(0, comma));
    if (!word.empty() && !IsToken(word)) return std::nullopt;
    words.push_back(word);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return words;
}

/// Digits and nothing else, to that base. None: not so, or too many.
std::optional<std::size_t> Number(std::string_view text, int base, std::size_t digits_max) {
  std::size_t number = 0;
  if (text.empty() || text.size() > digits_max) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

RequestReader::Step RequestReader::Read(std::string& bytes) {
  std::size_t at = 0;
  const auto finish = [&](Step step) {
    bytes.erase(0, at);
    return step;
  };
  for (;;) {
    switch (part_) {
      case Part::kWhole:
        return finish(Step::kWhole);
      case Part::kRefused:
        return finish(Step::kRefused);

      case Part::kBody:
      case Part::kChunk: {
        if (std::exchange(continue_due_, false)) return finish(Step::kContinue);
        const std::size_t taken = std::min(left_, bytes.size() - at);
        request_.body.append(bytes, at, taken);
        at += taken;
        left_ -= taken;
        if (left_ > 0) return finish(Step::kMore);
        part_ = part_ == Part::kBody ? Part::kWhole : Part::kChunkEnd;
        line_bytes_ = 0;
        break;
      }

      default: {
        if (part_ == Part::kChunkLine && std::exchange(continue_due_, false)) {
          return finish(Step::kContinue);
        }
        const std::size_t end = bytes.find('\n', at);
        const bool is_whole = end != std::string::npos;
        const std::size_t size = (is_whole ? end + 1 : bytes.size()) - at;
        if (line_bytes_ + size > limits_.header_bytes_max) {
          Refuse(431, "the header is too large");
          break;
        }
        if (!is_whole) return finish(Step::kMore);
        line_bytes_ += size;
        std::string_view line(bytes.data() + at, size - 1);
        at += size;
        if (!line.ends_with('\r')) {
          Refuse(400, "a line ends without a carriage return");
          break;
        }
        line.remove_suffix(1);
        OnLine(line);
      }
    }
  }
}

ServerRequest RequestReader::Take() {
  ServerRequest taken = std::move(request_);
  *this = RequestReader(limits_);
  return taken;
}

bool RequestReader::Refuse(int status, std::string_view why) {
  part_ = Part::kRefused;
  keep_alive_ = false;
  refused_status_ = status;
  refused_why_ = why;
  return false;
}

bool RequestReader::OnLine(std::string_view line) {
  switch (part_) {
    case Part::kRequestLine:
      return OnRequestLine(line);
    case Part::kFields:
      return line.empty() ? OnEndOfHeader() : OnField(line);
    case Part::kChunkLine:
      return OnChunkLine(line);
    case Part::kChunkEnd:
      if (!line.empty()) return Refuse(400, "a chunk is longer than it says");
      part_ = Part::kChunkLine;
      line_bytes_ = 0;
      return true;
    default:  // Trailers. Nobody sends any but to frame a request for one of two readers.
      if (!line.empty()) return Refuse(400, "a field behind the body");
      part_ = Part::kWhole;
      return true;
  }
}

bool RequestReader::OnRequestLine(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return Refuse(400, "malformed request");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!IsToken(method) || method.size() > kMethodBytesMax) return Refuse(400, "malformed method");
  // Other forms are for proxies, and could disagree with Host.
  const bool is_target =
      (target == "*" || target.starts_with('/')) &&
      std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7F; });
  if (!is_target) return Refuse(400, "malformed target");
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return Refuse(400, "not HTTP/1.1");
  is_http_10_ = version == "HTTP/1.0";
  request_.method = method;
  request_.target = target;
  const std::size_t question = target.find('?');
  request_.path = target.substr(0, question);
  if (question != std::string_view::npos) request_.query = target.substr(question + 1);
  part_ = Part::kFields;
  return true;
}

bool RequestReader::OnField(std::string_view line) {
  if (++fields_ > limits_.headers_max) return Refuse(431, "too many header fields");
  const std::size_t colon = line.find(':');
  // Also a folded line, and a blank before the colon.
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon))) {
    return Refuse(400, "malformed header field");
  }
  const std::string_view value = Trim(line.substr(colon + 1));
  if (!IsText(value)) return Refuse(400, "a control character in a header field");
  request_.headers.emplace_back(line.substr(0, colon), value);
  return true;
}

bool RequestReader::OnEndOfHeader() {
  int hosts = 0;
  int lengths = 0;
  int encodings = 0;
  std::string_view length;
  bool has_close = false;
  bool has_keep_alive = false;
  for (const auto& [name, value] : request_.headers) {
    if (EqualsIgnoringCase(name, "host")) ++hosts;
    if (EqualsIgnoringCase(name, "content-length")) {
      ++lengths;
      length = value;
    }
    if (EqualsIgnoringCase(name, "transfer-encoding")) {
      ++encodings;
      if (!EqualsIgnoringCase(value, "chunked")) {
        return Refuse(400, "Transfer-Encoding other than chunked");
      }
    }
    if (EqualsIgnoringCase(name, "connection")) {
      const auto words = WordsOf(value);
      if (!words) return Refuse(400, "malformed Connection");
      for (const std::string_view word : *words) {
        has_close = has_close || EqualsIgnoringCase(word, "close");
        has_keep_alive = has_keep_alive || EqualsIgnoringCase(word, "keep-alive");
      }
    }
    if (EqualsIgnoringCase(name, "expect") && EqualsIgnoringCase(value, "100-continue")) {
      continue_due_ = !is_http_10_;
    }
  }
  if (lengths > 1) return Refuse(400, "more than one Content-Length");
  if (encodings > 1) return Refuse(400, "more than one Transfer-Encoding");
  if (lengths > 0 && encodings > 0) return Refuse(400, "Content-Length and Transfer-Encoding");
  if (encodings > 0 && is_http_10_) return Refuse(400, "Transfer-Encoding in HTTP/1.0");
  if (hosts > 1 || (hosts == 0 && !is_http_10_)) return Refuse(400, "not exactly one Host");
  keep_alive_ = !has_close && (!is_http_10_ || has_keep_alive);
  line_bytes_ = 0;
  if (encodings > 0) {
    part_ = Part::kChunkLine;
    return true;
  }
  if (lengths > 0) {
    // More digits than any length that could be meant.
    const std::optional<std::size_t> number = Number(length, 10, 18);
    if (!number) return Refuse(400, "malformed Content-Length");
    if (*number > limits_.body_bytes_max) return Refuse(413, "the body is too large");
    left_ = *number;
  }
  part_ = left_ > 0 ? Part::kBody : Part::kWhole;
  return true;
}

bool RequestReader::OnChunkLine(std::string_view line) {
  // Nobody sends extensions but to hide the end of the line from one of two readers.
  const std::optional<std::size_t> size = Number(line, 16, kChunkDigitsMax);
  if (!size) return Refuse(400, "malformed chunk");
  if (*size > limits_.body_bytes_max - request_.body.size()) {
    return Refuse(413, "the body is too large");
  }
  left_ = *size;
  part_ = left_ > 0 ? Part::kChunk : Part::kTrailers;
  line_bytes_ = 0;
  return true;
}

}  // namespace tributary::http
