#include "services/extractor/mirror.h"

#include <algorithm>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"

namespace tributary::extractor {
namespace {

auto OrderOf(const v1::ReadSequence& read) {
  return std::tuple(read.reader().generation(), read.reader().offset(), read.number());
}

auto OrderOf(const google::protobuf::Timestamp& time) {
  return std::tuple(time.seconds(), time.nanos());
}

std::optional<v1::Entity> EntityOf(const eventlog::TableEntry& entry) {
  v1::ChangeEvent change;
  if (!change.ParseFromString(entry.value)) return std::nullopt;
  return std::move(*change.mutable_entity());
}

bool SameCustomers(const v1::Entity& a, const v1::Entity& b) {
  return std::equal(a.customers().begin(), a.customers().end(), b.customers().begin(),
                    b.customers().end());
}

/// `read` of the entity of an encoded ChangeEvent, the rest of which is passed over. None: it is
/// not there, or the bytes are of something else.
std::optional<std::tuple<std::int64_t, std::int64_t, std::int64_t>> ReadOf(
    std::string_view change) {
  using google::protobuf::internal::WireFormatLite;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const std::uint8_t*>(change.data()),
                                            static_cast<int>(change.size()));
  constexpr auto kEntity = WireFormatLite::MakeTag(v1::ChangeEvent::kEntityFieldNumber,
                                                   WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  constexpr auto kRead = WireFormatLite::MakeTag(v1::Entity::kReadFieldNumber,
                                                 WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  // The entity comes first in what we write, and is gone into without a limit: its fields end where
  // what is looked for was found.
  std::uint32_t size = 0;
  if (in.ReadTag() != kEntity || !in.ReadVarint32(&size)) return std::nullopt;
  while (const std::uint32_t tag = in.ReadTag()) {
    if (tag != kRead) {
      if (!WireFormatLite::SkipField(&in, tag)) return std::nullopt;
      continue;
    }
    if (!in.ReadVarint32(&size)) return std::nullopt;
    const auto at = static_cast<std::size_t>(in.CurrentPosition());
    v1::ReadSequence read;
    if (size > change.size() - at ||
        !read.ParseFromArray(change.data() + at, static_cast<int>(size))) {
      return std::nullopt;
    }
    return OrderOf(read);
  }
  return std::nullopt;
}

/// A gone marker says what it was that is gone, as far as that was ever seen: who shows it to
/// customers can then tell that they do not have it any more. Of customers it would be their state.
void KeepLastSeen(v1::Entity& read, const v1::Entity& seen) {
  if (!read.gone() || !read.document().empty() || read.kind() == "customers") return;
  read.set_document(seen.document());
  read.set_document_hash(seen.document_hash());
}

/// Formerly = (formerly + then) without now.
void AddFormer(v1::Entity& read, const v1::Entity& known) {
  if (known.former_customers().empty() && read.former_customers().empty() &&
      SameCustomers(read, known)) {
    return;
  }
  std::set<std::string> former(read.former_customers().begin(), read.former_customers().end());
  former.insert(known.former_customers().begin(), known.former_customers().end());
  former.insert(known.customers().begin(), known.customers().end());
  for (const std::string& now : read.customers()) former.erase(now);
  read.clear_former_customers();
  for (const std::string& customer : former) read.add_former_customers(customer);
}

}  // namespace

eventlog::Table::Indexer UndecodableChanges() {
  // One message for all: its memory stays.
  return [change = std::make_shared<v1::ChangeEvent>()](std::string_view,
                                                        const eventlog::TableEntry& entry) {
    std::vector<std::string> rows;
    if (!entry.is_void && !change->ParseFromString(entry.value)) rows.emplace_back(kUndecodableRow);
    return rows;
  };
}

bool IsBefore(const v1::ReadSequence& a, const v1::ReadSequence& b) {
  return OrderOf(a) < OrderOf(b);
}

std::shared_ptr<const v1::Entity> Mirror::Find(std::string_view key) const {
  const auto own = unread_.find(key);
  if (own != unread_.end()) return own->second;
  const std::optional<eventlog::TableEntry> entry = table_.Get(key);
  if (!entry || entry->is_void) return nullptr;
  std::optional<v1::Entity> entity = EntityOf(*entry);
  return entity ? std::make_shared<const v1::Entity>(*std::move(entity)) : nullptr;
}

bool Mirror::is_unknown(std::string_view key) const {
  if (unread_.contains(key)) return false;
  const std::optional<eventlog::TableEntry> entry = table_.Get(key);
  return entry && (entry->is_void || !EntityOf(*entry));
}

v1::Entity Mirror::WithFormerCustomers(std::string_view key, v1::Entity read) const {
  const auto own = unread_.find(key);
  if (own != unread_.end()) {
    AddFormer(read, *own->second);
    return read;
  }
  // A void entry is no state, but naming a customer too many harms nobody (rule 34), nor does
  // saying what is gone.
  const std::optional<eventlog::TableEntry> entry = table_.Get(key);
  if (!entry) return read;
  if (const std::optional<v1::Entity> known = EntityOf(*entry)) {
    AddFormer(read, *known);
    KeepLastSeen(read, *known);
  }
  return read;
}

std::optional<v1::Entity> Mirror::Fold(std::string_view key, v1::Entity read, bool& is_contested) {
  is_contested = false;
  const std::shared_ptr<const v1::Entity> known = Find(key);
  if (!known) return WithFormerCustomers(key, std::move(read));
  AddFormer(read, *known);

  const bool says_otherwise = !known->gone() && IsBefore(read.read(), known->read()) &&
                              known->document_hash() != read.document_hash();
  const bool both_timed = known->has_updated_at() && read.has_updated_at();
  if (both_timed) {
    const auto read_time = OrderOf(read.updated_at());
    const auto known_time = OrderOf(known->updated_at());
    if (read_time < known_time) return std::nullopt;
    if (read_time == known_time && !IsBefore(known->read(), read.read())) {
      is_contested = says_otherwise;
      return std::nullopt;
    }
    // A row that is still shown in the second of its deletion was read before or shown late.
    if (known->gone() && !read.gone() && read_time == known_time) return std::nullopt;
  } else {
    if (!IsBefore(known->read(), read.read())) {
      is_contested = says_otherwise;
      return std::nullopt;
    }
    if (known->gone() && !read.gone()) return std::nullopt;
  }
  const bool same_time =
      known->has_updated_at() == read.has_updated_at() &&
      (!both_timed || OrderOf(known->updated_at()) == OrderOf(read.updated_at()));
  if (same_time) {
    const auto confirmed = confirmed_.find(key);
    if (confirmed != confirmed_.end() && IsBefore(read.read(), confirmed->second)) {
      is_contested = known->document_hash() != read.document_hash();
      return std::nullopt;
    }
  }
  if (same_time && known->gone() == read.gone() && known->document_hash() == read.document_hash() &&
      SameCustomers(*known, read)) {
    const auto [confirmed, is_first] = confirmed_.try_emplace(std::string(key), read.read());
    if (!is_first && IsBefore(confirmed->second, read.read())) confirmed->second = read.read();
    return std::nullopt;
  }
  return read;
}

void Mirror::OnProduced(std::string_view key, std::shared_ptr<const v1::Entity> entity) {
  unread_.insert_or_assign(std::string(key), std::move(entity));
  const auto confirmed = confirmed_.find(key);
  if (confirmed != confirmed_.end()) confirmed_.erase(confirmed);
}

bool Mirror::OnReadBack(std::string_view key, const std::optional<eventlog::TableEntry>& entry) {
  if (!entry || entry->is_void) return true;
  const auto own = unread_.find(key);
  // Of two own entries on their way the first comes back first.
  if (own != unread_.end() && ReadOf(entry->value) == OrderOf(own->second->read())) {
    unread_.erase(own);
    return true;
  }
  return EntityOf(*entry).has_value();
}

void Mirror::ForgetConfirmationsBelow(std::int64_t read_number) {
  std::erase_if(confirmed_, [&](const auto& item) { return item.second.number() < read_number; });
}

bool Mirror::HasAny(std::string_view prefix) const {
  const auto own = unread_.lower_bound(prefix);
  if (own != unread_.end() && own->first.starts_with(prefix)) return true;
  bool found = false;
  table_.Scan(prefix, {}, [&](std::string_view, const eventlog::TableEntry&) {
    found = true;
    return false;
  });
  return found;
}

void Mirror::Scan(std::string_view prefix,
                  const std::function<bool(std::string_view key, const v1::Entity&)>& visit) const {
  // The table first, into memory: what a visitor produces changes what is on its way.
  std::map<std::string, std::shared_ptr<const v1::Entity>, std::less<>> found;
  table_.Scan(prefix, {}, [&](std::string_view key, const eventlog::TableEntry& entry) {
    if (entry.is_void) return true;
    if (std::optional<v1::Entity> entity = EntityOf(entry)) {
      found.emplace(key, std::make_shared<const v1::Entity>(*std::move(entity)));
    }
    return true;
  });
  for (auto own = unread_.lower_bound(prefix);
       own != unread_.end() && own->first.starts_with(prefix); ++own) {
    found.insert_or_assign(own->first, own->second);
  }
  for (const auto& [key, entity] : found) {
    if (!visit(key, *entity)) return;
  }
}

}  // namespace tributary::extractor
