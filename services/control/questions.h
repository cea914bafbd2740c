#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "libs/time/time.h"
#include "services/control/peer.h"
#include "tributary/v1/control.pb.h"

// Questions that only the owners of partitions can answer: sent to them, and answered with what has
// come until the deadline. No I/O.

namespace tributary::control {

class Questions {
 public:
  struct Asked {
    std::string_view service;
    /// None: every peer of the service.
    std::optional<std::int32_t> partition;
    v1::ToService message;
  };
  struct Finished {
    std::vector<v1::FromService> answers;
    /// Who did not answer, and why.
    std::vector<std::string> missing;

    /// Empty: all have answered.
    std::string MissingText() const;
  };
  /// Called once. It may ask again.
  using Finish = std::function<void(const Finished& finished)>;

  /// `peers` outlives the questions.
  explicit Questions(Peers& peers) : peers_(peers) {}

  /// `finish` is called before this returns when nobody is there to be asked.
  void Ask(Instant deadline, std::vector<Asked> asked, Finish finish);
  void OnAnswer(PeerId peer, const v1::FromService& answer);
  /// `service` is what it was; the peer is not among `peers` any more.
  void OnGone(PeerId peer, const std::string& service);
  void OnTick(Instant now);
  Instant next_tick() const;

 private:
  struct Question {
    Instant deadline{};
    std::set<PeerId> waiting;
    Finished finished;
    Finish finish;
  };
  using Entry = std::map<std::int64_t, Question>::iterator;

  void FinishIfDone(Entry entry);

  Peers& peers_;
  // By ToService.id.
  std::map<std::int64_t, Question> questions_;
  std::int64_t next_id_ = 1;
};

/// `a, b`
std::string JoinWords(const std::vector<std::string>& words);

}  // namespace tributary::control
