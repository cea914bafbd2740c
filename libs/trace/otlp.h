#pragma once

#include <span>
#include <string>

#include "libs/trace/span.h"

namespace tributary::trace {

/// Who speaks.
struct Resource {
  std::string service;
  std::string instance;
  std::string version;
};

/// Body of a POST to a collector's `/v1/traces`: OTLP in JSON.
std::string ToOtlp(const Resource& resource, std::span<const Span> spans);

}  // namespace tributary::trace
