#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "libs/eventlog/local_store.h"
#include "libs/eventlog/log.h"

// One partition of one table, folded from its log as protocol rules 1 to 10 say.

namespace tributary::eventlog {

/// (generation, offset of the fence); compared in this order.
struct Token {
  std::int64_t generation = 0;
  Offset offset = -1;
  friend auto operator<=>(const Token&, const Token&) = default;
};
/// Header that carries it.
inline constexpr std::string_view kTokenHeader = "tributary-token";
std::string FormatToken(const Token& token);
std::optional<Token> ParseToken(std::string_view text);
/// Of an entry: what it is stands in its key and its value, and a header costs an allocation at
/// both ends.
Headers EntryHeaders(std::string_view token, std::string_view traceparent = {});

/// The newest entry of a key.
struct TableEntry {
  Offset offset = 0;
  Token token;
  /// Written behind a newer fence: never state (rule 1). The key is *unknown*, not absent; `value`
  /// may serve as a hint.
  bool is_void = false;
  std::string value;
};

/// The same without a copy.
struct TableEntryView {
  Offset offset = 0;
  Token token;
  bool is_void = false;
  std::string_view value;
};

/// Reads are from memory and the local store; no log inside. Not thread-safe. Holds only what was
/// read back from the topic (rule 7).
class Table {
 public:
  /// Rows of a secondary index that an entry contributes; scanned by ScanIndex.
  using Indexer =
      std::function<std::vector<std::string>(std::string_view key, const TableEntry& entry)>;
  struct Options {
    Topic topic{};
    Partition partition = 0;
    /// May be empty.
    Indexer indexer;
    /// True: entries become durable only by Persist() (rule 32). False: also by themselves, when
    /// so many are waiting, or with so many bytes. The more there are in one transaction, the more
    /// of them share a page.
    bool persists_when_told = false;
    std::size_t unpersisted_entries_max = 4000;
    std::size_t unpersisted_bytes_max = std::size_t{1} << 20;
  };

  Table(Options options, std::unique_ptr<LocalStore> store);
  ~Table();

  /// Folds one record that was read back. Records come in the order of their offsets.
  /// Returns the entry that is now the newest of its key, or none for a tombstone, a repeat, or a
  /// key of the log itself (`!g`, `!f/`, `!r/`).
  std::optional<TableEntry> Apply(const Record& record);

  std::optional<TableEntry> Get(std::string_view key) const;
  /// The view lives until something is folded into, or persisted of, any table of the same owner.
  std::optional<TableEntryView> Find(std::string_view key) const;
  /// Visits keys with the prefix in byte order, from the first >= `from`, until false. Includes
  /// void entries; excludes keys of the log itself other than `!b/`.
  void Scan(std::string_view prefix, std::string_view from,
            const std::function<bool(std::string_view key, const TableEntry& entry)>& visit) const;
  /// The same without copies; a view lives until `visit` returns.
  void ScanViews(
      std::string_view prefix, std::string_view from,
      const std::function<bool(std::string_view key, const TableEntryView& entry)>& visit) const;
  /// Visits primary keys whose entries contributed an index row that begins with `prefix`.
  void ScanIndex(
      std::string_view prefix,
      const std::function<bool(std::string_view index_row, std::string_view key)>& visit) const;

  /// Keys whose newest entry is void.
  const std::set<std::string>& void_keys() const;

  /// Where reading goes on: offset after the last one folded.
  Offset next_offset() const;
  /// Everything before `next` was delivered; what compaction has removed there never comes.
  void AdvanceTo(Offset next);
  /// The same, of what is durable locally.
  Offset persisted_next_offset() const;
  /// Makes everything folded so far durable, with the offset, in one transaction.
  absl::Status Persist();
  /// Throws the copy away, e.g. older than the tombstones' lifetime, or ahead of the topic.
  absl::Status Clear();
  /// Entries folded and not durable yet.
  std::size_t unpersisted() const;
  /// Of the last attempt to make something durable, those by itself included.
  const absl::Status& store_status() const;

  /// By the wall clock: every tombstone that compaction had removed by then was read, or belongs to
  /// a key that is not in the copy. Durable with Persist(). The epoch: not known.
  WallTime complete_at() const;
  void SetCompleteAt(WallTime at);
  WallTime persisted_complete_at() const;
  /// True from Clear() on a copy, or the first use of an empty one, until set to false: a rebuild
  /// that was interrupted is seen at the next start.
  bool rebuilding() const;
  void SetRebuilding(bool rebuilding);

  /// Of the newest founding (`!g`). None: this partition is lost or was never set up.
  std::optional<std::int64_t> generation() const;
  /// The newest founding says that what the partition held before was lost: a key without an entry
  /// is unknown, not absent (rule 12).
  bool founded_after_loss() const;
  /// Founded after a loss, and nobody has written into it since. Reads up to the first entry of the
  /// newest generation.
  bool IsEmptySinceLoss() const;
  /// An entry of an older generation in a partition that was founded after a loss. What a dead
  /// owner had under way to the partition that was lost may land in front of the new one's
  /// founding, where no fence makes it void: its offsets are of another log.
  bool IsOfLostLog(const TableEntry& entry) const;
  /// A founding of that generation was folded. A topic that shows another one first is not the one
  /// that this was read from.
  bool has_folded_generation(std::int64_t generation) const;
  /// The largest fence passed. None: none.
  std::optional<Token> newest_fence() const;
  /// The largest fence smaller than `fence` that is still kept. None: none.
  std::optional<Token> newest_fence_before(const Token& fence) const;
  /// True: the owner of that fence released it cleanly (rule 13), or it is a founding fence.
  bool released(const Token& fence) const;
  /// Keys of fences and releases other than the newest fence's; to be tombstoned (rule 2).
  std::vector<std::string> old_control_keys() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tributary::eventlog
