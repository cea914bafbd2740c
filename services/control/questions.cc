#include "services/control/questions.h"

#include <algorithm>
#include <utility>

namespace tributary::control {

std::string JoinWords(const std::vector<std::string>& words) {
  std::string joined;
  for (const std::string& word : words) {
    joined += (joined.empty() ? "" : ", ") + word;
  }
  return joined;
}

std::string Questions::Finished::MissingText() const {
  return missing.empty() ? "" : "without an answer: " + JoinWords(missing);
}

void Questions::Ask(Instant deadline, std::vector<Asked> asked, Finish finish) {
  const std::int64_t id = next_id_++;
  Question question;
  question.deadline = deadline;
  question.finish = std::move(finish);
  for (Asked& each : asked) {
    each.message.set_id(id);
    bool is_asked = false;
    for (auto& [peer_id, peer] : peers_) {
      if (peer.service == each.service &&
          (!each.partition || peer.partitions.contains(*each.partition))) {
        question.waiting.insert(peer_id);
        peer.send(each.message);
        is_asked = true;
      }
    }
    if (!is_asked) {
      question.finished.missing.push_back(
          std::string(each.service) +
          (each.partition
               ? " (none that owns partition " + std::to_string(*each.partition) + " is attached)"
               : " (none is attached)"));
    }
  }
  const auto [entry, is_new] = questions_.emplace(id, std::move(question));
  FinishIfDone(entry);
}

void Questions::OnAnswer(PeerId peer, const v1::FromService& answer) {
  const auto entry = questions_.find(answer.answer_to());
  // Too late, or not asked.
  if (entry == questions_.end() || entry->second.waiting.erase(peer) == 0) {
    return;
  }
  entry->second.finished.answers.push_back(answer);
  FinishIfDone(entry);
}

void Questions::OnGone(PeerId peer, const std::string& service) {
  for (auto entry = questions_.begin(); entry != questions_.end();) {
    const auto current = entry++;
    if (current->second.waiting.erase(peer) > 0) {
      current->second.finished.missing.push_back(service + " (it has gone)");
      FinishIfDone(current);
    }
  }
}

void Questions::OnTick(Instant now) {
  for (auto entry = questions_.begin(); entry != questions_.end();) {
    const auto current = entry++;
    if (current->second.deadline > now) {
      continue;
    }
    for (const PeerId peer : current->second.waiting) {
      const auto waiting = peers_.find(peer);
      current->second.finished.missing.push_back(
          (waiting == peers_.end() ? "a service" : waiting->second.service) +
          " (it did not answer in time)");
    }
    current->second.waiting.clear();
    FinishIfDone(current);
  }
}

Instant Questions::next_tick() const {
  Instant next = Instant::max();
  for (const auto& [id, question] : questions_) {
    next = std::min(next, question.deadline);
  }
  return next;
}

void Questions::FinishIfDone(Entry entry) {
  if (entry->second.waiting.empty()) {
    const Question question = std::move(entry->second);
    questions_.erase(entry);
    question.finish(question.finished);
  }
}

}  // namespace tributary::control
