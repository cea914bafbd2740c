#include "libs/eventlog/owner.h"

#include <algorithm>
#include <utility>

#include "libs/eventlog/owner_state.h"
#include "libs/ids/keys.h"

namespace tributary::eventlog {

Owner::Owner(OwnerOptions options, LogPort& log, LocalStores& stores, RandomSource random,
             OwnerListener& listener)
    : state_(
          std::make_unique<State>(std::move(options), log, stores, std::move(random), listener)) {}

Owner::~Owner() = default;

void Owner::OnFact(Now now, const Fact& fact) {
  State& s = *state_;
  s.now = now;
  if (!s.failure.empty()) return;
  struct Visitor {
    State& s;
    void operator()(const Assigned& f) const { s.OnAssigned(f); }
    void operator()(const Revoking& f) const { s.OnRevoking(f); }
    void operator()(const Lost& f) const { s.OnLost(f); }
    void operator()(const Produced& f) const { s.OnProduced(f); }
    void operator()(const Fetched& f) const { s.OnFetched(f); }
    void operator()(const CaughtUp& f) const { s.OnCaughtUp(f); }
    void operator()(const OutOfRange& f) const { s.OnOutOfRange(f); }
    void operator()(const EndSampled& f) const { s.OnEndSampled(f); }
    void operator()(const CommittedOffset& f) const { s.OnCommittedOffset(f); }
    void operator()(const CommitDone& f) const { s.OnCommitDone(f); }
    void operator()(const LeaseRenewed& f) const { s.OnLease(f); }
    void operator()(const Failed& f) const { s.Fail(f.error); }
  };
  std::visit(Visitor{s}, fact);
  s.graveyard.clear();
}

void Owner::OnTick(Now now) {
  State& s = *state_;
  s.now = now;
  if (!s.failure.empty()) return;
  s.RenewIfDue();
  std::vector<Partition> due;
  for (const auto& [partition, o] : s.owned) {
    if (s.DueOf(*o) <= now.steady) due.push_back(partition);
  }
  for (const Partition partition : due) {
    if (!s.failure.empty()) break;
    if (Owned* const o = s.Find(partition)) s.Tick(*o);
  }
  s.graveyard.clear();
}

Instant Owner::next_tick() const {
  State& s = *state_;
  Instant next = Instant::max();
  if (!s.failure.empty()) return next;
  if (s.renewal_id == 0 && s.WantsLease() && s.renewal_due) next = *s.renewal_due;
  for (const auto& [partition, o] : s.owned) next = std::min(next, s.DueOf(*o));
  return next;
}

ProduceId Owner::Write(Topic topic, Partition partition, std::string_view key,
                       std::optional<std::string> value, std::string_view traceparent) {
  State& s = *state_;
  Owned* const o = s.Find(partition);
  if (o == nullptr || !s.failure.empty()) return 0;
  if (o->phase != Phase::kReady && o->phase != Phase::kRevoking) return 0;
  const TableState* const table = o->Find(topic);
  if (table == nullptr || !table->is_written) return 0;
  const ProduceId id = s.Produce(o, PendingKind::kWrite, topic, partition, std::string(key),
                                 std::move(value), EntryHeaders(table->token_text, traceparent));
  ++o->open_writes;
  return id;
}

ProduceId Owner::Append(Topic topic, Partition partition, std::string_view key,
                        std::optional<std::string> value, const RecordMeta& meta) {
  State& s = *state_;
  if (!s.failure.empty()) return 0;
  if (topic == Topic::kNotifications) {
    // Any extractor receives any tenant's webhooks.
    return s.Produce(nullptr, PendingKind::kForeign, topic, partition, std::string(key),
                     std::move(value), ToHeaders(meta));
  }
  Owned* const o = s.Find(partition);
  if (o == nullptr) return 0;
  if (o->phase != Phase::kReady && o->phase != Phase::kRevoking) return 0;
  if (IsTable(topic)) {
    if (topic != Topic::kCommands || value) return 0;
    const std::optional<ids::CommandKey> parsed = ids::ParseCommandKey(key);
    if (!parsed || parsed->kind != ids::CommandKey::Kind::kAction) return 0;
  }
  const ProduceId id = s.Produce(o, PendingKind::kWrite, topic, partition, std::string(key),
                                 std::move(value), IsTable(topic) ? Headers() : ToHeaders(meta));
  ++o->open_writes;
  return id;
}

const Table* Owner::table(Topic topic, Partition partition) const {
  const Owned* const o = std::as_const(*state_).Find(partition);
  if (o == nullptr) return nullptr;
  const TableState* const table = o->Find(topic);
  return table == nullptr ? nullptr : table->table.get();
}

bool Owner::ready(Partition partition) const {
  const Owned* const o = std::as_const(*state_).Find(partition);
  return o != nullptr && state_->failure.empty() && o->phase == Phase::kReady && !o->is_behind &&
         o->problem.empty();
}

std::vector<Partition> Owner::partitions() const {
  std::vector<Partition> out;
  for (const auto& [partition, o] : state_->owned) out.push_back(partition);
  return out;
}

bool Owner::all_ready() const {
  return state_->failure.empty() &&
         std::all_of(state_->owned.begin(), state_->owned.end(),
                     [this](const auto& entry) { return ready(entry.first); });
}

std::vector<std::string> Owner::not_ready_because() const {
  const State& s = *state_;
  std::vector<std::string> out;
  if (!s.failure.empty()) out.push_back(s.failure);
  if (!s.has_joined && !s.is_draining) out.emplace_back("joining the group");
  // One renewal that fails is nothing; what sends nothing any more must say why.
  if (s.options.is_leased && !s.owned.empty() && !s.lease_problem.empty() && s.LeaseIsOver()) {
    out.push_back("its lease cannot be renewed: " + s.lease_problem);
  }
  for (const auto& [partition, o] : s.owned) {
    if (ready(partition)) continue;
    std::string why = o->problem;
    if (why.empty()) {
      switch (o->phase) {
        case Phase::kFounding:
          why = "looking whether the topics have been set up";
          break;
        case Phase::kFencing:
          why = "fencing its tables";
          break;
        case Phase::kReading:
        case Phase::kRereading:
        case Phase::kReady:
          why = "reading";
          for (const TableState& table : o->tables) {
            if (!table.is_reached) why += " " + std::string(Name(table.topic));
          }
          break;
        case Phase::kWaiting:
          why = "waiting until its last owner can send no more";
          break;
        case Phase::kRevoking:
        case Phase::kReleasing:
          why = "being handed over";
          break;
        case Phase::kSuspended:
          why = "another owner has fenced it";
          break;
      }
    }
    for (const auto& [asked, error] : o->refused) why += "; " + asked + ": " + error;
    out.push_back("partition " + std::to_string(partition) + ": " + why);
  }
  return out;
}

bool Owner::may_send(Now now, Partition partition) const {
  if (!ready(partition)) return false;
  if (!state_->options.is_leased) return true;
  const Owned* const o = std::as_const(*state_).Find(partition);
  return state_->lease_sent_at && *state_->lease_sent_at >= o->assigned_at &&
         now.steady < *state_->lease_sent_at + state_->options.lease;
}

absl::Status Owner::Persist(Topic topic, Partition partition) {
  Owned* const o = state_->Find(partition);
  TableState* const table = o == nullptr ? nullptr : o->Find(topic);
  if (table == nullptr) {
    return absl::FailedPreconditionError("partition " + std::to_string(partition) +
                                         " is not owned");
  }
  const absl::Status status = table->table->Persist();
  state_->CheckStore(*table);
  return status;
}

void Owner::Commit(Topic topic, Partition partition, Offset next) {
  State& s = *state_;
  Owned* const o = s.Find(partition);
  if (o == nullptr || !s.failure.empty() || !o->serves()) return;
  CommitState& commit = o->commits[topic];
  if (next <= commit.wanted) return;
  commit.wanted = next;
  if (commit.id == 0 && !commit.retry_at) s.SendCommit(*o, topic, commit);
}

void Owner::Pause(Topic topic, Partition partition) {
  if (state_->Find(partition) != nullptr) state_->log.PauseReading(topic, partition);
}

void Owner::Resume(Topic topic, Partition partition) {
  if (state_->Find(partition) != nullptr) state_->log.ResumeReading(topic, partition);
}

void Owner::Release(Partition partition) {
  State& s = *state_;
  Owned* const o = s.Find(partition);
  if (o == nullptr || o->phase != Phase::kRevoking || !s.failure.empty()) return;
  o->phase = Phase::kReleasing;
  o->release_wanted = true;
  s.ReleaseIfDone(*o);
}

void Owner::ReleaseAll(Now now) {
  State& s = *state_;
  s.now = now;
  s.is_draining = true;
  if (!s.failure.empty()) return;
  for (const Partition partition : partitions()) {
    if (Owned* const o = s.Find(partition)) s.Revoke(*o);
  }
}

const std::string& Owner::failure() const { return state_->failure; }

Owner::Standing Owner::standing(Now now) const {
  Standing standing;
  for (const Partition partition : partitions()) {
    if (ready(partition)) ++standing.ready_partitions;
  }
  if (state_->options.is_leased && state_->lease_sent_at) {
    standing.lease_left =
        std::max(Duration::zero(), *state_->lease_sent_at + state_->options.lease - now.steady);
  }
  return standing;
}

std::int64_t Owner::lag(Topic topic, Partition partition) const {
  const Owned* const o = std::as_const(*state_).Find(partition);
  if (o == nullptr) return 0;
  if (const TableState* const table = o->Find(topic)) {
    return std::max<std::int64_t>(0, table->last_end - table->table->next_offset());
  }
  if (const StreamState* const stream = o->FindStream(topic)) {
    return std::max<std::int64_t>(0, stream->end - stream->next);
  }
  return 0;
}

}  // namespace tributary::eventlog
