#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "libs/json/value.h"

// The rows of a page: their bytes as they stand, and a few values out of each, found in one pass
// and without building anything. For readers that hand documents on and need little of them
// themselves.

namespace tributary::json {

/// A value of a row, by one of RowShape::paths.
struct Pick {
  enum class Kind : std::uint8_t { kAbsent, kNull, kBool, kNumber, kString, kContainer };
  Kind kind = Kind::kAbsent;
  /// Of a number or a string; lives until the visit returns.
  std::string_view text;

  /// As Value::ToIdText and Value::ToInt64.
  std::optional<std::string_view> ToIdText() const;
  std::optional<std::int64_t> ToInt64() const;
};

struct RowShape {
  /// Member of the document under which the rows stand. Where there is none, or where the document
  /// is an array itself, its elements are the rows. Empty: the document is an array.
  std::string_view member;
  /// An element that is an object with a member of this name, an object too, is a row in a wrapper:
  /// that member is the row.
  std::string_view wrapper;
  /// `name`, or `name.name`: at most two steps. Of a name that comes twice the first counts.
  std::vector<std::string_view> paths;
};

/// `bytes` is the row without its wrapper; `is_object` false: it is something else, with no picks.
using RowVisit =
    std::function<void(std::string_view bytes, bool is_object, std::span<const Pick> picks)>;

/// Visits every row of `text`, which is validated to its end as Parse() does it: rows may have been
/// visited before an error (kInvalidArgument) is found behind them.
absl::Status ReadRows(std::string_view text, const RowShape& shape, const RowVisit& visit,
                      const ParseLimits& limits = {});
/// The same of a document that is one row, in its wrapper or not.
absl::Status ReadRow(std::string_view text, const RowShape& shape, const RowVisit& visit,
                     const ParseLimits& limits = {});

}  // namespace tributary::json
