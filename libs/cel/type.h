#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

namespace tributary::cel {

/// What is known of a value before it is there. Null and absence are always possible besides.
struct Type {
  enum class Kind : std::uint8_t {
    kDyn,
    kNull,
    kBool,
    kInt,
    kDecimal,
    kString,
    kList,
    kMap,
    kTimestamp,
    kDuration,
  };
  using Fields = std::map<std::string, Type, std::less<>>;

  Kind kind = Kind::kDyn;
  /// Of a list. Null pointer: dyn.
  std::shared_ptr<const Type> element = nullptr;
  /// Of a map: the keys that are known; others are dyn. Null pointer: none is.
  std::shared_ptr<const Fields> fields = nullptr;

  static Type ListOf(Type element) {
    return {Kind::kList, std::make_shared<const Type>(std::move(element)), nullptr};
  }
  static Type MapOf(Fields fields) {
    return {Kind::kMap, nullptr, std::make_shared<const Fields>(std::move(fields))};
  }
};

/// `dyn`, `string`, `list`, …
std::string Name(const Type& type);

}  // namespace tributary::cel
