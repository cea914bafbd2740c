#include "libs/eventlog/kafka/kafka_member.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <future>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <poll.h>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/inbox.h"
#include "libs/eventlog/kafka/configuration.h"
#include "libs/eventlog/kafka/handles.h"
#include "libs/eventlog/kafka/messages.h"
#include "libs/eventlog/kafka/producing.h"
#include "libs/eventlog/kafka/questions.h"

namespace tributary::eventlog::kafka {
namespace {

using std::chrono::milliseconds;
using Place = std::pair<Topic, Partition>;

// librdkafka wakes the descriptor when a queue becomes non-empty; what it filters away afterwards,
// or a rebalance that is overdue, shows only when one looks.
constexpr milliseconds kLookInterval{100};
constexpr milliseconds kDropTime{2000};
constexpr milliseconds kSayAgainInterval{60'000};

/// What a commit request was for; given to librdkafka as opaque and taken back with its result.
struct CommitTag {
  std::uint64_t id = 0;
  /// Of a renewal.
  std::optional<Instant> sent_at;
};

/// Everything that librdkafka's threads use, in the order in which it may be destroyed backwards.
struct Handles {
  explicit Handles(const KafkaOptions& given)
      : options(given), is_muted(std::make_shared<std::atomic<bool>>(false)) {
    if (!given.on_log) return;
    options.on_log = [on_log = given.on_log, muted = is_muted](int level, std::string text) {
      if (!muted->load()) on_log(level, std::move(text));
    };
  }

  KafkaOptions options;
  /// What has to be left behind must not speak to a logger that may be gone.
  std::shared_ptr<std::atomic<bool>> is_muted;
  Inbox inbox;
  Client member;
  Client reader;
  Client producer;
  Queue member_queue;
  Queue reader_queue;
  Queue producer_queue;
  Queue commit_queue;
  TopicHandles topics;
  TopicHandles reader_topics;
  std::unique_ptr<Questions> questions;
};

/// librdkafka may hang when it closes: never longer than `wait` for us. What hangs is left behind.
bool Destroy(std::unique_ptr<Handles> handles, Duration wait) {
  auto done = std::make_shared<std::promise<void>>();
  std::future<void> finished = done->get_future();
  const std::shared_ptr<std::atomic<bool>> is_muted = handles->is_muted;
  handles->questions->RequestStop();
  std::thread([done, doomed = std::move(handles)]() mutable {
    doomed.reset();
    done->set_value();
  }).detach();
  const bool gone =
      finished.wait_for(std::max(wait, Duration::zero())) == std::future_status::ready;
  if (!gone) *is_muted = true;
  return gone;
}

void WakeFrom(rd_kafka_queue_t* queue, const Inbox& inbox) {
  const std::uint64_t one = 1;
  rd_kafka_queue_io_event_enable(queue, inbox.fd(), &one, sizeof one);
}

std::string FatalText(rd_kafka_t* client) {
  std::array<char, 512> text;
  text[0] = '\0';
  const rd_kafka_resp_err_t code = rd_kafka_fatal_error(client, text.data(), text.size());
  return code == RD_KAFKA_RESP_ERR_NO_ERROR
             ? std::string()
             : std::string(rd_kafka_err2name(code)) + ": " + text.data();
}

class Member final : public LogMember {
 public:
  Member(std::unique_ptr<Handles> handles, std::vector<Topic> subscribed)
      : handles_(std::move(handles)), subscribed_(std::move(subscribed)) {
    producing_.emplace(options(), handles_->producer.get(), handles_->producer_queue.get(),
                       handles_->topics, handles_->inbox);
    for (const Topic topic : kAllTopics) names_[TopicName(options(), topic)] = topic;
  }

  ~Member() override {
    if (handles_ == nullptr) return;
    producing_->Purge();
    DrainCommitTags();
    (void)Destroy(std::move(handles_), kDropTime);
  }

  void Produce(ProduceId id, Topic topic, Partition partition, std::string key,
               std::optional<std::string> value, Headers headers) override {
    if (handles_ == nullptr) return;
    producing_->Produce(id, topic, partition, std::move(key), std::move(value), std::move(headers),
                        Refusal(topic, partition));
  }

  void StartReading(Topic topic, Partition partition, Offset from) override {
    StopReading(topic, partition);
    if (std::string error = Refusal(topic, partition); !error.empty()) {
      Push(Failed{.error = "reading: " + error});
      return;
    }
    readings_[{topic, partition}] = {.next = from};
    Assign({topic, partition}, from);
  }

  void StopReading(Topic topic, Partition partition) override {
    const auto at = readings_.find({topic, partition});
    if (at == readings_.end()) return;
    if (at->second.is_assigned) Unassign(at->first);
    readings_.erase(at);
  }

  // Not by pause and resume: those of 2.0.2 may go on from an older position. What is taken away
  // and given back at a position that we keep ourselves cannot.
  void PauseReading(Topic topic, Partition partition) override {
    const auto at = readings_.find({topic, partition});
    if (at == readings_.end() || !at->second.is_assigned) return;
    at->second.is_assigned = false;
    Unassign(at->first);
  }

  void ResumeReading(Topic topic, Partition partition) override {
    const auto at = readings_.find({topic, partition});
    if (at == readings_.end() || at->second.is_assigned || at->second.is_out_of_range) return;
    Assign(at->first, at->second.next);
  }

  void SampleEnd(std::uint64_t id, Topic topic, Partition partition) override {
    if (std::string error = Refusal(topic, partition); !error.empty()) {
      Push(EndSampled{.id = id, .topic = topic, .partition = partition, .error = std::move(error)});
      return;
    }
    handles_->questions->Ask({.kind = Questions::Question::Kind::kEnd,
                              .id = id,
                              .topic = topic,
                              .partition = partition});
  }

  void FetchCommitted(std::uint64_t id, Topic topic, Partition partition) override {
    if (std::string error = Refusal(topic, partition); !error.empty()) {
      Push(CommittedOffset{
          .id = id, .topic = topic, .partition = partition, .error = std::move(error)});
      return;
    }
    handles_->questions->Ask({.kind = Questions::Question::Kind::kCommitted,
                              .id = id,
                              .topic = topic,
                              .partition = partition});
  }

  void Commit(std::uint64_t id, Topic topic, Partition partition, Offset next,
              std::string mark) override {
    std::string error = Refusal(topic, partition);
    if (error.empty()) {
      error = SendCommit(TopicName(options(), topic), partition, next, mark, {.id = id});
    }
    if (!error.empty()) Push(CommitDone{.id = id, .error = std::move(error)});
  }

  // The coordinator accepts a commit only from a member of its present generation, so any commit
  // proves it. This one goes where no position is kept: nobody follows `outcomes` by group.
  void RenewLease(std::uint64_t id) override {
    const Instant sent_at = BootTime();
    std::string error = Refusal();
    // Also while revoking: until it is finished, nobody else is given them.
    const std::vector<Partition>& held = is_revoking_ ? revoking_ : assigned_;
    if (error.empty() && held.empty()) error = "the group has given this member nothing";
    if (error.empty()) {
      error = SendCommit(TopicName(options(), Topic::kOutcomes), held.front(), 0, "",
                         {.id = id, .sent_at = sent_at});
    }
    if (!error.empty()) Push(LeaseRenewed{.id = id, .sent_at = sent_at, .error = std::move(error)});
  }

  void FinishRevoking() override {
    if (!is_revoking_ || handles_ == nullptr) return;
    is_revoking_ = false;
    rd_kafka_assign(handles_->member.get(), nullptr);
  }

  std::vector<Fact> Poll(Duration max_wait) override {
    const Instant until = BootTime() + max_wait;
    while (true) {
      std::vector<Fact> facts;
      if (handles_ == nullptr) return facts;
      for (Fact& fact : handles_->inbox.Take()) TakeIn(std::move(fact), facts);
      SubscribeOnceTopicsAreThere(facts);
      producing_->TakeReports(facts);
      DrainMember(facts);
      DrainCommits(facts);
      LookForFatalErrors(facts);
      if (producing_->waiting_bytes() <= options().produce_buffer_bytes) DrainReader(facts);
      if (!facts.empty()) return facts;
      const Duration left = until - BootTime();
      if (left <= Duration::zero()) return facts;
      Wait(std::min<Duration>(left, kLookInterval));
    }
  }

  int wake_fd() const override { return handles_ == nullptr ? -1 : handles_->inbox.fd(); }

  absl::Status Close(Duration deadline) override {
    const Instant until = BootTime() + deadline;
    if (handles_ == nullptr) return absl::FailedPreconditionError("closed already");
    readings_.clear();
    std::vector<Fact> ignored;
    while (producing_->waiting_count() > 0 && BootTime() < until) {
      producing_->TakeReports(ignored);
      if (producing_->waiting_count() > 0)
        Wait(std::min<Duration>(until - BootTime(), milliseconds(20)));
      (void)handles_->inbox.Take();
    }
    const std::int64_t left = producing_->waiting_count();
    if (left > 0) producing_->Purge();
    LeaveGroup(until);
    DrainCommitTags();
    producing_.reset();
    const bool gone = Destroy(std::move(handles_), until - BootTime());
    if (left > 0) {
      return absl::DeadlineExceededError(std::to_string(left) +
                                         " records were not acknowledged in time");
    }
    if (!gone) return absl::DeadlineExceededError("librdkafka did not close in time");
    return absl::OkStatus();
  }

  ProduceBuffer produce_buffer() const override {
    if (handles_ == nullptr) return {};
    return {.bytes = producing_->waiting_bytes(), .bytes_max = options().produce_buffer_bytes};
  }

  FetchBuffer fetch_buffer() const override {
    if (handles_ == nullptr) return {};
    return {
        .records = static_cast<std::int64_t>(rd_kafka_queue_length(handles_->reader_queue.get())),
        .records_max = FetchBoundsOf(options()).records_max};
  }

  std::vector<Lag> lags() const override {
    std::vector<Lag> lags;
    if (handles_ == nullptr) return lags;
    for (const auto& [place, reading] : readings_) {
      std::int64_t begin = 0;
      std::int64_t end = 0;
      // What the last fetch has brought along; asks nobody.
      const rd_kafka_resp_err_t code = rd_kafka_get_watermark_offsets(
          handles_->reader.get(), TopicName(options(), place.first).c_str(), place.second, &begin,
          &end);
      const bool is_known = code == RD_KAFKA_RESP_ERR_NO_ERROR && end >= 0;
      lags.push_back({place.first, place.second,
                      is_known ? std::max<std::int64_t>(end - reading.next, 0) : 0});
    }
    return lags;
  }

 private:
  struct Reading {
    Offset next = 0;
    bool is_assigned = false;
    /// OutOfRange is being prepared.
    bool is_out_of_range = false;
  };

  const KafkaOptions& options() const { return handles_->options; }

  void Push(Fact fact) {
    if (handles_ != nullptr) handles_->inbox.Push(std::move(fact));
  }

  std::string Refusal() const {
    if (handles_ == nullptr) return "the member is closed";
    if (producing_->has_failed()) return "an earlier record has failed";
    return "";
  }
  std::string Refusal(Topic topic, Partition partition) const {
    if (handles_ != nullptr && (partition < 0 || partition >= options().topics.partitions)) {
      return "partition " + std::to_string(partition) + " of " + std::string(Name(topic)) +
             " is not there: there are " + std::to_string(options().topics.partitions);
    }
    return Refusal();
  }

  void Wait(Duration time) const {
    pollfd waited{.fd = handles_->inbox.fd(), .events = POLLIN, .revents = 0};
    const auto wait = std::chrono::ceil<milliseconds>(std::max(time, Duration::zero())).count();
    (void)::poll(&waited, 1, static_cast<int>(wait));
  }

  /// What the asking thread has brought. An OutOfRange whose reading is gone is not told any more.
  void TakeIn(Fact fact, std::vector<Fact>& facts) {
    if (const auto* out = std::get_if<OutOfRange>(&fact)) {
      const auto at = readings_.find({out->topic, out->partition});
      if (at == readings_.end() || !at->second.is_out_of_range) return;
      readings_.erase(at);
    }
    if (std::holds_alternative<Failed>(fact)) producing_->Stop();
    facts.push_back(std::move(fact));
  }

  void Fail(std::vector<Fact>& facts, std::string error) {
    producing_->Stop();
    if (is_failure_told_) return;
    is_failure_told_ = true;
    facts.push_back(Failed{.error = std::move(error)});
  }

  /// What a broker refuses librdkafka tells its application and leaves out of its log; what it
  /// finds out by itself it logs.
  void SayError(std::string_view what, rd_kafka_resp_err_t code) {
    if (code <= RD_KAFKA_RESP_ERR_NO_ERROR || !options().on_log) return;
    const std::string text = std::string(what) + ": " + rd_kafka_err2str(code);
    const Instant now = BootTime();
    // As many as there are codes and topics at most.
    const auto [said, is_new] = said_errors_.try_emplace(text, now);
    if (!is_new && now - said->second < kSayAgainInterval) return;
    said->second = now;
    options().on_log(kWarning, text);
  }

  // Asked for at each Poll: it costs the reading of a flag, and the event that should tell of one
  // may come as another kind than one waits for.
  void LookForFatalErrors(std::vector<Fact>& facts) {
    if (is_failure_told_) return;
    // Of the member: somebody else has joined with our instance's name.
    for (const Client* client : {&handles_->member, &handles_->producer, &handles_->reader}) {
      if (std::string text = FatalText(client->get()); !text.empty()) {
        Fail(facts, "librdkafka has given up: " + text);
        return;
      }
    }
  }

  void SubscribeOnceTopicsAreThere(std::vector<Fact>& facts) {
    if (is_subscribed_ || producing_->has_failed() || !handles_->questions->topics_are_there())
      return;
    is_subscribed_ = true;
    const Partitions topics(
        rd_kafka_topic_partition_list_new(static_cast<int>(subscribed_.size())));
    for (const Topic topic : subscribed_) {
      rd_kafka_topic_partition_list_add(topics.get(), TopicName(options(), topic).c_str(),
                                        RD_KAFKA_PARTITION_UA);
    }
    const rd_kafka_resp_err_t code = rd_kafka_subscribe(handles_->member.get(), topics.get());
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      Fail(facts, std::string("joining the group: ") + rd_kafka_err2str(code));
    }
  }

  // ---- the group

  void DrainMember(std::vector<Fact>& facts) {
    while (const Event event{rd_kafka_queue_poll(handles_->member_queue.get(), 0)}) {
      const rd_kafka_event_type_t type = rd_kafka_event_type(event.get());
      if (type == RD_KAFKA_EVENT_REBALANCE) OnRebalance(event.get(), facts);
      if (type == RD_KAFKA_EVENT_ERROR) SayError("the group", rd_kafka_event_error(event.get()));
      // Messages that came before the pause took hold are nobody's: positions are our own.
    }
    if (is_revoking_ && rd_kafka_assignment_lost(handles_->member.get()) != 0) {
      facts.push_back(Lost{.partitions = std::exchange(revoking_, {})});
      FinishRevoking();
    }
  }

  void OnRebalance(rd_kafka_event_t* event, std::vector<Fact>& facts) {
    rd_kafka_t* const member = handles_->member.get();
    rd_kafka_topic_partition_list_t* const list = rd_kafka_event_topic_partition_list(event);
    if (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
      std::map<std::string, std::set<Partition>> by_topic;
      for (int i = 0; i < list->cnt; ++i) {
        by_topic[list->elems[i].topic].insert(list->elems[i].partition);
        // Nothing is to be read by this handle: where it stands does not matter.
        list->elems[i].offset = RD_KAFKA_OFFSET_END;
      }
      rd_kafka_assign(member, list);
      rd_kafka_pause_partitions(member, list);
      const std::set<Partition>& anchor = by_topic[TopicName(options(), subscribed_.front())];
      for (const Topic topic : subscribed_) {
        if (by_topic[TopicName(options(), topic)] != anchor) {
          Fail(facts, "the group has given different partitions of " +
                          std::string(Name(subscribed_.front())) + " and " +
                          std::string(Name(topic)));
          return;
        }
      }
      assigned_.assign(anchor.begin(), anchor.end());
      facts.push_back(Assigned{.partitions = assigned_});
      return;
    }
    std::vector<Partition> taken = std::exchange(assigned_, {});
    if (taken.empty()) {
      rd_kafka_assign(member, nullptr);
    } else if (rd_kafka_assignment_lost(member) != 0) {
      facts.push_back(Lost{.partitions = std::move(taken)});
      rd_kafka_assign(member, nullptr);
    } else {
      is_revoking_ = true;
      revoking_ = taken;
      facts.push_back(Revoking{.partitions = std::move(taken)});
    }
  }

  void LeaveGroup(Instant until) {
    const Queue queue(rd_kafka_queue_new(handles_->member.get()));
    FinishRevoking();
    const Error error(rd_kafka_consumer_close_queue(handles_->member.get(), queue.get()));
    if (error != nullptr) return;
    while (rd_kafka_consumer_closed(handles_->member.get()) == 0 && BootTime() < until) {
      const Event event(rd_kafka_queue_poll(queue.get(), 20));
      if (event != nullptr && rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_REBALANCE) {
        rd_kafka_assign(handles_->member.get(), nullptr);
      }
    }
  }

  // ---- commits

  /// Empty: its result will come.
  std::string SendCommit(const std::string& topic, Partition partition, Offset next,
                         std::string_view mark, CommitTag content) {
    const Partitions list(rd_kafka_topic_partition_list_new(1));
    rd_kafka_topic_partition_t* const place =
        rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition);
    place->offset = next;
    if (!mark.empty()) {
      // Freed with the list, by librdkafka's own free.
      place->metadata = rd_kafka_mem_malloc(nullptr, mark.size());
      place->metadata_size = mark.size();
      std::memcpy(place->metadata, mark.data(), mark.size());
    }
    auto tag = std::make_unique<CommitTag>(content);
    const rd_kafka_resp_err_t code = rd_kafka_commit_queue(
        handles_->member.get(), list.get(), handles_->commit_queue.get(), nullptr, tag.get());
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return rd_kafka_err2str(code);
    commit_tags_.insert(tag.release());
    return "";
  }

  static std::string ErrorOf(rd_kafka_event_t* event) {
    if (const rd_kafka_resp_err_t code = rd_kafka_event_error(event);
        code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return rd_kafka_err2str(code);
    }
    const rd_kafka_topic_partition_list_t* list = rd_kafka_event_topic_partition_list(event);
    for (int i = 0; list != nullptr && i < list->cnt; ++i) {
      if (list->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return rd_kafka_err2str(list->elems[i].err);
      }
    }
    return "";
  }

  void DrainCommits(std::vector<Fact>& facts) {
    while (const Event event{rd_kafka_queue_poll(handles_->commit_queue.get(), 0)}) {
      if (rd_kafka_event_type(event.get()) != RD_KAFKA_EVENT_OFFSET_COMMIT) continue;
      auto* const raw = static_cast<CommitTag*>(rd_kafka_event_opaque(event.get()));
      if (commit_tags_.erase(raw) == 0) continue;
      const std::unique_ptr<CommitTag> tag(raw);
      if (tag->sent_at) {
        facts.push_back(
            LeaseRenewed{.id = tag->id, .sent_at = *tag->sent_at, .error = ErrorOf(event.get())});
      } else {
        facts.push_back(CommitDone{.id = tag->id, .error = ErrorOf(event.get())});
      }
    }
  }

  void DrainCommitTags() {
    for (CommitTag* tag : std::exchange(commit_tags_, {})) delete tag;
  }

  // ---- reading

  Partitions ListOf(const Place& place, std::int64_t offset) const {
    Partitions list(rd_kafka_topic_partition_list_new(1));
    rd_kafka_topic_partition_list_add(list.get(), TopicName(options(), place.first).c_str(),
                                      place.second)
        ->offset = offset;
    return list;
  }

  void Assign(const Place& place, Offset from) {
    const Partitions list = ListOf(place, from);
    const Error error(rd_kafka_incremental_assign(handles_->reader.get(), list.get()));
    if (error == nullptr) {
      readings_[place].is_assigned = true;
    } else {
      Push(Failed{.error = std::string("reading ") + std::string(Name(place.first)) + ": " +
                           rd_kafka_error_string(error.get())});
    }
  }

  void Unassign(const Place& place) {
    const Partitions list = ListOf(place, RD_KAFKA_OFFSET_INVALID);
    const Error error(rd_kafka_incremental_unassign(handles_->reader.get(), list.get()));
    if (error != nullptr) {
      Push(Failed{.error = std::string("reading ") + std::string(Name(place.first)) + ": " +
                           rd_kafka_error_string(error.get())});
    }
  }

  // One message at a time: the batch calls of 2.0.2 skip offsets. There is no queue of our own
  // behind librdkafka's, which FetchBounds bounds.
  void DrainReader(std::vector<Fact>& facts) {
    std::int64_t left = options().poll_bytes_max;
    // Most messages are of the place of the one before.
    const rd_kafka_topic_t* last_topic = nullptr;
    auto at = readings_.end();
    // Behind damage librdkafka goes on, which nobody may take for what comes next.
    while (!producing_->has_failed()) {
      if (left <= 0) {
        handles_->inbox.Wake();  // There is more: Poll again.
        return;
      }
      const Message message(rd_kafka_consumer_poll(handles_->reader.get(), 0));
      if (message == nullptr) return;
      left -= 64;  // What is skipped costs time as well.
      if (message->rkt == nullptr) continue;
      if (at == readings_.end() || message->rkt != last_topic ||
          message->partition != at->first.second) {
        const auto topic = names_.find(rd_kafka_topic_name(message->rkt));
        if (topic == names_.end()) continue;
        last_topic = message->rkt;
        at = readings_.find({topic->second, message->partition});
      }
      if (at == readings_.end() || !at->second.is_assigned) continue;
      NudgeAfter(static_cast<std::int64_t>(message->len), at->first);
      OnMessage(*message, at->first, at->second, facts, left);
    }
  }

  // Fetching may have stopped for a second because the buffer was full, which it is no longer.
  void NudgeAfter(std::int64_t bytes, const Place& place) {
    taken_bytes_ += bytes;
    ++taken_records_;
    const FetchBounds bounds = FetchBoundsOf(options());
    if (taken_bytes_ < bounds.value_bytes_max / 4 && taken_records_ < bounds.records_max / 4) {
      return;
    }
    taken_bytes_ = 0;
    taken_records_ = 0;
    handles_->questions->Ask({.kind = Questions::Question::Kind::kNudge,
                              .topic = place.first,
                              .partition = place.second});
  }

  void OnMessage(const rd_kafka_message_t& message, const Place& place, Reading& reading,
                 std::vector<Fact>& facts, std::int64_t& left) {
    switch (message.err) {
      case RD_KAFKA_RESP_ERR_NO_ERROR:
        break;
      case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        // It may lie behind the last record, where compaction has left nothing.
        if (message.offset < reading.next) return;
        reading.next = message.offset;
        facts.push_back(
            CaughtUp{.topic = place.first, .partition = place.second, .next = message.offset});
        return;
      case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
      case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        reading.is_out_of_range = true;
        reading.is_assigned = false;
        Unassign(place);
        handles_->questions->Ask({.kind = Questions::Question::Kind::kOutOfRange,
                                  .topic = place.first,
                                  .partition = place.second,
                                  .asked = reading.next});
        return;
      case RD_KAFKA_RESP_ERR__BAD_MSG:
      case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
        Fail(facts, "partition " + std::to_string(place.second) + " of " +
                        std::string(Name(place.first)) + " is damaged at " +
                        std::to_string(message.offset) + ": " + rd_kafka_message_errstr(&message));
        return;
      default:
        SayError("reading " + std::string(Name(place.first)), message.err);
        return;  // librdkafka goes on trying.
    }
    if (message.offset < reading.next) return;
    reading.next = message.offset + 1;
    left -= static_cast<std::int64_t>(message.len + message.key_len);
    Record record = ToRecord(message, place.first);
    if (!facts.empty()) {
      auto* last = std::get_if<Fetched>(&facts.back());
      if (last != nullptr && last->records.back().topic == place.first &&
          last->records.back().partition == place.second) {
        last->records.push_back(std::move(record));
        return;
      }
    }
    Fetched fetched;
    fetched.records.push_back(std::move(record));
    facts.push_back(std::move(fetched));
  }

  std::unique_ptr<Handles> handles_;
  /// Uses them; as long as they are there.
  std::optional<Producing> producing_;
  const std::vector<Topic> subscribed_;
  std::map<std::string, Topic, std::less<>> names_;
  std::map<Place, Reading> readings_;
  std::map<std::string, Instant> said_errors_;
  std::set<CommitTag*> commit_tags_;
  std::vector<Partition> assigned_;
  std::vector<Partition> revoking_;
  std::int64_t taken_bytes_ = 0;
  std::int64_t taken_records_ = 0;
  bool is_subscribed_ = false;
  bool is_revoking_ = false;
  bool is_failure_told_ = false;
};

absl::StatusOr<Client> MakeClientOf(rd_kafka_type_t type, const KafkaOptions& options,
                                    const Settings& settings, int events) {
  absl::StatusOr<Configuration> configuration = MakeConfiguration(options, settings);
  if (!configuration.ok()) return configuration.status();
  if (events != 0) rd_kafka_conf_set_events(configuration->get(), events);
  return MakeClient(type, *std::move(configuration));
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogMember>> MakeMember(const KafkaOptions& options,
                                                      const std::string& group,
                                                      const std::string& instance,
                                                      const KafkaTopics& topics) {
  auto handles = std::make_unique<Handles>(options);
  const KafkaOptions& kept = handles->options;
  absl::StatusOr<Client> producer = MakeClientOf(RD_KAFKA_PRODUCER, kept, ProducerSettings(kept),
                                                 RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
  if (!producer.ok()) return producer.status();
  handles->producer = *std::move(producer);
  absl::StatusOr<Client> reader =
      MakeClientOf(RD_KAFKA_CONSUMER, kept, ReaderSettings(kept, group), 0);
  if (!reader.ok()) return reader.status();
  handles->reader = *std::move(reader);
  absl::StatusOr<Client> member =
      MakeClientOf(RD_KAFKA_CONSUMER, kept, MemberSettings(kept, group, instance),
                   RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_ERROR |
                       RD_KAFKA_EVENT_FETCH);
  if (!member.ok()) return member.status();
  handles->member = *std::move(member);

  rd_kafka_poll_set_consumer(handles->member.get());
  rd_kafka_poll_set_consumer(handles->reader.get());
  handles->producer_queue = Queue(rd_kafka_queue_get_main(handles->producer.get()));
  handles->member_queue = Queue(rd_kafka_queue_get_consumer(handles->member.get()));
  handles->reader_queue = Queue(rd_kafka_queue_get_consumer(handles->reader.get()));
  handles->commit_queue = Queue(rd_kafka_queue_new(handles->member.get()));
  for (const Queue* queue : {&handles->producer_queue, &handles->member_queue,
                             &handles->reader_queue, &handles->commit_queue}) {
    WakeFrom(queue->get(), handles->inbox);
  }
  handles->topics = MakeTopicHandles(handles->producer.get(), kept, topics.written);
  handles->reader_topics = MakeTopicHandles(handles->reader.get(), kept, topics.read);
  handles->questions = std::make_unique<Questions>(
      kept, handles->reader.get(), handles->member.get(), handles->producer.get(), handles->inbox);
  return std::make_unique<Member>(std::move(handles), topics.committed);
}

}  // namespace tributary::eventlog::kafka
