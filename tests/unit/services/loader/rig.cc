#include "tests/unit/services/loader/rig.h"

#include "libs/connector/connector.h"
#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "services/loader/entries.h"
#include "tributary/v1/log.pb.h"

namespace tributary::loader {
namespace {

using eventlog::Topic;

constexpr std::int64_t kGeneration = 7;

simulator::WorldOptions WorldOf(WallTime start) {
  simulator::WorldOptions options;
  options.customers = 0;
  options.start = start;
  return options;
}

eventlog::Headers WriterToken() {
  // The founding fence lies behind `!g`.
  return {{std::string(eventlog::kTokenHeader), eventlog::FormatToken({kGeneration, 1})}};
}

class SilentLogger final : public Logger {
 public:
  void Log(Level, std::string_view, const Fields&) override {}
};

void AddText(v1::DesiredState& state, const std::string& path, const std::string& text) {
  v1::Field& field = *state.add_fields();
  field.set_path(path);
  field.mutable_value()->set_text(text);
}

}  // namespace

v1::Version VersionOf(int offset) {
  v1::Version version;
  version.set_generation(kGeneration);
  version.set_offset(offset);
  return version;
}

struct Rig::Process : http::ClientPort, ControlPort {
  Process(Rig& of, std::uint64_t id) : rig(of), number(id), random(id) {}

  void Send(http::RequestId id, http::Request request) override {
    const Wire how = rig.wire ? rig.wire(request) : Wire();
    open[id] = false;
    const std::uint64_t me = number;
    Rig& r = rig;
    r.time.After(how.before + std::chrono::milliseconds(1), [&r, me, id, request, how] {
      if (r.process_ == nullptr || r.process_->number != me) return;
      r.process_->Leave(id, request, how);
    });
  }

  void Leave(http::RequestId id, const http::Request& request, const Wire& how) {
    const auto found = open.find(id);
    if (found == open.end()) return;
    http::Completion completion;
    completion.id = id;
    if (how.is_unreachable) {
      open.erase(found);
      completion.error = "no route to host";
      Schedule(Duration::zero(), completion);
      return;
    }
    if (!loader->MaySend(rig.now(), id)) {
      open.erase(found);
      completion.refused_at_send = true;
      Schedule(Duration::zero(), completion);
      return;
    }
    found->second = true;
    const std::size_t path = request.url.find('/', 8);
    rig.sent.push_back(
        {rig.time.now().steady, request.method, request.url.substr(path), request.body});
    const bool is_rest = request.url.starts_with("http://rest");
    const simulator::Answer answer =
        how.answer
            ? *how.answer
            : rig.world.Handle(rig.now().wall,
                               is_rest ? simulator::Target::kRest : simulator::Target::kHighLevel,
                               request);
    using Form = simulator::Answer::Form;
    if (answer.form == Form::kAnswer) {
      completion.delivery = http::Delivery::kComplete;
      completion.status = answer.status;
      completion.headers = answer.headers;
      completion.body = answer.body;
      Schedule(answer.delay, completion);
      return;
    }
    completion.delivery = http::Delivery::kBroken;
    completion.error = "broken by the test";
    const bool hangs = answer.form == Form::kHang;
    Schedule(hangs ? request.timeout : answer.delay, completion);
  }

  void Schedule(Duration delay, const http::Completion& completion) {
    const std::uint64_t me = number;
    Rig& r = rig;
    r.time.After(delay, [&r, me, completion] {
      if (r.process_ == nullptr || r.process_->number != me) return;
      r.process_->open.erase(completion.id);
      if (r.process_->completed.contains(completion.id)) return;
      r.process_->completed[completion.id] = true;
      r.process_->loader->OnHttp(r.now(), completion);
      r.process_->AfterStep();
    });
  }

  void Cancel(http::RequestId id) override {
    const auto found = open.find(id);
    if (found == open.end()) return;
    http::Completion completion;
    completion.id = id;
    completion.delivery = found->second ? http::Delivery::kBroken : http::Delivery::kNotSent;
    completion.error = "cancelled";
    open.erase(found);
    Schedule(Duration::zero(), completion);
  }

  void Send(const v1::FromService& message) override {
    rig.to_control.push_back(message);
    if (message.kind_case() != v1::FromService::kCredentialRequest || !rig.control_answers) return;
    const v1::CredentialRequest request = message.credential_request();
    const std::uint64_t me = number;
    Rig& r = rig;
    r.time.After(std::chrono::milliseconds(1), [&r, me, request] {
      if (r.process_ == nullptr || r.process_->number != me) return;
      v1::ToService answer;
      v1::Credential& credential = *answer.mutable_credential();
      credential.set_tenant(request.tenant());
      credential.set_connection(request.connection());
      credential.set_revision(r.credential_revision);
      const simulator::Access access = r.world.access();
      (*credential.mutable_fields())["token"] =
          r.credentials.contains("token") ? r.credentials["token"] : access.highlevel_token;
      (*credential.mutable_fields())["api_key"] =
          r.credentials.contains("api_key") ? r.credentials["api_key"] : access.rest_key;
      r.process_->loader->OnControl(r.now(), answer);
      r.process_->AfterStep();
    });
  }

  void Poll() {
    for (const eventlog::Fact& fact : member->Poll()) {
      if (rig.withholds && rig.withholds(fact)) {
        withheld.push_back(fact);
        continue;
      }
      loader->OnLog(rig.now(), fact);
      if (rig.after_fact) rig.after_fact();
    }
    AfterStep();
  }

  /// The stage wants to be woken.
  void AfterStep() {
    const Instant at = std::max(loader->next_tick(), rig.time.now().steady + Duration(1));
    if (at >= tick_at && tick_at > rig.time.now().steady) return;
    if (at == Instant::max()) return;
    tick_at = at;
    const std::uint64_t me = number;
    Rig& r = rig;
    r.time.At(at, [&r, me] {
      if (r.process_ == nullptr || r.process_->number != me) return;
      r.process_->tick_at = {};
      if (r.ticks_are_withheld) return;
      r.process_->loader->OnTick(r.now());
      r.process_->AfterStep();
    });
  }

  Rig& rig;
  std::vector<eventlog::Fact> withheld;
  std::uint64_t number;
  eventlog::testing::SeededRandom random;
  SilentLogger logger;
  std::unique_ptr<eventlog::testing::SimulatedMember> member;
  std::map<http::RequestId, bool> open;
  std::map<http::RequestId, bool> completed;
  Instant tick_at{};
  std::unique_ptr<Loader> loader;
};

Rig::Rig()
    : log({.partitions = 1}, time, 1),
      world(WorldOf(time.now().wall)),
      stores_(eventlog::MakeMemoryStores()) {
  log.Found(kGeneration);
  options.instance = "l1";
  options.partitions = 1;
  options.request_timeout = std::chrono::seconds(1);
  options.retry_delay_min = std::chrono::milliseconds(10);
  options.retry_delay_max = std::chrono::milliseconds(100);
  tenant.set_tenant("acme");
  const simulator::Access access = world.access();
  for (const char* name : {"hl", "crm"}) {
    v1::Connection& connection = *tenant.add_connections();
    connection.set_name(name);
    connection.set_state(v1::CONNECTION_STATE_LINKED);
    (*connection.mutable_settings())["settle"] = "2s";
    (*connection.mutable_settings())["index_lag"] = "1s";
    const bool is_rest = connection.name() == "crm";
    connection.set_integration(is_rest ? "rest" : "highlevel");
    connection.set_url(is_rest ? "http://rest.test" : "http://highlevel.test");
    if (!is_rest) (*connection.mutable_settings())["location"] = access.highlevel_location;
    v1::Sync& sync = *tenant.add_syncs();
    sync.set_name(name);
    sync.set_source("billing");
    sync.set_target(name);
    sync.set_state(v1::SYNC_STATE_ACTIVE);
    sync.set_on_missing(v1::Sync::ON_MISSING_RECREATE);
  }
  PublishTenant();
}

Rig::~Rig() = default;

// The log's own wall clock: what it stamps must not look old.
Now Rig::now() const { return time.now(); }

void Rig::Start() {
  process_ = std::make_unique<Process>(*this, ++processes_);
  Process& process = *process_;
  process.member = log.Join("loader", options.instance);
  process.loader = MakeLoader(options, {.log = *process.member,
                                        .stores = *stores_,
                                        .http = process,
                                        .control = process,
                                        .logger = process.logger,
                                        .random = [&process] { return process.random.Next(); }});
  const std::uint64_t me = process.number;
  process.member->OnFacts([this, me] {
    time.After(Duration::zero(), [this, me] {
      if (process_ != nullptr && process_->number == me) process_->Poll();
    });
  });
  log.Assign(*process.member, {0});
  process.AfterStep();
}

void Rig::Kill() {
  log.Kill(*process_->member);
  // A new process of that machine keeps its disk.
  process_->loader.reset();
  process_.reset();
}

void Rig::LoseDisk() { stores_ = eventlog::MakeMemoryStores(); }

void Rig::HandOver() {
  bool done = false;
  log.Revoke(*process_->member, {0}, [&done] { done = true; });
  for (int i = 0; i < 1000 && !done; ++i) Run(std::chrono::milliseconds(10));
  process_->loader.reset();
  process_.reset();
}

void Rig::ReadRecordsLater(Duration by) {
  log.StallReading(*process_->member, Topic::kRecords, time.now().steady + by);
}

void Rig::TellWithheld() {
  withholds = nullptr;
  for (const eventlog::Fact& fact : std::exchange(process_->withheld, {})) {
    process_->loader->OnLog(now(), fact);
  }
  process_->AfterStep();
}

void Rig::HandOverAndBack(const std::function<void()>& between) {
  bool done = false;
  log.Revoke(*process_->member, {0}, [&done] { done = true; });
  for (int i = 0; i < 1000 && !done; ++i) Run(std::chrono::milliseconds(10));
  between();
  log.Assign(*process_->member, {0});
}

bool Rig::ready() const { return process_->loader->not_ready_because().empty(); }
Stage& Rig::stage() { return *process_->loader; }
const Counters& Rig::counters() const { return process_->loader->counters(); }

void Rig::PublishTenant() {
  log.Append(Topic::kTenants, 0, "acme", tenant.SerializeAsString(), WriterToken());
}

void Rig::PublishConnectorFile(v1::Connection& connection, const std::string& from,
                               const std::string& to) {
  v1::Blob blob;
  blob.set_kind(v1::Blob::KIND_CONNECTOR_FILE);
  blob.set_name("mine.yaml");
  std::string& text = *blob.mutable_content();
  text = *connector::BuiltinFile(connection.integration() + ".yaml");
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
    at += to.size();
  }
  const std::string hash = ids::Sha256Hex(text);
  log.Append(Topic::kTenants, 0, ids::BlobKey(hash), blob.SerializeAsString(), WriterToken());
  connection.set_connector_file(hash);
  PublishTenant();
}

std::string Rig::Command(const std::string& key, const v1::Command& command) {
  log.Append(Topic::kCommands, 0, key, command.SerializeAsString(), WriterToken());
  return key;
}

std::string Rig::Contact(int customer, const std::string& email, const std::string& name,
                         int version, const std::vector<std::string>& tags,
                         const std::string& company) {
  v1::Command command;
  v1::DesiredState& state = *command.mutable_state();
  state.set_presence(v1::DesiredState::PRESENCE_PRESENT);
  state.set_backfill(is_backfill);
  state.set_object("contact");
  AddText(state, "customFields.chargify_customer_id", std::to_string(customer));
  if (!email.empty()) AddText(state, "email", email);
  AddText(state, "firstName", name);
  std::string content = email + "/" + name;
  if (!company.empty()) {
    AddText(state, "companyName", company);
    content += "/of " + company;
  }
  for (const std::string& tag : tags) {
    state.add_tags(tag);
    content += "/" + tag;
  }
  state.set_tag_prefix("chargify:");
  state.set_content_hash("1" + ids::Sha256Hex(content).substr(0, 16));
  *command.mutable_version() = VersionOf(version);
  command.set_customer(std::to_string(customer));
  return Command(ids::StateKey("acme", "hl", "contact", "customers", std::to_string(customer)),
                 command);
}

std::string Rig::Client(int customer, const std::string& name, int version) {
  v1::Command command;
  v1::DesiredState& state = *command.mutable_state();
  state.set_presence(v1::DesiredState::PRESENCE_PRESENT);
  state.set_backfill(is_backfill);
  state.set_object("client");
  AddText(state, "client_id", std::to_string(customer));
  AddText(state, "name", name);
  state.set_content_hash("1" + ids::Sha256Hex(name).substr(0, 16));
  *command.mutable_version() = VersionOf(version);
  command.set_customer(std::to_string(customer));
  if (changed_at) SetTime(*changed_at, command.mutable_changed_at());
  return Command(ids::StateKey("acme", "crm", "client", "customers", std::to_string(customer)),
                 command);
}

v1::SyncStatus Rig::StatusOf(const std::string& sync) const {
  for (auto it = to_control.rbegin(); it != to_control.rend(); ++it) {
    for (const v1::SyncStatus& status : it->status().syncs()) {
      if (status.sync() == sync) return status;
    }
  }
  return {};
}

std::string Rig::State(const std::string& key, v1::DesiredState::Presence presence, int version) {
  v1::Command command;
  command.mutable_state()->set_presence(presence);
  *command.mutable_version() = VersionOf(version);
  return Command(key, command);
}

std::string Rig::Note(const std::string& id, const std::string& record_key, int age_days,
                      const std::string& after) {
  const std::optional<ids::CommandKey> record = ids::ParseCommandKey(record_key);
  const bool is_rest = record->sync == "crm";
  v1::Command command;
  v1::Action& action = *command.mutable_action();
  const std::string action_id = ids::Sha256Hex(id).substr(0, 32);
  action.set_action_id(action_id);
  action.set_event_id(id);
  action.mutable_event_time()->set_seconds(now().wall.time_since_epoch().count() / 1'000'000 -
                                           86'400 * age_days);
  action.set_operation(is_rest ? "client.note.create" : "contact.note.create");
  v1::Field& text = *action.add_arguments();
  text.set_path(is_rest ? "text" : "body");
  text.mutable_value()->set_text("note " + id);
  action.set_record_key(record_key);
  if (!after.empty()) action.set_after_action_id(ids::ParseCommandKey(after)->action_id);
  return Command(ids::ActionKey("acme", record->sync, action_id), command);
}

void Rig::AppendVoid(const std::string& key, const v1::RecordEntry& entry) {
  log.Append(Topic::kRecords, 0, key, entry.SerializeAsString(), WriterToken());
}

eventlog::Offset Rig::AppendRaw(Topic table, const std::string& key,
                                std::optional<std::string> bytes) {
  eventlog::Token newest;
  for (const eventlog::Record& record : log.records(table, 0)) {
    v1::Fence fence;
    if (!record.key.starts_with("!f/") || !record.value) continue;
    if (fence.ParseFromString(*record.value)) newest = {fence.generation(), record.offset};
  }
  return log.Append(table, 0, key, std::move(bytes),
                    {{std::string(eventlog::kTokenHeader), eventlog::FormatToken(newest)}});
}

void Rig::LoseRecordsAndFoundAnew() {
  log.Lose(Topic::kRecords, 0);
  for (const Topic table :
       {Topic::kTenants, Topic::kChanges, Topic::kCursors, Topic::kRecords, Topic::kCommands}) {
    v1::Founding founding;
    // As control has it: the Unix time of the founding.
    founding.set_generation(
        std::chrono::floor<std::chrono::seconds>(now().wall).time_since_epoch().count());
    founding.set_partitions(1);
    founding.set_after_loss(table == Topic::kRecords);
    // No released fence: the last owner may still live.
    log.Append(table, 0, "!g", founding.SerializeAsString());
  }
}

v1::FromService Rig::Ask(v1::ToService message) {
  message.set_id(99);
  process_->loader->OnControl(now(), message);
  process_->AfterStep();
  for (auto it = to_control.rbegin(); it != to_control.rend(); ++it) {
    if (it->answer_to() == 99) return *it;
  }
  return {};
}

simulator::Answer Rig::ByAPerson(const std::string& method, const std::string& path,
                                 const std::string& body) {
  http::Request request;
  request.method = method;
  request.url = "http://highlevel.test" + path;
  request.headers = {{"Authorization", "Bearer " + world.access().highlevel_token},
                     {"Version", "2021-07-28"},
                     {"Content-Type", "application/json"}};
  request.body = body;
  return world.Handle(time.now().wall, simulator::Target::kHighLevel, request);
}

std::string Rig::Decide(const std::string& key, bool replay) {
  v1::ToService message;
  message.mutable_decide_parked()->set_key(key);
  message.mutable_decide_parked()->set_replay(replay);
  return Ask(message).decided().problem();
}

std::vector<v1::RecordEntry> Rig::Entries(const std::string& key) const {
  std::vector<v1::RecordEntry> out;
  for (const eventlog::Record& record : log.records(Topic::kRecords, 0)) {
    if (record.key != key || !record.value) continue;
    out.emplace_back();
    if (!out.back().ParseFromString(*record.value)) out.pop_back();
  }
  return out;
}

v1::RecordEntry Rig::Entry(const std::string& key) const {
  const std::vector<v1::RecordEntry> all = Entries(key);
  return all.empty() ? v1::RecordEntry() : all.back();
}

std::vector<v1::Receipt> Rig::Receipts(const std::string& key) const {
  std::vector<v1::Receipt> out;
  for (const eventlog::Record& record : log.records(Topic::kOutcomes, 0)) {
    if (record.key != key || !record.value) continue;
    out.emplace_back();
    if (!out.back().ParseFromString(*record.value)) out.pop_back();
  }
  return out;
}

bool Rig::HasCommand(const std::string& key) const {
  bool there = false;
  for (const eventlog::Record& record : log.records(Topic::kCommands, 0)) {
    if (record.key == key) there = record.value.has_value();
  }
  return there;
}

json::Value Rig::Contacts() const {
  const absl::StatusOr<json::Value> records = json::Parse(world.Records());
  const json::Value* found = records->FindPath("highlevel.contacts");
  return found == nullptr ? json::Value() : *found;
}

json::Value Rig::Clients() const {
  const absl::StatusOr<json::Value> records = json::Parse(world.Records());
  const json::Value* found = records->FindPath("rest.clients");
  return found == nullptr ? json::Value() : *found;
}

std::string Rig::ClientName(int customer) {
  world.Advance(time.now().wall);
  const json::Value clients = Clients();
  if (clients.array() == nullptr) return "absent";
  for (const json::Value& client : *clients.array()) {
    const json::Value* id = client.Find("client_id");
    if (id != nullptr && id->ToIdText() == std::to_string(customer)) {
      return *client.Find("name")->string();
    }
  }
  return "absent";
}

std::vector<Rig::Sent> Rig::SentTo(std::string_view text) const {
  std::vector<Sent> out;
  for (const Sent& request : sent) {
    if ((request.method + " " + request.path).find(text) != std::string::npos) {
      out.push_back(request);
    }
  }
  return out;
}

std::vector<Rig::Sent> Rig::Writes() const {
  std::vector<Sent> out;
  for (const Sent& request : sent) {
    if (request.method != "GET" && request.path != "/auth" && request.path != "/contacts/search") {
      out.push_back(request);
    }
  }
  return out;
}

void Rig::Faults(const std::string& json) {
  const absl::Status status = world.SetFaults(json);
  if (!status.ok()) std::abort();
}

}  // namespace tributary::loader
