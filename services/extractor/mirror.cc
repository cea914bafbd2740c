#include "services/extractor/mirror.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "libs/changes/change_view.h"

namespace tributary::extractor {
namespace {

auto OrderOf(const v1::ReadSequence& read) {
  return std::tuple(read.reader().generation(), read.reader().offset(), read.number());
}

auto OrderOf(const google::protobuf::Timestamp& time) {
  return std::tuple(time.seconds(), time.nanos());
}

changes::ReadView ReadOf(const v1::Entity& entity) {
  const v1::ReadSequence& read = entity.read();
  return {read.reader().generation(), read.reader().offset(), read.number()};
}

template <typename Entry>
std::optional<v1::Entity> EntityOf(const Entry& entry) {
  v1::ChangeEvent change;
  if (!change.ParseFromArray(entry.value.data(), static_cast<int>(entry.value.size()))) {
    return std::nullopt;
  }
  return std::move(*change.mutable_entity());
}

bool SameCustomers(const v1::Entity& a, const v1::Entity& b) {
  return std::equal(a.customers().begin(), a.customers().end(), b.customers().begin(),
                    b.customers().end());
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

/// A void entry is no state, but naming a customer too many harms nobody (rule 34), nor does saying
/// what is gone.
void AddFrom(const eventlog::TableEntryView& entry, v1::Entity& read) {
  if (const std::optional<v1::Entity> known = EntityOf(entry)) {
    AddFormer(read, *known);
    KeepLastSeen(read, *known);
  }
}

}  // namespace

std::vector<std::string> IndexUndecodable(std::string_view, const eventlog::TableEntry& entry) {
  std::string own;
  if (entry.is_void || changes::ViewOf(entry.value, own)) return {};
  return {std::string(kUndecodableRow)};
}

bool IsBefore(const v1::ReadSequence& a, const v1::ReadSequence& b) {
  return OrderOf(a) < OrderOf(b);
}

std::shared_ptr<const v1::Entity> Mirror::Find(std::string_view key) const {
  const auto own = unread_.find(key);
  if (own != unread_.end()) return own->second;
  const std::optional<eventlog::TableEntryView> entry = table_.Find(key);
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
  } else if (const std::optional<eventlog::TableEntryView> entry = table_.Find(key)) {
    AddFrom(*entry, read);
  }
  return read;
}

bool Mirror::Fold(std::string_view key, v1::Entity& read, bool& is_contested) {
  is_contested = false;
  const auto own = unread_.find(key);
  std::shared_ptr<const v1::Entity> known;
  if (own != unread_.end()) {
    known = own->second;
  } else {
    const std::optional<eventlog::TableEntryView> entry = table_.Find(key);
    // Of a first read all are new.
    if (!entry) return true;
    std::optional<v1::Entity> entity = EntityOf(*entry);
    if (entry->is_void || !entity) {
      AddFrom(*entry, read);
      return true;
    }
    known = std::make_shared<const v1::Entity>(*std::move(entity));
  }
  AddFormer(read, *known);

  const bool says_otherwise = !known->gone() && IsBefore(read.read(), known->read()) &&
                              known->document_hash() != read.document_hash();
  const bool both_timed = known->has_updated_at() && read.has_updated_at();
  if (both_timed) {
    const auto read_time = OrderOf(read.updated_at());
    const auto known_time = OrderOf(known->updated_at());
    if (read_time < known_time) return false;
    if (read_time == known_time && !IsBefore(known->read(), read.read())) {
      is_contested = says_otherwise;
      return false;
    }
    const auto under_way = under_way_.find(key);
    if (read_time == known_time && under_way != under_way_.end() && !known->gone() &&
        !read.gone() && read.read().number() <= under_way->second &&
        known->document_hash() != read.document_hash()) {
      is_contested = true;
      return false;
    }
    // A row that is still shown in the second of its deletion was read before or shown late.
    if (known->gone() && !read.gone() && read_time == known_time) return false;
  } else {
    if (!IsBefore(known->read(), read.read())) {
      is_contested = says_otherwise;
      return false;
    }
    if (known->gone() && !read.gone()) return false;
  }
  const bool same_time =
      known->has_updated_at() == read.has_updated_at() &&
      (!both_timed || OrderOf(known->updated_at()) == OrderOf(read.updated_at()));
  if (same_time) {
    const auto confirmed = confirmed_.find(key);
    if (confirmed != confirmed_.end() && IsBefore(read.read(), confirmed->second)) {
      is_contested = known->document_hash() != read.document_hash();
      return false;
    }
  }
  if (same_time && known->gone() == read.gone() && known->document_hash() == read.document_hash() &&
      SameCustomers(*known, read)) {
    const auto [confirmed, is_first] = confirmed_.try_emplace(std::string(key), read.read());
    if (!is_first && IsBefore(confirmed->second, read.read())) confirmed->second = read.read();
    return false;
  }
  return true;
}

void Mirror::OnProduced(std::string_view key, std::shared_ptr<const v1::Entity> entity,
                        std::int64_t newest_under_way) {
  if (newest_under_way > entity->read().number()) {
    under_way_.insert_or_assign(std::string(key), newest_under_way);
  } else if (const auto known = under_way_.find(key); known != under_way_.end()) {
    under_way_.erase(known);
  }
  unread_.insert_or_assign(std::string(key), std::move(entity));
  const auto confirmed = confirmed_.find(key);
  if (confirmed != confirmed_.end()) confirmed_.erase(confirmed);
}

bool Mirror::OnReadBack(std::string_view key, const std::optional<eventlog::TableEntry>& entry) {
  if (!entry || entry->is_void) return true;
  std::string rewritten;
  const std::optional<changes::ChangeView> change = changes::ViewOf(entry->value, rewritten);
  if (!change) return false;
  const auto own = unread_.find(key);
  // Of two own entries on their way the first comes back first.
  if (own != unread_.end() && change->read == ReadOf(*own->second)) unread_.erase(own);
  return true;
}

void Mirror::ForgetReadsBelow(std::int64_t read_number) {
  std::erase_if(confirmed_, [&](const auto& item) { return item.second.number() < read_number; });
  std::erase_if(under_way_, [&](const auto& item) { return item.second < read_number; });
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
