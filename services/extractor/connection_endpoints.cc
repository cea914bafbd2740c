#include "services/extractor/connection.h"

// The site's webhook endpoints. They are other programs', so they are looked at and never written;
// what is seen there, or not, concerns no stream.

namespace tributary::extractor {
namespace {

// What is known of them is forgotten after so many questions in a row without a good answer.
constexpr int kFailuresMax = 6;
constexpr Duration kNotSentRetry = std::chrono::seconds(1);

}  // namespace

bool Connection::SendEndpoints(Now now) {
  if (options_.endpoints_interval == Duration::zero()) return false;
  if (endpoints_.is_asked || endpoints_.due > now.steady) return false;
  endpoints_.is_asked = Send(now, "/endpoints.json", {.what = InFlight::What::kEndpoints}, nullptr);
  return endpoints_.is_asked;
}

void Connection::OnEndpointsAnswer(Now now, const http::Completion& completion) {
  endpoints_.is_asked = false;
  if (completion.refused_at_send) {
    endpoints_.due = now.steady + kNotSentRetry;
    return;
  }
  const bool is_complete = completion.delivery == http::Delivery::kComplete;
  const int status = is_complete ? completion.status : 0;
  if (status == 401 || status == 403 || status == 404) {
    // Not for this key, or not on this site. A key that is refused for everything is the streams'
    // to tell.
    endpoints_.counts.reset();
    endpoints_.failures = 0;
    endpoints_.due = now.steady + options_.endpoints_interval;
    return;
  }
  if (status == 429) Throttled(now);
  absl::StatusOr<EndpointCounts> counts = status >= 200 && status < 300
                                              ? ParseEndpoints(completion.body)
                                              : absl::UnavailableError("no answer");
  if (!counts.ok()) {
    if (++endpoints_.failures >= kFailuresMax) endpoints_.counts.reset();
    endpoints_.due = now.steady + options_.endpoints_retry;
    return;
  }
  const EndpointCounts before = endpoints_.counts.value_or(EndpointCounts());
  if (counts->paused + counts->disabled > before.paused + before.disabled) {
    host_.Warn("The site has switched a webhook endpoint off.",
               {{"connection", identity_.name},
                {"paused", std::to_string(counts->paused)},
                {"disabled", std::to_string(counts->disabled)}});
  }
  endpoints_.counts = *counts;
  endpoints_.failures = 0;
  endpoints_.due = now.steady + options_.endpoints_interval;
}

}  // namespace tributary::extractor
