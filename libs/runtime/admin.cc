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
  return http::Server::Start(
      options,
      http::SyncHandler([sources = std::move(sources)](const http::ServerRequest& request) {
        return Answer(sources, request);
      }));
}

}  // namespace tributary::runtime
