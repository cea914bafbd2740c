#include "services/tributary/commands/ask.h"

namespace tributary::cli {

int Fail(const Streams& streams, const absl::Status& status) {
  streams.err << "error: " << std::string(status.message()) << '\n';
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      streams.err << "fix: see that control, or `tributary dev`, runs there, and try again\n";
      return kTemporary;
    case absl::StatusCode::kAborted:
      // Control is there, and says who is not.
      streams.err << kFixOfService;
      return kTemporary;
    case absl::StatusCode::kPermissionDenied:
      streams.err << "fix: use the certificate that `tributary tls init` made for `tributary`\n";
      return kBad;
    case absl::StatusCode::kInvalidArgument:
      return kUsage;
    default:
      return kBad;
  }
}

int FailToConnect(const Streams& streams, const absl::Status& status) {
  streams.err << "error: " << std::string(status.message()) << '\n'
              << "fix: start it, or say where control is: --data DIR of a running `tributary dev`, "
                 "or --control HOST:PORT --tls-dir DIR\n";
  return status.code() == absl::StatusCode::kNotFound ? kTemporary : kConfiguration;
}

void Print(const Streams& streams, const std::string& json, const std::string& text) {
  streams.out << (streams.json ? json : text) << std::flush;
}

std::vector<std::string> SplitPath(const std::string& path) {
  std::vector<std::string> parts(1);
  for (const char c : path) {
    if (c == '/') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

}  // namespace tributary::cli
