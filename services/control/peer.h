#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "tributary/v1/control.pb.h"

namespace tributary::control {

/// One attached service process. Numbers are the shell's and never used again.
using PeerId = std::uint64_t;

/// What is known of it.
struct Peer {
  /// What its certificate says.
  std::string name;
  /// What it says; empty before its hello.
  std::string service;
  std::string instance;
  std::set<std::int32_t> partitions;
  std::optional<v1::ServiceStatus> status;
  std::function<void(const v1::ToService&)> send;
};
using Peers = std::map<PeerId, Peer>;

}  // namespace tributary::control
