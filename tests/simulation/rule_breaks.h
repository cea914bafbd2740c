#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace tributary::simulation {

/// One rule of the protocol switched off, so that the harness shows that it would see the fault.
/// The stages do not know of this: what surrounds them (ports, options, wires, log) takes from them
/// what the rule gives.
enum class RuleBreak : std::uint8_t {
  kNone,
  kLastEntryWins,
  kLargestVersionWins,
  kLargestTokenWins,
  kChangesFencedFirst,
  kLostProduce,
  kTablesHalfRead,
  kNoCompactionLag,
  kNoWaitForTheLease,
  kLeaseFromTheAnswer,
  kNoCheckAtTheSend,
  kEndsOfTheBeginning,
  kVoidIsNothing,
  kIntentsAreNotDoubt,
  kLossIsNotDoubt,
  kReleaseForgetsDoubt,
  kPauseBeyondTheBound,
  kNoIntents,
  kNoSettling,
  kClosingClearsDoubt,
  kReplayLane,
  kUnknownIsRefused,
  kNoIndexLag,
  kNoLookUp,
  kLookUpFindsNothing,
  kTombstoneFirst,
  kLedgerForgets,
  kCommitFirst,
  kOutputsAfterCommit,
  kFormerCustomersForgotten,
  kVersionOfTheBatch,
  kGenerationStays,
  kAlwaysMapped,
  kPresentEntities,
  kNoVisibilityLag,
  kCursorFirst,
  kOldCursorsCount,
};

/// What a history is made of before all. A seed has one, or none; a rule that is switched off asks
/// for the one in which it counts.
enum class Theme : std::uint8_t {
  kNone,
  /// Members are evicted, told late, and read nothing meanwhile, while requests of theirs stand
  /// between check and bytes.
  kTakeover,
  /// Processes stand still between what they decided and the check at the send.
  kHandOver,
  kLostRecords,
  kLostChanges,
  /// New revisions, and transformers that die in the middle of them.
  kRemap,
  /// Much compaction, slow reading, lost disks.
  kCompaction,
  /// Transformers die where they write actions.
  kEvents,
  /// Extractors die, are evicted and told late.
  kSource,
  /// A target that makes two contacts of one e-mail.
  kDuplicates,
};

struct RuleBreakInfo {
  RuleBreak what{};
  /// For the command line.
  std::string_view name;
  /// Bold configurations of protocol.md, or its rule where there is none.
  std::string_view configurations;
  std::string_view means;
  /// A history that shows it. 0: none has been found.
  std::uint64_t seed = 0;
  /// In one of its problems. Empty: any problem.
  std::string_view seen;
  Theme theme = Theme::kNone;
};

/// All of them, in the order of the rules.
const std::vector<RuleBreakInfo>& RuleBreaks();
std::optional<RuleBreak> RuleBreakOf(std::string_view name);
/// kNone: that of each seed.
Theme ThemeOf(RuleBreak what);

}  // namespace tributary::simulation
