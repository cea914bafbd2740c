#include "tests/simulation/coordinator.h"

#include <utility>

namespace tributary::simulation {

using std::chrono::milliseconds;
using std::chrono::seconds;

Coordinator::Coordinator(Machine& machine, std::string group)
    : machine_(machine), group_(std::move(group)) {}

bool Coordinator::Is(const std::string& instance, std::int64_t life) const {
  const auto found = members_.find(instance);
  return found != members_.end() && found->second.life == life && found->second.is_alive;
}

void Coordinator::Forget(const std::string& instance) {
  std::erase_if(owners_, [&](const auto& entry) { return entry.second == instance; });
}

void Coordinator::Started(Node& node) {
  Member& member = members_[node.instance()];
  member.node = &node;
  member.life = node.life();
  member.is_in_group = true;
  member.is_alive = true;
  member.is_revoking = false;
  // Static membership: what its last life owned comes back, as far as nobody else has it.
  Forget(node.instance());
  machine_.time.After(machine_.random.Between(milliseconds(1), milliseconds(500)),
                      [this] { Rebalance(); });
}

void Coordinator::Died(Node& node) {
  Member& member = members_[node.instance()];
  member.is_alive = false;
  member.is_revoking = false;
  machine_.time.After(machine_.random.Between(milliseconds(1), seconds(6)),
                      [this, instance = node.instance(), life = node.life()] {
                        Member& dead = members_[instance];
                        if (dead.life != life || dead.is_alive) return;
                        dead.is_in_group = false;
                        Forget(instance);
                        Rebalance();
                      });
}

void Coordinator::Evict(Node& node, Duration told_after) {
  Member& member = members_[node.instance()];
  if (!member.is_alive || !member.is_in_group) return;
  machine_.trace.Line(group_, "evicts " + node.instance());
  member.is_in_group = false;
  member.is_revoking = false;
  Forget(node.instance());
  machine_.log.Evict(node.member(), told_after);
  Rebalance();
  // It joins again when it has been told.
  machine_.time.After(told_after + machine_.random.Between(milliseconds(10), seconds(5)),
                      [this, instance = node.instance(), life = node.life()] {
                        if (!Is(instance, life)) return;
                        members_[instance].is_in_group = true;
                        Rebalance();
                      });
}

void Coordinator::Rebalance() {
  std::vector<std::string> instances;
  for (const auto& [instance, member] : members_) {
    if (member.is_in_group) instances.push_back(instance);
  }
  if (instances.empty()) return;
  const auto count = static_cast<std::size_t>(machine_.log.partitions());
  std::map<std::string, std::vector<eventlog::Partition>> gains;
  std::map<std::string, std::vector<eventlog::Partition>> losses;
  for (std::size_t i = 0; i < count; ++i) {
    const auto partition = static_cast<eventlog::Partition>(i);
    const std::string& wanted = instances[i * instances.size() / count];
    const auto owner = owners_.find(partition);
    if (owner == owners_.end()) {
      gains[wanted].push_back(partition);
    } else if (owner->second != wanted) {
      losses[owner->second].push_back(partition);
    }
  }
  for (auto& [instance, partitions] : gains) {
    Member& member = members_[instance];
    if (!member.is_alive) continue;
    for (const eventlog::Partition partition : partitions) owners_[partition] = instance;
    machine_.trace.Line(group_, "assigns " + std::to_string(partitions.size()) + " to " + instance);
    machine_.log.Assign(member.node->member(), partitions);
  }
  for (auto& [instance, partitions] : losses) {
    Member& member = members_[instance];
    if (!member.is_alive || member.is_revoking) continue;
    member.is_revoking = true;
    machine_.trace.Line(group_,
                        "revokes " + std::to_string(partitions.size()) + " from " + instance);
    const std::int64_t life = member.life;
    machine_.log.Revoke(member.node->member(), partitions,
                        [this, instance = instance, life, revoked = partitions] {
                          if (!Is(instance, life) || !members_[instance].is_revoking) return;
                          members_[instance].is_revoking = false;
                          for (const eventlog::Partition partition : revoked) {
                            const auto owner = owners_.find(partition);
                            if (owner != owners_.end() && owner->second == instance) {
                              owners_.erase(owner);
                            }
                          }
                          Rebalance();
                        });
    // Nobody may hold the group up for ever.
    machine_.time.After(seconds(10), [this, instance = instance, life] {
      if (!Is(instance, life) || !members_[instance].is_revoking) return;
      Evict(*members_[instance].node, seconds(1));
    });
  }
}

}  // namespace tributary::simulation
