#include "services/extractor/mirror.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

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

/// Formerly = (formerly + then) without now.
void AddFormer(v1::Entity& read, const v1::Entity& known) {
  std::set<std::string> former(read.former_customers().begin(), read.former_customers().end());
  former.insert(known.former_customers().begin(), known.former_customers().end());
  former.insert(known.customers().begin(), known.customers().end());
  for (const std::string& now : read.customers()) former.erase(now);
  read.clear_former_customers();
  for (const std::string& customer : former) read.add_former_customers(customer);
}

bool SameCustomers(const v1::Entity& a, const v1::Entity& b) {
  return std::equal(a.customers().begin(), a.customers().end(), b.customers().begin(),
                    b.customers().end());
}

}  // namespace

bool IsBefore(const v1::ReadSequence& a, const v1::ReadSequence& b) {
  return OrderOf(a) < OrderOf(b);
}

std::optional<v1::Entity> Mirror::Find(std::string_view key) const {
  const auto own = unread_.find(key);
  if (own != unread_.end()) return own->second;
  const std::optional<eventlog::TableEntry> entry = table_.Get(key);
  if (!entry || entry->is_void) return std::nullopt;
  return EntityOf(*entry);
}

bool Mirror::is_void(std::string_view key) const {
  if (unread_.contains(key)) return false;
  const std::optional<eventlog::TableEntry> entry = table_.Get(key);
  return entry && entry->is_void;
}

v1::Entity Mirror::WithFormerCustomers(std::string_view key, v1::Entity read) const {
  const auto own = unread_.find(key);
  if (own != unread_.end()) {
    AddFormer(read, own->second);
    return read;
  }
  // A void entry is no state, but naming a customer too many harms nobody (rule 34).
  const std::optional<eventlog::TableEntry> entry = table_.Get(key);
  if (!entry) return read;
  if (const std::optional<v1::Entity> known = EntityOf(*entry)) AddFormer(read, *known);
  return read;
}

std::optional<v1::Entity> Mirror::Fold(std::string_view key, v1::Entity read) {
  const std::optional<v1::Entity> known = Find(key);
  read = WithFormerCustomers(key, std::move(read));
  if (!known) return read;

  const bool both_timed = known->has_updated_at() && read.has_updated_at();
  if (both_timed) {
    const auto read_time = OrderOf(read.updated_at());
    const auto known_time = OrderOf(known->updated_at());
    if (read_time < known_time) return std::nullopt;
    if (read_time == known_time && !IsBefore(known->read(), read.read())) return std::nullopt;
    // A row that is still shown in the second of its deletion was read before or shown late.
    if (known->gone() && !read.gone() && read_time == known_time) return std::nullopt;
  } else {
    if (!IsBefore(known->read(), read.read())) return std::nullopt;
    if (known->gone() && !read.gone()) return std::nullopt;
  }
  const bool same_time = known->has_updated_at() == read.has_updated_at() &&
                         (!both_timed || OrderOf(known->updated_at()) == OrderOf(read.updated_at()));
  if (same_time) {
    const auto confirmed = confirmed_.find(key);
    if (confirmed != confirmed_.end() && IsBefore(read.read(), confirmed->second)) {
      return std::nullopt;
    }
  }
  if (same_time && known->gone() == read.gone() &&
      known->document_hash() == read.document_hash() && SameCustomers(*known, read)) {
    const auto [confirmed, is_first] = confirmed_.try_emplace(std::string(key), read.read());
    if (!is_first && IsBefore(confirmed->second, read.read())) confirmed->second = read.read();
    return std::nullopt;
  }
  return read;
}

void Mirror::OnProduced(std::string_view key, const v1::Entity& entity) {
  unread_.insert_or_assign(std::string(key), entity);
  const auto confirmed = confirmed_.find(key);
  if (confirmed != confirmed_.end()) confirmed_.erase(confirmed);
}

void Mirror::OnReadBack(std::string_view key, const std::optional<eventlog::TableEntry>& entry) {
  if (!entry || entry->is_void) return;
  const auto own = unread_.find(key);
  if (own == unread_.end()) return;
  const std::optional<v1::Entity> came_back = EntityOf(*entry);
  if (!came_back) return;
  // Of two own entries on their way the first comes back first.
  if (OrderOf(came_back->read()) == OrderOf(own->second.read())) unread_.erase(own);
}

void Mirror::ForgetConfirmationsBelow(std::int64_t read_number) {
  std::erase_if(confirmed_,
                [&](const auto& item) { return item.second.number() < read_number; });
}

void Mirror::Scan(
    std::string_view prefix,
    const std::function<bool(std::string_view key, const v1::Entity&)>& visit) const {
  // The table first, into memory: what a visitor produces changes what is on its way.
  std::map<std::string, v1::Entity, std::less<>> found;
  table_.Scan(prefix, {}, [&](std::string_view key, const eventlog::TableEntry& entry) {
    if (entry.is_void) return true;
    if (std::optional<v1::Entity> entity = EntityOf(entry)) {
      found.emplace(key, *std::move(entity));
    }
    return true;
  });
  for (auto own = unread_.lower_bound(prefix);
       own != unread_.end() && own->first.starts_with(prefix); ++own) {
    found.insert_or_assign(own->first, own->second);
  }
  for (const auto& [key, entity] : found) {
    if (!visit(key, entity)) return;
  }
}

}  // namespace tributary::extractor
