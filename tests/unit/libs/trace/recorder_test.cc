#include "libs/trace/recorder.h"

#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/ids/keys.h"
#include "tributary/v1/records.pb.h"

namespace tributary::trace {
namespace {

using eventlog::Topic;
using std::chrono::seconds;
using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;

class FakeSink final : public SpanSink {
 public:
  double sample_ratio() const override { return ratio; }
  void Add(Span span) override { spans.push_back(std::move(span)); }

  double ratio = 1;
  std::vector<Span> spans;
};

constexpr WallTime At(int second) { return WallTime(seconds(second)); }

class SpanRecorderTest : public ::testing::Test {
 protected:
  /// Produces one record of the trace; durable three seconds later.
  void Produce(SpanRecorder& recorder, Topic topic, const std::string& key,
               const std::string& span_id, int second, const std::string& value = "v") {
    const eventlog::Headers headers =
        eventlog::ToHeaders({.id = "i", .traceparent = ids::TraceParent(trace_, span_id)});
    recorder.OnProduce(++last_id_, topic, 3, key, &value, headers, At(second));
    recorder.OnProduced({.id = last_id_, .offset = 17}, At(second + 3));
  }

  const std::string trace_ = ids::TraceId("acme/billing/customers/1@1.2.3");
  FakeSink sink_;
  eventlog::ProduceId last_id_ = 0;
};

TEST_F(SpanRecorderTest, EachStageIsAChildOfTheOneBefore) {
  SpanRecorder recorder(sink_);
  const std::string command = "acme/contacts/s/contact/customers/1";
  recorder.OnAnswer(At(10), seconds(2));
  Produce(recorder, Topic::kChanges, "acme/billing/customers/1", ids::RootSpanId(trace_), 10);
  recorder.OnTurn(At(20));
  Produce(recorder, Topic::kCommands, command, ids::SpanId(trace_, command), 21);
  recorder.OnTurn(At(30));
  v1::RecordEntry intent;
  intent.mutable_intent()->set_send(1);
  Produce(recorder, Topic::kRecords, command, ids::SpanId(trace_, command), 31,
          intent.SerializeAsString());
  recorder.OnTurn(At(40));
  v1::Receipt receipt;
  receipt.set_outcome(v1::OUTCOME_APPLIED);
  receipt.set_http_status(201);
  Produce(recorder, Topic::kOutcomes, command, "12345678", 40, receipt.SerializeAsString());

  ASSERT_THAT(sink_.spans, SizeIs(3));
  const Span& read = sink_.spans[0];
  const Span& derive = sink_.spans[1];
  const Span& write = sink_.spans[2];
  EXPECT_EQ(read.name, "extractor read");
  EXPECT_EQ(read.parent_id, "");
  EXPECT_EQ(read.start, At(8));  // When the answer was asked for.
  EXPECT_EQ(read.end, At(13));
  EXPECT_THAT(read.attributes, Contains(Pair("messaging.kafka.offset", "17")));
  EXPECT_EQ(derive.name, "transformer derive");
  EXPECT_EQ(derive.parent_id, read.span_id);
  EXPECT_EQ(derive.start, At(20));
  EXPECT_EQ(write.name, "loader write");
  EXPECT_EQ(write.parent_id, derive.span_id);
  EXPECT_EQ(write.start, At(31));  // The intent.
  EXPECT_EQ(write.problem, "");
  EXPECT_THAT(write.attributes, Contains(Pair("tributary.outcome", "applied")));
  EXPECT_THAT(write.attributes, Contains(Pair("http.response.status_code", "201")));
  for (const Span& span : sink_.spans) EXPECT_EQ(span.trace_id, ids::ToHex(trace_));
}

TEST_F(SpanRecorderTest, SaysNothingOfPersonsAndRepeatsNoTarget) {
  SpanRecorder recorder(sink_);
  v1::Receipt receipt;
  receipt.set_outcome(v1::OUTCOME_PARKED);
  receipt.set_reason(v1::REASON_REFUSED);
  receipt.set_detail("jane@example.com is taken");
  Produce(recorder, Topic::kOutcomes, "acme/contacts/s/contact/customers/4711", "12345678", 1,
          receipt.SerializeAsString());

  ASSERT_THAT(sink_.spans, SizeIs(1));
  EXPECT_EQ(sink_.spans[0].problem, "refused");
  for (const auto& [name, value] : sink_.spans[0].attributes) {
    EXPECT_THAT(value, Not(::testing::HasSubstr("jane"))) << name;
    EXPECT_THAT(value, Not(::testing::HasSubstr("4711"))) << name;
  }
}

TEST_F(SpanRecorderTest, TakesWholeTracesByTheirRatio) {
  sink_.ratio = 0;
  SpanRecorder none(sink_);
  Produce(none, Topic::kChanges, "acme/billing/customers/1", ids::RootSpanId(trace_), 1);
  EXPECT_THAT(sink_.spans, IsEmpty());

  sink_.ratio = 0.25;
  SpanRecorder some(sink_);
  constexpr int kTraces = 2000;
  for (int i = 0; i < kTraces; ++i) {
    const std::string trace = ids::TraceId(std::to_string(i));
    const eventlog::Headers headers = eventlog::ToHeaders(
        {.id = "i", .traceparent = ids::TraceParent(trace, ids::RootSpanId(trace))});
    const std::string value = "v";
    some.OnProduce(++last_id_, Topic::kChanges, 0, "t/c/customers/1", &value, headers, At(1));
    some.OnProduced({.id = last_id_, .offset = 1}, At(1));
  }
  // 500 by the hash, which nothing random moves.
  EXPECT_GT(sink_.spans.size(), 420U);
  EXPECT_LT(sink_.spans.size(), 580U);
}

TEST_F(SpanRecorderTest, WhatIsNeverAcknowledgedIsBounded) {
  SpanRecorder recorder(sink_);
  const eventlog::Headers headers = eventlog::ToHeaders(
      {.id = "i", .traceparent = ids::TraceParent(trace_, ids::RootSpanId(trace_))});
  const std::string value = "v";
  for (std::size_t i = 1; i <= SpanRecorder::kOpenMax + 1; ++i) {
    recorder.OnProduce(i, Topic::kChanges, 0, "t/c/customers/1", &value, headers, At(1));
  }
  recorder.OnProduced({.id = SpanRecorder::kOpenMax + 1, .offset = 1}, At(2));
  EXPECT_THAT(sink_.spans, IsEmpty());
  recorder.OnProduced({.id = 1, .error = "away"}, At(2));
  ASSERT_THAT(sink_.spans, SizeIs(1));
  EXPECT_EQ(sink_.spans[0].problem, "not durable");
}

}  // namespace
}  // namespace tributary::trace
