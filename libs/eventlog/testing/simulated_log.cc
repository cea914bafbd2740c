#include "libs/eventlog/testing/simulated_log.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <unordered_map>
#include <utility>
#include <variant>

#include "tributary/v1/log.pb.h"

namespace tributary::eventlog::testing {
namespace {

using TopicPartition = std::pair<Topic, Partition>;

// Number 1000, a text.
constexpr std::string_view kUnknownField = "\xc2\x3e\x03new";
// `message.timeout.ms` of rule 5.
constexpr Duration kMessageTimeout = std::chrono::seconds(30);
constexpr std::array kFoundingOrder = {Topic::kTenants, Topic::kChanges, Topic::kCursors,
                                       Topic::kRecords, Topic::kCommands};

// Rule 12: that a key is not in it says nothing. `before`: the founding so far; none: it was lost.
template <typename Founding>
void SetAfterLoss(Founding& founding, const std::string* before) {
  if constexpr (requires { founding.set_after_loss(true); }) {
    Founding last;
    if (before != nullptr) last.ParseFromString(*before);
    founding.set_after_loss(before == nullptr || last.after_loss());
  }
}

struct PartitionLog {
  std::vector<Record> records;
  Offset begin = 0;
  Offset end = 0;
  // Tombstones that compaction has left alone so far: since when.
  std::map<Offset, WallTime> tombstones_seen;
};

}  // namespace

struct SimulatedLog::State {
  SimulatedLogOptions options;
  VirtualTime& time;
  SeededRandom random;
  std::map<TopicPartition, PartitionLog> logs;
  // Of each group: who owns a partition, and what was committed.
  std::map<std::pair<std::string, Partition>, SimulatedMember::State*> owners;
  std::map<std::tuple<std::string, Topic, Partition>, std::pair<Offset, std::string>> commits;
  // In the order of joining: each reader draws its delay.
  std::map<std::uint64_t, SimulatedMember::State*> members;
  std::function<void(const Record&, const std::string&)> observer;
  std::int64_t under_way = 0;
  std::uint64_t last_member = 0;
  // Nobody reaches the log before.
  Instant back_at{};

  State(SimulatedLogOptions log_options, VirtualTime& virtual_time, std::uint64_t seed)
      : options(log_options), time(virtual_time), random(seed) {}

  bool is_away() const { return time.now().steady < back_at; }
  PartitionLog& Log(Topic topic, Partition partition) { return logs[{topic, partition}]; }

  Offset Append(Record record, const std::string& by);
  void Wake(TopicPartition where);
};

struct SimulatedMember::State : std::enable_shared_from_this<SimulatedMember::State> {
  std::shared_ptr<SimulatedLog::State> log;
  std::string group;
  std::string instance;
  // In the order of joining.
  std::uint64_t number = 0;
  MemberDelays delays;
  std::function<void()> wake;

  bool is_dead = false;
  bool is_in_group = true;
  // After a failed produce the port takes no more.
  bool is_broken = false;
  std::optional<bool> fail_next_produce;
  std::deque<Fact> facts;
  std::function<void()> revoked;

  struct Pending {
    std::uint64_t sequence = 0;
    ProduceId id = 0;
    Record record;
    bool fails = false;
  };
  std::map<TopicPartition, std::deque<Pending>> pending;
  std::map<TopicPartition, Instant> last_effect;
  Instant last_answer{};
  std::uint64_t sequence = 0;

  struct Reader {
    std::uint64_t epoch = 0;
    Offset next = 0;
    bool is_paused = false;
    bool is_scheduled = false;
    bool told_end = false;
  };
  std::map<TopicPartition, Reader> readers;
  std::uint64_t reader_epoch = 0;
  std::map<Topic, Instant> reads_from;
  // Of what is read: how old it is at least.
  std::map<Topic, Duration> reads_late;
  struct LateRenewal {
    Duration by{};
    std::function<void()> at_log;
  };
  std::optional<LateRenewal> late_renewal;

  Instant ReadsFrom(Topic topic) const {
    const auto stalled = reads_from.find(topic);
    return std::max(log->back_at, stalled == reads_from.end() ? Instant{} : stalled->second);
  }
  std::string name() const { return group + "/" + instance; }

  Duration Draw(const Delay& delay) { return log->random.Between(delay.min, delay.max); }

  void Tell(Fact fact) {
    if (is_dead) return;
    facts.push_back(std::move(fact));
    if (wake) wake();
  }

  // Facts come in the order in which the log made them.
  void TellLater(Fact fact) {
    last_answer = std::max(last_answer, log->time.now().steady + Draw(delays.answer));
    log->time.At(last_answer, [self = shared_from_this(), fact = std::move(fact)]() mutable {
      self->Tell(std::move(fact));
    });
  }

  // Runs `effect` at the log after a while, unless the process has died before.
  void AtTheLog(std::function<void(State&)> effect) {
    log->time.At(std::max(log->time.now().steady, log->back_at) + Draw(delays.request),
                 [self = shared_from_this(), effect = std::move(effect)]() mutable {
                   if (self->is_dead) return;
                   if (self->log->is_away()) {
                     self->AtTheLog(std::move(effect));
                   } else {
                     effect(*self);
                   }
                 });
  }

  bool Owns(Partition partition) const {
    const auto found = log->owners.find({group, partition});
    return is_in_group && found != log->owners.end() && found->second == this;
  }

  void Land(TopicPartition where, std::uint64_t produce) {
    std::deque<Pending>& queue = pending[where];
    if (queue.empty() || queue.front().sequence != produce) return;
    Pending next = std::move(queue.front());
    queue.pop_front();
    --log->under_way;
    Produced produced;
    produced.id = next.id;
    if (log->is_away()) {
      is_broken = true;
      produced.error = "timed out";
      log->time.After(kMessageTimeout,
                      [self = shared_from_this(), produced] { self->Tell(produced); });
      return;
    }
    const Offset offset = log->Append(std::move(next.record), name());
    produced.offset = offset;
    if (next.fails) produced.error = "timed out";
    TellLater(std::move(produced));
  }

  void Schedule(TopicPartition where, Duration in = {}) {
    const auto found = readers.find(where);
    if (found == readers.end() || is_dead) return;
    Reader& reader = found->second;
    if (reader.is_scheduled || reader.is_paused) return;
    reader.is_scheduled = true;
    const std::uint64_t epoch = reader.epoch;
    const Instant at = log->time.now().steady + Draw(delays.request) + Draw(delays.answer);
    log->time.At(std::max({at, log->time.now().steady + in, ReadsFrom(where.first)}),
                 [self = shared_from_this(), where, epoch] { self->Fetch(where, epoch); });
  }

  void Fetch(TopicPartition where, std::uint64_t epoch) {
    const auto found = readers.find(where);
    if (found == readers.end() || found->second.epoch != epoch || is_dead) return;
    Reader& reader = found->second;
    reader.is_scheduled = false;
    if (reader.is_paused) return;
    if (log->time.now().steady < ReadsFrom(where.first)) {
      Schedule(where);
      return;
    }
    PartitionLog& source = log->Log(where.first, where.second);
    if (reader.next < source.begin || reader.next > source.end) {
      OutOfRange fact;
      fact.topic = where.first;
      fact.partition = where.second;
      fact.asked = reader.next;
      fact.begin = source.begin;
      fact.end = source.end;
      readers.erase(found);
      Tell(fact);
      return;
    }
    auto at = std::lower_bound(
        source.records.begin(), source.records.end(), reader.next,
        [](const Record& record, Offset offset) { return record.offset < offset; });
    Fetched fetched;
    const std::size_t records_max = 1 + log->random.Below(log->options.fetch_records_max);
    const auto late = reads_late.find(where.first);
    const WallTime until =
        late == reads_late.end() ? WallTime::max() : log->time.now().wall - late->second;
    for (; at != source.records.end() && fetched.records.size() < records_max &&
           at->appended_at <= until;
         ++at) {
      fetched.records.push_back(*at);
      reader.next = at->offset + 1;
    }
    const bool at_end = at == source.records.end();
    if (at_end) reader.next = source.end;
    const Offset next = reader.next;
    if (!fetched.records.empty()) {
      reader.told_end = false;
      Tell(std::move(fetched));
    }
    // Telling may have run nothing of the stage: it polls. So the reader is still there.
    if (!at_end) {
      Schedule(where, at->appended_at > until ? at->appended_at - until : Duration{});
    } else if (!reader.told_end) {
      reader.told_end = true;
      Tell(CaughtUp{where.first, where.second, next});
    }
  }

  void Die() {
    is_dead = true;
    facts.clear();
    readers.clear();
    for (auto& [where, queue] : pending) {
      std::size_t landing = static_cast<std::size_t>(log->random.Below(queue.size() + 1));
      Instant at = log->time.now().steady;
      for (Pending& produce : queue) {
        if (landing == 0) {
          --log->under_way;
          continue;
        }
        --landing;
        at = std::max(at, log->time.now().steady + Draw(delays.late));
        log->time.At(at, [self = shared_from_this(), record = std::move(produce.record)]() mutable {
          --self->log->under_way;
          self->log->Append(std::move(record), self->name());
        });
      }
      queue.clear();
    }
    log->members.erase(number);
  }

  void LeaveGroup() {
    is_in_group = false;
    std::erase_if(log->owners, [this](const auto& entry) { return entry.second == this; });
  }
};

Offset SimulatedLog::State::Append(Record record, const std::string& by) {
  PartitionLog& target = Log(record.topic, record.partition);
  record.offset = target.end++;
  record.appended_at = time.now().wall;
  const TopicPartition where{record.topic, record.partition};
  target.records.push_back(std::move(record));
  if (observer) observer(target.records.back(), by);
  const Offset offset = target.end - 1;
  Wake(where);
  return offset;
}

void SimulatedLog::State::Wake(TopicPartition where) {
  for (const auto& [number, member] : members) member->Schedule(where);
}

// ---- member ----

SimulatedMember::SimulatedMember(std::shared_ptr<State> state) : state_(std::move(state)) {}

SimulatedMember::~SimulatedMember() {
  if (!state_->is_dead) state_->Die();
  state_->LeaveGroup();
  state_->wake = nullptr;
}

std::vector<Fact> SimulatedMember::Poll() {
  std::vector<Fact> out(std::make_move_iterator(state_->facts.begin()),
                        std::make_move_iterator(state_->facts.end()));
  state_->facts.clear();
  return out;
}

void SimulatedMember::OnFacts(std::function<void()> wake) { state_->wake = std::move(wake); }

const std::string& SimulatedMember::group() const { return state_->group; }

const std::string& SimulatedMember::instance() const { return state_->instance; }

void SimulatedMember::Produce(ProduceId id, Topic topic, Partition partition, std::string key,
                              std::optional<std::string> value, Headers headers) {
  State& s = *state_;
  if (s.is_dead || s.is_broken) return;
  const TopicPartition where{topic, partition};
  State::Pending pending;
  pending.sequence = ++s.sequence;
  pending.id = id;
  pending.record =
      Record{topic, partition, 0, std::move(key), std::move(value), std::move(headers), WallTime{}};
  // Who wrote what it had read again has kept the field.
  std::optional<std::string>& bytes = pending.record.value;
  if (s.log->options.adds_unknown_field && bytes && !pending.record.key.starts_with('!') &&
      !bytes->ends_with(kUnknownField)) {
    *bytes += kUnknownField;
  }
  if (s.fail_next_produce) {
    const bool lands = *s.fail_next_produce;
    s.fail_next_produce.reset();
    s.is_broken = true;
    if (!lands) {
      Produced produced;
      produced.id = id;
      produced.error = "timed out";
      s.TellLater(std::move(produced));
      return;
    }
    pending.fails = true;
  }
  const std::uint64_t number = pending.sequence;
  s.pending[where].push_back(std::move(pending));
  ++s.log->under_way;
  Instant& last = s.last_effect[where];
  last = std::max(last, s.log->time.now().steady + s.Draw(s.delays.request));
  s.log->time.At(last, [self = state_, where, number] { self->Land(where, number); });
}

void SimulatedMember::StartReading(Topic topic, Partition partition, Offset from) {
  StopReading(topic, partition);
  if (state_->is_dead) return;
  State::Reader reader;
  reader.epoch = ++state_->reader_epoch;
  reader.next = from;
  state_->readers[{topic, partition}] = reader;
  state_->Schedule({topic, partition});
}

void SimulatedMember::StopReading(Topic topic, Partition partition) {
  state_->readers.erase({topic, partition});
  std::erase_if(state_->facts, [&](const Fact& fact) {
    if (const auto* const fetched = std::get_if<Fetched>(&fact)) {
      const Record& first = fetched->records.front();
      return first.topic == topic && first.partition == partition;
    }
    if (const auto* const caught_up = std::get_if<CaughtUp>(&fact)) {
      return caught_up->topic == topic && caught_up->partition == partition;
    }
    if (const auto* const out_of_range = std::get_if<OutOfRange>(&fact)) {
      return out_of_range->topic == topic && out_of_range->partition == partition;
    }
    return false;
  });
}

void SimulatedMember::PauseReading(Topic topic, Partition partition) {
  const auto found = state_->readers.find({topic, partition});
  if (found != state_->readers.end()) found->second.is_paused = true;
}

void SimulatedMember::ResumeReading(Topic topic, Partition partition) {
  const auto found = state_->readers.find({topic, partition});
  if (found == state_->readers.end() || !found->second.is_paused) return;
  found->second.is_paused = false;
  state_->Schedule({topic, partition});
}

void SimulatedMember::SampleEnd(std::uint64_t id, Topic topic, Partition partition) {
  state_->AtTheLog([id, topic, partition](State& s) {
    const PartitionLog& log = s.log->Log(topic, partition);
    EndSampled fact;
    fact.id = id;
    fact.topic = topic;
    fact.partition = partition;
    fact.begin = log.begin;
    fact.end = log.end;
    s.TellLater(fact);
  });
}

void SimulatedMember::FetchCommitted(std::uint64_t id, Topic topic, Partition partition) {
  state_->AtTheLog([id, topic, partition](State& s) {
    CommittedOffset fact;
    fact.id = id;
    fact.topic = topic;
    fact.partition = partition;
    const auto found = s.log->commits.find({s.group, topic, partition});
    if (found != s.log->commits.end()) {
      fact.next = found->second.first;
      fact.mark = found->second.second;
    }
    s.TellLater(fact);
  });
}

void SimulatedMember::Commit(std::uint64_t id, Topic topic, Partition partition, Offset next,
                             std::string mark) {
  state_->AtTheLog([id, topic, partition, next, mark = std::move(mark)](State& s) {
    CommitDone fact;
    fact.id = id;
    if (s.Owns(partition)) {
      s.log->commits[{s.group, topic, partition}] = {next, mark};
    } else {
      fact.error = "not the owner";
    }
    s.TellLater(fact);
  });
}

void SimulatedMember::RenewLease(std::uint64_t id) {
  const Instant sent_at = state_->log->time.now().steady;
  state_->AtTheLog([id, sent_at](State& s) {
    LeaseRenewed fact;
    fact.id = id;
    fact.sent_at = sent_at;
    if (!s.is_in_group) fact.error = "not a member";
    if (!s.is_in_group || !s.late_renewal) return s.TellLater(fact);
    const State::LateRenewal late = *std::exchange(s.late_renewal, std::nullopt);
    // The group answers on a connection of its own: nothing else waits for it.
    s.log->time.After(late.by, [self = s.shared_from_this(), fact] { self->Tell(fact); });
    late.at_log();
  });
}

void SimulatedMember::FinishRevoking() {
  if (state_->is_dead || !state_->revoked) return;
  std::function<void()> done = std::move(state_->revoked);
  state_->revoked = nullptr;
  state_->log->time.After(state_->Draw(state_->delays.request),
                          [self = state_, done = std::move(done)] { done(); });
}

// ---- log ----

SimulatedLog::SimulatedLog(SimulatedLogOptions options, VirtualTime& time, std::uint64_t seed)
    : state_(std::make_shared<State>(options, time, seed)) {}

SimulatedLog::~SimulatedLog() = default;

void SimulatedLog::Found(std::int64_t generation) {
  // `records` before anything can be written to `commands` (section 0).
  for (const Topic topic : kFoundingOrder) {
    for (Partition p = 0; p < state_->options.partitions; ++p) FoundTable(topic, p, generation);
  }
}

void SimulatedLog::FoundTable(Topic topic, Partition partition, std::int64_t generation) {
  v1::Founding founding;
  founding.set_generation(generation);
  founding.set_partitions(state_->options.partitions);
  Append(topic, partition, "!g", founding.SerializeAsString());
  v1::Fence fence;
  fence.set_generation(generation);
  fence.set_service("setup");
  fence.set_founding(true);
  Append(topic, partition, "!f/setup/founding/" + std::to_string(generation),
         fence.SerializeAsString());
}

std::unique_ptr<SimulatedMember> SimulatedLog::Join(std::string group, std::string instance,
                                                    MemberDelays delays) {
  auto state = std::make_shared<SimulatedMember::State>();
  state->log = state_;
  state->group = std::move(group);
  state->instance = std::move(instance);
  state->delays = delays;
  state->number = ++state_->last_member;
  state_->members.emplace(state->number, state.get());
  return std::unique_ptr<SimulatedMember>(new SimulatedMember(std::move(state)));
}

void SimulatedLog::Assign(SimulatedMember& member, const std::vector<Partition>& partitions) {
  member.state_->is_in_group = true;
  for (const Partition partition : partitions) {
    state_->owners[{member.state_->group, partition}] = member.state_.get();
  }
  Assigned assigned;
  assigned.partitions = partitions;
  member.state_->TellLater(std::move(assigned));
}

void SimulatedLog::Revoke(SimulatedMember& member, const std::vector<Partition>& partitions,
                          std::function<void()> done) {
  SimulatedMember::State* const state = member.state_.get();
  state->revoked = [log = state_, group = state->group, state, partitions, done = std::move(done)] {
    for (const Partition partition : partitions) {
      const auto found = log->owners.find({group, partition});
      if (found != log->owners.end() && found->second == state) log->owners.erase(found);
    }
    if (done) done();
  };
  Revoking revoking;
  revoking.partitions = partitions;
  state->TellLater(std::move(revoking));
}

void SimulatedLog::Evict(SimulatedMember& member, Duration told_after) {
  Lost lost;
  lost.partitions = Owned(member);
  member.state_->LeaveGroup();
  member.state_->revoked = nullptr;
  state_->time.After(told_after, [state = member.state_, lost = std::move(lost)]() mutable {
    state->Tell(std::move(lost));
  });
}

void SimulatedLog::Kill(SimulatedMember& member) {
  if (!member.state_->is_dead) member.state_->Die();
}

void SimulatedLog::FailNextProduce(SimulatedMember& member, bool lands) {
  member.state_->fail_next_produce = lands;
}

void SimulatedLog::StallReading(SimulatedMember& member, Instant until) {
  for (const Topic topic : kAllTopics) StallReading(member, topic, until);
}

void SimulatedLog::StallReading(SimulatedMember& member, Topic topic, Instant until) {
  member.state_->reads_from[topic] = until;
}

void SimulatedLog::ReadLate(SimulatedMember& member, Topic topic, Duration by) {
  member.state_->reads_late[topic] = by;
}

void SimulatedLog::AnswerNextRenewalLate(SimulatedMember& member, Duration by,
                                         std::function<void()> at_log) {
  member.state_->late_renewal = {by, std::move(at_log)};
}

void SimulatedLog::Recover(SimulatedMember& member) {
  member.state_->reads_from.clear();
  member.state_->reads_late.clear();
  member.state_->late_renewal.reset();
  member.state_->fail_next_produce.reset();
}

void SimulatedLog::BeAwayFor(Duration duration) {
  state_->back_at = state_->time.now().steady + duration;
}

void SimulatedLog::ForgetCommits(std::string_view group) {
  std::erase_if(state_->commits,
                [&](const auto& commit) { return std::get<0>(commit.first) == group; });
}

void SimulatedLog::LandCommit(std::string_view group, Topic topic, Partition partition, Offset next,
                              std::string mark) {
  state_->commits[{std::string(group), topic, partition}] = {next, std::move(mark)};
}

std::vector<Partition> SimulatedLog::Owned(const SimulatedMember& member) const {
  std::vector<Partition> out;
  for (const auto& [where, owner] : state_->owners) {
    if (owner == member.state_.get()) out.push_back(where.second);
  }
  return out;
}

bool SimulatedLog::quiet() const { return state_->under_way == 0; }

Offset SimulatedLog::Append(Topic topic, Partition partition, std::string key,
                            std::optional<std::string> value, Headers headers) {
  return state_->Append(
      Record{topic, partition, 0, std::move(key), std::move(value), std::move(headers), WallTime{}},
      "");
}

void SimulatedLog::Compact(Topic topic, Partition partition) {
  PartitionLog& log = state_->Log(topic, partition);
  const WallTime now = state_->time.now().wall;
  // Everything before the first record that is too young may be cleaned.
  const auto young = std::find_if(log.records.begin(), log.records.end(), [&](const Record& r) {
    return r.appended_at + state_->options.min_compaction_lag > now;
  });
  const auto dense = static_cast<std::size_t>(young - log.records.begin());
  std::unordered_map<std::string_view, std::size_t> newest;
  newest.reserve(dense);
  for (std::size_t i = 0; i < dense; ++i) newest[log.records[i].key] = i;
  std::vector<bool> goes(dense);
  for (std::size_t i = 0; i < dense; ++i) {
    const Record& record = log.records[i];
    goes[i] = newest[record.key] != i;
    if (goes[i] || record.value) continue;
    const auto [seen, is_new] = log.tombstones_seen.emplace(record.offset, now);
    goes[i] = !is_new && seen->second + state_->options.delete_retention <= now;
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < log.records.size(); ++i) {
    if (i < dense && goes[i]) continue;
    if (kept != i) log.records[kept] = std::move(log.records[i]);
    ++kept;
  }
  log.records.resize(kept);
}

void SimulatedLog::CompactAll() {
  for (const Topic topic : kAllTopics) {
    if (!IsTable(topic)) continue;
    for (Partition p = 0; p < state_->options.partitions; ++p) Compact(topic, p);
  }
}

void SimulatedLog::ExpireBefore(Topic topic, Partition partition, Offset offset) {
  PartitionLog& log = state_->Log(topic, partition);
  log.begin = std::max(log.begin, std::min(offset, log.end));
  std::erase_if(log.records, [&](const Record& record) { return record.offset < log.begin; });
}

void SimulatedLog::FoundAnew(std::int64_t generation) {
  for (const Topic topic : kFoundingOrder) {
    for (Partition p = 0; p < state_->options.partitions; ++p) {
      const std::vector<Record>& kept = records(topic, p);
      const auto newest = std::find_if(kept.rbegin(), kept.rend(),
                                       [](const Record& record) { return record.key == "!g"; });
      v1::Founding founding;
      founding.set_generation(generation);
      founding.set_partitions(state_->options.partitions);
      SetAfterLoss(founding, newest == kept.rend() ? nullptr : &*newest->value);
      Append(topic, p, "!g", founding.SerializeAsString());
    }
  }
}

void SimulatedLog::Lose(Topic topic, Partition partition) {
  state_->Log(topic, partition) = PartitionLog{};
  std::erase_if(state_->commits, [&](const auto& commit) {
    return std::get<1>(commit.first) == topic && std::get<2>(commit.first) == partition;
  });
  state_->Wake({topic, partition});
}

const std::vector<Record>& SimulatedLog::records(Topic topic, Partition partition) const {
  return state_->Log(topic, partition).records;
}

Offset SimulatedLog::end(Topic topic, Partition partition) const {
  return state_->Log(topic, partition).end;
}

std::optional<Offset> SimulatedLog::committed(std::string_view group, Topic topic,
                                              Partition partition) const {
  const auto found = state_->commits.find({std::string(group), topic, partition});
  if (found == state_->commits.end()) return std::nullopt;
  return found->second.first;
}

std::string SimulatedLog::mark(std::string_view group, Topic topic, Partition partition) const {
  const auto found = state_->commits.find({std::string(group), topic, partition});
  return found == state_->commits.end() ? std::string() : found->second.second;
}

std::int32_t SimulatedLog::partitions() const { return state_->options.partitions; }

void SimulatedLog::OnAppend(std::function<void(const Record&, const std::string&)> observer) {
  state_->observer = std::move(observer);
}

}  // namespace tributary::eventlog::testing
