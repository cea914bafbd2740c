#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/json/value.h"

namespace tributary::simulator {

/// Members that were set from outside, as JSON texts; they take the place of members of that name.
using Extra = std::vector<std::pair<std::string, std::string>>;

inline std::string Quoted(std::string_view text) {
  std::string out;
  json::AppendQuoted(out, text);
  return out;
}

/// Whether `name` is among them.
template <typename Names>
bool Holds(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Appends one JSON object member by member, far faster than a tree of values.
class ObjectText {
 public:
  /// `extra`, if given, outlives this object. Of the members, those in `only`; empty: all.
  explicit ObjectText(std::string& out, const Extra* extra = nullptr,
                      std::span<const std::string_view> only = {})
      : out_(out), extra_(extra), only_(only) {
    out_.push_back('{');
  }

  void Text(std::string_view name, std::string_view text) {
    if (Key(name)) json::AppendQuoted(out_, text);
  }
  void TextOrNull(std::string_view name, const std::string* text) {
    if (text == nullptr) {
      Raw(name, "null");
    } else {
      Text(name, *text);
    }
  }
  void Integer(std::string_view name, std::int64_t integer) {
    if (Key(name)) out_ += std::to_string(integer);
  }
  void Boolean(std::string_view name, bool value) { Raw(name, value ? "true" : "false"); }
  void Null(std::string_view name) { Raw(name, "null"); }
  void Raw(std::string_view name, std::string_view json) {
    if (Key(name)) out_ += json;
  }
  /// Begins a member whose value the caller appends. False: it has no place here, append nothing.
  bool Key(std::string_view name) {
    if (!only_.empty() && std::find(only_.begin(), only_.end(), name) == only_.end()) return false;
    if (extra_ != nullptr) {
      for (const auto& [key, value] : *extra_) {
        if (key == name) return false;
      }
    }
    AppendKey(name);
    return true;
  }
  void End() {
    if (extra_ != nullptr) {
      for (const auto& [key, value] : *extra_) {
        AppendKey(key);
        out_ += value;
      }
    }
    out_.push_back('}');
  }

 private:
  void AppendKey(std::string_view name) {
    if (!is_first_) out_.push_back(',');
    is_first_ = false;
    json::AppendQuoted(out_, name);
    out_.push_back(':');
  }

  std::string& out_;
  const Extra* extra_;
  std::span<const std::string_view> only_;
  bool is_first_ = true;
};

}  // namespace tributary::simulator
