#include <algorithm>

#include "libs/json/tree.h"
#include "libs/time/rfc3339.h"
#include "services/extractor/connection.h"
#include "services/extractor/entity_times.h"

// Entities that are read by their id: for events, and to repair what is unknown (rule 4).

namespace tributary::extractor {
namespace {

/// Answers 404 for what the lists show, before a kind counts as not offered by id.
constexpr int kMissingInARowMax = 3;
/// Failed reads of one entity before an event goes on with what is known of it.
constexpr int kReadFailuresMax = 6;

/// Numbers by their text, members in their order.
bool IsSame(const json::Node& a, const json::Node& b) {
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case json::Node::Kind::kNull:
    case json::Node::Kind::kFalse:
    case json::Node::Kind::kTrue:
      return true;
    case json::Node::Kind::kNumber:
    case json::Node::Kind::kString:
      return a.text() == b.text();
    case json::Node::Kind::kArray:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        IsSame);
    case json::Node::Kind::kObject:
      return std::equal(a.members().begin(), a.members().end(), b.members().begin(),
                        b.members().end(), [](const json::Member& left, const json::Member& right) {
                          return left.name == right.name && IsSame(left.value, right.value);
                        });
  }
  return false;
}

/// A read by id shows members that lists leave out, and the other way round (trap 41): only where
/// both have a member can they differ.
bool CommonMembersDiffer(std::string_view a, std::string_view b) {
  if (a == b) return false;
  json::Tree tree;
  const absl::StatusOr<json::Node> left = tree.Parse(a);
  const absl::StatusOr<json::Node> right = tree.Parse(b);
  if (!left.ok() || !right.ok() || left->kind() != json::Node::Kind::kObject) return true;
  for (const json::Member& member : left->members()) {
    const json::Node* const other = right->Find(member.name);
    if (other != nullptr && !IsSame(*other, member.value)) return true;
  }
  return false;
}

}  // namespace

void Connection::OnByIdAnswer(Now now, InFlight in_flight, const http::Completion& completion) {
  ById& by_id = in_flight.by_id;
  const StreamKind kind = by_id.kind;
  const auto index = static_cast<std::size_t>(kind);
  const std::string key = Key(kind, by_id.id);
  std::string problem;
  const auto resolve = [&](ReadResult result) {
    if (!by_id.for_event) return;
    results_[key] = std::move(result);
    by_id_problem_.clear();
    if (awaited_.erase(key) > 0 && awaited_.empty()) EmitBatch(now);
  };

  Verdict verdict = Judge(now, completion, in_flight, by_id.failures, by_id.not_before, problem);
  std::optional<Row> row;
  if (verdict == Verdict::kAnswer) {
    std::string why;
    if (kind == StreamKind::kComponents) {
      absl::StatusOr<RowPage> page = ParseList(kind, completion.body);
      if (page.ok()) {
        for (Row& each : page->rows) {
          if (each.id == by_id.id) row = std::move(each);
        }
        if (!row) verdict = Verdict::kMissing;
      } else {
        why = std::string(page.status().message());
      }
    } else {
      absl::StatusOr<Row> single = ParseSingle(kind, completion.body);
      if (single.ok() && single->id == by_id.id) {
        row = *std::move(single);
      } else {
        why = single.ok() ? "another entity than the one asked for"
                          : std::string(single.status().message());
      }
    }
    if (!why.empty()) {
      Track& stream = track(kind);
      const Instant not_before = stream.not_before;
      Malformed(now, stream, completion, why);
      stream.not_before = not_before;
      --stream.failures;
      ++by_id.failures;
      by_id.not_before = now.steady + Backoff(by_id.failures);
      problem = why;
      verdict = Verdict::kLater;
    }
  }
  if (row) {
    missing_in_a_row_[index] = 0;
    const std::string* date = http::FindHeader(completion.headers, "Date");
    v1::Entity entity =
        EntityOf(kind, *std::move(row), in_flight.read, date ? ParseHttpDate(*date) : std::nullopt);
    MirrorById(now, kind, entity);
    resolve({.entity = mirror_.WithFormerCustomers(key, std::move(entity))});
    return;
  }
  if (verdict == Verdict::kLater) {
    // An outage must not cost an event what it is about. But where the list was read whole or in
    // its window since, and does not show it either, waiting brings nothing.
    const Track& list = track(kind);
    const bool was_listed =
        list.ended_began && by_id.first_asked && *list.ended_began >= *by_id.first_asked + D();
    if (by_id.for_event && by_id.failures >= kReadFailuresMax &&
        (mirror_.Find(key) || was_listed)) {
      host_.Warn("An event goes on with what was known of its entity.",
                 {{"connection", identity_.name}, {"entity", key}, {"why", problem}});
      resolve({});
      return;
    }
    if (by_id.for_event && by_id.failures > 1) {
      by_id_problem_ =
          "an event waits for " + std::string(Name(kind)) + "/" + by_id.id + ": " + problem;
    }
    by_id_.push_back(by_id);
    return;
  }
  // Missing: gone, or not shown yet, or never offered by id.
  const auto known = mirror_.Find(key);
  if (known && !known->gone() && ++missing_in_a_row_[index] >= kMissingInARowMax) {
    missing_in_a_row_[index] = 0;
    not_offered_until_[index] = now.steady + options_.unavailable_retry;
  }
  if (by_id.for_repair && mirror_.is_unknown(key)) {
    OnRepairMissing(now, std::move(by_id), completion, in_flight.read);
    return;
  }
  resolve({});
}

void Connection::OnRepairMissing(Now now, ById by_id, const http::Completion& completion,
                                 const v1::ReadSequence& read) {
  const StreamKind kind = by_id.kind;
  Track& list = track(kind);
  if (!by_id.first_missing) {
    by_id.first_missing = now.steady;
    // The site may offer nothing by id: its list says what is there, read without a lower bound.
    list.wants_whole = true;
    list.due = std::min(list.due, now.steady);
    if (list.is_running) list.again = true;
  }
  const bool list_was_read = IsUnavailable(kind) || (list.whole_began && !list.wants_whole &&
                                                     *list.whole_began >= *by_id.first_missing);
  if (now.steady < *by_id.first_missing + D() || !list_was_read) {
    by_id.not_before = now.steady + std::max<Duration>(D() / 4, options_.retry_delay_min);
    by_id_.push_back(std::move(by_id));
    return;
  }
  v1::Entity gone;
  gone.set_connection(identity_.name);
  gone.set_kind(std::string(Name(kind)));
  gone.set_id(by_id.id);
  gone.set_gone(true);
  *gone.mutable_read() = read;
  if (kind == StreamKind::kCustomers) gone.add_customers(by_id.id);
  const std::string* date = http::FindHeader(completion.headers, "Date");
  if (const auto at = date ? ParseHttpDate(*date) : std::nullopt) {
    SetTime(gone.mutable_updated_at(), *at);
  }
  Take(now, kind, std::move(gone), track(StreamKind::kEvents));
}

void Connection::MirrorById(Now now, StreamKind kind, const v1::Entity& entity) {
  const std::string key = Key(kind, entity.id());
  Track& list = track(kind);
  const auto known = mirror_.Find(key);
  // Lists and reads by id show different members. The mirror keeps the shape of the list, and takes
  // a read by id only where the list would not bring what it shows.
  bool list_brings_it =
      kind != StreamKind::kComponents && !mirror_.is_unknown(key) && !IsUnavailable(kind);
  if (list_brings_it && list.cursor.has_lower_bound() && entity.has_updated_at() &&
      TimeOf(entity.updated_at()) < TimeOf(list.cursor.lower_bound())) {
    list_brings_it = false;
  }
  if (list_brings_it && (!known || Later(entity, *known))) return;
  if (kind != StreamKind::kComponents && known && !known->gone() && !Later(entity, *known) &&
      !CommonMembersDiffer(entity.document(), known->document())) {
    return;
  }
  Take(now, kind, v1::Entity(entity), track(StreamKind::kEvents));
}

}  // namespace tributary::extractor
