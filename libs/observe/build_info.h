#pragma once

#include <map>
#include <string>

#include "libs/observe/metrics.h"

namespace tributary::observe {

/// What this binary was made of.
struct BuildInfo {
  std::string version;
  /// Of the source tree when it was configured. Empty: not known.
  std::string commit;
  std::string compiler;
  /// Versions of the libraries as loaded: curl, librdkafka, openssl.
  std::map<std::string, std::string> libraries;
};

BuildInfo GetBuildInfo();

/// `tributary_build_info{version,commit,compiler,…} 1`
void AddBuildInfo(Metrics& metrics);

}  // namespace tributary::observe
