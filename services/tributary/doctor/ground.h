#pragma once

#include <cstdint>
#include <string>

#include "libs/time/time.h"
#include "services/tributary/doctor/finding.h"
#include "tributary/v1/config.pb.h"

// What the machine gives: directories, certificates, names, sockets.

namespace tributary::cli {

struct DiskLimits {
  std::uint64_t free_bytes_error = std::uint64_t{256} << 20;
  std::uint64_t free_bytes_warning = std::uint64_t{2} << 30;
  /// Each entry waits for one.
  Duration fsync_warning = std::chrono::milliseconds(50);
};

/// Whether a service can keep its data there: that it is or can be made, permissions, space, and
/// that what is written reaches the disk. Leaves nothing behind.
Findings CheckDirectory(const std::string& directory, const DiskLimits& limits = {});

/// The key that unseals credentials, if it is there.
Findings CheckMasterKey(const std::string& file);

/// Certificates of one process: there, fitting, and when they end.
Findings CheckTls(const std::string& directory);

/// The name is known and somebody listens. `place` of the findings: `HOST:PORT`.
Findings CheckReachable(const std::string& check, const std::string& host, const std::string& port);

/// The broker answers, and the topics are there, founded, and as many partitions as configured.
/// `config_file` is for the fixes.
Findings CheckKafka(const v1::LogConfig& config, const std::string& config_file);

}  // namespace tributary::cli
