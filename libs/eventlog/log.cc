#include "libs/eventlog/log.h"

#include <cstdlib>

namespace tributary::eventlog {

std::string_view Name(Topic topic) {
  switch (topic) {
    case Topic::kTenants:
      return "tenants";
    case Topic::kNotifications:
      return "notifications";
    case Topic::kChanges:
      return "changes";
    case Topic::kEvents:
      return "events";
    case Topic::kCursors:
      return "cursors";
    case Topic::kCommands:
      return "commands";
    case Topic::kRecords:
      return "records";
    case Topic::kOutcomes:
      return "outcomes";
  }
  std::abort();
}

bool IsTable(Topic topic) {
  switch (topic) {
    case Topic::kTenants:
    case Topic::kChanges:
    case Topic::kCursors:
    case Topic::kCommands:
    case Topic::kRecords:
      return true;
    case Topic::kNotifications:
    case Topic::kEvents:
    case Topic::kOutcomes:
      return false;
  }
  std::abort();
}

const std::string* FindHeader(const Headers& headers, std::string_view name) {
  for (const auto& [header, value] : headers) {
    if (header == name) return &value;
  }
  return nullptr;
}

Headers ToHeaders(const RecordMeta& meta) {
  Headers headers = {
      {"ce_specversion", "1.0"}, {"ce_id", meta.id},     {"ce_source", meta.source},
      {"ce_type", meta.type},    {"ce_time", meta.time}, {"content-type", "application/protobuf"},
  };
  if (!meta.traceparent.empty()) headers.emplace_back("traceparent", meta.traceparent);
  return headers;
}

RecordMeta MetaOf(const Headers& headers) {
  RecordMeta meta;
  for (const auto& [name, value] : headers) {
    if (name == "ce_id") meta.id = value;
    if (name == "ce_source") meta.source = value;
    if (name == "ce_type") meta.type = value;
    if (name == "ce_time") meta.time = value;
    if (name == "traceparent") meta.traceparent = value;
  }
  return meta;
}

}  // namespace tributary::eventlog
