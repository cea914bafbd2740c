#include "libs/ids/keys.h"
#include "services/transformer/stage.h"

// A person's "do it again" of an action (rule 28): attempt n+1, under an id of its own.

namespace tributary::transformer {

using eventlog::Topic;

void TransformerStage::AnswerDecide(std::int64_t id, const v1::DecideParkedRequest& request) {
  const std::optional<std::string> problem = DoAgain(id, request);
  if (problem) SendDecided(id, *problem);
}

void TransformerStage::SendDecided(std::int64_t id, const std::string& problem) {
  v1::FromService message;
  message.set_answer_to(id);
  message.mutable_decided()->set_problem(problem);
  ports_.control.Send(message);
}

std::optional<std::string> TransformerStage::DoAgain(std::int64_t id,
                                                     const v1::DecideParkedRequest& request) {
  const std::optional<ids::CommandKey> parts = ids::ParseCommandKey(request.key());
  if (!parts || parts->kind != ids::CommandKey::Kind::kAction || !request.replay()) {
    return "only actions are done again here";
  }
  const SyncKey name(parts->tenant, parts->sync);
  const eventlog::Partition partition = ids::PartitionOf(parts->tenant, options_.partitions);
  const auto found = partitions_.find(partition);
  if (found == partitions_.end() || found->second.is_revoking || !owner_->ready(partition)) {
    return "this transformer does not own the tenant now; try again";
  }
  PartitionWork& work = found->second;
  const auto sync = work.syncs.find(name);
  if (sync == work.syncs.end() || sync->second.is_removed) return "its sync was removed";
  const eventlog::Table& commands = table(Topic::kCommands, partition);
  const std::optional<eventlog::TableEntry> entry = commands.Get(request.key());
  if (!entry) return "its command is not kept any more";
  v1::Command command;
  if (entry->is_void) return "its command is being repaired; try again";
  if (!command.ParseFromString(entry->value) || !command.has_action()) {
    return "its command cannot be read";
  }
  if (!command.mapping_error().empty()) {
    return "its rule failed for that event and would fail again: " + command.mapping_error();
  }

  v1::Action& action = *command.mutable_action();
  action.set_attempt(action.attempt() + 1);
  action.set_action_id(ids::ActionId(parts->tenant, parts->sync, action.event_id(), action.rule(),
                                     action.step(), action.attempt()));
  const std::string key = ids::ActionKey(parts->tenant, parts->sync, action.action_id());
  if (work.own_actions.contains(key)) return "it is being written just now; try again";
  // Asked again, since the first answer was lost: it is the same attempt.
  const std::optional<eventlog::TableEntry> standing = commands.Get(key);
  if (standing && !standing->is_void) return "";
  const eventlog::ProduceId written = Put(work, key, command, name);
  if (written == 0) return "this transformer does not own the tenant any more; try again";
  ++counters_.action_commands;
  work.own_actions.insert(key);
  decisions_[written] = {partition, id};
  return std::nullopt;
}

void TransformerStage::OnDecisionWritten(eventlog::ProduceId written) {
  const auto decision = decisions_.find(written);
  if (decision == decisions_.end()) return;
  SendDecided(decision->second.second, "");
  decisions_.erase(decision);
}

void TransformerStage::ForgetDecisions(eventlog::Partition partition) {
  std::erase_if(decisions_, [&](const auto& decision) {
    if (decision.second.first != partition) return false;
    SendDecided(decision.second.second,
                "the partition was handed over before it was known to be written; try again");
    return true;
  });
}

}  // namespace tributary::transformer
