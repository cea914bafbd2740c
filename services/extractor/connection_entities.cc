#include <algorithm>

#include "libs/ids/keys.h"
#include "services/extractor/connection.h"
#include "services/extractor/entity_times.h"

// From rows to entries of `changes`.

namespace tributary::extractor {

v1::Entity Connection::EntityOf(StreamKind kind, Row row, const v1::ReadSequence& read,
                                std::optional<WallTime> read_at) const {
  v1::Entity entity;
  entity.set_connection(identity_.name);
  entity.set_kind(std::string(Name(kind)));
  entity.set_id(std::move(row.id));
  std::sort(row.customers.begin(), row.customers.end());
  for (std::string& customer : row.customers) entity.add_customers(std::move(customer));
  if (row.updated_at) SetTime(entity.mutable_updated_at(), *row.updated_at);
  if (read_at) SetTime(entity.mutable_read_at(), *read_at);
  *entity.mutable_read() = read;
  const ids::Sha256Digest digest = ids::Sha256(row.document);
  entity.set_document_hash(digest.data(), 16);
  entity.set_document(std::move(row.document));
  const bool lacks_customers = entity.customers().empty() && !row.subscription.empty();
  if (!lacks_customers && kind != StreamKind::kComponents) return entity;
  const auto subscription = mirror_.Find(Key(StreamKind::kSubscriptions, row.subscription));
  if (!subscription) return entity;
  if (lacks_customers) *entity.mutable_customers() = subscription->customers();
  if (kind == StreamKind::kComponents && subscription->gone()) {
    entity.set_gone(true);
    if (Later(*subscription, entity)) *entity.mutable_updated_at() = subscription->updated_at();
  }
  return entity;
}

bool Connection::Take(Now now, StreamKind kind, v1::Entity&& entity, Track& acknowledged_by) {
  const std::string key = Key(kind, entity.id());
  bool is_contested = false;
  const bool is_news = mirror_.Fold(key, entity, is_contested);
  if (is_contested) Repair(kind, entity.id());
  if (!is_news) {
    // It is there; its components may not be, if whoever wrote it died in between.
    const auto known = kind == StreamKind::kSubscriptions ? mirror_.Find(key) : nullptr;
    if (known) CarryToComponents(now, *known, acknowledged_by);
    return false;
  }
  Produce(now, kind, key, std::move(entity), acknowledged_by);
  return true;
}

// A subscription's answer brings its components.
std::int64_t Connection::NewestUnderWay(StreamKind kind) const {
  std::int64_t newest = 0;
  for (const auto& [id, request] : requests_) {
    const StreamKind asked =
        request.what == InFlight::What::kById ? request.by_id.kind : request.kind;
    if (asked == kind || (kind == StreamKind::kComponents && asked == StreamKind::kSubscriptions)) {
      newest = std::max(newest, request.read.number());
    }
  }
  return newest;
}

void Connection::Produce(Now now, StreamKind kind, const std::string& key, v1::Entity&& entity,
                         Track& acknowledged_by) {
  const auto produced = std::make_shared<v1::Entity>(std::move(entity));
  v1::ChangeEvent change;
  change.set_first_read(!first_read_done());
  // Lent: what is written is what is kept until it is read back.
  change.unsafe_arena_set_allocated_entity(produced.get());
  const eventlog::ProduceId id = host_.WriteChange(key, change);
  static_cast<void>(change.unsafe_arena_release_entity());
  if (id == 0) return;
  acks_.emplace(id, Ack{.kind = acknowledged_by.kind, .page = acknowledged_by.page_serial});
  ++acknowledged_by.open_pages[acknowledged_by.page_serial];
  mirror_.OnProduced(key, produced, NewestUnderWay(kind));
  last_news_ = now.steady;
  has_news_ = true;
  if (kind == StreamKind::kComponents) has_components_ = true;
  if (kind == StreamKind::kSubscriptions) CarryToComponents(now, *produced, acknowledged_by);
}

void Connection::CarryToComponents(Now now, const v1::Entity& subscription,
                                   Track& acknowledged_by) {
  if (!has_components_) {
    // In a first read there are none yet, which a look at each subscription would cost much to say.
    has_components_ = mirror_.HasAny(Key(StreamKind::kComponents, ""));
  }
  if (!*has_components_) return;
  std::vector<std::pair<std::string, v1::Entity>> moved;
  mirror_.Scan(Key(StreamKind::kComponents, subscription.id() + "-"),
               [&](std::string_view key, const v1::Entity& component) {
                 const bool same =
                     std::equal(component.customers().begin(), component.customers().end(),
                                subscription.customers().begin(), subscription.customers().end());
                 if (same && (component.gone() || !subscription.gone())) return true;
                 moved.emplace_back(key, component);
                 return true;
               });
  for (auto& [key, component] : moved) {
    *component.mutable_customers() = subscription.customers();
    if (subscription.gone()) component.set_gone(true);
    if (subscription.gone() && Later(subscription, component)) {
      *component.mutable_updated_at() = subscription.updated_at();
    }
    *component.mutable_read() = host_.NextRead();
    bool is_contested = false;
    if (mirror_.Fold(key, component, is_contested)) {
      Produce(now, StreamKind::kComponents, key, std::move(component), acknowledged_by);
    }
  }
}

}  // namespace tributary::extractor
