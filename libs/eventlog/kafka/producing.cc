#include "libs/eventlog/kafka/producing.h"

#include <algorithm>
#include <chrono>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/kafka/messages.h"

namespace tributary::eventlog::kafka {
namespace {

using std::chrono::milliseconds;

static_assert(sizeof(void*) == sizeof(ProduceId), "ids travel as librdkafka's opaque pointers");

constexpr int kHardLimitFactor = 4;
// Well below kLinger: what is handed over so long after the first record of a request is in it.
constexpr milliseconds kGatherTime{3};
constexpr int kGatheredMax = 1000;
// A broker that has nothing else to do acknowledges within kLinger and a few milliseconds.
constexpr milliseconds kSlow{15};

/// Without headers: the delivery report must give the same number.
std::int64_t BytesOf(const std::string& key, const std::optional<std::string>& value) {
  return static_cast<std::int64_t>(key.size() + (value ? value->size() : 0));
}

}  // namespace

Producing::Producing(const KafkaOptions& options, rd_kafka_t* producer, rd_kafka_queue_t* reports,
                     TopicHandles& topics, Inbox& inbox)
    : options_(options), producer_(producer), reports_(reports), topics_(topics), inbox_(inbox) {}

void Producing::Produce(ProduceId id, Topic topic, Partition partition, std::string key,
                        std::optional<std::string> value, Headers headers, std::string refusal) {
  const std::int64_t bytes = BytesOf(key, value);
  if (refusal.empty() && bytes > options_.topics.record_bytes_max) {
    refusal = "a record of " + std::to_string(bytes) + " bytes for " + std::string(Name(topic)) +
              "; record_bytes_max is " + std::to_string(options_.topics.record_bytes_max);
  }
  if (refusal.empty() &&
      waiting_bytes_ + bytes > options_.produce_buffer_bytes * kHardLimitFactor) {
    refusal = "more than " + std::to_string(kHardLimitFactor) +
              " times produce_buffer_bytes wait to be acknowledged";
  }
  if (!refusal.empty()) {
    Stop();
    inbox_.Push(Produced{.id = id, .error = std::move(refusal)});
    return;
  }
  waiting_bytes_ += bytes;
  ++waiting_count_;
  const Place place{topic, partition};
  Outlet& outlet = outlets_[place];
  const Instant now = BootTime();
  outlet.held.push_back({id, std::move(key), std::move(value), std::move(headers), now});
  HandOver(place, outlet, now);
}

// Gives librdkafka what is held, as much as it can be given before linger.ms is over.
void Producing::HandOver(const Place& place, Outlet& outlet, Instant now) {
  if (outlet.under_way == 0) outlet.opened_at = now;
  const bool is_late = outlet.probe != 0 && now - outlet.probe_since > kSlow;
  if ((outlet.is_slow || is_late) && now - outlet.opened_at >= kGatherTime) return;
  if (!outlet.held.empty() && now - outlet.held.front().since >= kMessageTimeout) {
    Stop("not sent within the message timeout");
  }
  for (int i = 0; i < kGatheredMax && !outlet.held.empty(); ++i) {
    const Held& record = outlet.held.front();
    const rd_kafka_resp_err_t code =
        Send(producer_, HandleOf(place.first), place.second, record.key, record.value,
             record.headers, reinterpret_cast<void*>(record.id));
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
      Stop(rd_kafka_err2str(code));
      return;
    }
    if (outlet.probe == 0) {
      outlet.probe = record.id;
      outlet.probe_since = now;
    }
    ++outlet.under_way;
    outlet.held.pop_front();
  }
}

void Producing::Stop(const std::string& why) {
  if (has_failed_) return;
  has_failed_ = true;
  Purge();
  for (auto& [place, outlet] : outlets_) {
    for (const Held& record : outlet.held) {
      waiting_bytes_ -= BytesOf(record.key, record.value);
      --waiting_count_;
      inbox_.Push(Produced{.id = record.id, .error = why});
    }
    outlet.held.clear();
  }
}

void Producing::Purge() {
  rd_kafka_purge(producer_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
                                RD_KAFKA_PURGE_F_NON_BLOCKING);
}

void Producing::TakeReports(std::vector<Fact>& facts) {
  while (const Event event{rd_kafka_queue_poll(reports_, 0)}) {
    const rd_kafka_event_type_t type = rd_kafka_event_type(event.get());
    if (type != RD_KAFKA_EVENT_DR) continue;  // Errors are librdkafka's to get over, or fatal.
    while (const rd_kafka_message_t* message = rd_kafka_event_message_next(event.get())) {
      waiting_bytes_ -= static_cast<std::int64_t>(message->key_len + message->len);
      --waiting_count_;
      Produced produced{.id = reinterpret_cast<ProduceId>(message->_private),
                        .offset = message->offset};
      if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        produced.offset = 0;
        produced.error = rd_kafka_err2str(message->err);
        Stop();
      } else if (message->offset < 0) {
        produced.offset = 0;
        produced.error = "acknowledged without an offset";
        Stop();
      }
      facts.push_back(std::move(produced));
      OnAcknowledged(*message);
    }
  }
}

void Producing::OnAcknowledged(const rd_kafka_message_t& message) {
  const auto topic = std::find_if(kAllTopics.begin(), kAllTopics.end(), [&](Topic each) {
    return topics_[static_cast<std::size_t>(each)].get() == message.rkt;
  });
  if (topic == kAllTopics.end()) return;
  const auto at = outlets_.find({*topic, message.partition});
  if (at == outlets_.end()) return;
  Outlet& outlet = at->second;
  if (outlet.probe == reinterpret_cast<ProduceId>(message._private)) {
    outlet.is_slow = BootTime() - outlet.probe_since > kSlow;
    outlet.probe = 0;
  }
  if (--outlet.under_way == 0 && !has_failed_) HandOver(at->first, outlet, BootTime());
}

rd_kafka_topic_t* Producing::HandleOf(Topic topic) {
  TopicHandle& handle = topics_[static_cast<std::size_t>(topic)];
  if (handle == nullptr) handle = MakeTopicHandle(producer_, options_, topic);
  return handle.get();
}

}  // namespace tributary::eventlog::kafka
