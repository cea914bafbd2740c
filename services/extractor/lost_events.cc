#include <algorithm>

#include "libs/ids/keys.h"
#include "services/extractor/entity_times.h"
#include "services/extractor/stage.h"

// Rule 37: who has written `events` knows best that they were there. A transformer that has never
// committed a position in a lost one cannot tell it from one that nobody had written.

namespace tributary::extractor {
namespace {

using eventlog::Offset;
using eventlog::Topic;

constexpr Duration kLookInterval = std::chrono::seconds(10);

}  // namespace

void Extractor::ForEachEventsCursor(const Owned& owned, const OnCursor& each) {
  owner_.table(Topic::kCursors, owned.partition)
      ->Scan("", {}, [&](std::string_view key, const eventlog::TableEntry& entry) {
        const auto parts = ids::SplitKey(key);
        v1::Cursor cursor;
        if (!parts || parts->size() != 3 || parts->back() != Name(StreamKind::kEvents)) return true;
        // A void one says what was acknowledged to a dead owner. It is written again if it is
        // somebody's; nobody's would be told of at each start.
        if (entry.is_void && FindSite(SiteKey((*parts)[0], (*parts)[1])) == nullptr) return true;
        if (cursor.ParseFromString(entry.value)) each((*parts)[0], (*parts)[1], cursor);
        return true;
      });
}

// Of whatever generation they are: `events` has none.
void Extractor::LearnEventsEnd(Owned& owned) {
  ForEachEventsCursor(owned, [&](const std::string&, const std::string&, const v1::Cursor& cursor) {
    owned.events_end = std::max(owned.events_end, Offset{cursor.events_end()});
  });
}

void Extractor::AskForEventsEnd(Owned& owned) {
  owned.events_look_due = now_.steady + kLookInterval;
  // What was asked before may never be answered.
  owned.events_question = ++last_question_;
  owned.events_end_asked = owned.events_end;
  ports_.log.SampleEnd(owned.events_question, Topic::kEvents, owned.partition);
}

void Extractor::OnEventsEnd(const eventlog::EndSampled& sampled) {
  Owned* owned = FindOwned(sampled.partition);
  if (owned == nullptr || owned->events_question != sampled.id) return;
  owned->events_question = 0;
  if (!sampled.error.empty() || owned->is_revoking) return;
  if (sampled.end < owned->events_end_asked) OnEventsLost(*owned, sampled.end);
}

// One log gives what follows larger offsets.
void Extractor::OnEventAppended(Owned& owned, Offset offset) {
  if (!owned.events_asked_for.empty()) {
    owned.events_end_found = std::max(owned.events_end_found, offset + 1);
  } else if (offset < owned.events_end) {
    OnEventsLost(owned, offset + 1);
  } else {
    owned.events_end = offset + 1;
  }
}

void Extractor::OnEventsLost(Owned& owned, Offset end) {
  if (!owned.events_asked_for.empty()) return;  // they are being asked for already
  owned.events_end_found = end;
  ports_.logger.Log(Logger::Level::kError,
                    "The events were lost; they are read again from their sources.",
                    {{"partition", std::to_string(owned.partition)},
                     {"known", std::to_string(owned.events_end)},
                     {"end", std::to_string(end)}});
  const WallTime from = now_.wall - options_.action_age;
  ForEachEventsCursor(
      owned, [&](const std::string& tenant, const std::string& connection, const v1::Cursor&) {
        // By the log, as the transformer does it: it is remembered there until the walk has ended.
        v1::Notification notification;
        notification.set_connection(connection);
        notification.set_id("read-again@events-" + std::to_string(owned.events_end));
        SetTime(notification.mutable_read_events_again_from(), from);
        eventlog::RecordMeta meta;
        meta.id = ids::JoinKey({tenant, connection, notification.id()});
        meta.source = "/extractor";
        meta.type = "tributary.notification.v1";
        const eventlog::ProduceId id =
            owner_.Append(Topic::kNotifications, owned.partition, ids::EncodePart(tenant),
                          notification.SerializeAsString(), meta);
        if (id != 0) owned.events_asked_for.insert(id);
      });
  if (owned.events_asked_for.empty()) OnEventsAskedFor(owned);
}

void Extractor::OnEventsAskedFor(Owned& owned) {
  owned.events_end = owned.events_end_found;
  owned.events_question = 0;
  // Those of connections that are not linked are written when they are set back.
  for (const std::string& key : owned.sites) {
    FindSite(key)->connection.RestoreCursor(Name(StreamKind::kEvents));
  }
}

}  // namespace tributary::extractor
