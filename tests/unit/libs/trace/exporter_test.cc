#include "libs/trace/exporter.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/http/server.h"
#include "libs/json/value.h"

namespace tributary::trace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class NoLogger final : public Logger {
 public:
  void Log(Level, std::string_view message, const Fields&) override {
    const std::lock_guard lock(mutex);
    lines.emplace_back(message);
  }
  std::mutex mutex;
  std::vector<std::string> lines;
};

Span SpanNumber(int i) {
  Span span;
  span.trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
  span.span_id = "00f067aa0ba902b7";
  span.parent_id = "00f067aa0ba902b8";
  span.name = "loader write";
  span.start = WallTime(seconds(1'700'000'000));
  span.end = span.start + milliseconds(5);
  span.attributes = {{"number", std::to_string(i)}, {"tributary.tenant", "a\"b"}};
  span.problem = "refused";
  return span;
}

/// A collector that answers as it is told.
class Collector {
 public:
  Collector() {
    auto started = http::Server::Start(
        {}, [this](const http::ServerRequest& request, const http::Respond& respond) {
          const std::lock_guard lock(mutex_);
          bodies_.push_back(request.body);
          paths_.push_back(request.path);
          changed_.notify_all();
          http::ServerResponse response;
          response.status = status_;
          if (hangs_) response.fault = http::ServerResponse::Fault::kHang;
          respond(response);
        });
    EXPECT_TRUE(started.ok());
    server_ = *std::move(started);
  }

  std::string url() const { return server_->url(); }
  void Answer(int status) {
    const std::lock_guard lock(mutex_);
    status_ = status;
  }
  void Hang() {
    const std::lock_guard lock(mutex_);
    hangs_ = true;
  }
  /// The body of the next request that nobody has taken yet.
  std::string Next() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, seconds(20), [this] { return taken_ < bodies_.size(); })) {
      ADD_FAILURE() << "no request came";
      return "";
    }
    EXPECT_EQ(paths_[taken_], "/v1/traces");
    return bodies_[taken_++];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> bodies_;
  std::vector<std::string> paths_;
  std::size_t taken_ = 0;
  int status_ = 200;
  bool hangs_ = false;
  std::unique_ptr<http::Server> server_;
};

double Value(const observe::Metrics& metrics, const std::string& series) {
  const std::string text = metrics.Exposition();
  const std::size_t at = text.find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
}

class ExporterTest : public ::testing::Test {
 protected:
  ExporterOptions Options(const std::string& endpoint) {
    ExporterOptions options;
    options.endpoint = endpoint;
    options.sample_ratio = 1;
    options.queue_spans_max = 3;
    options.interval = milliseconds(10);
    options.resource = {.service = "loader", .instance = "loader-1", .version = "1"};
    return options;
  }

  observe::Metrics metrics_;
  NoLogger logger_;
};

TEST_F(ExporterTest, SendsWhatACollectorReads) {
  Collector collector;
  std::string body;
  {
    Exporter exporter(Options(collector.url()), metrics_, logger_);
    exporter.Add(SpanNumber(1));
    body = collector.Next();
  }
  const auto parsed = json::Parse(body);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_THAT(body, HasSubstr(R"({"key":"service.name","value":{"stringValue":"loader"}})"));
  EXPECT_THAT(body, HasSubstr(R"("traceId":"4bf92f3577b34da6a3ce929d0e0e4736")"));
  EXPECT_THAT(body, HasSubstr(R"("parentSpanId":"00f067aa0ba902b8")"));
  EXPECT_THAT(body, HasSubstr(R"("startTimeUnixNano":"1700000000000000000")"));
  EXPECT_THAT(body, HasSubstr(R"("endTimeUnixNano":"1700000000005000000")"));
  EXPECT_THAT(body, HasSubstr(R"("stringValue":"a\"b")"));
  EXPECT_THAT(body, HasSubstr(R"("status":{"code":2,"message":"refused"})"));
  EXPECT_EQ(Value(metrics_, R"(tributary_trace_spans_exported_total{stage="loader"})"), 1);
}

TEST_F(ExporterTest, KeepsWhatAnOverloadedCollectorDoesNotTakeAndDropsWhatDoesNotFit) {
  Collector collector;
  collector.Answer(503);
  {
    Exporter exporter(Options(collector.url()), metrics_, logger_);
    for (int i = 1; i <= 5; ++i) exporter.Add(SpanNumber(i));
    EXPECT_THAT(collector.Next(), HasSubstr(R"({"key":"number","value":{"stringValue":"1"}})"));
    collector.Answer(200);
    // The first three come again, some time; the others never.
    const std::string exported = R"(tributary_trace_spans_exported_total{stage="loader"})";
    const auto until = std::chrono::steady_clock::now() + seconds(20);
    while (Value(metrics_, exported) < 3 && std::chrono::steady_clock::now() < until) {
      std::this_thread::sleep_for(milliseconds(2));
    }
  }
  EXPECT_EQ(Value(metrics_, R"(tributary_trace_spans_exported_total{stage="loader"})"), 3);
  EXPECT_EQ(
      Value(metrics_, R"(tributary_trace_spans_dropped_total{reason="queue_full",stage="loader"})"),
      2);
  EXPECT_THAT(logger_.lines,
              ::testing::ElementsAre("Spans cannot be exported.", "Spans are exported again."));
}

TEST_F(ExporterTest, DropsWhatACollectorRefuses) {
  Collector collector;
  collector.Answer(400);
  {
    Exporter exporter(Options(collector.url()), metrics_, logger_);
    exporter.Add(SpanNumber(1));
    (void)collector.Next();
  }
  EXPECT_EQ(
      Value(metrics_, R"(tributary_trace_spans_dropped_total{reason="refused",stage="loader"})"),
      1);
}

TEST_F(ExporterTest, EndsThoughACollectorNeverAnswers) {
  Collector collector;
  collector.Hang();
  ExporterOptions options = Options(collector.url());
  options.request_timeout = std::chrono::hours(1);  // Longer than the test may take.
  options.last_words_max = milliseconds(50);
  Exporter exporter(options, metrics_, logger_);
  exporter.Add(SpanNumber(1));
  (void)collector.Next();
}

TEST_F(ExporterTest, EndsSoonThoughNobodyListens) {
  ExporterOptions options = Options("http://127.0.0.1:1");
  options.interval = seconds(60);
  Exporter exporter(options, metrics_, logger_);
  exporter.Add(SpanNumber(1));
}

}  // namespace
}  // namespace tributary::trace
