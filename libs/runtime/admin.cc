#include "libs/runtime/admin.h"

#include <utility>

namespace tributary::runtime {
namespace {

http::ServerResponse Health(const std::vector<std::string>& problems) {
  http::ServerResponse response;
  response.headers = {{"Cache-Control", "no-store"}};
  if (problems.empty()) {
    response.body = "ok\n";
    return response;
  }
  response.status = 503;
  for (const std::string& problem : problems) response.body += problem + "\n";
  return response;
}

http::ServerResponse Answer(const AdminSources& sources, const http::ServerRequest& request) {
  const bool known = request.path == "/livez" || request.path == "/readyz" ||
                     request.path == "/healthz" || request.path == "/metrics";
  if (!known) {
    if (sources.more) return sources.more(request);
    return {.status = 404, .body = "not found\n"};
  }
  if (request.method != "GET" && request.method != "HEAD") {
    return {.status = 405, .headers = {{"Allow", "GET, HEAD"}}, .body = "method not allowed\n"};
  }
  if (request.path == "/metrics") {
    return {.content_type = std::string(observe::Metrics::kContentType),
            .body = sources.metrics->Exposition()};
  }
  if (request.path == "/livez") {
    const std::string problem = sources.not_alive_because ? sources.not_alive_because() : "";
    return Health(problem.empty() ? std::vector<std::string>{} : std::vector{problem});
  }
  return Health(sources.not_ready_because ? sources.not_ready_because()
                                          : std::vector<std::string>{});
}

Duration FromProto(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) +
         std::chrono::duration_cast<Duration>(std::chrono::nanoseconds(duration.nanos()));
}

}  // namespace

ServerNumbers::ServerNumbers(observe::Metrics& metrics)
    : connections_(metrics.AddGauge("tributary_http_server_connections", "Connections open.")),
      unsent_bytes_(metrics.AddGauge("tributary_http_server_unsent_bytes",
                                     "Answers that clients have not read yet.")),
      accepted_(metrics.AddCounter("tributary_http_server_connections_accepted_total",
                                   "Connections taken.")),
      accept_failures_(metrics.AddCounter("tributary_http_server_accept_failures_total",
                                          "Connections that could not be taken.")),
      requests_(metrics.AddCounter("tributary_http_server_requests_total", "Requests handled.")),
      requests_refused_(
          metrics.AddCounter("tributary_http_server_requests_refused_total",
                             "Requests that were malformed, too large, or one too many.")) {
  const auto closed = [&metrics](const char* reason) {
    return observe::FollowedCounter(metrics.AddCounter(
        "tributary_http_server_connections_closed_total",
        "Connections closed by the server before their time.", {{"reason", reason}}));
  };
  displaced_ = closed("displaced");
  refused_ = closed("refused");
  timed_out_ = closed("timed_out");
}

void ServerNumbers::Show(const http::ServerCounters& counters) {
  connections_.Set(static_cast<double>(counters.connections_open));
  unsent_bytes_.Set(static_cast<double>(counters.unsent_bytes));
  accepted_.Follow(counters.connections_accepted);
  displaced_.Follow(counters.connections_displaced);
  refused_.Follow(counters.connections_refused);
  timed_out_.Follow(counters.connections_timed_out);
  accept_failures_.Follow(counters.accept_failures);
  requests_.Follow(counters.requests);
  requests_refused_.Follow(counters.requests_refused);
}

absl::StatusOr<std::unique_ptr<http::Server>> StartAdmin(const v1::AdminConfig& config,
                                                         AdminSources sources) {
  const auto listen = http::ParseListen(config.listen());
  if (!listen) return absl::InvalidArgumentError("admin.listen: not HOST:PORT: " + config.listen());
  http::ServerOptions options;
  options.host = listen->first;
  options.port = listen->second;
  if (config.connections_max() > 0) options.connections_max = config.connections_max();
  if (config.has_request_timeout()) options.request_timeout = FromProto(config.request_timeout());
  if (config.header_bytes_max() > 0) {
    options.header_bytes_max = static_cast<std::size_t>(config.header_bytes_max());
  }
  if (config.body_bytes_max() > 0) {
    options.body_bytes_max = static_cast<std::size_t>(config.body_bytes_max());
  }
  options.counters = std::make_shared<http::ServerCounters>();
  // One thread handles all requests.
  options.threads = 1;
  const auto numbers = std::make_shared<ServerNumbers>(*sources.metrics);
  return http::Server::Start(
      options, http::SyncHandler([sources = std::move(sources), counters = options.counters,
                                  numbers](const http::ServerRequest& request) {
        if (request.path == "/metrics") numbers->Show(*counters);
        return Answer(sources, request);
      }));
}

}  // namespace tributary::runtime
