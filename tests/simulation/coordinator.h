#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/simulation/node.h"

namespace tributary::simulation {

/// The group of one service: who owns which partition. Gives them out as Kafka's `range` with
/// static membership does, and is as late and as early as a real one may be.
class Coordinator {
 public:
  Coordinator(Machine& machine, std::string group);

  void Started(Node& node);
  /// The group notices after a while, unless the same instance is back before.
  void Died(Node& node);
  /// Takes a living member's partitions away and tells it late.
  void Evict(Node& node, Duration told_after);

 private:
  struct Member {
    Node* node = nullptr;
    std::int64_t life = 0;
    bool is_in_group = false;
    bool is_alive = false;
    bool is_revoking = false;
  };
  void Rebalance();
  void Forget(const std::string& instance);
  bool Is(const std::string& instance, std::int64_t life) const;

  Machine& machine_;
  const std::string group_;
  std::map<std::string, Member> members_;
  std::map<eventlog::Partition, std::string> owners_;
};

}  // namespace tributary::simulation
