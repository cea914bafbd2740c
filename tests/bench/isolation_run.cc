#include "tests/bench/isolation_run.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libs/connector/connector.h"
#include "libs/ids/keys.h"
#include "libs/json/value.h"
#include "services/extractor/extractor.h"
#include "services/loader/loader.h"
#include "services/simulator/world.h"
#include "services/transformer/transformer.h"
#include "tests/simulation/coordinator.h"
#include "tests/simulation/network.h"
#include "tests/simulation/node.h"
#include "tests/simulation/tenants_publisher.h"

namespace tributary::bench {
namespace {

using eventlog::Topic;
using eventlog::testing::SeededRandom;
using eventlog::testing::VirtualTime;
using simulation::Network;
using simulation::Node;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::int64_t kGeneration = 1767225600;
constexpr Duration kLease = seconds(10);
constexpr Duration kPauseBound = seconds(5);
constexpr Duration kRequestTimeout = seconds(30);
constexpr Duration kNewMappingEvery = seconds(20);
constexpr std::int32_t kCustomersOfOthers = 5;
/// What is changed says which change it was.
constexpr std::string_view kMark = "mark-";

enum class Kind : std::uint8_t { kOther, kPile, kHanging, kGarbage, kFailing };
constexpr std::size_t kBadOnes = 4;

std::optional<std::size_t> MarkIn(std::string_view text) {
  const std::size_t at = text.find(kMark);
  if (at == text.npos) return std::nullopt;
  std::size_t number = 0;
  const char* const begin = text.data() + at + kMark.size();
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), number);
  return error == std::errc() ? std::optional(number) : std::nullopt;
}

double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Percentiles PercentilesOf(std::vector<Duration> found) {
  if (found.empty()) return {};
  std::sort(found.begin(), found.end());
  const auto at = [&](double part) {
    return Seconds(found[std::min(
        found.size() - 1, static_cast<std::size_t>(part * static_cast<double>(found.size())))]);
  };
  return {at(0.5), at(0.99), at(1)};
}

class Run : private Node::Events, private simulation::TransmissionObserver {
 public:
  explicit Run(const IsolationOptions& options)
      : options_(options),
        random_(options.seed),
        trace_(time_, false),
        log_(LogOptions(options), time_, random_.Next()),
        network_(time_, SeededRandom(random_.Next()), trace_, worlds_, seconds(60), kPauseBound),
        machine_{.time = time_,
                 .log = log_,
                 .network = network_,
                 .trace = trace_,
                 .random = random_,
                 .delays = {.request = {milliseconds(1), milliseconds(3)},
                            .answer = {milliseconds(1), milliseconds(3)},
                            .late = {milliseconds(1), milliseconds(3)}},
                 .control = [this](const v1::FromService& m) { return Control(m); },
                 .takes = options.takes} {
    network_.Observe(*this);
    log_.OnAppend([this](const eventlog::Record& record, const std::string&) { OnAppend(record); });
  }

  IsolationResult Go() {
    MakeTenants();
    log_.Found(kGeneration);
    MakeNodes();
    time_.RunFor(options_.warm_up);
    begin_ = time_.now().steady;
    NoteBegin();
    PlanChanges();
    PlanTrouble();
    // What came last arrives too.
    time_.RunFor(options_.measured + 2 * options_.poll_interval + seconds(10));
    return Result();
  }

 private:
  static eventlog::testing::SimulatedLogOptions LogOptions(const IsolationOptions& options) {
    eventlog::testing::SimulatedLogOptions out;
    out.partitions = options.partitions;
    return out;
  }

  bool Has(Kind kind) const {
    return kind == Kind::kOther || (kind == Kind::kPile && options_.pile > 0) ||
           (kind == Kind::kHanging && options_.hanging > 0) ||
           (kind == Kind::kFailing && options_.failing > 0) ||
           (kind == Kind::kGarbage && options_.garbage_events_per_second > 0);
  }
  // The bad ones come last.
  Kind KindOf(std::size_t tenant) const {
    const std::size_t others = static_cast<std::size_t>(options_.tenants) - kBadOnes;
    return tenant < others ? Kind::kOther : static_cast<Kind>(tenant - others + 1);
  }
  std::size_t IndexOf(Kind kind) const {
    return static_cast<std::size_t>(options_.tenants) - kBadOnes + static_cast<std::size_t>(kind) -
           1;
  }
  std::size_t others() const { return static_cast<std::size_t>(options_.tenants) - kBadOnes; }
  static std::string NameOf(std::size_t tenant) { return "tenant" + std::to_string(tenant); }

  // ---- set-up ----

  void MakeTenants() {
    for (std::size_t i = 0; i < static_cast<std::size_t>(options_.tenants); ++i) {
      const Kind kind = KindOf(i);
      simulator::WorldOptions world;
      world.seed = random_.Next();
      world.bare_customers = true;
      world.customers = kind == Kind::kPile      ? options_.pile
                        : kind == Kind::kHanging ? options_.hanging
                        : kind == Kind::kFailing ? options_.failing
                                                 : kCustomersOfOthers;
      world.tenant = NameOf(i);
      world.start = time_.now().wall;
      world.visibility_lag = Duration::zero();
      worlds_.push_back(std::make_unique<simulator::World>(std::move(world)));
      if (!Has(kind)) continue;
      names_[NameOf(i)] = i;
      MakeOrders(i, kind);
      if (kind == Kind::kHanging) {
        SetFaults(i, R"([{"target":"rest","kind":"hang"}])");
      } else if (kind == Kind::kGarbage) {
        SetFaults(i, R"([{"target":"chargify","kind":"malformed","probability":0.4},)"
                     R"({"target":"chargify","kind":"truncate","probability":0.4},)"
                     R"({"target":"chargify","kind":"html","probability":0.4}])");
      } else if (kind == Kind::kOther) {
        NoteCustomers(i);
      }
    }
    orders_.edition = 1;
  }

  void SetFaults(std::size_t tenant, const std::string& faults) {
    // Nothing but a mistake in this file.
    if (!worlds_[tenant]->SetFaults(faults).ok()) std::abort();
  }

  void NoteCustomers(std::size_t tenant) {
    worlds_[tenant]->ForEachTruth([&](std::string_view line) {
      const auto truth = json::Parse(line);
      if (!truth.ok() || *truth->Find("kind")->string() != "customers") return;
      customers_.emplace_back(tenant, *truth->Find("id")->ToIdText());
    });
  }

  std::string AddBlob(simulation::Orders::Tenant& tenant, v1::Blob::Kind kind,
                      const std::string& name, std::string content) {
    v1::Blob blob;
    blob.set_kind(kind);
    blob.set_name(name);
    const std::string hash = ids::Sha256Hex(content);
    blob.set_content(std::move(content));
    tenant.blobs[hash] = std::move(blob);
    return hash;
  }

  void MakeOrders(std::size_t tenant, Kind kind) {
    simulation::Orders::Tenant& orders = orders_.tenants[NameOf(tenant)];
    orders.snapshot.set_tenant(NameOf(tenant));
    v1::Connection& billing = *orders.snapshot.add_connections();
    billing.set_name("billing");
    billing.set_integration("chargify");
    billing.set_url(Network::Url(tenant, simulator::Target::kChargify));
    const auto text = [](Duration d) { return std::to_string(d / milliseconds(1)) + "ms"; };
    (*billing.mutable_settings())["visibility_lag"] = "0s";
    (*billing.mutable_settings())["poll_interval"] = text(options_.poll_interval);
    v1::Connection& rest = *orders.snapshot.add_connections();
    rest.set_name("rest");
    rest.set_integration("rest");
    rest.set_url(Network::Url(tenant, simulator::Target::kRest));
    (*rest.mutable_settings())["settle"] = "60s";
    (*rest.mutable_settings())["index_lag"] = "1s";
    rest.set_requests_per_second(kind == Kind::kPile ? "50" : "1000");
    for (v1::Connection& connection : *orders.snapshot.mutable_connections()) {
      connection.set_allow_insecure_loopback(true);
      connection.set_state(v1::CONNECTION_STATE_LINKED);
      connection.set_credential_revision(1);
    }
    v1::Sync& sync = *orders.snapshot.add_syncs();
    sync.set_name("rest");
    sync.set_source("billing");
    sync.set_target("rest");
    sync.set_state(v1::SYNC_STATE_ACTIVE);
    std::string mapping = *connector::BuiltinFile("rest.mapping.yaml");
    if (kind == Kind::kFailing) {
      mapping =
          "object: client\nmatch: [client_id]\nfields:\n  client_id: string(customer.id)\n"
          "  name: customer.nothing.size()\n";
    }
    sync.set_mapping(AddBlob(orders, v1::Blob::KIND_MAPPING, "rest.mapping.yaml", mapping));
  }

  std::optional<v1::ToService> Control(const v1::FromService& message) {
    if (!message.has_credential_request()) return std::nullopt;
    const v1::CredentialRequest& request = message.credential_request();
    v1::ToService answer;
    v1::Credential& credential = *answer.mutable_credential();
    credential.set_tenant(request.tenant());
    credential.set_connection(request.connection());
    credential.set_revision(1);
    const simulator::Access access = worlds_[names_.at(request.tenant())]->access();
    (*credential.mutable_fields())["api_key"] =
        request.connection() == "billing" ? access.chargify_key : access.rest_key;
    return answer;
  }

  std::unique_ptr<Stage> MakeStage(const std::string& service, const std::string& instance,
                                   StagePorts ports) {
    if (service == "extractor") {
      extractor::Options o;
      o.instance = instance;
      o.partitions = options_.partitions;
      o.lease = kLease;
      o.pause_bound = kPauseBound;
      return extractor::MakeExtractor(o, ports);
    }
    if (service == "transformer") {
      transformer::Options o;
      o.instance = instance;
      o.partitions = options_.partitions;
      return transformer::MakeTransformer(o, ports);
    }
    if (service == "loader") {
      loader::Options o;
      o.instance = instance;
      o.partitions = options_.partitions;
      o.lease = kLease;
      o.pause_bound = kPauseBound;
      o.request_timeout = kRequestTimeout;
      return loader::MakeLoader(o, ports);
    }
    return MakeTenantsPublisher(instance, options_.partitions, std::chrono::hours(1),
                                std::chrono::hours(24), orders_, ports);
  }

  void MakeNodes() {
    for (const std::string service : {"control", "extractor", "transformer", "loader"}) {
      coordinators_.emplace(service, simulation::Coordinator(machine_, service));
      nodes_[service] = std::make_unique<Node>(
          machine_, static_cast<Node::Events&>(*this), service, service + "-0",
          [this, service](const std::string& name, StagePorts ports) {
            return MakeStage(service, name, ports);
          });
      nodes_[service]->Start(simulation::Disk::kKept);
    }
  }

  void OnStarted(Node& node) override { coordinators_.at(node.service()).Started(node); }
  void OnDied(Node&) override { std::abort(); }

  // ---- what happens ----

  void PlanChanges() {
    const auto count =
        static_cast<std::size_t>(options_.changes_per_second * Seconds(options_.measured));
    changes_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      // A tenant's customers follow each other in the list.
      const std::size_t turn = i / others() % kCustomersOfOthers;
      const std::size_t who = i % others() * kCustomersOfOthers + turn;
      time_.At(begin_ + options_.measured / static_cast<std::int64_t>(count) *
                            static_cast<std::int64_t>(i),
               [this, i, who] {
                 const auto& [tenant, id] = customers_[who % customers_.size()];
                 changes_[i].who = who;
                 changes_[i].at = time_.now().steady;
                 static_cast<void>(worlds_[tenant]->Set(
                     time_.now().wall, "customers", id,
                     R"({"organization":")" + std::string(kMark) + std::to_string(i) + R"("})"));
               });
    }
  }

  void PlanTrouble() {
    for (Duration after{}; Has(Kind::kFailing) && after < options_.measured;
         after += kNewMappingEvery) {
      time_.After(after, [this] {
        simulation::Orders::Tenant& orders = orders_.tenants.at(NameOf(IndexOf(Kind::kFailing)));
        v1::Sync& sync = *orders.snapshot.mutable_syncs(0);
        std::string mapping = orders.blobs.at(sync.mapping()).content();
        sync.set_mapping(
            AddBlob(orders, v1::Blob::KIND_MAPPING, "rest.mapping.yaml", mapping + "# Again.\n"));
        ++orders_.edition;
      });
    }
    const std::string key = ids::EncodePart(NameOf(IndexOf(Kind::kGarbage)));
    const eventlog::Partition partition =
        ids::PartitionOf(NameOf(IndexOf(Kind::kGarbage)), options_.partitions);
    const auto every = Duration(
        static_cast<std::int64_t>(1e6 / std::max(options_.garbage_events_per_second, 1e-3)));
    for (Duration after{}; Has(Kind::kGarbage) && after < options_.measured; after += every) {
      time_.After(after, [this, key, partition] {
        log_.Append(Topic::kEvents, partition, key,
                    "\xff" + std::string(1000, static_cast<char>(random_.Below(256))));
      });
    }
  }

  void OnAppend(const eventlog::Record& record) {
    if (record.topic != Topic::kChanges || !record.value) return;
    const std::optional<std::size_t> mark = MarkIn(*record.value);
    if (mark && *mark < changes_.size() && changes_[*mark].logged_at == Instant()) {
      changes_[*mark].logged_at = time_.now().steady;
    }
  }

  void OnSent(const simulation::Transmission& transmission) override {
    if (transmission.target != simulator::Target::kRest) return;
    if (transmission.tenant == IndexOf(Kind::kHanging)) ++hung_;
    const std::optional<std::size_t> mark = MarkIn(transmission.request.body);
    if (mark && *mark < changes_.size() && changes_[*mark].sent_at == Instant()) {
      changes_[*mark].sent_at = time_.now().steady;
    }
  }
  void OnSettled(const simulation::Transmission&) override {}

  // ---- the end ----

  std::int64_t pile_left() const {
    return options_.pile - worlds_[IndexOf(Kind::kPile)]->applied_count(simulator::Target::kRest);
  }
  template <typename T>
  const auto& CountersOf(const std::string& service) {
    return static_cast<const T&>(*nodes_.at(service)->stage()).counters();
  }
  IsolationResult Troubles() {
    IsolationResult out;
    out.hung_requests = hung_;
    out.mapping_errors = CountersOf<transformer::Transformer>("transformer").mapping_errors;
    out.garbage = CountersOf<transformer::Transformer>("transformer").undecodable;
    out.parked = CountersOf<loader::Loader>("loader").parked;
    return out;
  }
  void NoteBegin() {
    before_ = Troubles();
    before_.pile_left_at_begin = pile_left();
  }

  IsolationResult Result() {
    IsolationResult out = Troubles();
    out.hung_requests -= before_.hung_requests;
    out.mapping_errors -= before_.mapping_errors;
    out.garbage -= before_.garbage;
    out.parked -= before_.parked;
    out.pile_left_at_begin = before_.pile_left_at_begin;
    out.pile_left_at_end = pile_left();
    std::vector<Duration> from_source;
    std::vector<Duration> from_log;
    std::map<std::size_t, Instant> newest;
    // One that was overtaken has arrived with what overtook it.
    for (auto change = changes_.rbegin(); change != changes_.rend(); ++change) {
      Instant& sent_at = newest[change->who];
      if (change->sent_at != Instant()) sent_at = change->sent_at;
      if (sent_at == Instant()) {
        ++out.missing;
        continue;
      }
      from_source.push_back(sent_at - change->at);
      if (change->logged_at != Instant()) from_log.push_back(sent_at - change->logged_at);
    }
    out.changes = static_cast<std::int64_t>(changes_.size());
    out.from_source = PercentilesOf(std::move(from_source));
    out.from_log = PercentilesOf(std::move(from_log));
    return out;
  }

  struct Change {
    std::size_t who = 0;
    Instant at{};
    Instant logged_at{};
    Instant sent_at{};
  };

  const IsolationOptions options_;
  VirtualTime time_;
  SeededRandom random_;
  simulation::Trace trace_;
  eventlog::testing::SimulatedLog log_;
  std::vector<std::unique_ptr<simulator::World>> worlds_;
  Network network_;
  simulation::Machine machine_;
  simulation::Orders orders_;
  std::map<std::string, std::size_t> names_;
  // Tenant and id.
  std::vector<std::pair<std::size_t, std::string>> customers_;
  std::map<std::string, simulation::Coordinator> coordinators_;
  std::map<std::string, std::unique_ptr<Node>> nodes_;
  std::vector<Change> changes_;
  std::int64_t hung_ = 0;
  IsolationResult before_;
  Instant begin_{};
};

}  // namespace

IsolationOptions OnlyTheOthers(IsolationOptions options) {
  options.pile = options.hanging = options.failing = 0;
  options.garbage_events_per_second = 0;
  return options;
}

IsolationResult RunIsolation(const IsolationOptions& options) { return Run(options).Go(); }

}  // namespace tributary::bench
