#include "libs/eventlog/embedded/embedded_log.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/directory_lock.h"
#include "libs/eventlog/embedded/storage.h"
#include "libs/eventlog/inbox.h"

namespace tributary::eventlog {
namespace {

using embedded::Storage;

constexpr std::size_t kRemovalsPerTransaction = 5'000;
constexpr std::size_t kGroupBytesMax = 400;
constexpr int kHardLimitFactor = 4;

/// What a member shares with the writing thread.
struct Mailbox {
  Inbox inbox;
  /// Set once: what is still queued of this member must not be written any more (rule 6).
  std::atomic<bool> is_dead{false};
  std::atomic<std::int64_t> waiting_bytes{0};
  std::atomic<std::int64_t> waiting_count{0};
};

struct Request {
  std::shared_ptr<Mailbox> mailbox;
  std::uint64_t id = 0;
  std::int64_t bytes = 0;
  Storage::Operation operation;
};

Fact ResultOf(const Request& request, const std::string& error) {
  if (request.operation.group) return CommitDone{.id = request.id, .error = error};
  return Produced{
      .id = request.id, .offset = error.empty() ? request.operation.offset : 0, .error = error};
}

std::int64_t SizeOf(const Storage::Operation& operation) {
  std::size_t size = operation.key.size() + (operation.value ? operation.value->size() : 0);
  for (const auto& [name, text] : operation.headers) size += name.size() + text.size();
  return static_cast<std::int64_t>(size);
}

void WaitReadable(int fd, Duration wait) {
  pollfd waited{.fd = fd, .events = POLLIN, .revents = 0};
  const auto milliseconds =
      std::chrono::ceil<std::chrono::milliseconds>(std::max(wait, Duration::zero())).count();
  (void)::poll(&waited, 1, static_cast<int>(std::min<std::int64_t>(milliseconds, 60'000)));
}

}  // namespace

class EmbeddedLog::Core {
 public:
  Core(Options options, DirectoryLock lock, std::unique_ptr<Storage> storage)
      : options_(std::move(options)),
        lock_(std::move(lock)),
        storage_(std::move(storage)),
        writer_([this] { Run(); }) {}

  /// Writes what is waiting, then stops.
  void Stop() {
    {
      std::lock_guard lock(mutex_);
      is_stopping_ = true;
    }
    wake_writer_.notify_one();
    if (writer_.joinable()) writer_.join();
  }

  absl::StatusOr<std::shared_ptr<Mailbox>> Enter(const std::string& group,
                                                 const std::string& instance) {
    std::lock_guard lock(mutex_);
    if (!broken_.empty()) return absl::FailedPreconditionError(broken_);
    if (is_stopping_) return absl::FailedPreconditionError("the log is being closed");
    auto mailbox = std::make_shared<Mailbox>();
    if (!group.empty()) {
      const auto [at, is_first] = groups_.try_emplace(group, instance);
      if (!is_first) {
        return absl::FailedPreconditionError("group " + group +
                                             " has a member already: " + at->second);
      }
    }
    mailboxes_.push_back(mailbox);
    return mailbox;
  }

  void Leave(const std::string& group, const std::shared_ptr<Mailbox>& mailbox) {
    std::lock_guard lock(mutex_);
    groups_.erase(group);
    std::erase(mailboxes_, mailbox);
  }

  void Submit(Request request) {
    request.mailbox->waiting_bytes += request.bytes;
    ++request.mailbox->waiting_count;
    std::string refused;
    {
      std::lock_guard lock(mutex_);
      if (!broken_.empty()) {
        refused = broken_;
      } else if (is_stopping_) {
        refused = "the log is being closed";
      } else {
        queue_.push_back(std::move(request));
      }
    }
    if (refused.empty()) {
      wake_writer_.notify_one();
    } else {
      Answer({&request, 1}, refused);
    }
  }

  absl::Status HousekeepNow() {
    std::unique_lock lock(mutex_);
    if (!broken_.empty()) return absl::FailedPreconditionError(broken_);
    const std::uint64_t wanted = ++housekeeping_wanted_;
    wake_writer_.notify_one();
    housekept_.wait(lock, [&] { return housekeeping_done_ >= wanted || is_stopping_; });
    return housekeeping_status_;
  }

  const Options& options() const { return options_; }
  const Storage& storage() const { return *storage_; }

 private:
  void Run() {
    auto next_housekeeping = std::chrono::steady_clock::now() + options_.housekeeping_interval;
    std::unique_lock lock(mutex_);
    while (true) {
      wake_writer_.wait_until(lock, next_housekeeping, [this] {
        return is_stopping_ || !queue_.empty() || housekeeping_wanted_ > housekeeping_done_;
      });
      if (!queue_.empty()) {
        std::vector<Request> batch = TakeBatch();
        lock.unlock();
        WriteBatch(batch);
        lock.lock();
      } else if (is_stopping_) {
        break;
      }
      const std::uint64_t wanted = housekeeping_wanted_;
      if (wanted > housekeeping_done_ || std::chrono::steady_clock::now() >= next_housekeeping) {
        const bool is_asked_for = wanted > housekeeping_done_;
        lock.unlock();
        const absl::Status status = Housekeep(is_asked_for);
        lock.lock();
        next_housekeeping = std::chrono::steady_clock::now() + options_.housekeeping_interval;
        housekeeping_status_ = status;
        housekeeping_done_ = wanted;
        housekept_.notify_all();
      }
    }
    housekept_.notify_all();
  }

  /// Holding mutex_.
  std::vector<Request> TakeBatch() {
    std::vector<Request> batch;
    std::int64_t bytes = 0;
    while (!queue_.empty() && (batch.empty() || bytes < options_.commit_bytes_max)) {
      bytes += queue_.front().bytes;
      batch.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    return batch;
  }

  void WriteBatch(std::vector<Request>& batch) {
    const auto dead = std::stable_partition(batch.begin(), batch.end(), [](const Request& request) {
      return !request.mailbox->is_dead.load();
    });
    const auto live = static_cast<std::size_t>(dead - batch.begin());
    Answer({batch.data() + live, batch.size() - live}, "an earlier record has failed");
    batch.resize(live);
    if (batch.empty()) return;

    std::vector<Storage::Operation> operations;
    operations.reserve(batch.size());
    for (Request& request : batch) operations.push_back(std::move(request.operation));
    const absl::Status status = storage_->Write(Clock(), operations);
    for (std::size_t i = 0; i < batch.size(); ++i) batch[i].operation = std::move(operations[i]);

    if (status.ok()) {
      Answer(batch, "");
      WakeAll();
      return;
    }
    const std::string error(status.message());
    for (Request& request : batch) request.mailbox->is_dead = true;
    Answer(batch, error);
    Fail(status);
  }

  /// Puts the results into the mailboxes, in order, one lock for each run of a mailbox.
  void Answer(std::span<Request> requests, const std::string& error) {
    std::size_t begin = 0;
    while (begin < requests.size()) {
      Mailbox& mailbox = *requests[begin].mailbox;
      std::vector<Fact> facts;
      std::int64_t bytes = 0;
      std::size_t end = begin;
      for (; end < requests.size() && requests[end].mailbox.get() == &mailbox; ++end) {
        facts.push_back(ResultOf(requests[end], error));
        bytes += requests[end].bytes;
      }
      mailbox.waiting_bytes -= bytes;
      mailbox.waiting_count -= static_cast<std::int64_t>(end - begin);
      mailbox.inbox.PushAll(std::move(facts));
      begin = end;
    }
  }

  void WakeAll() {
    std::lock_guard lock(mutex_);
    for (const std::shared_ptr<Mailbox>& mailbox : mailboxes_) mailbox->inbox.Wake();
  }

  /// Every member is told, since all of them write here. A full disk may have room again when they
  /// join anew; after anything else the file is not to be trusted in this process.
  void Fail(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    const std::string error(status.message());
    if (status.code() != absl::StatusCode::kResourceExhausted) broken_ = error;
    for (const std::shared_ptr<Mailbox>& mailbox : mailboxes_) {
      mailbox->is_dead = true;
      mailbox->inbox.Push(Failed{.error = error});
    }
  }

  absl::Status Housekeep(bool until_done) {
    absl::StatusOr<std::size_t> removed = kRemovalsPerTransaction;
    while (removed.ok() && *removed >= kRemovalsPerTransaction) {
      removed = storage_->Housekeep(Clock(), kRemovalsPerTransaction);
      std::unique_lock lock(mutex_);
      // Members wait for their acknowledgements; the rest has time.
      if (!until_done && !queue_.empty()) break;
    }
    // A full disk cannot be emptied by a transaction that needs room; members will see it.
    if (!removed.ok() && removed.status().code() != absl::StatusCode::kResourceExhausted) {
      Fail(removed.status());
    }
    return removed.status();
  }

  WallTime Clock() const { return options_.clock ? options_.clock() : SystemTime(); }

  const Options options_;
  const DirectoryLock lock_;
  const std::unique_ptr<Storage> storage_;

  std::mutex mutex_;
  std::condition_variable wake_writer_;
  std::condition_variable housekept_;
  // Guarded by mutex_:
  std::deque<Request> queue_;
  std::map<std::string, std::string> groups_;
  std::vector<std::shared_ptr<Mailbox>> mailboxes_;
  std::string broken_;
  bool is_stopping_ = false;
  std::uint64_t housekeeping_wanted_ = 0;
  std::uint64_t housekeeping_done_ = 0;
  absl::Status housekeeping_status_;

  std::thread writer_;
};

class EmbeddedLog::Member final : public LogMember {
 public:
  Member(std::shared_ptr<Core> core, std::shared_ptr<Mailbox> mailbox, std::string group)
      : core_(std::move(core)), mailbox_(std::move(mailbox)), group_(std::move(group)) {
    if (group_.empty()) return;
    Assigned assigned;
    for (Partition p = 0; p < core_->storage().partitions(); ++p) assigned.partitions.push_back(p);
    mailbox_->inbox.Push(std::move(assigned));
  }

  ~Member() override {
    if (!is_closed_) {
      mailbox_->is_dead = true;
      core_->Leave(group_, mailbox_);
    }
  }

  void Produce(ProduceId id, Topic topic, Partition partition, std::string key,
               std::optional<std::string> value, Headers headers) override {
    Request request{.mailbox = mailbox_,
                    .id = id,
                    .operation = {.topic = topic,
                                  .partition = partition,
                                  .key = std::move(key),
                                  .value = std::move(value),
                                  .headers = std::move(headers)}};
    request.bytes = SizeOf(request.operation);
    std::string error = Refusal(topic, partition);
    const Options& options = core_->options();
    if (error.empty() && request.bytes > options.topics.record_bytes_max) {
      error = "a record of " + std::to_string(request.bytes) + " bytes for " +
              std::string(Name(topic)) + "; record_bytes_max is " +
              std::to_string(options.topics.record_bytes_max);
    }
    if (error.empty() && mailbox_->waiting_bytes.load() + request.bytes >
                             options.produce_buffer_bytes * kHardLimitFactor) {
      error = "more than " + std::to_string(kHardLimitFactor) +
              " times produce_buffer_bytes wait to be written";
    }
    if (error.empty()) {
      core_->Submit(std::move(request));
      return;
    }
    refuses_ = true;
    mailbox_->inbox.Push(Produced{.id = id, .error = std::move(error)});
  }

  void StartReading(Topic topic, Partition partition, Offset from) override {
    if (std::string error = Refusal(topic, partition); !error.empty()) {
      mailbox_->inbox.Push(Failed{.error = "reading: " + error});
      return;
    }
    readings_[{topic, partition}] = {.next = from, .is_paused = false};
    mailbox_->inbox.Wake();
  }

  void StopReading(Topic topic, Partition partition) override {
    readings_.erase({topic, partition});
  }

  void PauseReading(Topic topic, Partition partition) override {
    const auto at = readings_.find({topic, partition});
    if (at != readings_.end()) at->second.is_paused = true;
  }

  void ResumeReading(Topic topic, Partition partition) override {
    const auto at = readings_.find({topic, partition});
    if (at == readings_.end()) return;
    at->second.is_paused = false;
    mailbox_->inbox.Wake();
  }

  void SampleEnd(std::uint64_t id, Topic topic, Partition partition) override {
    EndSampled sampled{.id = id, .topic = topic, .partition = partition};
    sampled.error = Refusal(topic, partition);
    if (sampled.error.empty()) {
      const Storage::Range range = core_->storage().range(topic, partition);
      sampled.begin = range.begin;
      sampled.end = range.end;
    }
    mailbox_->inbox.Push(std::move(sampled));
  }

  void FetchCommitted(std::uint64_t id, Topic topic, Partition partition) override {
    CommittedOffset fact{.id = id, .topic = topic, .partition = partition};
    fact.error = Refusal(topic, partition);
    if (fact.error.empty()) {
      auto committed = core_->storage().Committed(group_, topic, partition);
      if (!committed.ok()) {
        fact.error = std::string(committed.status().message());
      } else if (*committed) {
        fact.next = (*committed)->next;
        fact.mark = std::move((*committed)->mark);
      }
    }
    mailbox_->inbox.Push(std::move(fact));
  }

  void Commit(std::uint64_t id, Topic topic, Partition partition, Offset next,
              std::string mark) override {
    if (std::string error = Refusal(topic, partition); !error.empty()) {
      mailbox_->inbox.Push(CommitDone{.id = id, .error = std::move(error)});
      return;
    }
    core_->Submit({.mailbox = mailbox_,
                   .id = id,
                   .bytes = 0,
                   .operation = {.group = group_,
                                 .topic = topic,
                                 .partition = partition,
                                 .offset = next,
                                 .mark = std::move(mark)}});
  }

  void RenewLease(std::uint64_t id) override {
    // The directory's lock is the lease: nobody else can be the owner while this process lives.
    mailbox_->inbox.Push(LeaseRenewed{.id = id, .sent_at = BootTime(), .error = Refusal()});
  }

  void FinishRevoking() override {}

  std::vector<Fact> Poll(Duration max_wait) override {
    const Instant until = BootTime() + max_wait;
    while (true) {
      std::vector<Fact> facts = mailbox_->inbox.Take();
      if (mailbox_->waiting_bytes.load() <= core_->options().produce_buffer_bytes &&
          !mailbox_->is_dead.load()) {
        ReadInto(facts);
      }
      if (!facts.empty()) return facts;
      const Duration left = until - BootTime();
      if (left <= Duration::zero() || is_closed_) return facts;
      WaitReadable(mailbox_->inbox.fd(), left);
    }
  }

  int wake_fd() const override { return mailbox_->inbox.fd(); }

  absl::Status Close(Duration deadline) override {
    const Instant until = BootTime() + deadline;
    readings_.clear();
    while (mailbox_->waiting_count.load() > 0 && BootTime() < until) {
      WaitReadable(mailbox_->inbox.fd(), until - BootTime());
      (void)mailbox_->inbox.Take();
    }
    const std::int64_t left = mailbox_->waiting_count.load();
    mailbox_->is_dead = true;
    is_closed_ = true;
    (void)mailbox_->inbox.Take();
    core_->Leave(group_, mailbox_);
    if (left == 0) return absl::OkStatus();
    return absl::DeadlineExceededError(std::to_string(left) +
                                       " records were not acknowledged in time");
  }

  ProduceBuffer produce_buffer() const override {
    return {.bytes = mailbox_->waiting_bytes.load(),
            .bytes_max = core_->options().produce_buffer_bytes};
  }

  std::vector<Lag> lags() const override {
    std::vector<Lag> lags;
    lags.reserve(readings_.size());
    for (const auto& [place, reading] : readings_) {
      const Offset end = core_->storage().range(place.first, place.second).end;
      lags.push_back({place.first, place.second, std::max<Offset>(end - reading.next, 0)});
    }
    return lags;
  }

 private:
  using PlaceInLog = std::pair<Topic, Partition>;
  struct Reading {
    Offset next = 0;
    bool is_paused = false;
    /// Where CaughtUp was last said.
    Offset caught_up_at = -1;
  };

  /// Empty: nothing is wrong.
  std::string Refusal() const {
    if (is_closed_) return "the member is closed";
    if (refuses_ || mailbox_->is_dead.load()) return "an earlier record has failed";
    return "";
  }
  std::string Refusal(Topic topic, Partition partition) const {
    if (partition < 0 || partition >= core_->storage().partitions()) {
      return "partition " + std::to_string(partition) + " of " + std::string(Name(topic)) +
             " is not there: there are " + std::to_string(core_->storage().partitions());
    }
    return Refusal();
  }

  // Begins behind where the last Poll ended, so that a partition with much to read does not keep
  // the others waiting.
  void ReadInto(std::vector<Fact>& facts) {
    std::int64_t left = core_->options().poll_bytes_max;
    auto at = readings_.upper_bound(last_read_);
    const std::size_t count = readings_.size();
    for (std::size_t i = 0; i < count; ++i) {
      if (at == readings_.end()) at = readings_.begin();
      const PlaceInLog place = at->first;
      Reading& reading = at->second;
      ++at;
      const Storage::Range range = core_->storage().range(place.first, place.second);
      if (reading.is_paused) continue;
      if (reading.next == range.end && reading.next >= range.begin) {
        if (reading.caught_up_at != reading.next) {
          reading.caught_up_at = reading.next;
          facts.push_back(
              CaughtUp{.topic = place.first, .partition = place.second, .next = reading.next});
        }
        continue;
      }
      if (left <= 0) {
        mailbox_->inbox.Wake();  // There is more: Poll again.
        return;
      }
      std::vector<Record> records;
      Offset next = reading.next;
      const absl::Status status =
          core_->storage().Read(place.first, place.second, reading.next, left, records, next);
      if (absl::IsOutOfRange(status)) {
        facts.push_back(OutOfRange{.topic = place.first,
                                   .partition = place.second,
                                   .asked = reading.next,
                                   .begin = range.begin,
                                   .end = range.end});
        readings_.erase(place);
        continue;
      }
      if (!status.ok()) {
        refuses_ = true;
        mailbox_->is_dead = true;
        facts.push_back(Failed{.error = std::string(status.message())});
        return;
      }
      for (const Record& record : records) {
        left -= static_cast<std::int64_t>(record.key.size() +
                                          (record.value ? record.value->size() : 0));
      }
      reading.next = next;
      last_read_ = place;
      if (!records.empty()) facts.push_back(Fetched{.records = std::move(records)});
      // Either there is more, or it is to be said that there is not.
      mailbox_->inbox.Wake();
    }
  }

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<Mailbox> mailbox_;
  const std::string group_;
  std::map<PlaceInLog, Reading> readings_;
  PlaceInLog last_read_{Topic::kTenants, -1};
  bool refuses_ = false;
  bool is_closed_ = false;
};

class EmbeddedLog::Admin final : public LogAdmin {
 public:
  explicit Admin(std::shared_ptr<Core> core) : core_(std::move(core)) {}

  // They are as old as the log itself.
  absl::Status EnsureTopics() override { return absl::OkStatus(); }

  absl::StatusOr<std::vector<PartitionSetUp>> Inspect(Topic table) override {
    std::vector<PartitionSetUp> partitions;
    for (Partition p = 0; p < core_->storage().partitions(); ++p) {
      absl::StatusOr<PartitionSetUp> partition = core_->storage().Inspect(table, p);
      if (!partition.ok()) return partition.status();
      partitions.push_back(*std::move(partition));
    }
    return partitions;
  }

  absl::Status Append(Topic topic, const std::vector<NewRecord>& records) override {
    absl::StatusOr<std::shared_ptr<Mailbox>> mailbox = core_->Enter("", "");
    if (!mailbox.ok()) return mailbox.status();
    Member member(core_, *std::move(mailbox), "");
    ProduceId id = 0;
    for (const NewRecord& record : records) {
      member.Produce(++id, topic, record.partition, record.key, record.value, record.headers);
    }
    std::size_t waiting = records.size();
    std::string error;
    while (waiting > 0) {
      for (const Fact& fact : member.Poll(std::chrono::seconds(1))) {
        const auto* produced = std::get_if<Produced>(&fact);
        if (produced == nullptr) continue;
        if (error.empty()) error = produced->error;
        --waiting;
      }
    }
    if (!error.empty()) return absl::UnavailableError(error);
    return absl::OkStatus();
  }

  absl::Status ReadAll(Topic topic, const std::function<bool(const Record&)>& visit) override {
    for (Partition p = 0; p < core_->storage().partitions(); ++p) {
      const Storage::Range range = core_->storage().range(topic, p);
      Offset next = range.begin;
      while (next < range.end) {
        std::vector<Record> records;
        const absl::Status status =
            core_->storage().Read(topic, p, next, core_->options().poll_bytes_max, records, next);
        if (!status.ok()) return status;
        for (const Record& record : records) {
          if (record.offset >= range.end) break;
          if (!visit(record)) return absl::OkStatus();
        }
      }
    }
    return absl::OkStatus();
  }

  const TopicSettings& settings() const override { return core_->options().topics; }

 private:
  const std::shared_ptr<Core> core_;
};

absl::StatusOr<std::unique_ptr<EmbeddedLog>> EmbeddedLog::Open(Options options) {
  // Who only asks makes nothing, not even the directory.
  if (options.topics.partitions == 0 && !Storage::Exists(options.directory)) {
    return absl::NotFoundError("there is no log in " + options.directory);
  }
  absl::StatusOr<DirectoryLock> lock = DirectoryLock::Acquire(options.directory);
  if (!lock.ok()) return lock.status();
  absl::StatusOr<std::unique_ptr<Storage>> storage =
      Storage::Open({.directory = options.directory,
                     .topics = options.topics,
                     .map_bytes = options.map_bytes,
                     .map_bytes_max = options.map_bytes_max});
  if (!storage.ok()) return storage.status();
  options.topics.partitions = (*storage)->partitions();
  return std::unique_ptr<EmbeddedLog>(new EmbeddedLog(
      std::make_shared<Core>(std::move(options), *std::move(lock), *std::move(storage))));
}

EmbeddedLog::EmbeddedLog(std::shared_ptr<Core> core) : core_(std::move(core)) {}

EmbeddedLog::~EmbeddedLog() { core_->Stop(); }

absl::StatusOr<std::unique_ptr<LogMember>> EmbeddedLog::Join(std::string_view group,
                                                             std::string_view instance) {
  if (group.empty() || group.size() > kGroupBytesMax) {
    return absl::InvalidArgumentError("group: 1 to " + std::to_string(kGroupBytesMax) + " bytes");
  }
  absl::StatusOr<std::shared_ptr<Mailbox>> mailbox =
      core_->Enter(std::string(group), std::string(instance));
  if (!mailbox.ok()) return mailbox.status();
  return std::make_unique<Member>(core_, *std::move(mailbox), std::string(group));
}

std::unique_ptr<LogAdmin> EmbeddedLog::MakeAdmin() { return std::make_unique<Admin>(core_); }

absl::Status EmbeddedLog::Housekeep() { return core_->HousekeepNow(); }

}  // namespace tributary::eventlog
