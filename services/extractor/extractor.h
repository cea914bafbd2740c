#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>

#include "libs/budget/budget.h"
#include "libs/eventlog/log.h"
#include "libs/eventlog/owner.h"
#include "libs/stage/set_aside.h"
#include "libs/stage/stage.h"
#include "services/extractor/options.h"

namespace tributary::extractor {

/// What a request to a site was for: one of the streams, an entity by its id, or its webhook
/// endpoints.
enum class Operation : std::uint8_t {
  kSite,
  kCustomers,
  kSubscriptions,
  kComponents,
  kInvoices,
  kEvents,
  kById,
  kEndpoints,
};
inline constexpr std::size_t kOperations = 8;
inline constexpr std::size_t kAnswers = 5;

/// Since the stage was made. Only ever grow.
struct Counters {
  /// By Operation and http::AnswerClass.
  std::array<std::array<std::int64_t, kAnswers>, kOperations> requests{};
  /// Entries of `changes`.
  std::int64_t changes = 0;
  std::int64_t events = 0;
  /// Records that could not be decoded.
  std::array<std::int64_t, eventlog::kAllTopics.size()> set_aside{};
  /// Records of `notifications`.
  std::int64_t expired_unread = 0;
  /// Only what grows; the rest is in Levels.
  budget::Usage quota;
};

struct Levels {
  eventlog::Owner::Standing standing;
  std::int64_t sites = 0;
  /// Of all sites together.
  std::int64_t requests = 0;
  std::int64_t requests_max = 0;
  /// Of the stream where most wait.
  std::int64_t unacknowledged_pages = 0;
  std::int64_t unacknowledged_pages_max = 0;
  /// Of the partition where most wait.
  std::int64_t unread_entries = 0;
  std::int64_t unread_entries_max = 0;
  /// Of all sites.
  budget::Usage quota;
};

class ReadingStage : public Stage {
 public:
  virtual const Counters& counters() const = 0;
  virtual Levels levels(Now now) const = 0;
  /// The newest ones.
  virtual const std::deque<SetAside>& set_aside() const = 0;
};

/// The stage that reads Chargify and writes `changes`, `events` and `cursors`. The objects behind
/// `ports` outlive it.
std::unique_ptr<ReadingStage> MakeExtractor(Options options, StagePorts ports);

}  // namespace tributary::extractor
