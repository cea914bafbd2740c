#include "tests/simulation/simulation.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
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
#include "tests/simulation/tenants_publisher.h"

namespace tributary::simulation {
namespace {

using eventlog::Topic;
using eventlog::testing::SeededRandom;
using eventlog::testing::VirtualTime;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::int32_t kPartitions = 4;
constexpr std::int64_t kGeneration = 1767225600;
// V, P, L, S, D of the protocol as the simulator's connector files have them; Q below L.
constexpr Duration kLease = seconds(10);
constexpr Duration kPauseBound = seconds(5);
constexpr Duration kSettle = seconds(2);
constexpr Duration kRequestTimeout = milliseconds(1500);
// C and R: small, so that an hour sees compaction and copies that are too old.
constexpr Duration kMinCompactionLag = minutes(4);
constexpr Duration kDeleteRetention = hours(1);
// After the faults have ended. The longest waits are a Retry-After, a throttle and L.
constexpr Duration kRestWithin = minutes(60);
// Of the judge.
constexpr std::string_view kRegression = "an older state was written over a newer one";

class Simulation : private Node::Events {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options),
        // Neighbouring seeds must not be one sequence, shifted.
        random_(Fingerprint(std::to_string(options.seed))),
        trace_(time_, options.keeps_trace),
        log_(LogOptions(options), time_, random_.Next()),
        network_(time_, SeededRandom(random_.Next()), trace_, worlds_, kSettle, kPauseBound),
        machine_{time_,
                 log_,
                 network_,
                 trace_,
                 random_,
                 Delays(),
                 {},
                 options.rule_break,
                 kLease + kPauseBound,
                 {}},
        checks_(trace_, Names(), kPartitions) {
    machine_.control = [this](const v1::FromService& message) { return Control(message); };
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
    const Instant end = time_.now().steady + minutes(options_.minutes);
    PlanMutations(end);
    PlanCompaction(end + kRestWithin);
    if (options_.faults) {
      PlanFaults(end);
      PlanNewRevision(end);
      PlanLoss(end);
      PlanInterruption(end);
      PlanPerson(end);
    }
    time_.RunUntil(end);
    EndFaults();
    RunToRest();
    return Result();
  }

 private:
  static eventlog::testing::SimulatedLogOptions LogOptions(const SimulationOptions& simulation) {
    eventlog::testing::SimulatedLogOptions options;
    options.partitions = kPartitions;
    options.min_compaction_lag = kMinCompactionLag;
    options.delete_retention = kDeleteRetention;
    if (simulation.rule_break == RuleBreak::kNoCompactionLag) options.min_compaction_lag = {};
    return options;
  }
  bool breaks(RuleBreak what) const { return options_.rule_break == what; }
  eventlog::testing::MemberDelays Delays() const {
    eventlog::testing::MemberDelays delays;
    delays.request = {milliseconds(1), milliseconds(30)};
    // Whoever reads slowly sees what compaction took meanwhile.
    if (breaks(RuleBreak::kNoCompactionLag)) delays.request.max = seconds(3);
    delays.answer = {milliseconds(1), milliseconds(30)};
    delays.late = {milliseconds(1), seconds(12)};
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
      world.customers = options_.customers / options_.tenants;
      world.tenant = Names()[static_cast<std::size_t>(i)];
      world.start = time_.now().wall;
      world.mutations_total = 1'000'000;
      if (breaks(RuleBreak::kNoIndexLag)) world.index_lag = seconds(30);
      world.site_clock_offset = random_.Between(-seconds(30), seconds(30));
      if (options_.faults && random_.Percent(20)) world.switches.rest_batch_leaves_out = true;
      worlds_.push_back(std::make_unique<simulator::World>(std::move(world)));
    }
  }

  static std::string AddBlob(Orders::Tenant& tenant, v1::Blob::Kind kind, const std::string& name) {
    const std::string* const content = connector::BuiltinFile(name);
    v1::Blob blob;
    blob.set_kind(kind);
    blob.set_name(name);
    blob.set_content(*content);
    const std::string hash = ids::Sha256Hex(*content);
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
          breaks(RuleBreak::kNoVisibilityLag) ? "0s" : "2s";
      (*billing->mutable_settings())["poll_interval"] = "30s";
      for (const auto& [name, target] : {std::pair("highlevel", simulator::Target::kHighLevel),
                                         std::pair("rest", simulator::Target::kRest)}) {
        v1::Connection* const connection = tenant.snapshot.add_connections();
        connection->set_name(name);
        connection->set_integration(name);
        connection->set_url(Network::Url(i, target));
        connection->set_connector_file(
            AddBlob(tenant, v1::Blob::KIND_CONNECTOR_FILE, std::string(name) + ".yaml"));
        auto& settings = *connection->mutable_settings();
        settings["settle"] = breaks(RuleBreak::kNoSettling) ? "100ms" : "2s";
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
    if (!message.has_credential_request()) return std::nullopt;
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
      o.lease = kLease;
      o.pause_bound = kPauseBound;
      o.min_compaction_lag = kMinCompactionLag;
      o.delete_retention = kDeleteRetention;
      o.poll_interval = seconds(30);
      o.visibility_lag = seconds(2);
      o.request_timeout = seconds(10);
      o.page_size = page_size_;
      o.retry_delay_max = seconds(20);
      o.throttle_pause = seconds(20);
      o.cursor_interval = minutes(1);
      return extractor::MakeExtractor(o, ports);
    }
    if (service == "transformer") {
      transformer::Options o;
      o.instance = instance;
      o.partitions = kPartitions;
      o.min_compaction_lag = kMinCompactionLag;
      o.delete_retention = kDeleteRetention;
      o.status_interval = seconds(20);
      return transformer::MakeTransformer(o, ports);
    }
    if (service == "loader") {
      loader::Options o;
      o.instance = instance;
      o.partitions = kPartitions;
      o.lease = kLease;
      o.pause_bound = kPauseBound;
      o.min_compaction_lag = kMinCompactionLag;
      o.delete_retention = kDeleteRetention;
      o.request_timeout = kRequestTimeout;
      o.retry_delay_max = seconds(20);
      o.attempts_max = attempts_max_;
      o.status_interval = seconds(20);
      o.predecessor_is_dead = breaks(RuleBreak::kNoWaitForTheLease);
      return loader::MakeLoader(o, ports);
    }
    return MakeTenantsPublisher(instance, kPartitions, kMinCompactionLag, kDeleteRetention, orders_,
                                ports);
  }

  void MakeNodes() {
    page_size_ = static_cast<std::int32_t>(2 + random_.Below(6));
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
    const Instant begin = time_.now().steady + seconds(5);
    return begin + random_.Between(Duration::zero(), end - begin - minutes(1));
  }
  Node& AnyNode() {
    // Half of what goes wrong hits a loader: most rules are about it.
    if (random_.Percent(50)) return *nodes_[nodes_.size() - 1 - random_.Below(2)];
    return *nodes_[random_.Below(nodes_.size())];
  }

  void PlanMutations(Instant end) {
    const std::int32_t each = options_.mutations / options_.tenants;
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
    const Duration every = breaks(RuleBreak::kNoCompactionLag)
                               ? random_.Between(seconds(2), seconds(10))
                               : random_.Between(minutes(1), minutes(10));
    for (Instant at = time_.now().steady + every; at < end; at += every) {
      time_.At(at, [this] {
        trace_.Line("log", "compacts");
        log_.CompactAll();
      });
    }
  }

  void PlanFaults(Instant end) {
    // In some histories hardly anything goes well.
    const std::uint64_t more = random_.Percent(30) ? 4 : 1;
    NetworkFaults network;
    network.connect_fails = static_cast<std::uint32_t>(random_.Below(30 * more));
    network.answer_lost = static_cast<std::uint32_t>(random_.Below(60 * more));
    network.answer_late = static_cast<std::uint32_t>(random_.Below(60 * more));
    network.request_late = static_cast<std::uint32_t>(random_.Below(100 * more));
    network.pauses = static_cast<std::uint32_t>(random_.Below(50 * more));
    if (breaks(RuleBreak::kPauseBeyondTheBound)) network.pause_max = minutes(2);
    network_.SetFaults(network);
    for (const std::unique_ptr<simulator::World>& world : worlds_) {
      const absl::Status status = world->SetFaults(WorldFaults());
      if (!status.ok()) problems_.push_back("faults: " + std::string(status.message()));
    }
    for (std::uint64_t i = random_.Below(8 * more); i > 0; --i) PlanCrash(end);
    for (std::uint64_t i = random_.Below(5 * more); i > 0; --i) PlanSuspension(end);
    for (std::uint64_t i = random_.Below(4 * more); i > 0; --i) {
      time_.At(Sometime(end), [this, node = &AnyNode(),
                               told_after = random_.Between(milliseconds(1), seconds(20))] {
        if (!node->alive()) return;
        ++evictions_;
        coordinators_.at(node->service()).Evict(*node, told_after);
      });
    }
    for (std::uint64_t i = random_.Below(3); i > 0; --i) {
      time_.At(Sometime(end), [this, node = &AnyNode(), lands = random_.Percent(50)] {
        if (!node->alive()) return;
        trace_.Line(node->instance(), "its next produce will fail");
        log_.FailNextProduce(node->member(), lands);
      });
    }
    for (std::uint64_t i = random_.Below(4 * more); i > 0; --i) PlanDrain(end);
    for (std::uint64_t i = random_.Below(3); i > 0; --i) PlanOldDisk(end);
    for (std::uint64_t i = random_.Below(3); i > 0; --i) PlanClockJump(end);
  }

  // A sync is removed, and comes back: its records are withdrawn, whatever is open or in doubt.
  void PlanInterruption(Instant end) {
    if (!random_.Percent(30)) return;
    const std::size_t tenant = random_.Below(worlds_.size());
    const std::string sync = random_.Percent(50) ? "rest" : "highlevel";
    const Duration length = random_.Between(seconds(1), minutes(3));
    const auto set = [this, tenant, sync](v1::SyncState state) {
      trace_.Line("control", v1::SyncState_Name(state) + " " + sync);
      Orders::Tenant& orders = orders_.tenants[Names()[tenant]];
      orders.interrupted.insert(sync);
      for (v1::Sync& ordered : *orders.snapshot.mutable_syncs()) {
        if (ordered.name() == sync) ordered.set_state(state);
      }
      ++orders_.edition;
    };
    time_.At(Sometime(end), [this, set, length] {
      set(v1::SYNC_STATE_REMOVED);
      time_.After(length, [set] { set(v1::SYNC_STATE_ACTIVE); });
    });
  }

  // A person has what is parked tried again, now and then.
  void PlanPerson(Instant end) {
    const Duration every = random_.Between(minutes(2), minutes(10));
    for (Instant at = time_.now().steady + every; at < end; at += every) {
      time_.At(at, [this] { ReplayParked(); });
    }
  }
  void ReplayParked() {
    for (const std::string& key : checks_.ParkedRecords()) {
      trace_.Line("control", "a person replays " + key);
      v1::ToService message;
      message.mutable_decide_parked()->set_key(key);
      message.mutable_decide_parked()->set_replay(true);
      for (const std::unique_ptr<Node>& node : nodes_) {
        if (node->service() == "loader") node->Tell(message);
      }
    }
  }

  // A disk is copied, and later a process of the service comes back with the copy: from a backup,
  // or from another machine.
  void PlanOldDisk(Instant end) {
    Node& node = AnyNode();
    const bool is_of_another = random_.Percent(30);
    const Duration age = random_.Between(seconds(10), minutes(40));
    time_.At(Sometime(end), [this, &node, is_of_another, age] {
      Node* to = &node;
      for (const std::unique_ptr<Node>& other : nodes_) {
        if (is_of_another && other.get() != &node && other->service() == node.service()) {
          to = other.get();
        }
      }
      to->SetBackup(node.CopyDisk());
      time_.After(age, [this, to] {
        if (!to->alive() || !is_going_wrong_) return;
        ++old_disks_;
        to->Kill("kill -9, and its disk comes from a backup");
        time_.After(random_.Between(milliseconds(10), seconds(60)),
                    [to] { to->Start(Disk::kOld); });
      });
    });
  }

  // Rule 11: only the wall clock can be set.
  void PlanClockJump(Instant end) {
    Node& node = AnyNode();
    const Duration by = random_.Between(-minutes(20), minutes(20));
    time_.At(Sometime(end), [this, &node, by] {
      ++clock_jumps_;
      trace_.Line(node.instance(), "its wall clock is set");
      node.SetClock(by);
    });
  }

  // Section 0 and rules 12, 35, 45: a topic is lost, and a person orders its founding.
  void PlanLoss(Instant end) {
    const bool is_wanted = breaks(RuleBreak::kLossIsNotDoubt) ||
                           breaks(RuleBreak::kGenerationStays) ||
                           breaks(RuleBreak::kOldCursorsCount) || breaks(RuleBreak::kNoLookUp);
    if (!random_.Percent(20) && !is_wanted) return;
    static constexpr std::array kTopics = {Topic::kRecords, Topic::kRecords, Topic::kChanges,
                                           Topic::kChanges, Topic::kTenants, Topic::kCursors};
    Topic topic = kTopics[random_.Below(kTopics.size())];
    if (breaks(RuleBreak::kLossIsNotDoubt) || breaks(RuleBreak::kNoLookUp)) {
      topic = Topic::kRecords;
    }
    if (breaks(RuleBreak::kOldCursorsCount)) topic = Topic::kChanges;
    const Duration until_order = random_.Between(milliseconds(100), minutes(2));
    time_.At(Sometime(end), [this, topic, until_order] {
      ++lost_topics_;
      trace_.Line("log", "loses " + std::string(eventlog::Name(topic)));
      for (eventlog::Partition p = 0; p < kPartitions; ++p) log_.Lose(topic, p);
      checks_.OnLost(topic);
      mirror_was_lost_ = mirror_was_lost_ || topic == Topic::kChanges;
      time_.After(until_order, [this] {
        trace_.Line("log", "is founded anew by order");
        const std::int64_t generation =
            breaks(RuleBreak::kGenerationStays) ? kGeneration : kGeneration + lost_topics_;
        log_.FoundAnew(generation);
        if (!breaks(RuleBreak::kOldCursorsCount)) return;
        // What they have read they know to be old: let them read it again.
        for (const std::unique_ptr<Node>& node : nodes_) {
          if (node->service() != "extractor" || !node->alive()) continue;
          node->Kill("kill -9");
          node->Start(Disk::kLost);
        }
      });
    });
  }

  std::string WorldFaults() {
    std::string out = "[";
    const auto add = [&](const char* target, const char* kind, std::uint64_t percent_max,
                         const std::string& more = "") {
      const std::uint64_t percent = random_.Below(percent_max + 1);
      if (percent == 0) return;
      if (out.size() > 1) out += ",";
      out += std::string(R"({"target":")") + target + R"(","kind":")" + kind +
             R"(","probability":0.)" + (percent < 10 ? "0" : "") + std::to_string(percent) + more +
             "}";
    };
    for (const char* const target : {"highlevel", "rest"}) {
      add(target, "error", 4);
      add(target, "error_after_apply", 4);
      add(target, "unavailable_after_apply", 4, R"(,"retry_after":3)");
      add(target, "reset_before", 3);
      add(target, "reset_after", 4);
      add(target, "apply_late", 4, R"(,"delay_ms":900)");
      add(target, "hang", 2);
      add(target, "hang_after_apply", 2);
      add(target, "truncate", 3);
      add(target, "malformed", 3);
      add(target, "html", 2);
      add(target, "empty", 2);
      add(target, "accepted", 3);
      add(target, "throttle", 4, R"(,"retry_after":2)");
      add(target, "unauthorized", 2);
      add(target, "slow", 5, R"(,"delay_ms":400)");
    }
    add("chargify", "error", 4);
    add("chargify", "reset_before", 4);
    add("chargify", "truncate", 4);
    add("chargify", "malformed", 3);
    add("chargify", "html", 2);
    add("chargify", "throttle", 2);
    add("chargify", "unauthorized", 1);
    add("chargify", "slow", 10, R"(,"delay_ms":3000)");
    return out + "]";
  }

  void KillAndRestart(Node& node, std::string_view why) {
    if (!node.alive()) return;
    node.Kill(why);
    const Disk disk = random_.Percent(70) ? Disk::kKept : Disk::kLost;
    time_.After(random_.Between(milliseconds(10), seconds(60)),
                [&node, disk] { node.Start(disk); });
  }

  void PlanCrash(Instant end) {
    Node& node = AnyNode();
    const bool at_a_step = random_.Percent(60);
    const auto steps = static_cast<std::int64_t>(1 + random_.Below(200));
    const bool twice = random_.Percent(25);
    time_.At(Sometime(end), [this, &node, at_a_step, steps, twice] {
      if (!node.alive()) return;
      if (at_a_step) {
        // The node starts again by itself.
        node.CrashAfter(steps);
      } else {
        KillAndRestart(node, "kill -9");
      }
      if (!twice) return;
      // Two owners in a row within L: whoever may be the successor dies too.
      time_.After(random_.Between(milliseconds(10), seconds(25)), [this, service = node.service()] {
        for (const std::unique_ptr<Node>& other : nodes_) {
          if (other->service() == service) KillAndRestart(*other, "kill -9, right after another");
        }
      });
    });
  }

  void PlanSuspension(Instant end) {
    Node& node = AnyNode();
    const Duration length = random_.Percent(30) ? random_.Between(milliseconds(1), kPauseBound)
                                                : random_.Between(kPauseBound, minutes(5));
    const bool evicts = random_.Percent(70);
    const Duration evict_after = random_.Between(milliseconds(1), length);
    time_.At(Sometime(end), [this, &node, length, evicts, evict_after] {
      if (!node.alive() || node.suspended()) return;
      ++suspensions_;
      node.Suspend();
      const std::int64_t life = node.life();
      if (evicts) {
        time_.After(evict_after, [this, &node, life] {
          if (!node.alive() || node.life() != life || !node.suspended()) return;
          ++evictions_;
          coordinators_.at(node.service())
              .Evict(node, random_.Between(milliseconds(1), seconds(10)));
        });
      }
      time_.After(length, [&node, life] {
        if (node.life() == life) node.Resume();
      });
    });
  }

  void PlanDrain(Instant end) {
    Node& node = AnyNode();
    time_.At(Sometime(end), [this, &node] {
      if (!node.alive() || node.suspended()) return;
      ++drains_;
      trace_.Line(node.instance(), "SIGTERM");
      node.Drain();
      WaitForDrain(node, node.life(), time_.now().steady + seconds(30));
    });
  }
  void WaitForDrain(Node& node, std::int64_t life, Instant deadline) {
    time_.After(milliseconds(200), [this, &node, life, deadline] {
      if (!node.alive() || node.life() != life) return;
      if (node.stage()->drained() || time_.now().steady >= deadline) {
        if (!node.stage()->drained()) problems_.push_back(node.instance() + " does not drain");
        KillAndRestart(node, "has drained");
      } else {
        WaitForDrain(node, life, deadline);
      }
    });
  }

  // Rule 36: a person saves a mapping again, in other words; every customer is mapped anew.
  void PlanNewRevision(Instant end) {
    if (!random_.Percent(40)) return;
    time_.At(Sometime(end), [this] {
      trace_.Line("control", "the mappings get a new revision");
      for (auto& [name, tenant] : orders_.tenants) {
        for (v1::Sync& sync : *tenant.snapshot.mutable_syncs()) {
          v1::Blob blob = tenant.blobs.at(sync.mapping());
          blob.set_content(blob.content() + "\n# The same in other words.\n");
          const std::string hash = ids::Sha256Hex(blob.content());
          tenant.blobs[hash] = std::move(blob);
          sync.set_mapping(hash);
        }
      }
      ++orders_.edition;
    });
  }

  // ---- the end ----

  void EndFaults() {
    trace_.Line("simulation", "mutations and faults end");
    is_going_wrong_ = false;
    network_.SetFaults({});
    for (const std::unique_ptr<simulator::World>& world : worlds_) {
      world->StopMutating();
      static_cast<void>(world->SetFaults("[]"));
    }
    for (const std::unique_ptr<Node>& node : nodes_) {
      node->CrashAfter(std::int64_t{1} << 60);
      node->Resume();
    }
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
    for (std::string& problem : checks_.NotAtRest(orders_)) problems.push_back(std::move(problem));
    // Judging takes long, and what is not at rest need not be judged.
    if (!problems.empty() && !is_last_look) return problems;
    for (std::size_t i = 0; i < worlds_.size(); ++i) {
      const simulator::Judgement judgement = worlds_[i]->Judge(time_.now().wall);
      const std::string who = "tenant" + std::to_string(i);
      if (judgement.mismatches != 0) {
        problems.push_back(who + ": " + std::to_string(judgement.mismatches) + " mismatches");
      }
      if (judgement.duplicate_records != 0) problems.push_back(who + ": duplicate records");
      if (judgement.regressions != 0 && !mirror_was_lost_) {
        problems.push_back(who + ": regressions");
      }
      if (judgement.provoked_429 != 0) problems.push_back(who + ": provoked 429");
      for (const std::string& problem : judgement.problems) {
        if (mirror_was_lost_ && problem.ends_with(kRegression)) continue;
        problems.push_back(who + ": " + problem);
      }
    }
    return problems;
  }

  void RunToRest() {
    const Instant begin = time_.now().steady;
    std::vector<std::string> why;
    while (time_.now().steady < begin + kRestWithin) {
      // What cannot be undone need not be waited for.
      if (!checks_.violations().empty()) break;
      ReplayParked();
      time_.RunFor(seconds(20));
      why = NotAtRest();
      if (!why.empty()) continue;
      rested_after_ = time_.now().steady - begin;
      // It must stay so, through another poll of the source.
      time_.RunFor(seconds(70));
      why = NotAtRest();
      if (!why.empty()) {
        // An owner whose clock is far ahead takes what it has just written for old, and looks for
        // the end again (rule 9): not ready for a moment.
        time_.RunFor(seconds(1));
        why = NotAtRest();
      }
      if (!why.empty()) why.insert(why.begin(), "was at rest, and then was not:");
      break;
    }
    if (!why.empty()) {
      const std::vector<std::string> all = NotAtRest(true);
      if (!all.empty()) why = all;
    }
    for (std::string& problem : why) problems_.push_back(std::move(problem));
  }

  SimulationResult Result() {
    SimulationResult result;
    result.problems = problems_;
    for (const std::string& violation : checks_.violations()) {
      result.problems.push_back("violation: " + violation);
    }
    result.trace_hash = trace_.hash();
    result.trace_lines = trace_.lines();
    result.trace = trace_.text();
    result.crashes = crashes_;
    result.suspensions = suspensions_;
    result.evictions = evictions_;
    result.drains = drains_;
    result.lost_topics = lost_topics_;
    result.old_disks = old_disks_;
    result.clock_jumps = clock_jumps_;
    result.void_entries = checks_.counts().void_entries;
    result.intents = checks_.counts().intents;
    result.checked_sends = checks_.counts().checked_sends;
    result.unattributed_sends = checks_.counts().unattributed_sends;
    result.actions = checks_.counts().actions;
    result.parked = checks_.counts().parked;
    result.unknown_outcomes = network_.unknown_outcomes();
    for (const std::unique_ptr<simulator::World>& world : worlds_) {
      result.mutations += world->mutations();
    }
    result.minutes_to_rest = std::chrono::duration<double, std::ratio<60>>(rested_after_).count();
    return result;
  }

  const SimulationOptions options_;
  VirtualTime time_;
  SeededRandom random_;
  Trace trace_;
  eventlog::testing::SimulatedLog log_;
  std::vector<std::unique_ptr<simulator::World>> worlds_;
  Network network_;
  Machine machine_;
  Checks checks_;
  Orders orders_;
  std::int32_t page_size_ = 200;
  std::int32_t attempts_max_ = 100'000;
  std::map<std::string, Coordinator> coordinators_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::string> problems_;
  std::int64_t crashes_ = 0;
  std::int64_t suspensions_ = 0;
  std::int64_t evictions_ = 0;
  std::int64_t drains_ = 0;
  std::int64_t lost_topics_ = 0;
  std::int64_t old_disks_ = 0;
  std::int64_t clock_jumps_ = 0;
  bool is_going_wrong_ = true;
  // While `changes` is read anew, customers are shown with what was read of them so far.
  bool mirror_was_lost_ = false;
  Duration rested_after_{};
};

}  // namespace

SimulationResult Simulate(const SimulationOptions& options) { return Simulation(options).Run(); }

std::string CommandToRepeat(const SimulationOptions& options) {
  return "simulate --first " + std::to_string(options.seed) + " --seeds 1 --trace";
}

}  // namespace tributary::simulation
