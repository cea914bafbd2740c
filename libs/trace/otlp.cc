#include "libs/trace/otlp.h"

#include <cstdint>

#include "libs/json/value.h"

namespace tributary::trace {
namespace {

void AppendAttribute(std::string& out, std::string_view name, std::string_view value) {
  if (out.back() != '[') out += ',';
  out += R"({"key":)";
  json::AppendQuoted(out, name);
  out += R"(,"value":{"stringValue":)";
  json::AppendQuoted(out, value);
  out += "}}";
}

void AppendNanos(std::string& out, std::string_view name, WallTime time) {
  const auto nanos =
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  out.append(",\"").append(name).append("\":\"").append(std::to_string(nanos)).append("\"");
}

void AppendSpan(std::string& out, const Span& span) {
  out += R"({"traceId":")" + span.trace_id + R"(","spanId":")" + span.span_id + '"';
  if (!span.parent_id.empty()) out += R"(,"parentSpanId":")" + span.parent_id + '"';
  out += R"(,"name":)";
  json::AppendQuoted(out, span.name);
  out += R"(,"kind":)" + std::to_string(static_cast<int>(span.kind));
  AppendNanos(out, "startTimeUnixNano", span.start);
  AppendNanos(out, "endTimeUnixNano", span.end);
  out += R"(,"attributes":[)";
  for (const auto& [name, value] : span.attributes) AppendAttribute(out, name, value);
  out += R"(],"status":{)";
  if (!span.problem.empty()) {
    constexpr int kError = 2;
    out += R"("code":)" + std::to_string(kError) + R"(,"message":)";
    json::AppendQuoted(out, span.problem);
  }
  out += "}}";
}

}  // namespace

std::string ToOtlp(const Resource& resource, std::span<const Span> spans) {
  std::string out = R"({"resourceSpans":[{"resource":{"attributes":[)";
  AppendAttribute(out, "service.name", resource.service);
  AppendAttribute(out, "service.namespace", "tributary");
  AppendAttribute(out, "service.instance.id", resource.instance);
  AppendAttribute(out, "service.version", resource.version);
  out += R"(]},"scopeSpans":[{"scope":{"name":"tributary"},"spans":[)";
  for (const Span& span : spans) {
    if (out.back() != '[') out += ',';
    AppendSpan(out, span);
  }
  out += "]}]}]}";
  return out;
}

}  // namespace tributary::trace
