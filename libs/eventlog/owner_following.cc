#include <algorithm>
#include <utility>

#include "libs/eventlog/owner_state.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

// While a copy is read for the first time it becomes durable in pieces of this size.
constexpr std::size_t kRebuildPieceEntries = 1000;

bool BelongsToTheLog(std::string_view key) {
  return key.starts_with('!') && !key.starts_with("!b/");
}

}  // namespace

void Owner::State::SendCommit(Owned& o, Topic topic, CommitState& commit) {
  commit.id = ++last_id;
  commit.sent = commit.wanted;
  commit.retry_at.reset();
  log.Commit(commit.id, topic, o.partition, commit.sent, MarkOf(o, topic));
}

std::string Owner::State::MarkOf(const Owned& o, Topic topic) {
  LogMark mark;
  if (const StreamState* const stream = o.FindStream(topic)) {
    mark.seen = stream->newest;
  } else {
    mark.generation = o.generation;
  }
  return FormatMark(mark);
}

void Owner::State::NoteAnswer(Owned& o, std::string_view question, Topic topic,
                              const std::string& error) {
  if (error.empty() && o.refused.empty()) return;
  const std::string asked = std::string(question) + " " + std::string(Name(topic));
  if (error.empty()) {
    o.refused.erase(asked);
  } else {
    o.refused[asked] = error;
  }
}

void Owner::State::OnCommitDone(const CommitDone& fact) {
  for (const auto& [partition, o] : owned) {
    for (auto& [topic, commit] : o->commits) {
      if (commit.id != fact.id) continue;
      o->due.reset();
      commit.id = 0;
      NoteAnswer(*o, "committing", topic, fact.error);
      if (!fact.error.empty()) {
        commit.retry_at = now.steady + kRetryDelay;
        return;
      }
      commit.done = commit.sent;
      if (commit.wanted > commit.done) SendCommit(*o, topic, commit);
      return;
    }
  }
}

void Owner::State::OnProduced(const Produced& fact) {
  if (fact.id < first_pending || fact.id - first_pending >= pending.size()) return;
  const Pending produced =
      std::exchange(pending[static_cast<std::size_t>(fact.id - first_pending)], Pending());
  while (!pending.empty() && pending.front().kind == PendingKind::kNone) {
    pending.pop_front();
    ++first_pending;
  }
  if (produced.kind == PendingKind::kNone) return;
  if (!fact.error.empty()) {
    Fail("produce failed: " + fact.error);
    return;
  }
  if (produced.kind == PendingKind::kForeign) {
    listener.OnWritten(fact.id, fact.offset);
    return;
  }
  Owned* const o = Find(produced.partition);
  // Of an ownership before this one.
  if (o == nullptr || o->serial != produced.serial) return;
  if (!StandsInOrder(*o, produced, fact)) return;
  switch (produced.kind) {
    case PendingKind::kFence:
      if (o->fence_id == fact.id) OnFenceWritten(*o, fact.offset);
      return;
    case PendingKind::kTombstone:
      --o->open_tombstones;
      break;
    case PendingKind::kRelease:
      --o->open_releases;
      break;
    case PendingKind::kWrite:
      --o->open_writes;
      listener.OnWritten(fact.id, fact.offset);
      if (!Lives(*o)) return;
      break;
    case PendingKind::kNone:
    case PendingKind::kForeign:
      return;
  }
  ReleaseIfDone(*o);
}

bool Owner::State::StandsInOrder(Owned& o, const Pending& produced, const Produced& fact) {
  Owned::Acknowledged& last = o.acknowledged[static_cast<std::size_t>(produced.topic)];
  if ((fact.id > last.id) != (fact.offset > last.offset)) {
    Fail("rule 5: record " + std::to_string(fact.id) + " of " + std::string(Name(produced.topic)) +
         " stands at " + std::to_string(fact.offset) + ", and record " + std::to_string(last.id) +
         " at " + std::to_string(last.offset));
    return false;
  }
  if (fact.id > last.id) last = {fact.id, fact.offset};
  return true;
}

void Owner::State::OnFetched(const Fetched& fact) {
  const std::uint64_t epoch = reading_epoch;
  std::vector<Partition> touched;
  for (const Record& record : fact.records) {
    if (!failure.empty()) return;
    Owned* const o = Find(record.partition);
    if (o == nullptr) continue;
    if (touched.empty() || touched.back() != record.partition) touched.push_back(record.partition);
    if (!IsTable(record.topic)) {
      StreamState* const stream = o->FindStream(record.topic);
      if (stream == nullptr) continue;
      if (stream->is_proving) {
        OnProof(*o, *stream, LogMark::Seen{record.offset, record.appended_at});
        continue;
      }
      if (!stream->is_following || record.offset < stream->next) continue;
      stream->next = record.offset + 1;
      stream->newest = {record.offset, record.appended_at};
      listener.OnStreamRecord(record);
      continue;
    }
    TableState* const table = o->Find(record.topic);
    // What is left of a batch whose reading has ended in the middle of it is not wanted.
    if (table == nullptr || table->reading_since > epoch) continue;
    if (table->reading == Reading::kProbing) {
      ProbeFounding(*o, *table, record);
    } else if (table->reading == Reading::kFolding) {
      Fold(*o, *table, record);
    }
  }
  std::sort(touched.begin(), touched.end());
  touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
  for (const Partition partition : touched) {
    Owned* const o = Find(partition);
    if (o == nullptr || !failure.empty()) continue;
    for (TableState& table : o->tables) CheckReached(*o, table);
    Advance(*o);
  }
}

void Owner::State::Fold(Owned& o, TableState& table, const Record& record) {
  Table& t = *table.table;
  if (record.offset < t.next_offset()) return;
  if (o.serves() && !BelongsToTheLog(record.key)) {
    listener.OnReplacing(table.topic, o.partition, record.key);
  }
  const std::optional<TableEntry> entry = t.Apply(record);
  if (!o.serves() && PersistsWhenTold(table.topic) && t.unpersisted() >= kRebuildPieceEntries) {
    static_cast<void>(t.Persist());
  }
  CheckStore(table);
  if (!failure.empty()) return;
  CheckFounded(o, table);
  if (record.key == "!g" && o.phase != Phase::kFounding && t.generation() != o.generation) {
    Restart(o);
    return;
  }
  if (IsUsurped(table)) {
    Suspend(o);
    return;
  }
  if (!o.serves()) return;
  if (o.phase == Phase::kReady && table.is_reached &&
      now.wall - record.appended_at > options.min_compaction_lag / 2) {
    // Rule 9: what is read now may have holes; derive and send after the next sampled end.
    o.is_behind = true;
    table.is_reached = false;
    table.target.reset();
    Sample(o, table, SampleOf::kEnd);
  }
  if (!BelongsToTheLog(record.key)) {
    listener.OnEntry(table.topic, o.partition, record.key, entry);
  }
}

void Owner::State::Restart(Owned& o) {
  const Partition partition = o.partition;
  const bool is_going = o.phase == Phase::kRevoking || o.phase == Phase::kReleasing;
  Give(o);
  // What the group wants back goes to somebody else now.
  if (failure.empty() && !is_draining && !is_going) Begin(partition);
}

void Owner::State::OnCaughtUp(const CaughtUp& fact) {
  Owned* const o = Find(fact.partition);
  if (o == nullptr) return;
  if (StreamState* const stream = o->FindStream(fact.topic)) {
    if (!stream->is_proving) return;
    if (fact.next <= o->committed[fact.topic].mark.seen->offset) {
      Restart(*o);  // It ends before where it ended: it was lost meanwhile.
      return;
    }
    OnProof(*o, *stream, std::nullopt);
    Advance(*o);
    return;
  }
  TableState* const table = o->Find(fact.topic);
  if (table == nullptr || table->reading == Reading::kNone) return;
  if (!table->is_founded && fact.next < table->founding_end) {
    // The topic ends in front of where it ended before reading began: it was made anew.
    StopReading(*o, *table);
    Discard(*table);
    Sample(*o, *table, SampleOf::kFounding);
    return;
  }
  if (table->reading == Reading::kProbing) {
    if (fact.next >= table->founding_end) NotFounded(*o, *table);
    return;
  }
  table->table->AdvanceTo(fact.next);
  CheckFounded(*o, *table);
  CheckReached(*o, *table);
  Advance(*o);
}

void Owner::State::OnOutOfRange(const OutOfRange& fact) {
  Owned* const o = Find(fact.partition);
  if (o == nullptr) return;
  if (StreamState* const stream = o->FindStream(fact.topic)) {
    // Rule 37: what is missing is found when the partition is taken over anew.
    if (stream->is_following || stream->is_proving) Restart(*o);
    return;
  }
  TableState* const table = o->Find(fact.topic);
  if (table == nullptr || table->reading == Reading::kNone) return;
  if (o->phase == Phase::kFounding) {
    table->reading = Reading::kNone;
    table->is_founded = false;
    Discard(*table);
    Sample(*o, *table, SampleOf::kFounding);
    return;
  }
  // The topic under a running owner was cut or made anew, or under one whose fence is on its way.
  Discard(*table);
  Restart(*o);
}

void Owner::State::OnEndSampled(const EndSampled& fact) {
  Owned* const o = Find(fact.partition);
  if (o == nullptr) return;
  if (StreamState* const stream = o->FindStream(fact.topic)) {
    if (stream->sample_id != fact.id) return;
    stream->sample_id = 0;
    NoteAnswer(*o, "the end of", fact.topic, fact.error);
    if (!fact.error.empty()) {
      stream->sample_due = now.steady + kRetryDelay;
      return;
    }
    stream->is_sampled = true;
    stream->begin = fact.begin;
    stream->end = fact.end;
    Advance(*o);
    return;
  }
  TableState* const table = o->Find(fact.topic);
  if (table == nullptr || table->sample_id != fact.id) return;
  const SampleOf purpose = table->sample_of;
  table->sample_id = 0;
  table->sample_of = SampleOf::kNothing;
  NoteAnswer(*o, "the end of", fact.topic, fact.error);
  if (!fact.error.empty()) {
    SampleLater(*table, purpose, kRetryDelay);
    return;
  }
  if (purpose == SampleOf::kFounding) {
    OnFoundingSample(*o, *table, fact);
    return;
  }
  table->target = fact.end;
  table->target_sampled_at = table->sample_sent_at;
  table->target_sampled_wall = table->sample_sent_wall;
  table->last_end = fact.end;
  if (o->serves()) SampleLater(*table, SampleOf::kEnd, SampleInterval());
  CheckReached(*o, *table);
  Advance(*o);
}

void Owner::State::OnCommittedOffset(const CommittedOffset& fact) {
  Owned* const o = Find(fact.partition);
  if (o == nullptr) return;
  const auto found = o->committed.find(fact.topic);
  if (found == o->committed.end() || found->second.id != fact.id) return;
  CommittedState& committed = found->second;
  committed.id = 0;
  NoteAnswer(*o, "the position in", fact.topic, fact.error);
  if (!fact.error.empty()) {
    committed.due = now.steady + kRetryDelay;
    return;
  }
  committed.is_known = true;
  committed.next = fact.next;
  committed.mark = ParseMark(fact.mark);
  Advance(*o);
}

Instant Owner::State::DueOf(Owned& o) const {
  if (o.due) return *o.due;
  Instant next = Instant::max();
  const auto at = [&next](const std::optional<Instant>& time) {
    if (time) next = std::min(next, *time);
  };
  at(o.restart_at);
  for (const TableState& table : o.tables) {
    if (table.sample_id == 0) at(table.sample_due);
  }
  for (const StreamState& stream : o.streams) at(stream.sample_due);
  for (const auto& [topic, committed] : o.committed) at(committed.due);
  for (const auto& [topic, commit] : o.commits) at(commit.retry_at);
  if (o.phase == Phase::kWaiting) at(o.wait_until);
  if (o.phase == Phase::kRevoking || o.phase == Phase::kReleasing) at(o.revoke_deadline);
  if (o.phase == Phase::kReady) at(o.housekeeping_due);
  o.due = next;
  return next;
}

void Owner::State::Tick(Owned& o) {
  if (o.restart_at && now.steady >= *o.restart_at) {
    Restart(o);
    return;
  }
  for (TableState& table : o.tables) {
    if (table.sample_due && now.steady >= *table.sample_due && table.sample_id == 0) {
      Sample(o, table, table.due_of);
    }
  }
  for (StreamState& stream : o.streams) {
    if (stream.sample_due && now.steady >= *stream.sample_due) SampleStream(o, stream);
  }
  for (auto& [topic, committed] : o.committed) {
    if (committed.due && now.steady >= *committed.due) FetchCommitted(o, topic);
  }
  for (auto& [topic, commit] : o.commits) {
    if (commit.retry_at && now.steady >= *commit.retry_at) SendCommit(o, topic, commit);
  }
  if (o.phase == Phase::kWaiting && now.steady >= o.wait_until) {
    // Rule 12: not the ends of t0; the old owner has written intents and sent until now.
    StartReadingToTheEnd(o, Phase::kRereading);
    return;
  }
  if ((o.phase == Phase::kRevoking || o.phase == Phase::kReleasing) &&
      now.steady >= o.revoke_deadline) {
    // Without a release: the successor takes it as unclean.
    Give(o);
    return;
  }
  if (o.phase == Phase::kReady && now.steady >= o.housekeeping_due) {
    o.housekeeping_due = now.steady + kHousekeepingInterval;
    KeepHouse(o);
  }
}

void Owner::State::KeepHouse(Owned& o) {
  for (TableState& table : o.tables) {
    Table& t = *table.table;
    const bool is_aging =
        t.complete_at() - t.persisted_complete_at() > options.delete_retention / 16;
    if (PersistsWhenTold(table.topic) ? (t.unpersisted() == 0 && is_aging)
                                      : (t.unpersisted() > 0 || is_aging)) {
      static_cast<void>(t.Persist());
      CheckStore(table);
    }
    if (!table.is_written || o.is_behind || !t.void_keys().empty()) continue;
    // Rule 2: nothing void is left, so no reader needs the older fences.
    for (std::string& key : t.old_control_keys()) {
      if (!table.tombstoned.insert(key).second) continue;
      Produce(&o, PendingKind::kTombstone, table.topic, o.partition, std::move(key), std::nullopt,
              EntryHeaders(table.token_text));
      ++o.open_tombstones;
    }
  }
}

}  // namespace tributary::eventlog
