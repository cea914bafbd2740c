#include "libs/eventlog/kafka/questions.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "libs/eventlog/clock.h"
#include "libs/eventlog/kafka/configuration.h"
#include "libs/eventlog/kafka/handles.h"

namespace tributary::eventlog::kafka {
namespace {

constexpr int kQuestionTimeoutMs = 10'000;
constexpr std::chrono::milliseconds kTopicsInterval{500};
// Control makes the topics within this time where everything starts together.
constexpr std::chrono::seconds kTopicsPatience{5};
constexpr std::chrono::minutes kMissingInterval{1};
// The protocol's numbers for the first offset kept and the one after the last.
constexpr std::int64_t kEarliest = RD_KAFKA_OFFSET_BEGINNING;
constexpr std::int64_t kLatest = RD_KAFKA_OFFSET_END;

using Place = std::pair<Topic, Partition>;

struct Answer {
  Offset offset = -1;
  std::string mark;
  std::string error;
};

Partitions ListOf(const KafkaOptions& options, const std::vector<Questions::Question>& questions,
                  std::int64_t offset) {
  std::map<Place, bool> places;
  for (const Questions::Question& question : questions) {
    places[{question.topic, question.partition}] = true;
  }
  Partitions list(rd_kafka_topic_partition_list_new(static_cast<int>(places.size())));
  for (const auto& [place, unused] : places) {
    rd_kafka_topic_partition_list_add(list.get(), TopicName(options, place.first).c_str(),
                                      place.second)
        ->offset = offset;
  }
  return list;
}

Answer Find(const KafkaOptions& options, rd_kafka_resp_err_t error,
            const rd_kafka_topic_partition_list_t* list, const Questions::Question& question) {
  const rd_kafka_topic_partition_t* found = rd_kafka_topic_partition_list_find(
      const_cast<rd_kafka_topic_partition_list_t*>(list),
      TopicName(options, question.topic).c_str(), question.partition);
  // The whole request's error may be that of one partition.
  if (found == nullptr) return {.error = rd_kafka_err2str(error)};
  if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR) return {.error = rd_kafka_err2str(found->err)};
  Answer answer{.offset = found->offset};
  if (found->metadata != nullptr) {
    answer.mark.assign(static_cast<const char*>(found->metadata), found->metadata_size);
  }
  return answer;
}

}  // namespace

Questions::Questions(const KafkaOptions& options, rd_kafka_t* reader, rd_kafka_t* member,
                     rd_kafka_t* producer, Inbox& inbox)
    : options_(options),
      reader_(reader),
      member_(member),
      producer_(producer),
      inbox_(inbox),
      thread_([this] { Run(); }) {}

Questions::~Questions() {
  RequestStop();
  thread_.join();
}

void Questions::RequestStop() {
  {
    std::lock_guard lock(mutex_);
    is_stopping_ = true;
  }
  changed_.notify_all();
}

void Questions::Ask(const Question& question) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(question);
  }
  changed_.notify_all();
}

bool Questions::topics_are_there() {
  std::lock_guard lock(mutex_);
  return topics_are_there_;
}

bool Questions::WaitOrStop(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, time, [this] { return is_stopping_; });
}

void Questions::Run() {
  Instant say_at = BootTime() + kTopicsPatience;
  while (!LookForTopics()) {
    if (WaitOrStop(kTopicsInterval)) return;
    if (BootTime() < say_at) continue;
    say_at = BootTime() + kMissingInterval;
    if (options_.on_log) options_.on_log(kWarning, missing_);
  }
  {
    std::lock_guard lock(mutex_);
    topics_are_there_ = true;
  }
  inbox_.Wake();
  while (true) {
    std::vector<Question> questions;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return is_stopping_ || !waiting_.empty(); });
      if (is_stopping_) return;
      questions = std::exchange(waiting_, {});
    }
    const auto committed = std::stable_partition(
        questions.begin(), questions.end(),
        [](const Question& question) { return question.kind != Question::Kind::kCommitted; });
    const auto nudges = std::stable_partition(
        questions.begin(), committed,
        [](const Question& question) { return question.kind != Question::Kind::kNudge; });
    if (nudges != committed) {
      const Partitions list = ListOf(options_, {nudges, committed}, RD_KAFKA_OFFSET_INVALID);
      NudgeFetching(reader_, list.get(), kQuestionTimeoutMs);
    }
    AnswerEnds({questions.begin(), nudges});
    AnswerCommitted({committed, questions.end()});
  }
}

// By both handles that use them: 2.0.2 learns of a topic's partitions here, or else a second after
// its first use.
bool Questions::LookForTopics() {
  for (rd_kafka_t* const client : {producer_, reader_}) {
    if (!LookForTopics(client)) return false;
  }
  return true;
}

bool Questions::LookForTopics(rd_kafka_t* client) {
  const rd_kafka_metadata_t* metadata = nullptr;
  // All that the broker has: a handle need not know every topic, and to ask for one by name may
  // make it.
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(client, /*all_topics=*/1, nullptr, &metadata, kQuestionTimeoutMs);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    missing_ = std::string("asking which topics there are: ") + rd_kafka_err2str(error);
    return false;
  }
  std::string missing;
  std::string wrong;
  for (const Topic topic : kAllTopics) {
    const std::string name = TopicName(options_, topic);
    bool is_there = false;
    for (int i = 0; i < metadata->topic_cnt; ++i) {
      const rd_kafka_metadata_topic_t& seen = metadata->topics[i];
      if (name != seen.topic || seen.err != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
      is_there = true;
      if (seen.partition_cnt != options_.topics.partitions) {
        wrong = "topic " + name + " has " + std::to_string(seen.partition_cnt) +
                " partitions; log.partitions says " + std::to_string(options_.topics.partitions);
      }
    }
    if (!is_there) missing += (missing.empty() ? "" : ", ") + name;
  }
  rd_kafka_metadata_destroy(metadata);
  if (!wrong.empty()) {
    inbox_.Push(Failed{.error = wrong});
    RequestStop();  // A person has to look; asking again would only say it again.
  }
  if (missing.empty()) return wrong.empty();
  missing_ = "topics that are not there, or not ours to see: " + missing +
             "; run `tributary topics create`, or start control";
  return false;
}

// Not by query_watermark_offsets: that of 2.0.2 goes on asking a broker that no longer leads the
// partition. offsets_for_times asks for the leaders first, and takes these numbers for times.
void Questions::AnswerEnds(const std::vector<Question>& questions) {
  if (questions.empty()) return;
  const Partitions begins = ListOf(options_, questions, kEarliest);
  const Partitions ends = ListOf(options_, questions, kLatest);
  const rd_kafka_resp_err_t begins_error =
      rd_kafka_offsets_for_times(reader_, begins.get(), kQuestionTimeoutMs);
  const rd_kafka_resp_err_t ends_error =
      rd_kafka_offsets_for_times(reader_, ends.get(), kQuestionTimeoutMs);
  std::vector<Fact> facts;
  for (const Question& question : questions) {
    const Answer begin = Find(options_, begins_error, begins.get(), question);
    const Answer end = Find(options_, ends_error, ends.get(), question);
    std::string error = begin.error.empty() ? end.error : begin.error;
    if (error.empty() && (begin.offset < 0 || end.offset < begin.offset)) {
      error = "the broker gave no answer";
    }
    if (question.kind == Question::Kind::kEnd) {
      facts.push_back(EndSampled{.id = question.id,
                                 .topic = question.topic,
                                 .partition = question.partition,
                                 .begin = error.empty() ? begin.offset : 0,
                                 .end = error.empty() ? end.offset : 0,
                                 .error = std::move(error)});
    } else if (error.empty()) {
      facts.push_back(OutOfRange{.topic = question.topic,
                                 .partition = question.partition,
                                 .asked = question.asked,
                                 .begin = begin.offset,
                                 .end = end.offset});
    } else {
      Ask(question);  // It is out of range whatever happens: until the broker says by how much.
      WaitOrStop(kTopicsInterval);
    }
  }
  inbox_.PushAll(std::move(facts));
}

void Questions::AnswerCommitted(const std::vector<Question>& questions) {
  if (questions.empty()) return;
  const Partitions list = ListOf(options_, questions, RD_KAFKA_OFFSET_INVALID);
  const rd_kafka_resp_err_t error = rd_kafka_committed(member_, list.get(), kQuestionTimeoutMs);
  std::vector<Fact> facts;
  for (const Question& question : questions) {
    CommittedOffset fact{
        .id = question.id, .topic = question.topic, .partition = question.partition};
    const Answer answer = Find(options_, error, list.get(), question);
    fact.error = answer.error;
    // Without an answer the list is as it was, which looks like "never committed".
    if (fact.error.empty() && error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      fact.error = rd_kafka_err2str(error);
    }
    if (fact.error.empty() && answer.offset >= 0) {
      fact.next = answer.offset;
      fact.mark = answer.mark;
    }
    facts.push_back(std::move(fact));
  }
  inbox_.PushAll(std::move(facts));
}

}  // namespace tributary::eventlog::kafka
