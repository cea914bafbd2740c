#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "libs/eventlog/log.h"
#include "libs/time/time.h"
#include "libs/trace/span.h"

namespace tributary::trace {

/// Makes spans of what a stage is given and asks for, from outside: the stages know nothing of it.
/// Which trace a record belongs to, and its span, stand in its `traceparent`; whose child it is,
/// follows from both (libs/ids/keys.h).
///
/// | span | from | to | child of |
/// |---|---|---|---|
/// | `extractor read` | the answer that the change came with was asked for | the change is durable
/// | | | `transformer derive` | the turn in which the command was derived | the command is durable
/// | the read | | `loader write` | the intent, or the turn | its outcome is durable | the command |
///
/// One thread.
class SpanRecorder {
 public:
  /// Spans that wait for their acknowledgement; what is beyond is not recorded.
  static constexpr std::size_t kOpenMax = 4096;

  /// `sink` outlives this.
  explicit SpanRecorder(SpanSink& sink);

  /// A turn begins; what is produced in it was caused no sooner.
  void OnTurn(WallTime now) { cause_ = now; }
  /// What is produced until the next turn was caused by an answer that took so long.
  void OnAnswer(WallTime now, Duration elapsed);
  void OnProduce(eventlog::ProduceId id, eventlog::Topic topic, eventlog::Partition partition,
                 std::string_view key, const std::string* value, const eventlog::Headers& headers,
                 WallTime now);
  void OnProduced(const eventlog::Produced& produced, WallTime now);

 private:
  bool IsSampled(std::string_view trace_id) const;

  SpanSink& sink_;
  /// Of 2^64 traces.
  const double sampled_below_;
  WallTime cause_{};
  std::unordered_map<eventlog::ProduceId, Span> open_;
  /// When the intent was written, by key.
  std::unordered_map<std::string, WallTime> intents_;
};

}  // namespace tributary::trace
