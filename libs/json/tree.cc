#include "libs/json/tree.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <type_traits>

#include "libs/json/reader.h"
#include "libs/json/reading_error.h"

namespace tributary::json {
namespace {

constexpr std::size_t kBlockBytesMin = 32 << 10;
/// Kept from one document to the next; what a giant one has used is given back.
constexpr std::size_t kKeptBytesMax = 1 << 20;

// Which names an object may have had already. Says yes too often, never too seldom.
class NamesSeen {
 public:
  /// False: certainly new.
  bool Add(std::string_view name) {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    // Of a size that is known, so that it is a load and not a call.
    if (name.size() >= 8) {
      std::memcpy(&begin, name.data(), 8);
      std::memcpy(&end, name.data() + name.size() - 8, 8);
    } else {
      for (const char c : name) begin = begin << 8 | static_cast<unsigned char>(c);
      end = begin;
    }
    const std::uint64_t mixed =
        (begin ^ (end << 7) ^ (name.size() << 3)) * std::uint64_t{0x9E3779B97F4A7C15};
    std::uint64_t& word = words_[mixed >> 60];
    const std::uint64_t bit = std::uint64_t{1} << ((mixed >> 54) & 63);
    const bool was_seen = (word & bit) != 0;
    word |= bit;
    return was_seen;
  }

 private:
  std::array<std::uint64_t, 16> words_{};
};

// Leaves of each name the first.
std::span<Member> WithoutRepeats(std::span<Member> members) {
  NamesSeen seen;
  std::size_t kept = 0;
  for (const Member& member : members) {
    const bool is_repeat =
        seen.Add(member.name) &&
        std::any_of(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(kept),
                    [&](const Member& other) { return other.name == member.name; });
    if (!is_repeat) members[kept++] = member;
  }
  return members.first(kept);
}

}  // namespace

// Children wait on a stack until their container ends; then they are kept side by side.
class TreeBuilder {
 public:
  explicit TreeBuilder(Tree& tree) : tree_(tree) {
    tree_.waiting_.clear();
    tree_.begins_.clear();
  }

  void Null() { Add(Node()); }
  void Bool(bool boolean) { Add(Node(boolean)); }
  void Number(std::string_view text) { Add(Node::OfNumber(text)); }
  void String(std::string_view text, bool in_place) {
    Add(Node::OfString(in_place ? text : tree_.Keep(text)));
  }
  void Key(std::string_view text, bool in_place) { name_ = in_place ? text : tree_.Keep(text); }
  void StartObject() { Start(); }
  void StartArray() { Start(); }
  void EndObject() {
    const std::span<const Member> members = WithoutRepeats(Children());
    End(Node::OfObject(tree_.Keep(members)));
  }
  void EndArray() {
    const std::span<const Member> children = Children();
    Node* const items = reinterpret_cast<Node*>(tree_.Allocate(children.size() * sizeof(Node)));
    for (std::size_t i = 0; i < children.size(); ++i) new (items + i) Node(children[i].value);
    End(Node::OfArray({items, children.size()}));
  }

  Node root() const { return tree_.waiting_.front().value; }

 private:
  // Items of arrays wait as members too; their names say nothing.
  void Add(const Node& node) { tree_.waiting_.push_back({name_, node}); }
  void Start() {
    Add(Node());
    tree_.begins_.push_back(tree_.waiting_.size());
  }
  std::span<Member> Children() { return std::span(tree_.waiting_).subspan(tree_.begins_.back()); }
  // In front of its children the container itself has waited.
  void End(const Node& node) {
    tree_.waiting_.resize(tree_.begins_.back());
    tree_.begins_.pop_back();
    tree_.waiting_.back().value = node;
  }

  Tree& tree_;
  std::string_view name_;
};

std::span<const Member> Node::members() const { return {static_cast<const Member*>(data_), size_}; }

const Node* Node::Find(std::string_view name) const {
  if (kind_ != Kind::kObject) return nullptr;
  for (const Member& member : members()) {
    if (member.name == name) return &member.value;
  }
  return nullptr;
}

const Node* Node::FindPath(std::string_view dotted_path) const {
  const Node* at = this;
  while (at != nullptr && !dotted_path.empty()) {
    const std::size_t dot = std::min(dotted_path.find('.'), dotted_path.size());
    at = at->Find(dotted_path.substr(0, dot));
    dotted_path.remove_prefix(std::min(dot + 1, dotted_path.size()));
  }
  return at;
}

absl::StatusOr<Node> Tree::Parse(std::string_view text, const ParseLimits& limits) {
  if (absl::Status status = CheckSize(text, limits); !status.ok()) return status;
  Reader reader(text, limits.depth_max);
  TreeBuilder builder(*this);
  if (!reader.ReadValue(builder) || !reader.TakeEnd()) return ErrorOf(reader);
  return builder.root();
}

std::span<const Node> Tree::Keep(std::span<const Node> nodes) { return Copy(nodes); }
std::span<const Member> Tree::Keep(std::span<const Member> members) { return Copy(members); }

std::string_view Tree::Keep(std::string_view text) {
  std::byte* const bytes = Allocate(text.size());
  std::memcpy(bytes, text.data(), text.size());
  return {reinterpret_cast<const char*>(bytes), text.size()};
}

void Tree::Clear() {
  std::size_t kept = 0;
  std::size_t bytes = 0;
  while (kept < blocks_.size() && bytes + blocks_[kept].size <= kKeptBytesMax) {
    bytes += blocks_[kept++].size;
  }
  blocks_.resize(kept);
  block_ = 0;
  used_ = 0;
}

std::byte* Tree::Allocate(std::size_t bytes) {
  // So that whatever comes next is aligned as well.
  bytes = (bytes + alignof(Member) - 1) / alignof(Member) * alignof(Member);
  while (block_ < blocks_.size() && blocks_[block_].size - used_ < bytes) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t size = std::max(kBlockBytesMin, bytes);
    blocks_.push_back({std::make_unique_for_overwrite<std::byte[]>(size), size});
  }
  std::byte* const at = blocks_[block_].bytes.get() + used_;
  used_ += bytes;
  return at;
}

template <typename T>
std::span<const T> Tree::Copy(std::span<const T> from) {
  static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignof(Member));
  T* const to = reinterpret_cast<T*>(Allocate(from.size_bytes()));
  std::uninitialized_copy(from.begin(), from.end(), to);
  return {to, from.size()};
}

}  // namespace tributary::json
