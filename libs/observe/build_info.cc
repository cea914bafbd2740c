#include "libs/observe/build_info.h"

#include <curl/curl.h>
#include <librdkafka/rdkafka.h>
#include <openssl/crypto.h>

namespace tributary::observe {

BuildInfo GetBuildInfo() {
  return {.version = TRIBUTARY_VERSION,
          .commit = TRIBUTARY_COMMIT,
          .compiler = "g++ " __VERSION__,
          .libraries = {{"curl", curl_version_info(CURLVERSION_NOW)->version},
                        {"librdkafka", rd_kafka_version_str()},
                        {"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)}}};
}

void AddBuildInfo(Metrics& metrics) {
  const BuildInfo info = GetBuildInfo();
  Labels labels(info.libraries.begin(), info.libraries.end());
  labels["version"] = info.version;
  labels["commit"] = info.commit;
  labels["compiler"] = info.compiler;
  metrics.AddGauge("tributary_build_info", "What this binary was made of; always 1.", labels)
      .Set(1);
}

}  // namespace tributary::observe
