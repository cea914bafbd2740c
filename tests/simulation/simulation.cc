#include "tests/simulation/simulation.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "libs/connector/connector.h"
#include "libs/eventlog/testing/simulated_log.h"
#include "libs/ids/keys.h"
#include "services/extractor/extractor.h"
#include "services/loader/loader.h"
#include "services/transformer/transformer.h"
#include "tests/simulation/checks.h"
#include "tests/simulation/coordinator.h"
#include "tests/simulation/network.h"
#include "tests/simulation/node.h"
#include "tests/simulation/outages.h"
#include "tests/simulation/tenants_publisher.h"
#include "tests/simulation/trouble.h"

namespace tributary::simulation {
namespace {

using eventlog::Topic;
using eventlog::testing::SeededRandom;
using eventlog::testing::VirtualTime;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int32_t kPartitions = 2;
constexpr std::int64_t kGeneration = 1767225600;
// P of the protocol, D of the source, and Q of the loader, below every L.
constexpr Duration kPauseBound = seconds(2);
constexpr Duration kVisibilityLag = seconds(2);
constexpr Duration kRequestTimeout = milliseconds(1500);
// C and R: small, so that a few minutes see compaction and copies that are too old.
constexpr Duration kMinCompactionLag = minutes(1);
constexpr Duration kDeleteRetention = minutes(2);
// Until a group notices that a member is dead.
constexpr Duration kSessionTimeout = seconds(6);
// Beyond L: so late at the latest.
constexpr Duration kBeyondSettleMax = seconds(60);

/// What a history costs goes by its virtual time and by how often something looks.
struct Pace {
  // V.
  Duration lease{};
  Duration poll_interval{};
  Duration cursor_interval{};
  Duration status_interval{};
  Duration retry_delay_max{};
  // Of each tenant.
  Duration mutation_every{};
  Duration compaction_every_min{};
  // After the faults have ended. The longest waits are a Retry-After, a throttle, L and, for a
  // connection that was away, `target_delay_max`.
  Duration rest_within{};
};
constexpr Pace kDense{seconds(4), seconds(6), seconds(15),       seconds(10),
                      seconds(4), seconds(8), milliseconds(500), minutes(6)};
constexpr Pace kDays{minutes(1),  minutes(10), minutes(10), minutes(10),
                     minutes(10), hours(2),    hours(1),    minutes(60)};
// A rule of our own, which looks at an entity (rule 37).
constexpr std::string_view kHighLevelRule = R"(
  - id: began-in-trial
    when:
      event: signup_success
      condition: subscription.state == "trialing"
    do:
      - operation: contact.note.create
        with:
          body: >-
            "Trial began"
)";
constexpr std::string_view kRestRule = R"(
  - id: began-in-trial
    when:
      event: signup_success
      condition: subscription.state == "trialing"
    do:
      - operation: client.note.create
        with:
          text: >-
            "Trial began"
)";
constexpr std::string_view kUpsertBody = R"(path: /contacts/upsert
        body: {locationId: "{settings.location}")";
constexpr Duration kUsualLength = seconds(100);
// Most histories are smaller, with as many faults: a second of work finds as much in them
// (README.md), and what takes long or two tenants is in the rest.
constexpr Duration kShortLength = seconds(40);
constexpr std::uint32_t kShortPercent = 80;
constexpr std::uint32_t kOneTenantPercent = 75;
constexpr std::uint64_t kThemes = static_cast<std::uint64_t>(Theme::kDuplicates) + 1;
// Of the judge.
constexpr std::string_view kRegression = "an older state was written over a newer one";
constexpr std::string_view kShould = "should ";
constexpr std::string_view kIsMissing = ": is missing";
constexpr std::array<std::string_view, 3> kSecondOnes = {": a note twice", ": two notes",
                                                         ": a second contact"};
// Of the loader.
constexpr std::string_view kLeftOut = "no result in the batch";
constexpr std::string_view kMissing = ": REASON_MISSING ";

class Simulation : private Node::Events {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(Sized(options)),
        pace_(options_.length > hours(3) ? kDays : kDense),
        // Neighbouring seeds must not be one sequence, shifted.
        random_(Fingerprint(std::to_string(options.seed))),
        theme_(ThemeOfSeed()),
        trace_(time_, options.keeps_trace),
        log_(LogOptions(options, theme_), time_, random_.Next()),
        // L: below V + P, where a take-over settles it, or above.
        settle_(theme_ == Theme::kLostRecords || random_.Percent(50) ? seconds(9) : seconds(2)),
        network_(time_, SeededRandom(random_.Next()), trace_, worlds_, settle_, kPauseBound),
        machine_{time_,
                 log_,
                 network_,
                 trace_,
                 random_,
                 Delays(),
                 {},
                 {},
                 options.rule_break,
                 pace_.lease + kPauseBound,
                 {}},
        checks_(trace_, Names(), kPartitions) {
    machine_.control = [this](const v1::FromService& message) { return Control(message); };
    machine_.on_error = [this](const std::string& name, std::string_view message) {
      // It says so itself, and writes nothing: no entry would tell.
      if (message == transformer::kEqualVersionsDiffer) {
        checks_.Violate("Rule 35: " + name + " has derived a version anew, with other content");
      }
    };
    network_.Observe(checks_);
    log_.OnAppend([this](const eventlog::Record& record, const std::string& by) {
      checks_.OnAppend(record, by);
      if (options_.rule_break != RuleBreak::kNone) machine_.present.OnAppend(record);
    });
  }

  SimulationResult Run() {
    MakeWorlds();
    MakeOrders();
    log_.Found(kGeneration);
    MakeNodes();
    const Instant end = time_.now().steady + options_.length;
    PlanMutations(end);
    PlanCompaction(end + rest_within());
    if (options_.faults) {
      trouble_.Plan(end,
                    std::max(1.0, std::chrono::duration<double>(options_.length) / kUsualLength));
    }
    outages_.Plan(options_.outage, time_.now().steady + options_.length / 24, end);
    time_.RunUntil(end);
    EndFaults();
    RunToRest();
    return Result();
  }

 private:
  static eventlog::testing::SimulatedLogOptions LogOptions(const SimulationOptions& simulation,
                                                           Theme theme) {
    eventlog::testing::SimulatedLogOptions options;
    options.partitions = kPartitions;
    options.min_compaction_lag = kMinCompactionLag;
    options.delete_retention = kDeleteRetention;
    if (simulation.rule_break == RuleBreak::kNoCompactionLag) options.min_compaction_lag = {};
    if (theme == Theme::kCompaction) options.fetch_records_max = 6;
    options.adds_unknown_field = simulation.adds_unknown_field;
    return options;
  }
  // Of random numbers of its own: a history of a given size does not depend on what is drawn here.
  static SimulationOptions Sized(SimulationOptions options) {
    SeededRandom random(Fingerprint("size of " + std::to_string(options.seed)));
    const bool has_one_tenant = random.Percent(kOneTenantPercent);
    const bool is_short = random.Percent(kShortPercent);
    if (options.tenants == 0) options.tenants = has_one_tenant ? 1 : 2;
    if (options.length == Duration::zero()) options.length = is_short ? kShortLength : kUsualLength;
    return options;
  }
  bool breaks(RuleBreak what) const { return options_.rule_break == what; }
  bool is(Theme theme) const { return theme_ == theme; }
  // Of each history the same random numbers are left for the rest.
  Theme ThemeOfSeed() {
    const std::uint64_t drawn = random_.Below(2 * kThemes);
    if (options_.theme) return *options_.theme;
    if (const Theme of_break = ThemeOf(options_.rule_break); of_break != Theme::kNone) {
      return of_break;
    }
    return drawn < kThemes ? static_cast<Theme>(drawn) : Theme::kNone;
  }
  eventlog::testing::MemberDelays Delays() const {
    eventlog::testing::MemberDelays delays;
    delays.request = {milliseconds(1), milliseconds(30)};
    // Whoever reads slowly sees what compaction took meanwhile.
    if (is(Theme::kCompaction)) delays.request.max = seconds(1);
    delays.answer = {milliseconds(1), milliseconds(30)};
    delays.late = {milliseconds(1), seconds(10)};
    return delays;
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (std::int32_t i = 0; i < options_.tenants; ++i) {
      names.push_back("tenant" + std::to_string(i));
    }
    return names;
  }

  // ---- set-up ----

  void MakeWorlds() {
    for (std::int32_t i = 0; i < options_.tenants; ++i) {
      simulator::WorldOptions world;
      world.seed = random_.Next();
      world.customers = options_.customers;
      world.tenant = Names()[static_cast<std::size_t>(i)];
      world.start = time_.now().wall;
      world.mutations_total = 1'000'000;
      // Nobody asks for it.
      world.journal_entries_max = 0;
      // Behind what the connections are told of D and S.
      if (breaks(RuleBreak::kNoVisibilityLag)) world.visibility_lag = seconds(10);
      if (breaks(RuleBreak::kNoIndexLag)) world.index_lag = seconds(30);
      world.switches.highlevel_late_notes = true;
      world.site_clock_offset = random_.Between(-seconds(30), seconds(30));
      if (options_.faults && random_.Percent(20)) world.switches.rest_batch_leaves_out = true;
      if (is(Theme::kDuplicates)) world.switches.highlevel_allows_duplicates = true;
      worlds_.push_back(std::make_unique<simulator::World>(std::move(world)));
    }
  }

  static std::string Text(Duration duration) {
    return std::to_string(duration / milliseconds(1)) + "ms";
  }

  std::string AddBlob(Orders::Tenant& tenant, v1::Blob::Kind kind, const std::string& name) const {
    std::string content = *connector::BuiltinFile(name);
    if (kind == v1::Blob::KIND_RULES) {
      content += name == "rest.rules.yaml" ? kRestRule : kHighLevelRule;
    } else if (name == "highlevel.yaml" && is(Theme::kDuplicates)) {
      // Its create makes a new one whatever there is: what is asked before it is all that helps.
      content.insert(content.find(kUpsertBody) + kUpsertBody.size(),
                     ", createNewIfDuplicateAllowed: true");
    }
    v1::Blob blob;
    blob.set_kind(kind);
    blob.set_name(name);
    blob.set_content(content);
    const std::string hash = ids::Sha256Hex(content);
    tenant.blobs[hash] = std::move(blob);
    return hash;
  }

  void MakeOrders() {
    const std::vector<std::string> names = Names();
    for (std::size_t i = 0; i < names.size(); ++i) {
      Orders::Tenant& tenant = orders_.tenants[names[i]];
      tenant.snapshot.set_tenant(names[i]);
      v1::Connection* const billing = tenant.snapshot.add_connections();
      billing->set_name("billing");
      billing->set_integration("chargify");
      billing->set_url(Network::Url(i, simulator::Target::kChargify));
      (*billing->mutable_settings())["visibility_lag"] =
          breaks(RuleBreak::kNoVisibilityLag) ? "0s" : Text(kVisibilityLag);
      (*billing->mutable_settings())["poll_interval"] = Text(pace_.poll_interval);
      for (const auto& [name, target] : {std::pair("highlevel", simulator::Target::kHighLevel),
                                         std::pair("rest", simulator::Target::kRest)}) {
        v1::Connection* const connection = tenant.snapshot.add_connections();
        connection->set_name(name);
        connection->set_integration(name);
        connection->set_url(Network::Url(i, target));
        connection->set_connector_file(
            AddBlob(tenant, v1::Blob::KIND_CONNECTOR_FILE, std::string(name) + ".yaml"));
        auto& settings = *connection->mutable_settings();
        settings["settle"] = breaks(RuleBreak::kNoSettling) ? "1501ms" : Text(settle_);
        settings["index_lag"] = "1s";
        if (target == simulator::Target::kHighLevel) {
          settings["location"] = worlds_[i]->access().highlevel_location;
        } else if (random_.Percent(30)) {
          settings["batch"] = "true";
        }
        v1::Sync* const sync = tenant.snapshot.add_syncs();
        sync->set_name(name);
        sync->set_source("billing");
        sync->set_target(name);
        sync->set_state(v1::SYNC_STATE_ACTIVE);
        sync->set_mapping(
            AddBlob(tenant, v1::Blob::KIND_MAPPING, std::string(name) + ".mapping.yaml"));
        sync->set_rules(AddBlob(tenant, v1::Blob::KIND_RULES, std::string(name) + ".rules.yaml"));
        sync->set_on_missing(v1::Sync::ON_MISSING_RECREATE);
        sync->set_target_is_empty(breaks(RuleBreak::kNoLookUp));
      }
      for (v1::Connection& connection : *tenant.snapshot.mutable_connections()) {
        connection.set_allow_insecure_loopback(true);
        connection.set_state(v1::CONNECTION_STATE_LINKED);
        connection.set_credential_revision(1);
      }
    }
    orders_.edition = 1;
  }

  std::optional<v1::ToService> Control(const v1::FromService& message) {
    if (outages_.control_is_away() || !message.has_credential_request()) return std::nullopt;
    const v1::CredentialRequest& request = message.credential_request();
    const std::vector<std::string> names = Names();
    const auto found = std::find(names.begin(), names.end(), request.tenant());
    v1::ToService answer;
    v1::Credential& credential = *answer.mutable_credential();
    credential.set_tenant(request.tenant());
    credential.set_connection(request.connection());
    credential.set_revision(1);
    if (found == names.end()) {
      credential.set_problem("no such tenant");
      return answer;
    }
    const simulator::Access access =
        worlds_[static_cast<std::size_t>(found - names.begin())]->access();
    auto& fields = *credential.mutable_fields();
    if (request.connection() == "billing") fields["api_key"] = access.chargify_key;
    if (request.connection() == "highlevel") fields["token"] = access.highlevel_token;
    if (request.connection() == "rest") fields["api_key"] = access.rest_key;
    return answer;
  }

  std::unique_ptr<Stage> MakeStage(const std::string& service, const std::string& instance,
                                   StagePorts ports) {
    if (service == "extractor") {
      extractor::Options o;
      o.instance = instance;
      o.partitions = kPartitions;
      o.lease = pace_.lease;
      o.pause_bound = kPauseBound;
      o.min_compaction_lag = kMinCompactionLag;
      o.delete_retention = kDeleteRetention;
      o.poll_interval = pace_.poll_interval;
      o.visibility_lag = kVisibilityLag;
      o.request_timeout = seconds(5);
      o.page_size = page_size_;
      o.retry_delay_max = pace_.retry_delay_max;
      o.throttle_pause = seconds(4);
      o.cursor_interval = pace_.cursor_interval;
      return extractor::MakeExtractor(o, ports);
    }
    if (service == "transformer") {
      transformer::Options o;
      o.instance = instance;
      o.partitions = kPartitions;
      o.min_compaction_lag = kMinCompactionLag;
      o.delete_retention = kDeleteRetention;
      o.status_interval = pace_.status_interval;
      o.compiled = compiled_;
      return transformer::MakeTransformer(o, ports);
    }
    if (service == "loader") {
      loader::Options o;
      o.instance = instance;
      o.partitions = kPartitions;
      o.lease = pace_.lease;
      o.pause_bound = kPauseBound;
      o.min_compaction_lag = kMinCompactionLag;
      o.delete_retention = kDeleteRetention;
      o.request_timeout = kRequestTimeout;
      o.retry_delay_max = pace_.retry_delay_max;
      o.attempts_max = attempts_max_;
      o.status_interval = pace_.status_interval;
      if (is_swept()) {
        o.sweep_period = minutes(3);
        o.sweep_share_percent = 100;
      }
      if (!options_.sweeps) o.sweep_period = {};
      o.connectors = connectors_;
      o.predecessor_is_dead = breaks(RuleBreak::kNoWaitForTheLease);
      return loader::MakeLoader(o, ports);
    }
    return MakeTenantsPublisher(instance, kPartitions, kMinCompactionLag, kDeleteRetention, orders_,
                                ports);
  }

  void MakeNodes() {
    page_size_ = static_cast<std::int32_t>(2 + random_.Below(6));
    if (options_.outage == Outage::kTargets) attempts_max_ = loader::Options().attempts_max;
    if (options_.faults && random_.Percent(50)) {
      attempts_max_ = static_cast<std::int32_t>(1 + random_.Below(4));
    }
    for (const std::string service : {"control", "extractor", "transformer", "loader"}) {
      coordinators_.emplace(service, Coordinator(machine_, service));
      const int instances = service == "control" ? 1 : 2;
      for (int i = 0; i < instances; ++i) {
        const std::string instance = service + "-" + std::to_string(i);
        nodes_.push_back(
            std::make_unique<Node>(machine_, static_cast<Node::Events&>(*this), service, instance,
                                   [this, service](const std::string& name, StagePorts ports) {
                                     return MakeStage(service, name, ports);
                                   }));
      }
    }
    for (const std::unique_ptr<Node>& node : nodes_) {
      time_.After(random_.Between(milliseconds(0), seconds(3)),
                  [raw = node.get()] { raw->Start(Disk::kKept); });
    }
  }

  void OnStarted(Node& node) override { coordinators_.at(node.service()).Started(node); }
  void OnDied(Node& node) override {
    ++crashes_;
    coordinators_.at(node.service()).Died(node);
  }

  // ---- what happens ----

  Instant Sometime(Instant end) {
    const Instant begin = time_.now().steady + seconds(2);
    return begin + random_.Between(Duration::zero(), end - begin - seconds(3));
  }

  void PlanMutations(Instant end) {
    const auto each = static_cast<std::int32_t>(options_.length / pace_.mutation_every);
    for (const std::unique_ptr<simulator::World>& world : worlds_) {
      for (std::int32_t left = each; left > 0;) {
        // Some come in bursts.
        const auto count = static_cast<std::int32_t>(
            random_.Percent(30) ? 1 + random_.Below(static_cast<std::uint64_t>(left)) : 1);
        left -= count;
        time_.At(Sometime(end),
                 [this, raw = world.get(), count] { raw->Mutate(time_.now().wall, count); });
      }
    }
  }

  void PlanCompaction(Instant end) {
    const Duration every =
        std::max(pace_.compaction_every_min, is(Theme::kCompaction)
                                                 ? random_.Between(milliseconds(500), seconds(3))
                                                 : random_.Between(seconds(5), minutes(1)));
    for (Instant at = time_.now().steady + every; at < end; at += every) {
      time_.At(at, [this] {
        trace_.Line("log", "compacts");
        log_.CompactAll();
      });
    }
  }

  // ---- the end ----

  void EndFaults() {
    trace_.Line("simulation", "mutations and faults end");
    trouble_.End();
  }

  // What nobody tells us is found by looking at every record.
  bool is_swept() const { return options_.beyond_settle || options_.outage == Outage::kPeople; }

  Duration rest_within() const {
    // The last comparison after a doubt comes 100 L after it, a period of the sweep is shorter.
    return is_swept() ? minutes(20) : pace_.rest_within;
  }

  // Beyond L the sweep shows what is second: as many as there are.
  bool IsShown(std::size_t tenant, const simulator::Judgement& judgement,
               const std::string& problem) {
    const bool is_second = std::any_of(kSecondOnes.begin(), kSecondOnes.end(), [&](auto second) {
      return problem.find(second) != problem.npos;
    });
    // What a lost `records` knew of an action that was done, nobody knows.
    return options_.beyond_settle && is_second &&
           (checks_.has_lost_ledger() ||
            judgement.duplicate_records <= checks_.ShownOf(Names()[tenant]));
  }

  // `rest 123 email: has …`: what a person has dropped, and is shown as that.
  bool IsDropped(std::size_t tenant, const std::string& problem) const {
    if (problem.find(kShould) == problem.npos && !problem.ends_with(kIsMissing)) return false;
    const std::size_t space = problem.find(' ');
    const std::size_t end = problem.find_first_of(" :", space + 1);
    return space != problem.npos && end != problem.npos &&
           checks_.RestsAsDropped(Names()[tenant], problem.substr(0, space),
                                  problem.substr(space + 1, end - space - 1));
  }

  bool IsExcused(std::size_t tenant, const std::string& problem) const {
    if (IsDropped(tenant, problem)) return true;
    const bool is_regression = problem.ends_with(kRegression);
    if (is_regression && options_.beyond_settle) return true;
    if (trouble_.mirror_was_lost()) {
      // While it is read anew a CRM shows customers as far as they were read. And of what went away
      // meanwhile nobody knows any more that it was there.
      return is_regression ||
             (problem.find(" reporting.") != problem.npos && problem.ends_with("have \"0\""));
    }
    return false;
  }

  std::vector<std::string> NotAtRest(bool is_last_look = false) {
    std::vector<std::string> problems;
    for (const std::unique_ptr<Node>& node : nodes_) {
      if (!node->alive()) {
        problems.push_back(node->instance() + " is not running");
        continue;
      }
      for (const std::string& why : node->stage()->not_ready_because()) {
        problems.push_back(node->instance() + " is not ready: " + why);
      }
    }
    // Each of the next looks takes longer, and what is not at rest need not be looked at closer.
    if (!problems.empty() && !is_last_look) return problems;
    for (std::string& problem : checks_.NotAtRest(orders_)) problems.push_back(std::move(problem));
    if (!problems.empty() && !is_last_look) return problems;
    for (std::size_t i = 0; i < worlds_.size(); ++i) {
      const simulator::Judgement judgement = worlds_[i]->Judge(time_.now().wall);
      const std::string who = "tenant" + std::to_string(i);
      if (judgement.provoked_429 != 0) problems.push_back(who + ": provoked 429");
      for (const std::string& problem : judgement.problems) {
        if (!IsExcused(i, problem) && !IsShown(i, judgement, problem))
          problems.push_back(who + ": " + problem);
      }
    }
    return problems;
  }

  // Parked in the last looks, and tried again when a person says so: a CRM that leaves out results
  // never stops, and what people have deleted twice may be missed late (rule 27).
  bool WaitsForAPerson(const std::string& problem) const {
    return problem.ends_with(kLeftOut) ||
           (options_.outage == Outage::kPeople && problem.find(kMissing) != problem.npos);
  }

  void RunToRest() {
    if (options_.beyond_settle) time_.RunFor(kBeyondSettleMax + settle_);
    const Instant begin = time_.now().steady;
    std::vector<std::string> why;
    while (time_.now().steady < begin + rest_within()) {
      // What cannot be undone need not be waited for.
      if (!checks_.violations().empty()) break;
      trouble_.ReplayParked();
      time_.RunFor(seconds(3));
      why = NotAtRest();
      if (!why.empty()) continue;
      rested_after_ = time_.now().steady - begin;
      // It must stay so, through another poll of the source.
      time_.RunFor(2 * pace_.poll_interval);
      why = NotAtRest();
      // An owner whose clock is far ahead takes what it has just written for old, and looks for
      // the end again (rule 9): not ready for a moment, which lasts some seconds where reading is
      // slow (Theme::kCompaction).
      for (int looks = 0; looks < 5 && !why.empty(); ++looks) {
        time_.RunFor(seconds(1));
        why = NotAtRest();
      }
      if (!why.empty() && std::all_of(why.begin(), why.end(), [this](const std::string& problem) {
            return WaitsForAPerson(problem);
          })) {
        continue;
      }
      if (!why.empty()) why.insert(why.begin(), "was at rest, and then was not:");
      break;
    }
    if (!why.empty()) {
      const std::vector<std::string> all = NotAtRest(true);
      if (!all.empty()) why = all;
    }
    for (std::string& problem : why) problems_.push_back(std::move(problem));
    if (!trace_.keeps_lines()) return;
    for (std::size_t i = 0; i < worlds_.size(); ++i) {
      worlds_[i]->ForEachTruth(
          [&](std::string_view line) { trace_.Line("truth of world-" + std::to_string(i), line); });
    }
  }

  SimulationResult Result() {
    SimulationResult result;
    result.problems = problems_;
    for (const std::string& problem : trouble_.problems()) result.problems.push_back(problem);
    for (const std::string& violation : checks_.violations()) {
      result.problems.push_back("violation: " + violation);
    }
    result.trace_lines = trace_.lines();
    result.trace = trace_.text();
    result.crashes = crashes_;
    result.suspensions = trouble_.counts().suspensions;
    result.evictions = trouble_.counts().evictions;
    result.drains = trouble_.counts().drains;
    result.lost_topics = trouble_.counts().lost_topics;
    result.old_disks = trouble_.counts().old_disks;
    result.clock_jumps = trouble_.counts().clock_jumps;
    result.drops = trouble_.counts().drops;
    result.void_entries = checks_.counts().void_entries;
    result.intents = checks_.counts().intents;
    result.checked_sends = checks_.counts().checked_sends;
    result.unattributed_sends = checks_.counts().unattributed_sends;
    result.actions = checks_.counts().actions;
    result.parked = checks_.counts().parked;
    result.expired_unread = outages_.expired_unread();
    result.deeds = outages_.deeds();
    result.positions_outgrown = outages_.positions_outgrown();
    result.unknown_outcomes = network_.unknown_outcomes();
    for (const std::unique_ptr<simulator::World>& world : worlds_) {
      result.mutations += world->mutations();
    }
    for (std::size_t i = 0; options_.beyond_settle && i < worlds_.size(); ++i) {
      result.regressions += worlds_[i]->Judge(time_.now().wall).regressions;
      result.shown += checks_.ShownOf(Names()[i]);
    }
    result.minutes_to_rest = std::chrono::duration<double, std::ratio<60>>(rested_after_).count();
    return result;
  }

  const SimulationOptions options_;
  const Pace& pace_;
  VirtualTime time_;
  SeededRandom random_;
  const Theme theme_;
  Trace trace_;
  eventlog::testing::SimulatedLog log_;
  const Duration settle_;
  std::vector<std::unique_ptr<simulator::World>> worlds_;
  Network network_;
  Machine machine_;
  Checks checks_;
  Orders orders_;
  // Parsed once for all processes of all histories, since that took more than a quarter of each;
  // what a file's text is parsed to depends on nothing else.
  inline static const std::shared_ptr<transformer::CompiledFiles> compiled_ =
      std::make_shared<transformer::CompiledFiles>();
  inline static const std::shared_ptr<loader::Connectors> connectors_ =
      std::make_shared<loader::Connectors>();
  std::int32_t page_size_ = 200;
  std::int32_t attempts_max_ = 100'000;
  std::map<std::string, Coordinator> coordinators_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::string> problems_;
  std::int64_t crashes_ = 0;
  Duration rested_after_{};
  const Scene scene_{time_,
                     random_,
                     trace_,
                     log_,
                     worlds_,
                     network_,
                     nodes_,
                     coordinators_,
                     checks_,
                     orders_,
                     kPartitions,
                     kGeneration,
                     settle_,
                     pace_.lease,
                     kPauseBound,
                     kSessionTimeout,
                     theme_,
                     options_.rule_break,
                     options_.beyond_settle ? kBeyondSettleMax : Duration::zero()};
  Trouble trouble_{scene_};
  Outages outages_{scene_};
};

}  // namespace

SimulationResult Simulate(const SimulationOptions& options) { return Simulation(options).Run(); }

std::optional<Finding> FindShowing(const RuleBreakInfo& info, std::uint64_t first,
                                   std::uint64_t seeds) {
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    SimulationOptions options;
    options.seed = seed;
    options.rule_break = info.what;
    const std::vector<std::string> problems = Simulate(options).problems;
    const auto shows = std::find_if(problems.begin(), problems.end(), [&](const auto& problem) {
      return problem.find(info.seen) != problem.npos;
    });
    if (shows == problems.end()) continue;
    options.rule_break = RuleBreak::kNone;
    if (info.theme != Theme::kNone) options.theme = info.theme;
    // What fails with all rules on shows nothing.
    if (Simulate(options).problems.empty()) return Finding{seed, *shows};
  }
  return std::nullopt;
}

std::string CommandToRepeat(const SimulationOptions& options) {
  std::string command = "simulate --first " + std::to_string(options.seed) + " --seeds 1 --trace";
  if (options.outage != Outage::kNone) {
    command += " --outage " + std::string(NameOf(options.outage)) + " --seconds " +
               std::to_string(options.length / seconds(1));
  }
  if (!options.faults) command += " --no-faults";
  if (options.beyond_settle) command += " --beyond-settle";
  if (!options.sweeps) command += " --no-sweep";
  if (options.adds_unknown_field) command += " --unknown-field";
  return command;
}

}  // namespace tributary::simulation
