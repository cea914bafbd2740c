#include "services/tributary/doctor/ground.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libs/eventlog/clock.h"
#include "libs/tls/tls.h"
#include "services/tributary/commands/installation.h"

namespace tributary::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kConnectMaxMs = 5'000;
constexpr int kFsyncs = 16;
constexpr int kCertificateDaysMin = 14;
// A broker's word is later than its clock, never earlier.
constexpr Duration kBrokerAheadMax = std::chrono::seconds(5);

std::string SystemError(int code) { return std::generic_category().message(code); }

std::string Megabytes(std::uint64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

std::string Milliseconds(Duration duration) {
  const auto tenths = duration / std::chrono::microseconds(100);
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " ms";
}

// The directory itself, or where it would be made.
fs::path NearestThatIs(const std::string& directory) {
  std::error_code error;
  fs::path path = fs::absolute(directory, error);
  while (!path.empty() && !fs::exists(path, error) && path != path.parent_path()) {
    path = path.parent_path();
  }
  return path;
}

// How long writing a little durably takes, the median of some. Errors: what the system said.
absl::StatusOr<Duration> TimeFsync(const std::string& directory) {
  std::string file = directory + "/.tributary-doctor-XXXXXX";
  const int fd = mkostemp(file.data(), O_CLOEXEC);
  if (fd < 0) {
    return absl::InternalError(SystemError(errno));
  }
  unlink(file.c_str());
  const std::string block(64 << 10, '\0');
  std::array<Duration, kFsyncs> times{};
  int code = 0;
  for (Duration& time : times) {
    const Instant begin = eventlog::BootTime();
    std::size_t done = 0;
    // A disk that is full takes the beginning, and says why at the next.
    while (code == 0 && done < block.size()) {
      const ssize_t size = write(fd, block.data() + done, block.size() - done);
      code = size < 0 ? errno : 0;
      done += size < 0 ? 0 : static_cast<std::size_t>(size);
    }
    if (code == 0 && fdatasync(fd) != 0) {
      code = errno;
    }
    if (code != 0) {
      break;
    }
    time = eventlog::BootTime() - begin;
  }
  close(fd);
  if (code != 0) {
    return absl::InternalError(SystemError(code));
  }
  std::nth_element(times.begin(), times.begin() + kFsyncs / 2, times.end());
  return times[kFsyncs / 2];
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// 0, or the error of the last address.
int Connect(const addrinfo* addresses) {
  int code = EADDRNOTAVAIL;
  for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) {
    const int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
      code = errno;
      continue;
    }
    code = connect(fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (code == EINPROGRESS) {
      pollfd waited{.fd = fd, .events = POLLOUT, .revents = 0};
      socklen_t size = sizeof(code);
      if (poll(&waited, 1, kConnectMaxMs) <= 0) {
        code = ETIMEDOUT;
      } else {
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
      }
    }
    close(fd);
    if (code == 0) {
      return 0;
    }
  }
  return code;
}

Finding CheckTopics(const v1::LogConfig& config, const std::string& config_file) {
  const std::string place = "topics " + config.topic_prefix() + "*";
  const std::string create =
      "run `tributary topics create --config " + config_file + "`, or start control, which does it";
  AdminLog log;
  if (absl::Status opened = OpenAdminLog(config, log); !opened.ok()) {
    return Error("broker", place, std::string(opened.message()), "correct log.kafka");
  }
  WallTime newest{};
  std::vector<eventlog::PartitionSetUp> partitions(static_cast<std::size_t>(config.partitions()));
  absl::Status read = log.admin->CheckTopics();
  if (read.ok()) {
    read = log.admin->ReadAll(eventlog::Topic::kTenants, [&](const eventlog::Record& record) {
      partitions[static_cast<std::size_t>(record.partition)].Add(record);
      newest = std::max(newest, record.appended_at);
      return true;
    });
  }
  if (!read.ok()) {
    return Error("broker", place, std::string(read.message()),
                 read.code() == absl::StatusCode::kFailedPrecondition
                     ? "set log.partitions to what the topics have"
                     : "see that the broker is well and lets this user read; if the topics are "
                       "not there, " +
                           create);
  }
  const auto unfounded = std::count_if(partitions.begin(), partitions.end(),
                                       [](const auto& one) { return !one.founding.has_value(); });
  if (unfounded > 0) {
    return Error("broker", place, std::to_string(unfounded) + " partitions are not founded",
                 create);
  }
  if (newest > eventlog::SystemTime() + kBrokerAheadMax) {
    return Error("clock", place, "the broker has dated a record later than this machine's now",
                 "keep both clocks by NTP: `timedatectl set-ntp true`");
  }
  return Good("broker", place, std::to_string(partitions.size()) + " partitions, founded");
}

}  // namespace

Findings CheckDirectory(const std::string& directory, const DiskLimits& limits) {
  const fs::path nearest = NearestThatIs(directory);
  const std::string at = nearest.string();
  struct stat status = {};
  if (stat(at.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    return {Error("disk", directory, at + " is no directory",
                  "remove it, or set log.data_directory or control.database elsewhere")};
  }
  if (access(at.c_str(), W_OK | X_OK) != 0) {
    return {Error("disk", directory, at + " cannot be written: " + SystemError(errno),
                  "give it to the user that runs the service: chown USER " + at)};
  }
  Findings findings;
  struct statvfs space = {};
  const std::uint64_t free_bytes =
      statvfs(at.c_str(), &space) == 0 ? std::uint64_t{space.f_bavail} * space.f_frsize : 0;
  const std::string has = Megabytes(free_bytes) + " are free";
  const std::string make_room = "make room, or use a larger disk: docs/guides/capacity.md";
  if (free_bytes < limits.free_bytes_error) {
    findings.push_back(Error("disk", directory, has, make_room));
  } else if (free_bytes < limits.free_bytes_warning) {
    findings.push_back(Warning("disk", directory, has, make_room));
  }
  const absl::StatusOr<Duration> fsync_time = TimeFsync(at);
  if (!fsync_time.ok()) {
    findings.push_back(Error("disk", directory,
                             "writing durably fails: " + std::string(fsync_time.status().message()),
                             "see the disk, its quota, and the limits of this user (ulimit -a)"));
  } else if (*fsync_time > limits.fsync_warning) {
    findings.push_back(Warning("disk", directory, "an fsync takes " + Milliseconds(*fsync_time),
                               "use a disk that is local and not busy: each entry waits for it"));
  }
  // Only what is the service's own: a parent is not its concern.
  const bool is_itself =
      fs::path(directory).lexically_normal() == nearest.lexically_normal() || fs::exists(directory);
  if (is_itself && (status.st_mode & S_IRWXO) != 0) {
    findings.push_back(Warning("disk", directory, "everybody on this machine may look into it",
                               "chmod o-rwx " + at));
  }
  if (findings.empty()) {
    findings.push_back(
        Good("disk", directory, has + ", an fsync takes " + Milliseconds(*fsync_time)));
  }
  return findings;
}

Findings CheckMasterKey(const std::string& file) {
  struct stat status = {};
  if (stat(file.c_str(), &status) != 0) {
    return {};
  }
  if ((status.st_mode & (S_IRWXO | S_IRWXG)) != 0) {
    return {Error("disk", file, "others may read the key that unseals credentials",
                  "chmod 600 " + file + ", and exchange the credentials if anybody may have")};
  }
  return {Good("disk", file, "readable by its owner alone")};
}

Findings CheckTls(const std::string& directory) {
  const absl::StatusOr<tls::Identity> identity = tls::Load(directory);
  if (!identity.ok()) {
    return {Error("control", directory, std::string(identity.status().message()),
                  "run `tributary tls init` on the directory above it, or put its own "
                  "certificates there")};
  }
  if (tls::EndsWithin(*identity, kCertificateDaysMin)) {
    return {
        Warning("control", directory, "the certificate ends within two weeks",
                "run `tributary tls init` on the directory above it, then restart the process")};
  }
  return {Good("control", directory, "certificates fit and are valid")};
}

Findings CheckReachable(const std::string& check, const std::string& host,
                        const std::string& port) {
  const std::string place = host + ":" + port;
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  const AddressList addresses(code == 0 ? found : nullptr, &freeaddrinfo);
  if (code != 0) {
    return {Error(check, place, "the name " + host + " is not known: " + gai_strerror(code),
                  "correct the name, or the DNS of this machine (/etc/resolv.conf)")};
  }
  if (const int problem = Connect(addresses.get()); problem != 0) {
    return {Error(check, place, "cannot be connected to: " + SystemError(problem),
                  "see that it runs, and that no firewall or proxy is in between")};
  }
  return {Good(check, place, "is known and answers")};
}

Findings CheckKafka(const v1::LogConfig& config, const std::string& config_file) {
  Findings findings;
  bool is_there = false;
  std::istringstream servers(config.bootstrap_servers());
  for (std::string server; std::getline(servers, server, ',');) {
    const std::size_t colon = server.rfind(':');
    const bool has_port = colon != std::string::npos;
    for (Finding& finding : CheckReachable("broker", server.substr(0, colon),
                                           has_port ? server.substr(colon + 1) : "9092")) {
      is_there = is_there || finding.severity == Finding::Severity::kGood;
      findings.push_back(std::move(finding));
    }
  }
  if (is_there) {
    findings.push_back(CheckTopics(config, config_file));
  }
  return findings;
}

}  // namespace tributary::cli
