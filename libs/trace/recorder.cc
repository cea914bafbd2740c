#include "libs/trace/recorder.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>

#include "libs/ids/keys.h"
#include "tributary/v1/records.pb.h"

namespace tributary::trace {
namespace {

using eventlog::Topic;

constexpr std::size_t kTraceAt = 3;
constexpr std::size_t kTraceDigits = 2 * ids::kTraceIdBytes;
constexpr std::size_t kSpanAt = kTraceAt + kTraceDigits + 1;
constexpr std::size_t kSpanDigits = 2 * ids::kSpanIdBytes;

std::string_view TraceParentIn(const eventlog::Headers& headers) {
  for (const auto& [name, value] : headers) {
    if (name == eventlog::kTraceHeader) return value.size() >= kSpanAt + kSpanDigits ? value : "";
  }
  return "";
}

std::string FromHex(std::string_view digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    std::uint8_t byte = 0;
    std::from_chars(digits.data() + i, digits.data() + i + 2, byte, 16);
    bytes.push_back(static_cast<char>(byte));
  }
  return bytes;
}

/// `OUTCOME_APPLIED` as `applied`.
std::string Word(const std::string& name) {
  std::string word = name.substr(name.find('_') + 1);
  for (char& c : word) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return word;
}

/// Tenant and what follows of a key, but not the ids of a customer's entities.
void AddKey(Topic topic, std::string_view key, Span& span) {
  const std::optional<std::vector<std::string>> parts = ids::SplitKey(key);
  if (!parts || parts->empty()) return;
  span.attributes.emplace_back("tributary.tenant", parts->front());
  if (topic == Topic::kChanges && parts->size() == 4) {
    span.attributes.emplace_back("tributary.connection", (*parts)[1]);
    span.attributes.emplace_back("tributary.entity.kind", (*parts)[2]);
  }
  if ((topic == Topic::kCommands || topic == Topic::kOutcomes) && parts->size() >= 3) {
    span.attributes.emplace_back("tributary.sync", (*parts)[1]);
    span.attributes.emplace_back("tributary.command.kind", (*parts)[2] == "a" ? "action" : "state");
  }
}

void AddReceipt(const std::string& value, Span& span) {
  v1::Receipt receipt;
  if (!receipt.ParseFromString(value)) return;
  span.attributes.emplace_back("tributary.outcome", Word(v1::Outcome_Name(receipt.outcome())));
  if (!receipt.operation().empty()) {
    span.attributes.emplace_back("tributary.operation", receipt.operation());
  }
  if (receipt.http_status() != 0) {
    span.attributes.emplace_back("http.response.status_code",
                                 std::to_string(receipt.http_status()));
  }
  // Not its detail, which may repeat what the target said of a person.
  if (receipt.reason() != v1::REASON_UNSPECIFIED) {
    span.problem = Word(v1::Reason_Name(receipt.reason()));
  }
}

}  // namespace

SpanRecorder::SpanRecorder(SpanSink& sink)
    : sink_(sink), sampled_below_(std::ldexp(sink.sample_ratio(), 64)) {}

bool SpanRecorder::IsSampled(std::string_view trace_id) const {
  // Every service decides alike, so a trace is whole or not there.
  std::uint64_t number = 0;
  std::from_chars(trace_id.data(), trace_id.data() + 16, number, 16);
  return static_cast<double>(number) < sampled_below_;
}

void SpanRecorder::OnAnswer(WallTime now, Duration elapsed) {
  cause_ = now - std::chrono::duration_cast<WallTime::duration>(elapsed);
}

void SpanRecorder::OnProduce(eventlog::ProduceId id, Topic topic, eventlog::Partition partition,
                             std::string_view key, const std::string* value,
                             const eventlog::Headers& headers, WallTime now) {
  const bool is_span = topic == Topic::kChanges || topic == Topic::kEvents ||
                       topic == Topic::kCommands || topic == Topic::kOutcomes;
  if ((!is_span && topic != Topic::kRecords) || value == nullptr) return;
  const std::string_view traceparent = TraceParentIn(headers);
  if (traceparent.empty()) return;
  const std::string_view trace = traceparent.substr(kTraceAt, kTraceDigits);
  if (!IsSampled(trace)) return;
  if (topic == Topic::kRecords) {
    v1::RecordEntry entry;
    const bool has_intent = entry.ParseFromString(*value) && entry.has_intent();
    if (has_intent && intents_.size() < kOpenMax) intents_.emplace(std::string(key), now);
    if (!has_intent) intents_.erase(std::string(key));
    return;
  }
  if (open_.size() >= kOpenMax) return;
  Span span;
  span.trace_id = trace;
  span.span_id = traceparent.substr(kSpanAt, kSpanDigits);
  span.start = cause_;
  span.attributes.emplace_back("messaging.destination.name", std::string(Name(topic)));
  span.attributes.emplace_back("messaging.destination.partition.id", std::to_string(partition));
  AddKey(topic, key, span);
  if (topic == Topic::kCommands) {
    span.name = "transformer derive";
    span.kind = Span::Kind::kConsumer;
    const std::string root = ids::RootSpanId(FromHex(trace));
    span.parent_id = ids::ToHex(root);
  } else if (topic == Topic::kOutcomes) {
    span.name = "loader write";
    span.kind = Span::Kind::kClient;
    span.parent_id = ids::ToHex(ids::SpanId(FromHex(trace), key));
    AddReceipt(*value, span);
    if (const auto intent = intents_.find(std::string(key)); intent != intents_.end()) {
      span.start = intent->second;
    }
  } else {
    span.name = "extractor read";
    span.kind = Span::Kind::kClient;
  }
  open_.emplace(id, std::move(span));
}

void SpanRecorder::OnProduced(const eventlog::Produced& produced, WallTime now) {
  const auto found = open_.find(produced.id);
  if (found == open_.end()) return;
  Span span = std::move(found->second);
  open_.erase(found);
  span.end = std::max(now, span.start);
  if (produced.error.empty()) {
    span.attributes.emplace_back("messaging.kafka.offset", std::to_string(produced.offset));
  } else {
    span.problem = "not durable";
  }
  sink_.Add(std::move(span));
}

}  // namespace tributary::trace
