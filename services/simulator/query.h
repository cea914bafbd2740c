#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/http/message.h"

// What a fake reads of a request.

namespace tributary::simulator {

/// A request taken apart. Names and values are decoded, in the order of the URL.
struct Asked {
  std::string method;
  /// Without query, still encoded.
  std::string path;
  std::vector<std::string> segments;
  std::vector<std::pair<std::string, std::string>> query;
  const http::Headers* headers = nullptr;
  std::string_view body;

  /// The last one of that name, as most servers take it. Null pointer: none.
  const std::string* Parameter(std::string_view name) const;
  std::string_view Header(std::string_view name) const;
};

Asked TakeApart(const http::Request& request);
/// `%41` and `+`; what is malformed stays.
std::string PercentDecode(std::string_view text, bool plus_is_blank);
std::optional<std::string> Base64Decode(std::string_view text);
std::optional<std::int64_t> ParseInteger(std::string_view text);
bool EqualsIgnoringCase(std::string_view a, std::string_view b);
std::string Lowered(std::string_view text);

}  // namespace tributary::simulator
