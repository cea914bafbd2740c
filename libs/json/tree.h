#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "libs/json/value.h"

// Documents that are only read: parsed into one piece of memory, which is used again. An order of
// magnitude cheaper than json::Value, whose every name and text is an allocation.

namespace tributary::json {

struct Member;

/// A value of a tree. Cheap to copy; lives as long as its tree, and its text as long as the
/// document unless it had escapes.
class Node {
 public:
  enum class Kind : std::uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

  Node() = default;  // null
  explicit Node(bool boolean) : kind_(boolean ? Kind::kTrue : Kind::kFalse) {}
  /// `text` as it would stand in a document; it outlives the node.
  static Node OfNumber(std::string_view text) { return {Kind::kNumber, text.data(), text.size()}; }
  static Node OfString(std::string_view text) { return {Kind::kString, text.data(), text.size()}; }
  static Node OfArray(std::span<const Node> items) {
    return {Kind::kArray, items.data(), items.size()};
  }
  static Node OfObject(std::span<const Member> members) {
    return {Kind::kObject, members.data(), members.size()};
  }

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  /// Of a number or a string.
  std::string_view text() const { return {static_cast<const char*>(data_), size_}; }
  /// Of an array.
  std::span<const Node> items() const { return {static_cast<const Node*>(data_), size_}; }
  /// Of an object: in the order of the document; of a name that comes twice the first.
  std::span<const Member> members() const;
  /// Null pointer: no object, or no such member.
  const Node* Find(std::string_view name) const;
  /// Follows names joined by `.` through objects; null pointer if a step is missing.
  const Node* FindPath(std::string_view dotted_path) const;

 private:
  Node(Kind kind, const void* data, std::size_t size)
      : data_(data), size_(static_cast<std::uint32_t>(size)), kind_(kind) {}

  const void* data_ = nullptr;
  std::uint32_t size_ = 0;
  Kind kind_ = Kind::kNull;
};

struct Member {
  std::string_view name;
  Node value;
};

/// Memory of nodes. Not for several threads.
class Tree {
 public:
  Tree() = default;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  Tree(Tree&&) = default;
  Tree& operator=(Tree&&) = default;

  /// As json::Parse. `text` outlives the node.
  absl::StatusOr<Node> Parse(std::string_view text, const ParseLimits& limits = {});
  std::span<const Node> Keep(std::span<const Node> nodes);
  std::span<const Member> Keep(std::span<const Member> members);
  std::string_view Keep(std::string_view text);
  /// Ends all nodes; keeps the memory for the next ones.
  void Clear();

 private:
  friend class TreeBuilder;
  struct Block {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
  };

  std::byte* Allocate(std::size_t bytes);
  template <typename T>
  std::span<const T> Copy(std::span<const T> from);

  std::vector<Block> blocks_;
  /// The block in use, and the first free byte of it.
  std::size_t block_ = 0;
  std::size_t used_ = 0;
  /// Of containers that are being read.
  std::vector<Member> waiting_;
  std::vector<std::size_t> begins_;
};

}  // namespace tributary::json
