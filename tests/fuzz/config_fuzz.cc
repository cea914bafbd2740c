#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "google/protobuf/util/message_differencer.h"

#include "libs/config/config.h"
#include "libs/config/quantities.h"
#include "libs/nearest/nearest.h"
#include "tests/fuzz/invariant.h"

// Configuration files. Input: a byte whose lowest bit allows tenants; environment up to a NUL, one
// NAME=VALUE a line; the file. What is accepted holds the rules again where it comes over the
// network. A byte of 2 or 3: the file is what somebody wrote into a line where credentials, or
// librdkafka's settings, stand; a secret there is never shown.

namespace tributary::config {
namespace {

using fuzz::Require;

constexpr std::string_view kBeforeCredentials = R"(tenants:
  - name: a
    connections:
      - name: b
        integration: chargify
        url: https://a.chargify.com
        credentials: )";

void CheckQuantities(std::string_view text) {
  if (const std::optional<Duration> duration = ParseDuration(text)) {
    Require(*duration >= Duration::zero(), "a duration is not negative");
    Require(ParseDuration(FormatDuration(*duration)) == duration, "a duration is read back");
    Require(FromProto(ToProto(*duration)) == *duration, "also from a message");
  }
  if (const std::optional<std::int64_t> size = ParseSize(text)) {
    Require(*size >= 0, "a size is not negative");
    Require(ParseSize(std::to_string(*size)) == size, "a size is read back");
  }
}

void CheckFile(std::string_view input) {
  fuzz::Choices choices(input);
  LoadOptions options;
  const std::size_t mode = choices.Below(4);
  options.allow_tenants = mode != 0;
  options.check_files = false;
  std::string_view lines = choices.TakeToNul();
  CheckQuantities(lines);
  while (!lines.empty() && options.environment.size() < 8) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(line.size() + 1, lines.size()));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    options.environment.emplace_back(line.substr(0, equals), line.substr(equals + 1));
  }
  std::string text(choices.rest());
  if (mode >= 2) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::replace(text.begin(), text.end(), '\r', ' ');
    text = (mode == 2 ? std::string(kBeforeCredentials) : "log:\n  kafka: ") + text + "\n";
  }
  const Loaded loaded = LoadText(text, "c.yaml", options);
  for (const Problem& problem : loaded.problems) {
    Require(!problem.message.empty() && !Format(problem).empty(), "a problem says what it is");
    Require(mode < 2 || problem.message.find("s3cr3t+canary") == std::string::npos,
            "and shows no secret");
  }
  if (!loaded.problems.empty()) return;

  v1::ConfigFile checked = loaded.config;
  Require(Check("network", options, checked).empty(), "what was accepted is accepted again");
  Require(google::protobuf::util::MessageDifferencer::Equals(checked, loaded.config),
          "and as it is");
  v1::ConfigFile read;
  Require(read.ParseFromString(loaded.config.SerializeAsString()), "and can travel");
}

}  // namespace
}  // namespace tributary::config

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  tributary::config::CheckFile(tributary::fuzz::TextOf(data, size));
  return 0;
}
