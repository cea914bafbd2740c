#include "tests/simulation/tampering.h"

#include <algorithm>
#include <variant>

#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/log.pb.h"
#include "tributary/v1/records.pb.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::simulation {
namespace {

using eventlog::Fact;
using eventlog::Headers;
using eventlog::Offset;
using eventlog::Partition;
using eventlog::ProduceId;
using eventlog::Record;
using eventlog::Topic;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr ProduceId kAside = ProduceId{1} << 60;
constexpr http::RequestId kReplay = http::RequestId{1} << 60;
// One of so many produces is lost.
constexpr std::int64_t kLostEvery = 40;

bool IsFence(std::string_view key) { return key.starts_with("!f/"); }
bool IsControl(std::string_view key) { return key.starts_with('!') && !key.starts_with("!b/"); }

Offset TokenOf(const Record& record) {
  const auto header = eventlog::FindHeader(record.headers, eventlog::kTokenHeader);
  if (!header) return -1;
  return eventlog::ParseToken(*header).value_or(eventlog::Token{}).offset;
}

void MakeValid(Record& record) {
  Headers headers;
  for (const auto& [name, value] : record.headers) {
    headers.emplace_back(name, name == eventlog::kTokenHeader ? "9000000000000000000.0" : value);
  }
  record.headers = std::move(headers);
}

bool IsAction(std::string_view key) {
  const auto parts = ids::ParseCommandKey(key);
  return parts && parts->kind == ids::CommandKey::Kind::kAction;
}

}  // namespace

void PresentState::OnAppend(const Record& record) {
  if (!record.value) return;
  if (record.key == "!g") {
    v1::Founding founding;
    if (founding.ParseFromString(*record.value)) {
      generation = std::max(generation, founding.generation());
    }
  } else if (record.topic == Topic::kTenants && !record.key.starts_with('!')) {
    v1::TenantSnapshot snapshot;
    if (!snapshot.ParseFromString(*record.value)) return;
    for (const v1::Sync& sync : snapshot.syncs()) {
      revisions[{snapshot.tenant(), sync.name()}] =
          sync.revision() != 0 ? sync.revision() : record.offset;
    }
  } else if (record.topic == Topic::kChanges && !record.key.starts_with('!')) {
    v1::ChangeEvent change;
    if (change.ParseFromString(*record.value)) entities[record.key] = change.entity();
  }
}

// ---- log ----

TamperedLog::TamperedLog(Tampering tampering, eventlog::testing::VirtualTime& time,
                         std::uint64_t seed, const PresentState& present,
                         eventlog::testing::SimulatedLog& log,
                         eventlog::testing::SimulatedMember& member)
    : tampering_(std::move(tampering)),
      time_(time),
      random_(seed),
      present_(present),
      log_(log),
      member_(member),
      last_aside_(kAside) {}

void TamperedLog::After(Duration delay, std::function<void()> task) {
  time_.After(delay, [weak = weak_from_this(), task = std::move(task)] {
    const std::shared_ptr<TamperedLog> self = weak.lock();
    if (self && !self->is_dead_) task();
  });
}

void TamperedLog::TellLater(Fact fact, Duration delay) {
  After(delay, [this, fact = std::move(fact)]() mutable {
    facts_.push_back(std::move(fact));
    if (wake_) wake_();
  });
}

void TamperedLog::Acknowledge(ProduceId id, Where where) {
  eventlog::Produced produced;
  produced.id = id;
  produced.offset = log_.end(where.first, where.second);
  TellLater(produced, milliseconds(5));
}

void TamperedLog::ProduceAside(Topic topic, Partition partition, std::string key,
                               std::optional<std::string> value, Headers headers) {
  member_.Produce(++last_aside_, topic, partition, std::move(key), std::move(value),
                  std::move(headers));
}

void TamperedLog::Produce(ProduceId id, Topic topic, Partition partition, std::string key,
                          std::optional<std::string> value, Headers headers) {
  const Where where{topic, partition};
  const bool is_control = IsControl(key);
  if (IsFence(key)) fences_[id] = partition;
  const bool is_late =
      (breaks(RuleBreak::kCursorFirst) && topic == Topic::kChanges) ||
      (breaks(RuleBreak::kOutputsAfterCommit) && topic == Topic::kCommands && is("transformer"));
  if (is_late && !IsFence(key)) {
    Acknowledge(id, where);
    Instant& landing = last_landing_[where];
    landing = std::max(landing,
                       time_.now().steady + random_.Between(seconds(0), std::chrono::minutes(3)));
    After(landing - time_.now().steady,
          [this, topic, partition, key = std::move(key), value = std::move(value),
           headers = std::move(headers)] { ProduceAside(topic, partition, key, value, headers); });
    return;
  }
  if (breaks(RuleBreak::kLostProduce) && !is_control && !is("control") &&
      ++produces_ % kLostEvery == 0) {
    Acknowledge(id, where);
    return;
  }
  if (breaks(RuleBreak::kChangesFencedFirst) && IsFence(key) && topic == Topic::kCursors) {
    // Another fence of ours, in front: the one that follows in its turn changes nothing.
    ProduceAside(Topic::kChanges, partition, key + "0", value, headers);
    After(seconds(5), [this, id, topic, partition, key, value, headers] {
      member_.Produce(id, topic, partition, key, value, headers);
    });
    return;
  }
  if (topic == Topic::kRecords && value && !is_control) {
    v1::RecordEntry entry;
    entry.ParseFromString(*value);
    if (breaks(RuleBreak::kNoIntents) && entry.has_intent()) {
      Acknowledge(id, where);
      return;
    }
    const bool forgets = breaks(RuleBreak::kClosingClearsDoubt) && !entry.has_intent();
    if (forgets || (breaks(RuleBreak::kReleaseForgetsDoubt) && revoking_.contains(partition))) {
      entry.set_in_doubt(false);
      entry.clear_intent();
      value = entry.SerializeAsString();
    }
    if (breaks(RuleBreak::kTombstoneFirst) && IsAction(key) && entry.has_intent()) {
      ProduceAside(Topic::kCommands, partition, key, std::nullopt, {});
    }
    if (breaks(RuleBreak::kLedgerForgets) && IsAction(key) && entry.final() &&
        entry.status() != v1::RecordEntry::STATUS_PARKED) {
      After(seconds(1), [this, topic, partition, key, headers] {
        ProduceAside(topic, partition, key, std::nullopt, headers);
      });
    }
  }
  if (breaks(RuleBreak::kFormerCustomersForgotten) && topic == Topic::kChanges && value &&
      !is_control) {
    v1::ChangeEvent change;
    change.ParseFromString(*value);
    change.mutable_entity()->clear_former_customers();
    value = change.SerializeAsString();
  }
  if (breaks(RuleBreak::kVersionOfTheBatch) && topic == Topic::kCommands && is("transformer") &&
      value && !is_control) {
    v1::Command command;
    command.ParseFromString(*value);
    if (command.has_state()) {
      Offset& offset = position_[{Topic::kChanges, partition}];
      command.mutable_version()->set_offset(std::max(offset, command.version().offset()));
      value = command.SerializeAsString();
    }
  }
  member_.Produce(id, topic, partition, std::move(key), std::move(value), std::move(headers));
}

void TamperedLog::StartReading(Topic topic, Partition partition, Offset from) {
  held_.erase({topic, partition});
  member_.StartReading(topic, partition, from);
}

void TamperedLog::StopReading(Topic topic, Partition partition) {
  held_.erase({topic, partition});
  member_.StopReading(topic, partition);
}

void TamperedLog::PauseReading(Topic topic, Partition partition) {
  member_.PauseReading(topic, partition);
}

void TamperedLog::ResumeReading(Topic topic, Partition partition) {
  member_.ResumeReading(topic, partition);
}

void TamperedLog::SampleEnd(std::uint64_t id, Topic topic, Partition partition) {
  member_.SampleEnd(id, topic, partition);
}

void TamperedLog::FetchCommitted(std::uint64_t id, Topic topic, Partition partition) {
  member_.FetchCommitted(id, topic, partition);
}

void TamperedLog::Commit(std::uint64_t id, Topic topic, Partition partition, Offset next,
                         std::string mark) {
  if (breaks(RuleBreak::kCommitFirst) && is("transformer")) {
    next = std::max(next, position_[{topic, partition}] + 1);
  }
  member_.Commit(id, topic, partition, next, std::move(mark));
}

void TamperedLog::RenewLease(std::uint64_t id) { member_.RenewLease(id); }

void TamperedLog::FinishRevoking() {
  revoking_.clear();
  member_.FinishRevoking();
}

std::vector<Fact> TamperedLog::Poll() {
  std::vector<Fact> out(std::make_move_iterator(facts_.begin()),
                        std::make_move_iterator(facts_.end()));
  facts_.clear();
  for (auto& [where, queue] : held_) {
    const auto takeover = takeovers_.find(where.second);
    if (takeover != takeovers_.end() && time_.now().steady < takeover->second.until) continue;
    for (Fact& fact : queue) out.push_back(std::move(fact));
    queue.clear();
  }
  for (Fact& fact : member_.Poll()) {
    if (!Falsify(fact) || HoldsBack(fact)) continue;
    out.push_back(std::move(fact));
  }
  return out;
}

bool TamperedLog::Falsify(Fact& fact) {
  if (auto* const produced = std::get_if<eventlog::Produced>(&fact)) {
    if (produced->id > kAside) {
      if (produced->error.empty()) return false;
      // The member takes nothing more, and the stage has not asked for this one.
      fact = eventlog::Failed{produced->error};
      return true;
    }
    const auto fence = fences_.find(produced->id);
    if (fence == fences_.end()) return true;
    own_fence_[fence->second] = produced->offset;
    if (breaks(RuleBreak::kEndsOfTheBeginning) && is("loader")) {
      Takeover& takeover = takeovers_[fence->second];
      takeover = {};
      takeover.until = time_.now().steady + tampering_.takeover + seconds(4);
      After(tampering_.takeover + seconds(4), [this] {
        if (wake_) wake_();
      });
    }
    fences_.erase(fence);
    return true;
  }
  if (auto* const sampled = std::get_if<eventlog::EndSampled>(&fact)) {
    const bool is_half = is("transformer") && breaks(RuleBreak::kTablesHalfRead) &&
                         own_fence_.contains(sampled->partition) &&
                         (sampled->topic == Topic::kChanges || sampled->topic == Topic::kCommands);
    if (is_half && sampled->end - sampled->begin > 2) {
      sampled->end = sampled->begin + std::max<Offset>(2, (sampled->end - sampled->begin) / 2);
    }
    const auto takeover = takeovers_.find(sampled->partition);
    if (takeover == takeovers_.end() || time_.now().steady >= takeover->second.until) return true;
    if (sampled->topic != Topic::kRecords && sampled->topic != Topic::kCommands) return true;
    sampled->end = takeover->second.ends.try_emplace(sampled->topic, sampled->end).first->second;
    return true;
  }
  if (auto* const renewed = std::get_if<eventlog::LeaseRenewed>(&fact)) {
    if (!breaks(RuleBreak::kLeaseFromTheAnswer) || !renewed->error.empty()) return true;
    renewed->sent_at = time_.now().steady;
    return true;
  }
  if (auto* const assigned = std::get_if<eventlog::Assigned>(&fact)) {
    for (const Partition partition : assigned->partitions) own_fence_.erase(partition);
    return true;
  }
  if (auto* const revoking = std::get_if<eventlog::Revoking>(&fact)) {
    revoking_.insert(revoking->partitions.begin(), revoking->partitions.end());
    return true;
  }
  auto* const fetched = std::get_if<eventlog::Fetched>(&fact);
  if (fetched == nullptr) return true;
  std::erase_if(fetched->records, [this](Record& record) { return !FalsifyRecord(record); });
  return !fetched->records.empty();
}

TamperedLog::Version TamperedLog::VersionOf(const Record& record) {
  const auto plain = [](const v1::Version& version) {
    return Version{version.generation(), version.offset(), version.revision()};
  };
  if (!record.value) return {};
  if (record.topic == Topic::kCommands) {
    v1::Command command;
    command.ParseFromString(*record.value);
    return plain(command.version());
  }
  v1::RecordEntry entry;
  entry.ParseFromString(*record.value);
  return std::max(plain(entry.resolved()), plain(entry.intent().version()));
}

bool TamperedLog::FalsifyRecord(Record& record) {
  const Where where{record.topic, record.partition};
  position_[where] = record.offset;
  if (breaks(RuleBreak::kCommitFirst) && is("transformer") &&
      (record.topic == Topic::kChanges || record.topic == Topic::kEvents)) {
    member_.Commit(kAside, record.topic, record.partition, record.offset + 1, "");
  }
  if (!eventlog::IsTable(record.topic)) {
    if (breaks(RuleBreak::kPresentEntities) && record.topic == Topic::kEvents && record.value) {
      v1::SourceEvent event;
      event.ParseFromString(*record.value);
      const std::string source(eventlog::FindHeader(record.headers, "ce_source").value_or("//"));
      // /chargify/<tenant>/<connection>
      const std::string owner = source.substr(source.find('/', 1) + 1);
      for (v1::Entity& entity : *event.mutable_entities()) {
        const auto now = present_.entities.find(owner + "/" + entity.kind() + "/" + entity.id());
        if (now != present_.entities.end()) entity = now->second;
      }
      record.value = event.SerializeAsString();
    }
    return true;
  }
  if (IsFence(record.key)) {
    newest_fence_[where] = std::max(newest_fence_[where], record.offset);
    return !breaks(RuleBreak::kLargestTokenWins);
  }
  if (record.key == "!g" && record.value && breaks(RuleBreak::kLossIsNotDoubt)) {
    v1::Founding founding;
    founding.ParseFromString(*record.value);
    v1::Founding plain;
    plain.set_generation(founding.generation());
    plain.set_partitions(founding.partitions());
    record.value = plain.SerializeAsString();
  }
  if (IsControl(record.key)) return true;
  if (breaks(RuleBreak::kChangesFencedFirst) && is("extractor") &&
      record.topic == Topic::kChanges && TokenOf(record) < newest_fence_[where]) {
    // Rule 4 would read it again.
    return false;
  }
  const bool is_versioned = record.topic == Topic::kCommands || record.topic == Topic::kRecords;
  switch (tampering_.rule_break) {
    case RuleBreak::kLastEntryWins:
      MakeValid(record);
      return true;
    case RuleBreak::kLargestVersionWins: {
      if (!is_versioned) return true;
      MakeValid(record);
      Version& newest = newest_version_[{where, record.key}];
      const Version version = VersionOf(record);
      if (version < newest) return false;
      newest = version;
      return true;
    }
    case RuleBreak::kLargestTokenWins: {
      const Offset token = TokenOf(record);
      if (token < 0) return true;
      const auto newest = newest_token_.try_emplace({where, record.key}, token).first;
      if (token < newest->second) return false;
      newest->second = token;
      return true;
    }
    case RuleBreak::kVoidIsNothing:
      if (record.topic != Topic::kRecords) return true;
      return TokenOf(record) >= newest_fence_[where];
    case RuleBreak::kIntentsAreNotDoubt: {
      if (record.topic != Topic::kRecords || !is("loader") || !record.value) return true;
      const auto own = own_fence_.find(record.partition);
      if (own != own_fence_.end() && TokenOf(record) >= own->second) return true;
      v1::RecordEntry entry;
      entry.ParseFromString(*record.value);
      entry.clear_intent();
      entry.set_in_doubt(false);
      record.value = entry.SerializeAsString();
      return true;
    }
    case RuleBreak::kAlwaysMapped: {
      const auto parts = ids::ParseCommandKey(record.key);
      if (record.topic != Topic::kCommands || !is("transformer") || !parts || !record.value ||
          parts->kind != ids::CommandKey::Kind::kMapped) {
        return true;
      }
      const auto revision = present_.revisions.find({parts->tenant, parts->sync});
      if (revision == present_.revisions.end()) return true;
      v1::Command command;
      command.mutable_mapped()->set_revision(revision->second);
      command.mutable_mapped()->set_generation(present_.generation);
      record.value = command.SerializeAsString();
      return true;
    }
    case RuleBreak::kOldCursorsCount: {
      if (record.topic != Topic::kCursors || !record.value) return true;
      v1::Cursor cursor;
      cursor.ParseFromString(*record.value);
      cursor.set_generation(present_.generation);
      record.value = cursor.SerializeAsString();
      return true;
    }
    default:
      return true;
  }
}

// The rest of what was behind the ends of t0 comes when the new owner is at work already.
bool TamperedLog::HoldsBack(Fact& fact) {
  if (!breaks(RuleBreak::kEndsOfTheBeginning)) return false;
  Where where;
  Offset last = 0;
  auto* const fetched = std::get_if<eventlog::Fetched>(&fact);
  if (fetched != nullptr) {
    where = {fetched->records.front().topic, fetched->records.front().partition};
    last = fetched->records.back().offset;
  } else if (const auto* const caught_up = std::get_if<eventlog::CaughtUp>(&fact)) {
    where = {caught_up->topic, caught_up->partition};
    last = caught_up->next - 1;
  } else {
    return false;
  }
  const auto takeover = takeovers_.find(where.second);
  if (takeover == takeovers_.end() || time_.now().steady >= takeover->second.until) return false;
  const auto end = takeover->second.ends.find(where.first);
  if (end == takeover->second.ends.end() || last < end->second) return false;
  eventlog::Fetched rest;
  if (fetched != nullptr) {
    const auto behind =
        std::find_if(fetched->records.begin(), fetched->records.end(),
                     [&](const Record& record) { return record.offset >= end->second; });
    rest.records.assign(std::make_move_iterator(behind),
                        std::make_move_iterator(fetched->records.end()));
    fetched->records.erase(behind, fetched->records.end());
    held_[where].push_back(std::move(rest));
    return fetched->records.empty();
  }
  held_[where].push_back(fact);
  return true;
}

// ---- HTTP ----

TamperedHttp::TamperedHttp(Tampering tampering, eventlog::testing::VirtualTime& time,
                           http::ClientPort& client)
    : tampering_(std::move(tampering)), time_(time), client_(client) {}

void TamperedHttp::Send(http::RequestId id, http::Request request) {
  if (tampering_.service == "loader") {
    const std::string& url = request.url;
    const bool is_look_up = url.ends_with("/contacts/search") ||
                            url.find("/search/duplicate?") != std::string::npos ||
                            (request.method == "GET" && url.find("/notes") != std::string::npos);
    if (is_look_up && tampering_.rule_break == RuleBreak::kLookUpFindsNothing) {
      look_ups_.insert(id);
    }
    if (request.is_write && !is_look_up && !url.ends_with("/auth") &&
        tampering_.rule_break == RuleBreak::kReplayLane) {
      time_.After(seconds(10), [weak = weak_from_this(), id, request] {
        const std::shared_ptr<TamperedHttp> self = weak.lock();
        if (self && !self->is_dead_) self->client_.Send(id | kReplay, request);
      });
    }
  }
  client_.Send(id, std::move(request));
}

void TamperedHttp::Cancel(http::RequestId id) { client_.Cancel(id); }

std::optional<bool> TamperedHttp::MaySend(http::RequestId id) const {
  if ((id & kReplay) != 0) return true;
  if (tampering_.rule_break == RuleBreak::kNoCheckAtTheSend) return true;
  return std::nullopt;
}

bool TamperedHttp::Falsify(http::Completion& completion) {
  if ((completion.id & kReplay) != 0) return false;
  if (look_ups_.erase(completion.id) != 0 && completion.status == 200) {
    completion.body = R"({"contacts":[],"contact":null,"notes":[]})";
  }
  if (tampering_.rule_break == RuleBreak::kUnknownIsRefused && tampering_.service == "loader" &&
      completion.delivery == http::Delivery::kBroken) {
    completion.delivery = http::Delivery::kNotSent;
  }
  return true;
}

}  // namespace tributary::simulation
