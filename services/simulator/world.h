#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "libs/http/message.h"
#include "libs/time/time.h"

// A made-up Chargify site and two made-up CRMs as a state machine: it is given requests and times,
// and returns answers. No threads, clocks or sockets, and all chance comes from its seed: the same
// options and the same calls give the same bytes. One world is one site with one account at each
// CRM; several tenants are several worlds.

namespace tributary::simulator {

enum class Target : std::uint8_t { kChargify, kHighLevel, kRest };
std::string_view Name(Target target);

/// The zone in which a site writes its times and counts its days.
struct SiteZone {
  enum class DaylightSaving : std::uint8_t { kNone, kUnitedStates, kEurope };
  std::int32_t standard_minutes = -300;
  DaylightSaving daylight_saving = DaylightSaving::kUnitedStates;
};

/// What makes a site hard to read. All are on by default but those that cost calls.
struct Switches {
  /// Rows and events become visible up to `visibility_lag` after their timestamp, each at its own
  /// time, so also out of order. Off: at once.
  bool late_visibility = true;
  /// Rows of one sort key come in another order with every request.
  bool unstable_ties = true;
  /// So many mutations happen right after each page of a list was read, while mutations are left.
  std::int32_t mutations_per_page = 0;
  /// Members that no specification has.
  bool unknown_members = true;
  /// Some subscriptions have `"product": null` (the newer catalogue).
  bool null_products = true;
  /// Mutations may bring a state or an event key that no list of states or keys has.
  bool unknown_words = true;
  /// Mutations may delete; only events tell of it.
  bool deletions = true;
  /// Mutations may move a subscription to another customer.
  bool moves = true;
  /// Part of the mutations come in pairs on one row within one second.
  bool same_second = true;
  /// Of 1,000 customers so many have the e-mail of another one.
  std::int32_t shared_emails_per_mille = 0;
  /// Events hold newer words of the catalogue (`allocation_change`, …).
  bool new_event_keys = false;
  /// A site of the older billing architecture: no `GET /invoices.json` of this shape (404).
  bool offers_invoices = true;
  bool offers_components = true;

  /// HighLevel: a PUT with `companyName` is a 422, as the published schema says.
  bool highlevel_strict_update = true;
  /// HighLevel: the location allows two contacts with one e-mail.
  bool highlevel_allows_duplicates = false;
  /// HighLevel: a list of notes lags behind as searches do.
  bool highlevel_late_notes = false;
  /// REST: batch answers leave out the results of some items.
  bool rest_batch_leaves_out = false;
  /// REST: a write with the header `Record-Version: G.O.R` below the stored one is a 409.
  bool rest_conditional = false;
};

struct WorldOptions {
  std::uint64_t seed = 1;
  std::int32_t customers = 20;
  /// At the start the site has nothing but customers: for measurements of one row a record.
  bool bare_customers = false;
  /// For the subdomain and the keys; no two worlds of one run should have the same.
  std::string tenant = "acme";
  /// The site's history ends and its live time begins here.
  WallTime start{};
  /// Live mutations per second (fractions by chance of the seed), until `mutations_total`.
  double mutation_rate = 0;
  std::int64_t mutations_total = 0;
  /// D, S of the protocol.
  Duration visibility_lag = std::chrono::seconds(2);
  Duration index_lag = std::chrono::seconds(1);
  /// How far the site's clock is from the time that the world is given.
  Duration site_clock_offset{};
  SiteZone zone;
  /// How long an undisturbed answer takes.
  Duration answer_delay = std::chrono::milliseconds(2);
  /// At the site: more wait in a queue, and beyond the queue is a 429.
  std::int32_t in_flight_max = 4;
  std::int32_t queue_max = 8;
  /// HighLevel: requests in a sliding window. The vendor has 100 in 10 s.
  std::int32_t highlevel_requests_max = 20'000;
  Duration highlevel_window = std::chrono::seconds(10);
  Duration rest_token_lifetime = std::chrono::seconds(900);
  std::size_t journal_entries_max = 2'000'000;
  Switches switches;
};

/// What a client gets. `delay` passes before anything of it is sent.
struct Answer {
  enum class Form : std::uint8_t {
    kAnswer,
    /// The connection is cut; nothing was done.
    kResetBeforeApply,
    /// The connection is cut; the request was done (or will be, see the fault `apply_late`).
    kResetAfterApply,
    /// The header and half of the body, then the connection is cut.
    kTruncate,
    /// Nothing ever comes.
    kHang,
  };
  Form form = Form::kAnswer;
  int status = 200;
  http::Headers headers;
  std::string body;
  Duration delay{};
};

/// How to get in, for whoever sets up connections.
struct Access {
  std::string chargify_key;
  std::string highlevel_token;
  std::string highlevel_location;
  std::string rest_key;
};

/// Which CRMs a sync writes to, so that silence is a mismatch.
struct JudgeScope {
  bool highlevel = true;
  bool rest = true;
};

struct Judgement {
  /// Fields in which a CRM differs from what the site's history says; a record that is missing or
  /// too many counts as one.
  std::int64_t mismatches = 0;
  /// Records (or notes) beyond the first of one customer (or marker).
  std::int64_t duplicate_records = 0;
  /// Writes that put an older state of a customer over a newer one.
  std::int64_t regressions = 0;
  /// 429s that nobody ordered by a fault.
  std::int64_t provoked_429 = 0;
  /// The first of them, for people.
  std::vector<std::string> problems;
};

class World {
 public:
  explicit World(WorldOptions options);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  /// Answers `request`, of whose URL only path and query count. `now` never goes back.
  Answer Handle(WallTime now, Target target, const http::Request& request);

  /// Lets time pass: mutations fall due, rows become visible, late writes land. Handle() and
  /// Judge() do it themselves.
  void Advance(WallTime now);

  /// No further mutation by rate or by page; those asked for by Mutate() still happen.
  void StopMutating();
  /// So many more mutations, now.
  void Mutate(WallTime now, std::int64_t count);
  /// Sets members of one entity (`customers`, `subscriptions`, `components`, `invoices`) to JSON
  /// texts; new members are welcome. kNotFound, kInvalidArgument.
  absl::Status Set(WallTime now, std::string_view entity, std::string_view id,
                   std::string_view members_json);
  /// True when mutations_total have happened, or StopMutating() was called.
  bool finished_mutating() const;
  std::int64_t mutations() const;

  /// HighLevel: so many requests in its window from now on, of which a neighbour takes this part.
  void SetQuota(WallTime now, std::int64_t requests_max, double neighbour_share);

  /// The site has switched this webhook endpoint (11 or 12) `disabled`, `paused` or `enabled`.
  /// kNotFound, kInvalidArgument.
  absl::Status SetEndpoint(std::int64_t id, std::string_view status);

  /// Replaces all faults by a JSON array of {"target","match","kind",…}; see faults.h.
  absl::Status SetFaults(std::string_view json);

  /// The history of mutations, one JSON object a line, oldest first:
  /// {"seq","time","op":"put"|"gone"
  /// |"event","kind","id","document"}. Entities from before `start` come first, as they were then.
  void ForEachTruth(const std::function<void(std::string_view line)>& line) const;
  std::string Truth() const;
  /// Of each entity of this kind that there ever was, by id; of those that are gone empty.
  std::map<std::string, std::string> NewestDocuments(std::string_view kind) const;
  /// The journal of requests, one JSON object a line: {"seq","time","target","method","path",
  /// "status","form","applied","takes_ms","body"}: until the answer, and a hash of the request's.
  std::string Requests() const;
  std::int64_t request_count(Target target) const;
  /// Requests that stored something.
  std::int64_t applied_count(Target target) const;
  /// What each CRM has stored:
  /// {"highlevel":{"contacts":[…]},"rest":{"clients":[…],"notes":[…]}}.
  std::string Records() const;
  Judgement Judge(WallTime now, JudgeScope scope = {}) const;

  Access access() const;
  const WorldOptions& options() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace tributary::simulator
