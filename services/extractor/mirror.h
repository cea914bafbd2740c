#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/eventlog/table.h"
#include "tributary/v1/changes.pb.h"

// What we hold of each entity in one partition: the table `changes` as read back, and on top of it
// our own entries that have not come back yet (protocol rule 7). A snapshot is folded here first
// and produced after, so that a key's entries never go backwards (rules 5 and 38).

namespace tributary::extractor {

class Mirror {
 public:
  /// `table` outlives the mirror.
  explicit Mirror(const eventlog::Table& table) : table_(table) {}

  /// The newest valid state. Null pointer: unknown (never seen, or only a void entry is left).
  std::shared_ptr<const v1::Entity> Find(std::string_view key) const;
  /// The newest entry is void, or cannot be decoded, and no own one is on its way: not absent, but
  /// to be read again from the source (rule 4).
  bool is_unknown(std::string_view key) const;

  /// True: `read`, its former customers filled in, is to be produced so that the mirror shows it.
  /// False: the same or something newer is there. `is_contested`: it says something else of the
  /// same moment than what is known, and the two were under way together. Which of them the source
  /// answered first nobody knows: a third read decides.
  bool Fold(std::string_view key, v1::Entity& read, bool& is_contested);
  /// The same without the question whether it is newer: for the entities that an event carries.
  v1::Entity WithFormerCustomers(std::string_view key, v1::Entity read) const;

  /// `newest_under_way`: of the requests that may bring the same entity and have not been answered
  /// yet, the largest number; 0: there are none.
  void OnProduced(std::string_view key, std::shared_ptr<const v1::Entity> entity,
                  std::int64_t newest_under_way);
  /// False: the entry cannot be decoded.
  bool OnReadBack(std::string_view key, const std::optional<eventlog::TableEntry>& entry);
  /// No request with a smaller number is under way any more: what was kept to judge its answer
  /// goes.
  void ForgetReadsBelow(std::int64_t read_number);

  /// Visits keys that begin with `prefix`, in byte order, those on their way included, until false.
  void Scan(std::string_view prefix,
            const std::function<bool(std::string_view key, const v1::Entity&)>& visit) const;

  /// An entry of a key that begins with `prefix` is there, of whatever state.
  bool HasAny(std::string_view prefix) const;

  /// Own entries that have not been read back.
  std::size_t unread() const { return unread_.size(); }

 private:
  const eventlog::Table& table_;
  std::map<std::string, std::shared_ptr<const v1::Entity>, std::less<>> unread_;
  /// Keys whose state a read has confirmed without an entry: an answer that comes late and began
  /// before that read is old news.
  std::map<std::string, v1::ReadSequence, std::less<>> confirmed_;
  /// Keys of what was answered while a request that had begun later was under way: its number.
  std::map<std::string, std::int64_t, std::less<>> under_way_;
};

/// Index row of `changes` under which the entries stand that cannot be decoded, so that a start
/// finds them without decoding all.
inline constexpr std::string_view kUndecodableRow = "undecodable";
std::vector<std::string> IndexUndecodable(std::string_view key, const eventlog::TableEntry& entry);

/// (generation, token, number), as rule 38 orders reads.
bool IsBefore(const v1::ReadSequence& a, const v1::ReadSequence& b);

}  // namespace tributary::extractor
