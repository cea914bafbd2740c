#include "tests/unit/services/extractor/extractor_bench.h"

#include <array>
#include <cstdio>
#include <utility>

#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "libs/time/rfc3339.h"
#include "services/extractor/extractor.h"
#include "tributary/v1/tenants.pb.h"

namespace tributary::extractor::testing {

using eventlog::Topic;

std::string TargetOf(std::string_view url) {
  const std::size_t host = url.find("://");
  const std::size_t path = url.find('/', host == std::string_view::npos ? 0 : host + 3);
  return path == std::string_view::npos ? "/" : std::string(url.substr(path));
}

http::Headers DateHeader(WallTime time) {
  // From the RFC 3339 text, so that the calendar is computed in one place.
  const std::string text = FormatRfc3339(time);
  constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const int month = (text[5] - '0') * 10 + (text[6] - '0');
  return {{"Date", "Sun, " + text.substr(8, 2) + " " +
                       kMonths.at(static_cast<std::size_t>(month - 1)) + " " + text.substr(0, 4) +
                       " " + text.substr(11, 8) + " GMT"}};
}

struct ExtractorBench::Http : http::ClientPort {
  explicit Http(ExtractorBench& owner) : bench(owner) {}

  void Send(http::RequestId id, http::Request request) override {
    const std::uint64_t incarnation = bench.incarnation_;
    // As the real one: the last check is made right before the bytes leave.
    bench.time_.After(
        std::chrono::milliseconds(1), [this, id, incarnation, request = std::move(request)] {
          if (incarnation != bench.incarnation_) return;
          if (cancelled.contains(id) || !bench.stage_->MaySend(bench.time_.now(), id)) {
            http::Completion completion;
            completion.id = id;
            completion.refused_at_send = true;
            bench.stage_->OnHttp(bench.time_.now(), std::move(completion));
            bench.Drive();
            return;
          }
          bench.request_log_.push_back(TargetOf(request.url));
          bench.request_times_.push_back(bench.time_.now().steady);
          bench.in_flight_max_ = std::max(bench.in_flight_max_, ++bench.in_flight_);
          SiteAnswer answer = bench.site_(bench.wall(), request);
          const bool times_out = answer.delay >= request.timeout;
          const Duration delay = std::min(answer.delay, request.timeout);
          bench.time_.After(delay, [this, id, incarnation, times_out, delay,
                                    answer = std::move(answer)]() mutable {
            --bench.in_flight_;
            if (incarnation != bench.incarnation_) return;
            http::Completion completion;
            completion.id = id;
            completion.delivery = times_out ? http::Delivery::kBroken : answer.delivery;
            completion.status = answer.status;
            completion.headers = std::move(answer.headers);
            completion.body = std::move(answer.body);
            completion.elapsed = delay;
            if (completion.delivery != http::Delivery::kComplete) completion.error = "broken";
            bench.stage_->OnHttp(bench.time_.now(), std::move(completion));
            bench.Drive();
          });
        });
  }
  void Cancel(http::RequestId id) override { cancelled.insert(id); }

  ExtractorBench& bench;
  std::set<http::RequestId> cancelled;
};

struct ExtractorBench::Control : ControlPort {
  explicit Control(ExtractorBench& owner) : bench(owner) {}
  void Send(const v1::FromService& message) override {
    if (message.has_status()) {
      bench.status_ = message.status();
      return;
    }
    bench.to_control_.push_back(message);
    if (message.has_credential_request()) {
      const std::uint64_t incarnation = bench.incarnation_;
      bench.time_.After(std::chrono::milliseconds(1), [this, incarnation] {
        if (incarnation == bench.incarnation_) bench.SendCredentials();
      });
    }
  }
  ExtractorBench& bench;
};

struct ExtractorBench::Lines : Logger {
  explicit Lines(ExtractorBench& owner) : bench(owner) {}
  void Log(Level, std::string_view message, const Fields& fields) override {
    std::string line(message);
    for (const auto& [name, value] : fields) line += " " + std::string(name) + "=" + value;
    bench.log_lines_.push_back(std::move(line));
  }
  ExtractorBench& bench;
};

ExtractorBench::ExtractorBench(Setup setup, SiteHandler site)
    : setup_(std::move(setup)),
      site_(std::move(site)),
      log_({.partitions = 1}, time_, setup_.seed),
      random_(setup_.seed + 17),
      stores_(eventlog::MakeMemoryStores()),
      http_(std::make_unique<Http>(*this)),
      control_(std::make_unique<Control>(*this)),
      logger_(std::make_unique<Lines>(*this)),
      api_key_(setup_.api_key) {
  log_.Found(1'700'000'000);
  PublishTenant(true);
}

ExtractorBench::~ExtractorBench() { ++incarnation_; }

void ExtractorBench::PublishTenant(bool linked) {
  v1::TenantSnapshot snapshot;
  snapshot.set_tenant(std::string(kTenant));
  for (int i = 0; i < setup_.connections; ++i) {
    v1::Connection* connection = snapshot.add_connections();
    connection->set_name(ConnectionName(i));
    connection->set_integration("chargify");
    connection->set_url(setup_.url);
    connection->set_allow_insecure_loopback(true);
    connection->set_state(linked ? v1::CONNECTION_STATE_LINKED : v1::CONNECTION_STATE_UNLINKED);
    connection->set_credential_revision(key_revision_);
    for (const auto& [name, value] : setup_.settings) {
      (*connection->mutable_settings())[name] = value;
    }
  }
  // Under the token of the founding, as control's entries are under control's.
  eventlog::Headers headers = {{std::string(eventlog::kTokenHeader),
                                eventlog::FormatToken({.generation = 1'700'000'000, .offset = 1})}};
  log_.Append(Topic::kTenants, 0, ids::EncodePart(kTenant), snapshot.SerializeAsString(), headers);
}

void ExtractorBench::Start() {
  ++incarnation_;
  status_.Clear();
  http_->cancelled.clear();
  eventlog::testing::MemberDelays delays;
  delays.request = {.min = std::chrono::milliseconds(1), .max = std::chrono::milliseconds(1)};
  delays.answer = {.min = log_delay_, .max = log_delay_ + std::chrono::milliseconds(1)};
  member_ = log_.Join("extractor", "extractor-" + std::to_string(incarnation_), delays);
  StagePorts ports{.log = *member_,
                   .stores = *stores_,
                   .http = *http_,
                   .control = *control_,
                   .logger = *logger_,
                   .random = [this] { return random_.Next(); }};
  Options options = setup_.options;
  options.partitions = 1;
  options.instance = "extractor-" + std::to_string(incarnation_);
  stage_ = MakeExtractor(options, std::move(ports));
  const std::uint64_t incarnation = incarnation_;
  member_->OnFacts([this, incarnation] {
    if (wake_pending_) return;
    wake_pending_ = true;
    time_.After(Duration{}, [this, incarnation] {
      wake_pending_ = false;
      if (incarnation == incarnation_) Drive();
    });
  });
  log_.Assign(*member_, {0});
  Drive();
}

void ExtractorBench::Kill() {
  ++incarnation_;
  wake_pending_ = false;
  next_wake_ = Instant::max();
  log_.Kill(*member_);
  stage_.reset();
}

void ExtractorBench::Drive() {
  for (bool again = true; again;) {
    again = false;
    for (const eventlog::Fact& fact : member_->Poll()) {
      stage_->OnLog(time_.now(), fact);
      again = true;
    }
    if (stage_->next_tick() <= time_.now().steady) stage_->OnTick(time_.now());
  }
  Wake();
}

void ExtractorBench::Wake() {
  // Not more often than a millisecond, as a real shell.
  const Instant at =
      std::max(stage_->next_tick(), time_.now().steady + std::chrono::milliseconds(1));
  if (at == Instant::max() || (next_wake_ <= at && next_wake_ > time_.now().steady)) return;
  next_wake_ = at;
  const std::uint64_t incarnation = incarnation_;
  time_.At(at, [this, incarnation] {
    if (incarnation != incarnation_) return;
    next_wake_ = Instant::max();
    Drive();
  });
}

std::string ExtractorBench::ConnectionName(int number) const {
  return std::string(kConnection) + (number == 0 ? "" : "-" + std::to_string(number + 1));
}

void ExtractorBench::SendCredentials() {
  for (int i = 0; i < setup_.connections; ++i) {
    v1::ToService message;
    v1::Credential* credential = message.mutable_credential();
    credential->set_tenant(std::string(kTenant));
    credential->set_connection(ConnectionName(i));
    credential->set_revision(key_revision_);
    (*credential->mutable_fields())["api_key"] = api_key_;
    stage_->OnControl(time_.now(), message);
  }
  Drive();
}

void ExtractorBench::SetApiKey(std::string key, std::int64_t revision) {
  api_key_ = std::move(key);
  key_revision_ = revision;
  PublishTenant(true);
}

bool ExtractorBench::RunUntil(const std::function<bool()>& condition, Duration limit) {
  const Instant end = time_.now().steady + limit;
  while (!condition()) {
    if (time_.now().steady >= end) return false;
    time_.RunFor(std::chrono::milliseconds(100));
  }
  return true;
}

bool ExtractorBench::RunUntilSettled(Duration limit) {
  return RunUntil(
      [this] {
        if (status_.streams().empty()) return false;
        for (const v1::StreamStatus& stream : status_.streams()) {
          if (!stream.settled()) return false;
        }
        return true;
      },
      limit);
}

const v1::StreamStatus* ExtractorBench::Stream(std::string_view name) const {
  for (const v1::StreamStatus& stream : status_.streams()) {
    if (stream.stream() == name) return &stream;
  }
  return nullptr;
}

Topics ExtractorBench::Read() const {
  Topics topics;
  // Rule 1, once more and by itself: behind a fence nothing with a smaller token counts.
  const auto fold = [&](Topic topic, const auto& entry) {
    std::optional<eventlog::Token> fence;
    for (const eventlog::Record& record : log_.records(topic, 0)) {
      if (record.key == "!g") continue;
      if (record.key.starts_with("!f/")) {
        if (!record.value) continue;  // an old fence is taken away
        fence = eventlog::Token{.generation = 1'700'000'000, .offset = record.offset};
        continue;
      }
      if (record.key.starts_with('!') || !record.value) continue;
      const auto header = eventlog::FindHeader(record.headers, eventlog::kTokenHeader);
      const auto token = header ? eventlog::ParseToken(*header) : std::nullopt;
      if (fence && (!token || *token < *fence)) continue;
      entry(record);
    }
  };
  fold(Topic::kChanges, [&](const eventlog::Record& record) {
    v1::ChangeEvent change;
    change.ParseFromString(*record.value);
    topics.history.emplace_back(record.key, change);
    topics.changes[record.key] = std::move(change);
  });
  fold(Topic::kCursors, [&](const eventlog::Record& record) {
    topics.cursors[record.key].ParseFromString(*record.value);
  });
  for (const eventlog::Record& record : log_.records(Topic::kEvents, 0)) {
    v1::SourceEvent event;
    event.ParseFromString(record.value.value_or(""));
    topics.events_history.push_back(event);
    topics.events.try_emplace(event.id(), std::move(event));
  }
  return topics;
}

}  // namespace tributary::extractor::testing
