#include "libs/eventlog/table.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include <endian.h>

#include "libs/eventlog/overlay.h"
#include "libs/ids/keys.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

// Rows of the local store, told apart by their first byte.
constexpr char kEntryRow = 'e';    // + key -> entry
constexpr char kIndexRow = 'i';    // + index row + NUL + key -> nothing
constexpr char kVoidRow = 'v';     // + key -> nothing
constexpr char kControlRow = 'c';  // + key of a fence or release -> what it says

constexpr std::string_view kFoundingKey = "!g";
constexpr std::string_view kFencePrefix = "!f/";
constexpr std::string_view kReleasePrefix = "!r/";

std::string Row(char kind, std::string_view key) {
  std::string row(1, kind);
  row.append(key);
  return row;
}

// Little-endian, whatever the machine.
void AppendInteger(std::string& out, std::int64_t value) {
  const std::uint64_t bits = htole64(static_cast<std::uint64_t>(value));
  char bytes[sizeof bits];
  std::memcpy(bytes, &bits, sizeof bits);
  out.append(bytes, sizeof bits);
}

// `in` has eight bytes at least.
std::int64_t TakeInteger(std::string_view& in) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, in.data(), sizeof bits);
  in.remove_prefix(sizeof bits);
  return static_cast<std::int64_t>(le64toh(bits));
}

constexpr std::size_t kEntryPrefixBytes = 25;

std::string EncodeEntry(const TableEntry& entry) {
  std::string out;
  out.reserve(kEntryPrefixBytes + entry.value.size());
  AppendInteger(out, entry.offset);
  AppendInteger(out, entry.token.generation);
  AppendInteger(out, entry.token.offset);
  out.push_back(entry.is_void ? 1 : 0);
  out.append(entry.value);
  return out;
}

std::optional<TableEntryView> ViewOf(std::string_view in) {
  if (in.size() < kEntryPrefixBytes) return std::nullopt;
  TableEntryView entry;
  entry.offset = TakeInteger(in);
  entry.token.generation = TakeInteger(in);
  entry.token.offset = TakeInteger(in);
  entry.is_void = in.front() != 0;
  entry.value = in.substr(1);
  return entry;
}

TableEntry DecodeEntry(std::string_view in) {
  TableEntry entry;
  if (in.size() < kEntryPrefixBytes) return entry;
  entry.offset = TakeInteger(in);
  entry.token.generation = TakeInteger(in);
  entry.token.offset = TakeInteger(in);
  entry.is_void = in.front() != 0;
  in.remove_prefix(1);
  entry.value = std::string(in);
  return entry;
}

struct Meta {
  Offset next_offset = 0;
  WallTime complete_at{};
  bool rebuilding = true;
  std::optional<Token> newest_fence;
  // Of all foundings folded, in their order; hardly ever more than one.
  std::vector<std::int64_t> generations;
  // Of the newest of them.
  bool founded_after_loss = false;
};

constexpr int kRebuildingFlag = 1;
constexpr int kFoundedAfterLossFlag = 2;

std::string EncodeMeta(const Meta& meta) {
  std::string out;
  AppendInteger(out, meta.next_offset);
  AppendInteger(out, meta.complete_at.time_since_epoch().count());
  out.push_back(static_cast<char>((meta.rebuilding ? kRebuildingFlag : 0) |
                                  (meta.founded_after_loss ? kFoundedAfterLossFlag : 0)));
  out.push_back(meta.newest_fence ? 1 : 0);
  AppendInteger(out, meta.newest_fence.value_or(Token{}).generation);
  AppendInteger(out, meta.newest_fence.value_or(Token{}).offset);
  for (const std::int64_t generation : meta.generations) AppendInteger(out, generation);
  return out;
}

// None: not what EncodeMeta wrote; the copy is of another format and thus of no use.
std::optional<Meta> DecodeMeta(std::string_view in) {
  if (in.size() < 4 * 8 + 2 || (in.size() - 2) % 8 != 0) return std::nullopt;
  Meta meta;
  meta.next_offset = TakeInteger(in);
  meta.complete_at = WallTime(Duration(TakeInteger(in)));
  meta.rebuilding = (in.front() & kRebuildingFlag) != 0;
  meta.founded_after_loss = (in.front() & kFoundedAfterLossFlag) != 0;
  in.remove_prefix(1);
  const bool has_fence = in.front() != 0;
  in.remove_prefix(1);
  Token fence;
  fence.generation = TakeInteger(in);
  fence.offset = TakeInteger(in);
  if (has_fence) meta.newest_fence = fence;
  while (!in.empty()) meta.generations.push_back(TakeInteger(in));
  return meta;
}

// What a row of kind kControlRow says. Of a release only the key matters.
struct Control {
  Token fence;
  bool founding = false;
};

std::string EncodeControl(const Control& control) {
  std::string out;
  AppendInteger(out, control.fence.generation);
  AppendInteger(out, control.fence.offset);
  out.push_back(control.founding ? 1 : 0);
  return out;
}

Control DecodeControl(std::string_view in) {
  Control control;
  if (in.size() != 17) return control;
  control.fence.generation = TakeInteger(in);
  control.fence.offset = TakeInteger(in);
  control.founding = in.front() != 0;
  return control;
}

bool IsControlKey(std::string_view key) {
  return key == kFoundingKey || key.starts_with(kFencePrefix) || key.starts_with(kReleasePrefix);
}

// Section 0: the loader's null values of action keys carry no token and are right whoever sends
// them and whenever.
bool IsFinishedAction(Topic topic, const Record& record) {
  if (topic != Topic::kCommands || record.value) return false;
  const std::optional<ids::CommandKey> key = ids::ParseCommandKey(record.key);
  return key && key->kind == ids::CommandKey::Kind::kAction;
}

}  // namespace

std::string FormatToken(const Token& token) {
  return std::to_string(token.generation) + "." + std::to_string(token.offset);
}

std::optional<Token> ParseToken(std::string_view text) {
  const std::size_t point = text.find('.');
  if (point == std::string_view::npos) return std::nullopt;
  Token token;
  const auto parse = [](std::string_view digits, std::int64_t& out) {
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    return error == std::errc() && end == digits.data() + digits.size() && !digits.empty();
  };
  if (!parse(text.substr(0, point), token.generation)) return std::nullopt;
  if (!parse(text.substr(point + 1), token.offset)) return std::nullopt;
  return token;
}

Headers EntryHeaders(std::string_view token, std::string_view traceparent) {
  Headers headers;
  headers.reserve(2, kTraceHeader.size() + traceparent.size() + kTokenHeader.size() + token.size());
  if (!traceparent.empty()) headers.emplace_back(kTraceHeader, traceparent);
  headers.emplace_back(kTokenHeader, token);
  return headers;
}

struct Table::State {
  Options options;
  std::unique_ptr<LocalStore> store;

  Meta meta;
  Meta persisted;
  // Written to the store by the next Persist; read in front of it until then. Entries are looked up
  // and set several times for each record, rows of the index are gone through.
  Overlay entries;
  std::map<std::string, Overlay::Value, std::less<>> others;
  std::size_t unpersisted = 0;
  // Of their keys and values.
  std::size_t unpersisted_bytes = 0;
  absl::Status store_status;

  // Few; kept whole in memory beside their rows.
  std::set<std::string> void_keys;
  std::map<std::string, Control, std::less<>> fences;
  std::set<std::string, std::less<>> releases;

  // Of the row that is being looked for: its memory stays.
  mutable std::string sought;

  // Lives until something is folded into this table or any other of the same stores.
  std::optional<std::string_view> FindEntry(std::string_view key) const {
    sought.assign(1, kEntryRow).append(key);
    const Overlay::Value* const pending = entries.Find(sought);
    if (pending == nullptr) return store->Find(sought);
    return *pending;
  }

  using Visit = std::function<bool(std::string_view, std::string_view)>;

  void ScanEntries(std::string_view prefix, std::string_view from, const Visit& visit) const {
    const std::string first = Row(kEntryRow, prefix);
    const std::string start = Row(kEntryRow, std::max(from, prefix));
    Merge(entries.LowerBound(start), entries.InOrder().end(), first, start, visit);
  }

  void ScanIndex(std::string_view prefix, const Visit& visit) const {
    const std::string first = Row(kIndexRow, prefix);
    Merge(others.lower_bound(first), others.end(), first, first, visit);
  }

  static const Overlay::Row& RowAt(std::vector<const Overlay::Row*>::const_iterator at) {
    return **at;
  }
  static const Overlay::Row& RowAt(
      std::map<std::string, Overlay::Value, std::less<>>::const_iterator at) {
    return *at;
  }

  /// Visits rows with the prefix from `from` on: those of the store, and in front of them those
  /// from `pending` to `end`.
  template <typename Iterator>
  void Merge(Iterator pending, Iterator end, std::string_view prefix, std::string_view from,
             const Visit& visit) const {
    const auto has_pending = [&] {
      return pending != end && std::string_view(RowAt(pending).first).starts_with(prefix);
    };
    const auto visit_pending = [&] {
      const auto& [row, value] = RowAt(pending);
      ++pending;
      return !value || visit(row, *value);
    };
    bool go_on = true;
    store->Scan(prefix, from, [&](std::string_view row, std::string_view value) {
      while (go_on && has_pending() && RowAt(pending).first < row) go_on = visit_pending();
      if (!go_on) return false;
      if (has_pending() && RowAt(pending).first == row) {
        go_on = visit_pending();
      } else {
        go_on = visit(row, value);
      }
      return go_on;
    });
    while (go_on && has_pending()) go_on = visit_pending();
  }

  static std::string IndexRow(std::string_view index_row, std::string_view key) {
    std::string row;
    row.reserve(index_row.size() + key.size() + 2);
    row.push_back(kIndexRow);
    row.append(index_row);
    row.push_back('\0');
    row.append(key);
    return row;
  }

  // Most entries keep most of their rows: only what differs is written.
  void SetIndexRows(std::string_view key, std::vector<std::string> before,
                    std::vector<std::string> after) {
    std::sort(before.begin(), before.end());
    before.erase(std::unique(before.begin(), before.end()), before.end());
    std::sort(after.begin(), after.end());
    after.erase(std::unique(after.begin(), after.end()), after.end());
    auto old = before.begin();
    for (auto it = after.begin(); it != after.end(); ++it) {
      for (; old != before.end() && *old < *it; ++old) {
        others.insert_or_assign(IndexRow(*old, key), std::nullopt);
      }
      if (old != before.end() && *old == *it) {
        ++old;
      } else {
        others.insert_or_assign(IndexRow(*it, key), std::string());
      }
    }
    for (; old != before.end(); ++old) {
      others.insert_or_assign(IndexRow(*old, key), std::nullopt);
    }
  }

  void SetVoid(const std::string& key, bool is_void) {
    if (is_void) {
      if (void_keys.insert(key).second) {
        others.insert_or_assign(Row(kVoidRow, key), std::string());
      }
    } else if (void_keys.erase(key) != 0) {
      others.insert_or_assign(Row(kVoidRow, key), std::nullopt);
    }
  }

  void FoldControl(const Record& record) {
    if (record.key == kFoundingKey) {
      v1::Founding founding;
      if (record.value && founding.ParseFromString(*record.value)) {
        meta.generations.push_back(founding.generation());
        meta.founded_after_loss = founding.after_loss();
      }
      return;
    }
    std::string row = Row(kControlRow, record.key);
    if (!record.value) {
      fences.erase(record.key);
      releases.erase(record.key);
      others.insert_or_assign(std::move(row), std::nullopt);
      return;
    }
    if (record.key.starts_with(kReleasePrefix)) {
      releases.insert(record.key);
      others.insert_or_assign(std::move(row), std::string());
      return;
    }
    v1::Fence fence;
    if (!fence.ParseFromString(*record.value)) return;
    Control control;
    control.fence = Token{fence.generation(), record.offset};
    control.founding = fence.founding();
    others.insert_or_assign(std::move(row), EncodeControl(control));
    fences.insert_or_assign(record.key, control);
    if (!meta.newest_fence || *meta.newest_fence < control.fence) {
      meta.newest_fence = control.fence;
    }
  }

  void Load() {
    std::optional<Meta> stored;
    if (const std::string text = store->meta(); !text.empty()) {
      stored = DecodeMeta(text);
      if (!stored) store_status = store->Clear();
    }
    meta = stored.value_or(Meta{});
    persisted = meta;
    store->Scan(std::string_view(&kVoidRow, 1), {}, [this](std::string_view row, std::string_view) {
      void_keys.emplace(row.substr(1));
      return true;
    });
    store->Scan(std::string_view(&kControlRow, 1), {},
                [this](std::string_view row, std::string_view value) {
                  const std::string_view key = row.substr(1);
                  if (key.starts_with(kReleasePrefix)) {
                    releases.emplace(key);
                  } else {
                    fences.emplace(key, DecodeControl(value));
                  }
                  return true;
                });
  }
};

Table::Table(Options options, std::unique_ptr<LocalStore> store)
    : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
  state_->store = std::move(store);
  state_->Load();
}

Table::~Table() = default;

std::optional<TableEntry> Table::Apply(const Record& record) {
  State& s = *state_;
  if (record.offset < s.meta.next_offset) return std::nullopt;
  s.meta.next_offset = record.offset + 1;
  ++s.unpersisted;

  std::optional<TableEntry> result;
  if (IsControlKey(record.key)) {
    s.FoldControl(record);
  } else {
    std::string row = Row(kEntryRow, record.key);
    std::vector<std::string> old_rows;
    if (s.options.indexer) {
      if (const std::optional<std::string_view> old = s.FindEntry(record.key)) {
        old_rows = s.options.indexer(record.key, DecodeEntry(*old));
      }
    }
    TableEntry entry;
    entry.offset = record.offset;
    const std::optional<std::string_view> header = FindHeader(record.headers, kTokenHeader);
    // Without a token it is older than every fence.
    entry.token = header ? ParseToken(*header).value_or(Token{}) : Token{};
    entry.is_void = s.meta.newest_fence && entry.token < *s.meta.newest_fence &&
                    !IsFinishedAction(s.options.topic, record);
    entry.value = record.value.value_or(std::string());
    s.SetVoid(record.key, entry.is_void);
    if (record.value || entry.is_void) {
      s.SetIndexRows(
          record.key, std::move(old_rows),
          s.options.indexer ? s.options.indexer(record.key, entry) : std::vector<std::string>());
      s.entries.Set(std::move(row), EncodeEntry(entry));
      result = std::move(entry);
    } else {
      s.SetIndexRows(record.key, std::move(old_rows), {});
      s.entries.Set(std::move(row), std::nullopt);
    }
  }
  s.unpersisted_bytes += record.key.size() + (record.value ? record.value->size() : 0);
  if (!s.options.persists_when_told && (s.unpersisted >= s.options.unpersisted_entries_max ||
                                        s.unpersisted_bytes >= s.options.unpersisted_bytes_max)) {
    // store_status() has the result.
    static_cast<void>(Persist());
  }
  return result;
}

std::optional<TableEntryView> Table::Find(std::string_view key) const {
  const std::optional<std::string_view> row = state_->FindEntry(key);
  return row ? ViewOf(*row) : std::nullopt;
}

std::optional<TableEntry> Table::Get(std::string_view key) const {
  const std::optional<std::string_view> row = state_->FindEntry(key);
  if (!row) return std::nullopt;
  return DecodeEntry(*row);
}

void Table::Scan(std::string_view prefix, std::string_view from,
                 const std::function<bool(std::string_view, const TableEntry&)>& visit) const {
  state_->ScanEntries(prefix, from, [&visit](std::string_view row, std::string_view value) {
    return visit(row.substr(1), DecodeEntry(value));
  });
}

void Table::ScanViews(
    std::string_view prefix, std::string_view from,
    const std::function<bool(std::string_view, const TableEntryView&)>& visit) const {
  state_->ScanEntries(prefix, from, [&visit](std::string_view row, std::string_view value) {
    return visit(row.substr(1), ViewOf(value).value_or(TableEntryView()));
  });
}

void Table::ScanIndex(std::string_view prefix,
                      const std::function<bool(std::string_view, std::string_view)>& visit) const {
  state_->ScanIndex(prefix, [&visit](std::string_view row, std::string_view) {
    row.remove_prefix(1);
    const std::size_t end = row.rfind('\0');
    return visit(row.substr(0, end), row.substr(end + 1));
  });
}

const std::set<std::string>& Table::void_keys() const { return state_->void_keys; }

Offset Table::next_offset() const { return state_->meta.next_offset; }

void Table::AdvanceTo(Offset next) {
  if (next > state_->meta.next_offset) state_->meta.next_offset = next;
}

Offset Table::persisted_next_offset() const { return state_->persisted.next_offset; }

absl::Status Table::Persist() {
  State& s = *state_;
  std::vector<LocalStore::Write> writes;
  writes.reserve(s.entries.InOrder().size() + s.others.size());
  for (const Overlay::Row* const row : s.entries.InOrder()) {
    writes.push_back({row->first, row->second});
  }
  for (const auto& [row, value] : s.others) writes.push_back({row, value});
  s.store_status = s.store->Apply(writes, EncodeMeta(s.meta));
  if (s.store_status.ok()) {
    s.entries.Clear();
    s.others.clear();
    s.unpersisted = 0;
    s.unpersisted_bytes = 0;
    s.persisted = s.meta;
  }
  return s.store_status;
}

absl::Status Table::Clear() {
  State& s = *state_;
  s.entries.Clear();
  s.others.clear();
  s.unpersisted = 0;
  s.unpersisted_bytes = 0;
  s.void_keys.clear();
  s.fences.clear();
  s.releases.clear();
  s.meta = Meta{};
  s.persisted = Meta{};
  s.store_status = s.store->Clear();
  return s.store_status;
}

std::size_t Table::unpersisted() const { return state_->unpersisted; }

const absl::Status& Table::store_status() const { return state_->store_status; }

WallTime Table::complete_at() const { return state_->meta.complete_at; }

void Table::SetCompleteAt(WallTime at) { state_->meta.complete_at = at; }

WallTime Table::persisted_complete_at() const { return state_->persisted.complete_at; }

bool Table::rebuilding() const { return state_->meta.rebuilding; }

void Table::SetRebuilding(bool rebuilding) { state_->meta.rebuilding = rebuilding; }

std::optional<std::int64_t> Table::generation() const {
  if (state_->meta.generations.empty()) return std::nullopt;
  return state_->meta.generations.back();
}

bool Table::founded_after_loss() const { return state_->meta.founded_after_loss; }

bool Table::IsEmptySinceLoss() const {
  if (!founded_after_loss()) return false;
  bool has_new = false;
  ScanViews({}, {}, [&](std::string_view, const TableEntryView& entry) {
    has_new = entry.token.generation == generation();
    return !has_new;
  });
  return !has_new;
}

bool Table::IsOfLostLog(const TableEntry& entry) const {
  return founded_after_loss() && entry.token.generation < generation().value_or(0);
}

bool Table::has_folded_generation(std::int64_t generation) const {
  const std::vector<std::int64_t>& folded = state_->meta.generations;
  return std::find(folded.begin(), folded.end(), generation) != folded.end();
}

std::optional<Token> Table::newest_fence() const { return state_->meta.newest_fence; }

std::optional<Token> Table::newest_fence_before(const Token& fence) const {
  std::optional<Token> newest;
  for (const auto& [key, control] : state_->fences) {
    if (control.fence < fence && (!newest || *newest < control.fence)) newest = control.fence;
  }
  return newest;
}

bool Table::released(const Token& fence) const {
  if (state_->releases.contains(std::string(kReleasePrefix) + FormatToken(fence))) return true;
  for (const auto& [key, control] : state_->fences) {
    if (control.fence == fence) return control.founding;
  }
  return false;
}

std::vector<std::string> Table::old_control_keys() const {
  std::vector<std::string> keys;
  if (!state_->meta.newest_fence) return keys;
  const Token newest = *state_->meta.newest_fence;
  for (const auto& [key, control] : state_->fences) {
    if (control.fence != newest) keys.push_back(key);
  }
  const std::string own_release = std::string(kReleasePrefix) + FormatToken(newest);
  for (const std::string& key : state_->releases) {
    if (key != own_release) keys.push_back(key);
  }
  return keys;
}

}  // namespace tributary::eventlog
