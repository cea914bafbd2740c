#include <algorithm>
#include <utility>

#include "libs/eventlog/owner_state.h"
#include "tributary/v1/log.pb.h"

namespace tributary::eventlog {
namespace {

// A stage has this long to bring what is open to entries; it aborts requests after 2 s (rule 13).
constexpr Duration kRevokeDeadline = std::chrono::seconds(5);

}  // namespace

void Owner::State::Suspend(Owned& o) {
  const Partition partition = o.partition;
  const bool is_going = o.phase == Phase::kRevoking || o.phase == Phase::kReleasing;
  Give(o);
  // What the group wants back is whoever's the fence is.
  if (!failure.empty() || is_going) return;
  auto state = std::make_unique<Owned>();
  state->partition = partition;
  state->serial = ++last_serial;
  state->phase = Phase::kSuspended;
  state->assigned_at = now.steady;
  state->problem = "another owner has fenced this partition";
  owned[partition] = std::move(state);
  if (renewal_id == 0) RequestLease();
}

void Owner::State::Give(Owned& o) {
  const Partition partition = o.partition;
  for (TableState& table : o.tables) {
    StopReading(o, table);
    // What was read back is true whoever owns it (rule 7). Not of those whose stage decides.
    if (!PersistsWhenTold(table.topic)) {
      static_cast<void>(table.table->Persist());
      CheckStore(table);
    }
  }
  for (const StreamState& stream : o.streams) {
    if (stream.is_following || stream.is_proving) log.StopReading(stream.topic, partition);
  }
  const bool was_told = o.serves();
  const auto found = owned.find(partition);
  graveyard.push_back(std::move(found->second));
  owned.erase(found);
  if (was_told) listener.OnGone(partition);
  if (revoking) {
    revoking->erase(partition);
    FinishRevokingIfDone();
  }
}

void Owner::State::FinishRevokingIfDone() {
  if (!revoking || !revoking->empty()) return;
  revoking.reset();
  log.FinishRevoking();
}

void Owner::State::Revoke(Owned& o) {
  if (o.phase == Phase::kRevoking || o.phase == Phase::kReleasing) return;
  if (o.phase != Phase::kReady) {
    // Whoever was never ready has not waited its predecessor out, and must not write a release:
    // the successor would take that for the end of the predecessor too.
    Give(o);
    return;
  }
  o.phase = Phase::kRevoking;
  o.revoke_deadline = now.steady + kRevokeDeadline;
  listener.OnRevoking(o.partition, o.revoke_deadline);
}

void Owner::State::ReleaseIfDone(Owned& o) {
  if (o.phase != Phase::kReleasing) return;
  if (o.open_writes != 0 || o.open_tombstones != 0) return;
  if (!o.release_wanted) {
    if (o.open_releases == 0) Give(o);
    return;
  }
  o.release_wanted = false;
  for (const Topic topic : options.writes) {
    const TableState& table = *o.Find(topic);
    v1::Release release;
    release.set_generation(table.token->generation);
    release.set_token(table.token->offset);
    Produce(&o, PendingKind::kRelease, topic, o.partition, "!r/" + table.token_text,
            release.SerializeAsString(), EntryHeaders(table.token_text));
    ++o.open_releases;
  }
  if (o.open_releases == 0) Give(o);
}

void Owner::State::RequestLease() {
  renewal_id = ++last_id;
  renewal_due = now.steady + (options.is_leased ? options.lease / 4 : kRetryDelay);
  log.RenewLease(renewal_id);
}

bool Owner::State::WantsLease() const {
  if (owned.empty()) return false;
  if (options.is_leased) return true;
  return std::any_of(owned.begin(), owned.end(),
                     [](const auto& entry) { return entry.second->phase == Phase::kSuspended; });
}

void Owner::State::RenewIfDue() {
  if (renewal_id != 0 || !WantsLease()) return;
  if (!renewal_due || now.steady >= *renewal_due) RequestLease();
}

bool Owner::State::LeaseIsOver() const {
  return !lease_sent_at || now.steady >= *lease_sent_at + options.lease;
}

void Owner::State::OnLease(const LeaseRenewed& fact) {
  if (fact.id != renewal_id) return;
  renewal_id = 0;
  lease_problem = fact.error;
  if (!fact.error.empty()) return;
  if (!lease_sent_at || *lease_sent_at < fact.sent_at) lease_sent_at = fact.sent_at;
  std::vector<Partition> confirmed;
  for (const auto& [partition, o] : owned) {
    if (o->phase == Phase::kSuspended && fact.sent_at >= o->assigned_at) {
      confirmed.push_back(partition);
    }
  }
  for (const Partition partition : confirmed) {
    owned.erase(partition);
    Begin(partition);
  }
}

void Owner::State::OnRevoking(const Revoking& fact) {
  revoking.emplace();
  for (const Partition partition : fact.partitions) {
    if (Find(partition) != nullptr) revoking->insert(partition);
  }
  for (const Partition partition : fact.partitions) {
    if (Owned* const o = Find(partition)) Revoke(*o);
    if (!failure.empty()) return;
  }
  FinishRevokingIfDone();
}

void Owner::State::OnLost(const Lost& fact) {
  for (const Partition partition : fact.partitions) {
    if (Owned* const o = Find(partition)) Give(*o);
  }
}

}  // namespace tributary::eventlog
