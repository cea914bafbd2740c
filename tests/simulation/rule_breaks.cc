#include "tests/simulation/rule_breaks.h"

#include <algorithm>

namespace tributary::simulation {

const std::vector<RuleBreakInfo>& RuleBreaks() {
  using enum RuleBreak;
  static const std::vector<RuleBreakInfo> kAll = {
      {kLastEntryWins, "last-entry-wins", "B10 K14",
       "the last entry of a key counts, whoever wrote it behind whatever fence", 3, "only void"},
      {kLargestVersionWins, "largest-version-wins", "B11 K13 K16",
       "the entry of the largest version counts, without fences", 23, "only void"},
      {kLargestTokenWins, "largest-token-wins", "B12 K15",
       "the entry of the largest token of its key counts, without fences", 1, ""},
      {kChangesFencedFirst, "changes-fenced-first", "B14",
       "`changes` is fenced before `cursors`, and nothing void is read again", 3, "should have",
       Theme::kSource},
      {kLostProduce, "lost-produce", "E13", "a stage goes on after a produce that failed", 4,
       "Rule 16"},
      {kTablesHalfRead, "tables-half-read", "R13 R14",
       "the transformer derives before it has read `changes` and `commands` to their ends", 14, "",
       Theme::kCompaction},
      {kNoCompactionLag, "no-compaction-lag", "B13 R10", "compaction takes what is being read", 7,
       "an older state", Theme::kCompaction},
      {kNoWaitForTheLease, "no-wait-for-the-lease", "L10 L11",
       "a new owner sends before its predecessor's lease and pause are over", 5, "Rule 1",
       Theme::kTakeover},
      {kLeaseFromTheAnswer, "lease-from-the-answer", "L14",
       "the lease counts from the answer of the renewal", 19, "Rule 1", Theme::kTakeover},
      {kNoCheckAtTheSend, "no-check-at-the-send", "rules 11, 17",
       "nothing is checked when the bytes leave", 41, "Rule 1", Theme::kHandOver},
      {kEndsOfTheBeginning, "ends-of-the-beginning", "L13 J14 K1C",
       "a new owner reads to the ends of t0, not of t0 + V + P", 15, "", Theme::kTakeover},
      {kVoidIsNothing, "void-is-nothing", "J11", "void entries are no doubt", 4, ""},
      {kIntentsAreNotDoubt, "intents-are-not-doubt", "rule 12",
       "a new owner takes open intents for closed", 7, "two notes", Theme::kTakeover},
      {kLossIsNotDoubt, "loss-is-not-doubt", "J13 K29 K1B",
       "what a lost `records` does not have was never sent", 33, "twice", Theme::kLostRecords},
      {kReleaseForgetsDoubt, "release-forgets-doubt", "K1A",
       "a clean release closes intents and flags that stand for doubt", 7, "Rule 12"},
      {kPauseBeyondTheBound, "pause-beyond-the-bound", "L15 K21 K26 N19",
       "a process stands still longer than P between check and bytes", 33, "Rule 1",
       Theme::kTakeover},
      {kNoIntents, "no-intents", "J10 K11 N10", "requests leave without an intent", 1, "Rule 16"},
      {kNoSettling, "no-settling", "J17 K10 K20 L12 L16",
       "nothing waits L after an unknown outcome or a crash", 1, "Rule 1"},
      {kClosingClearsDoubt, "closing-clears-doubt", "J15 K19 J12",
       "the entry that closes an intent does not carry the doubt on", 15, "Rule 12"},
      {kReplayLane, "replay-lane", "K1F", "a replay sends what it has, beside the lane", 1,
       "Rule 16"},
      {kUnknownIsRefused, "unknown-is-refused", "rule 24",
       "a request without an answer counts as not sent", 1, "Rule 12"},
      {kNoIndexLag, "no-index-lag", "K23 K24 N13", "the index lags behind S", 4, "",
       Theme::kDuplicates},
      {kNoLookUp, "no-look-up", "K2F", "a record without an id is created without a look-up", 179,
       "", Theme::kDuplicates},
      {kLookUpFindsNothing, "look-up-finds-nothing", "N12",
       "a record or an action in doubt is made again, whatever a look-up would find", 12, ""},
      {kTombstoneFirst, "tombstone-first", "N11 N15 N17 N18",
       "an action's command goes before its end was read back", 2, "Rule 31"},
      {kLedgerForgets, "ledger-forgets", "N14", "the ledger forgets an action at once", 2,
       "Rule 31"},
      {kCommitFirst, "commit-first", "R12", "offsets are committed when they are read", 4,
       "lost: no", Theme::kEvents},
      {kOutputsAfterCommit, "outputs-after-commit", "R11 R12",
       "commands count as acknowledged before they are", 1, "lost: no", Theme::kEvents},
      {kFormerCustomersForgotten, "former-customers-forgotten", "R15",
       "a change names only the customers that its entity has now", 41, "should have",
       Theme::kCompaction},
      {kVersionOfTheBatch, "version-of-the-batch", "X10",
       "a version's offset is where reading stands", 2, "Rule 36", Theme::kRemap},
      {kGenerationStays, "generation-stays", "X11 X12",
       "topics are made anew under the generation of the old ones", 1, "Rule 36",
       Theme::kLostChanges},
      {kAlwaysMapped, "always-mapped", "R17",
       "a start takes the newest revision for one that has mapped everyone", 2, "Rule 36",
       Theme::kRemap},
      {kPresentEntities, "present-entities", "R16", "rules see entities as they are now", 11,
       "lost: no", Theme::kEvents},
      {kNoVisibilityLag, "no-visibility-lag", "S14 E10 E11 T12",
       "a source is taken to show every change at once", 2, "should have"},
      {kCursorFirst, "cursor-first", "E12", "cursors go before the changes that they cover", 1,
       "extractor-", Theme::kSource},
      {kOldCursorsCount, "old-cursors-count", "B15",
       "cursors of another generation of the topics count", 2, "should have", Theme::kLostChanges},
  };
  return kAll;
}

Theme ThemeOf(RuleBreak what) {
  for (const RuleBreakInfo& info : RuleBreaks()) {
    if (info.what == what) return info.theme;
  }
  return Theme::kNone;
}

std::optional<RuleBreak> RuleBreakOf(std::string_view name) {
  const std::vector<RuleBreakInfo>& all = RuleBreaks();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const RuleBreakInfo& info) { return info.name == name; });
  if (found == all.end()) return std::nullopt;
  return found->what;
}

}  // namespace tributary::simulation
