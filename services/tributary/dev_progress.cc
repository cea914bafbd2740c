#include "services/tributary/dev_progress.h"

#include <algorithm>
#include <array>
#include <cstdio>

namespace tributary::dev {
namespace {

template <typename... Values>
std::string Text(const char* format, Values... values) {
  std::array<char, 256> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

std::int64_t Micros(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1'000'000 + time.nanos() / 1'000;
}

std::string Roughly(double seconds) {
  if (seconds < 90) return Text("%.0f s", std::max(1.0, seconds));
  if (seconds < 5400) return Text("%.0f min", seconds / 60);
  return Text("%.1f h", seconds / 3600);
}

}  // namespace

Totals Sum(const v1::StatusResponse& status) {
  Totals totals;
  for (const v1::SyncStatus& sync : status.syncs()) {
    totals.applied += sync.applied();
    totals.noop += sync.noop();
    totals.superseded += sync.superseded();
    totals.dropped += sync.dropped();
    totals.parked += sync.parked();
    totals.pending += sync.pending();
    totals.retrying += sync.retrying();
    totals.open_intents += sync.open_intents();
    totals.in_doubt += sync.in_doubt();
  }
  return totals;
}

Settling::Settling(Duration visibility_lag, int syncs, Duration hold)
    : visibility_lag_(visibility_lag), syncs_(syncs), hold_(hold) {}

std::string Settling::Waiting(const Look& look, Instant now) {
  std::string reason = Reason(look);
  if (!reason.empty()) {
    holds_since_.reset();
    return reason;
  }
  if (!holds_since_) holds_since_ = now;
  return now - *holds_since_ >= hold_ ? "" : "making sure that nothing follows";
}

std::string Settling::Reason(const Look& look) {
  if (!look.quiet_since) return "the source still changes";
  const v1::StatusResponse& status = look.status;
  if (status.missing_services_size() > 0) {
    return "no word from the " + status.missing_services(0);
  }
  // Scans are counted from the first look on, or one would be missed while others are waited for.
  const std::int64_t visible_from =
      (*look.quiet_since + visibility_lag_).time_since_epoch().count();
  std::string unread;
  int streams = 0;
  for (const v1::StreamStatus& stream : status.streams()) {
    if (!stream.unavailable().empty()) continue;
    ++streams;
    const std::string name = stream.connection() + "/" + stream.stream();
    auto& [last_end, count] = scans_[stream.tenant() + "/" + name];
    const std::int64_t end = Micros(stream.last_scan_ended_at());
    if (end > last_end && end > visible_from) {
      last_end = end;
      ++count;
    }
    if (!unread.empty()) continue;
    if (!stream.first_read_done()) {
      unread = "reading " + name + " for the first time";
    } else if (!stream.settled() || count < 2) {
      unread = "reading " + name + " once more";
    }
  }
  if (streams == 0) return "no stream is being read yet";
  if (!unread.empty()) return unread;
  if (look.lag > 0) return std::to_string(look.lag) + " records wait between the services";
  if (status.syncs_size() < syncs_) return "not every sync is reported yet";
  const Totals totals = Sum(status);
  if (totals.pending > 0) return std::to_string(totals.pending) + " records wait to be written";
  if (totals.retrying > 0) return std::to_string(totals.retrying) + " records are to be retried";
  if (totals.open_intents > 0) return std::to_string(totals.open_intents) + " requests are open";
  return "";
}

void Rate::Add(Instant now, std::int64_t applied) {
  points_.emplace_back(now, applied);
  while (points_.size() > 2 && now - points_.front().first > std::chrono::seconds(10)) {
    points_.pop_front();
  }
}

double Rate::per_second() const {
  if (points_.size() < 2) return 0;
  const auto& [from, before] = points_.front();
  const auto& [to, after] = points_.back();
  const double seconds = static_cast<double>((to - from).count()) * 1e-6;
  return seconds <= 0 ? 0 : std::max(0.0, static_cast<double>(after - before) / seconds);
}

std::string ProgressLine(const Totals& totals, double per_second, const std::string& waiting) {
  const std::int64_t left = totals.pending + totals.retrying;
  std::string line =
      Text("%lld applied · %lld waiting · %.0f/s", static_cast<long long>(totals.applied),
           static_cast<long long>(left), per_second);
  if (left > 0 && per_second >= 0.5) {
    line += " · about " + Roughly(static_cast<double>(left) / per_second) + " left";
  }
  line += Text(" · %lld parked", static_cast<long long>(totals.parked));
  if (!waiting.empty()) line += " · " + waiting;
  return line;
}

std::string CutTo(const std::string& text, int characters) {
  const auto is_first = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  int seen = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!is_first(text[i])) continue;
    if (++seen == characters) last = i;
    if (seen > characters) return text.substr(0, last) + "…";
  }
  return text;
}

std::string ToJson(const Result& result) {
  const auto number = [](const char* name, std::int64_t value) {
    return Text(",\"%s\":%lld", name, static_cast<long long>(value));
  };
  const auto optional = [&number](const char* name, const auto& value) {
    return value ? number(name, static_cast<std::int64_t>(*value)) : Text(",\"%s\":null", name);
  };
  const auto judged = [&](const char* name, std::int64_t Judged::*member) {
    return result.judged ? number(name, (*result.judged).*member) : Text(",\"%s\":null", name);
  };
  std::string json = Text("{\"settled\":%s", result.settled ? "true" : "false");
  // Seeds use all 64 bits.
  json += result.seed ? Text(",\"seed\":%llu", static_cast<unsigned long long>(*result.seed))
                      : ",\"seed\":null";
  json += optional("customers", result.customers);
  json += number("applied", result.totals.applied);
  json += number("noop", result.totals.noop);
  json += number("superseded", result.totals.superseded);
  json += number("parked", result.totals.parked);
  json += number("dropped", result.totals.dropped);
  json += judged("duplicate_records", &Judged::duplicate_records);
  json += judged("regressions", &Judged::regressions);
  json += judged("mismatches", &Judged::mismatches);
  json += judged("provoked_429", &Judged::provoked_429);
  json += Text(",\"seconds\":%.1f}", result.seconds);
  return json;
}

int ExitCode(const Result& result) {
  if (!result.settled) return 75;
  if (result.totals.dropped != 0) return 1;
  if (!result.judged) return 0;
  const Judged& judged = *result.judged;
  return judged.duplicate_records == 0 && judged.regressions == 0 && judged.mismatches == 0 &&
                 judged.provoked_429 == 0
             ? 0
             : 1;
}

}  // namespace tributary::dev
