#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/connector/compare.h"
#include "libs/connector/connector.h"
#include "libs/eventlog/log.h"
#include "libs/ids/keys.h"
#include "services/loader/sync_stats.h"
#include "services/loader/target.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/records.pb.h"

// One lane per key: never two requests of one key at once. In memory only while something of the
// key is open; what it knows beyond the tables is its own newest entry and its doubt. What the
// tables say of its key it holds parsed, and is told of every change.

namespace tributary::loader {

enum class Doubt : std::uint8_t {
  kNone,
  /// A request may still be applied: no write before `settle_until`.
  kSettling,
  /// L has passed. Ends with a done write, or when there is nothing newer to write.
  kSettled,
};

/// A comparison with the target that is under way.
struct Comparing {
  connector::Shown shown;
  /// Ids of what else the target has of it.
  std::vector<std::string> others;
  std::size_t next_call = 0;
};

struct Lane {
  enum class Phase : std::uint8_t {
    kIdle,
    kLookingUp,
    /// An intent is not acknowledged yet.
    kIntent,
    /// The intent is acknowledged; waits for the rate, or for the rest of its batch.
    kAwaitingSend,
    kSending,
    /// A receipt, then an entry, is not acknowledged yet.
    kReceipt,
    kEntry,
    /// With the target; nothing is written meanwhile (rule 22).
    kComparing,
  };

  std::string key;
  eventlog::Partition partition = 0;
  ids::CommandKey parts;
  TargetKey target;
  SyncStats* stats = nullptr;
  /// What it counts for there now.
  Share counted;

  /// The newest command as it stands in the table now. Null pointer: none that is valid.
  std::shared_ptr<const v1::Command> desired;
  /// Of an action: the bytes of `desired`.
  std::string desired_bytes;
  bool desired_is_read = false;
  /// Of an action: `desired` is what our entry says that it was.
  bool command_is_gone = false;
  /// Of the newest command, also of a void one: its key waits for the repair.
  std::optional<CommandHead> desired_head;
  /// Is among those that are looked at next.
  bool is_touched = false;

  Phase phase = Phase::kIdle;
  /// While it was busy its tenant came, or changed: `target` is taken anew when it rests.
  bool target_is_stale = false;
  /// Takes one of its target's slots by itself.
  bool has_slot = false;
  /// 0: none.
  std::uint64_t batch = 0;
  /// Is among its target's batched keys.
  bool is_batched = false;

  /// Our newest entry; acknowledged unless a write is pending. Empty: there is none.
  v1::RecordEntry entry;
  /// To be written when the receipt is acknowledged.
  v1::RecordEntry next_entry;
  /// After `next_entry` the same version goes on with this call.
  bool next_entry_goes_on = false;
  eventlog::ProduceId write = 0;
  /// Offset of the newest acknowledged entry; -1: none by us.
  eventlog::Offset acknowledged = -1;
  eventlog::Offset read_back = -1;

  Doubt doubt = Doubt::kNone;
  Instant settle_until{};
  /// The doubt follows from a founding after a loss: it comes again with the lane.
  bool doubt_is_of_loss = false;
  /// Not before (retry, look-up, a rival's match).
  Instant not_before{};
  /// An intent was acknowledged and its request certainly did not leave.
  bool intent_unsent = false;
  /// Since the last doubt.
  bool looked_up = false;
  /// Of a state: when, and by what a target matches (match_locks).
  Instant looked_up_at{};
  std::vector<std::string> looked_up_for;
  /// A record that this lane found or made, held before it is in the index.
  std::string claim;
  /// Ids under which the stage finds that it holds a record: by the claim, by the entry.
  std::string held_by_claim;
  std::string held_by_entry;
  std::vector<std::string> match_locks;

  // What is being written, by the connector file as it was when it began.
  std::shared_ptr<const connector::Connector> connector;
  std::shared_ptr<const v1::Command> command;
  /// Of an action.
  std::string command_bytes;
  /// Of the command, for receipts and entries.
  std::string version_text;
  std::string traceparent;
  bool creating = false;
  std::vector<const connector::Call*> calls;
  std::size_t next_call = 0;
  /// The look-up under way says what calls reach that find their record by other words than its id;
  /// it has said so, and what they would reach instead of ours.
  bool is_confirming = false;
  bool is_confirmed = false;
  std::string would_reach;
  /// `next_entry.tags` are what the target has under our prefix.
  bool tags_told = false;
  bool sent_any = false;
  /// A void entry covers ours: write it again.
  bool repair_wanted = false;
  /// Where that entry is: what is acknowledged in front of it is covered too.
  eventlog::Offset covered_at = -1;
  /// The key whose write has reached our record. Empty: none that we had not repaired.
  std::string reached_by;
  std::int32_t lookup_failures = 0;
  std::size_t next_lookup = 0;
  /// Of the call that the open intent names.
  const connector::Call* call = nullptr;
  std::vector<std::string> call_tags;
  /// `entry.tags` counts tags whose request certainly did not leave; these were there before.
  std::optional<std::vector<std::string>> tags_before;
  /// `next_entry` has them back; what is written of it says so from then on.
  bool tags_are_restored = false;
  http::Request request;
  std::string request_hash;
  http::RequestId request_id = 0;
  Instant sent_at{};
  bool left = false;
  std::int64_t proof = 0;
  std::unique_ptr<Comparing> comparing;

  bool busy() const { return phase != Phase::kIdle; }
  /// What was acknowledged and not yet read back is known here only.
  bool is_unread() const { return acknowledged > read_back; }
};

}  // namespace tributary::loader
