#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "tributary/v1/changes.pb.h"

// Entries of `changes` where they stand, without a message: each is looked at some four times, and
// its document is most of it.

namespace tributary::changes {

/// Texts of a repeated field, one behind the other.
class Names {
 public:
  class const_iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::string_view*;
    using reference = std::string_view;

    const_iterator() = default;
    explicit const_iterator(std::string_view fields) : fields_(fields) {}
    std::string_view operator*() const;
    const_iterator& operator++();
    const_iterator operator++(int) {
      const const_iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const const_iterator& a, const const_iterator& b) {
      return a.fields_.size() == b.fields_.size();
    }

   private:
    std::string_view fields_;
  };

  Names() = default;
  /// Of one field, and nothing else. They are well-formed.
  explicit Names(std::string_view fields) : fields_(fields) {}

  bool empty() const { return fields_.empty(); }
  const_iterator begin() const { return const_iterator(fields_); }
  const_iterator end() const { return {}; }

 private:
  std::string_view fields_;
};

struct TimeView {
  std::int64_t seconds = 0;
  std::int32_t nanos = 0;
  friend auto operator<=>(const TimeView&, const TimeView&) = default;
};

/// Of a ReadSequence.
struct ReadView {
  std::int64_t generation = 0;
  std::int64_t offset = 0;
  std::int64_t number = 0;
  friend auto operator<=>(const ReadView&, const ReadView&) = default;
};

struct ChangeView {
  bool has_entity = false;
  std::string_view connection;
  std::string_view kind;
  std::string_view id;
  Names customers;
  Names former_customers;
  std::optional<TimeView> updated_at;
  std::optional<TimeView> read_at;
  ReadView read;
  bool gone = false;
  std::string_view document_hash;
  std::string_view document;
  bool first_read = false;
};

/// Of an encoded v1::ChangeEvent. None: it cannot be decoded, as by parsing it. Lives as long as
/// `bytes`, and as `own`: what is encoded otherwise than extractors do it is written anew there.
std::optional<ChangeView> ViewOf(std::string_view bytes, std::string& own);

}  // namespace tributary::changes
