#include "tests/simulation/node.h"

#include <algorithm>
#include <utility>

namespace tributary::simulation {
namespace {

using eventlog::Fact;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Of the body of an answer, in a trace.
constexpr std::size_t kShownBytesMax = 1000;
// While things take time.
constexpr int kThingsBeforeATick = 64;

struct FactName {
  std::string operator()(const eventlog::Assigned&) const { return "assigned"; }
  std::string operator()(const eventlog::Revoking&) const { return "revoking"; }
  std::string operator()(const eventlog::Lost&) const { return "lost"; }
  std::string operator()(const eventlog::Produced& f) const {
    return "produced " + std::to_string(f.id) + " at " + std::to_string(f.offset) + f.error;
  }
  std::string operator()(const eventlog::Fetched& f) const {
    const eventlog::Record& first = f.records.front();
    return "fetched " + std::to_string(f.records.size()) + " of " +
           std::string(eventlog::Name(first.topic)) + "/" + std::to_string(first.partition) + "@" +
           std::to_string(first.offset);
  }
  std::string operator()(const eventlog::CaughtUp& f) const {
    return "caught up " + std::string(eventlog::Name(f.topic)) + "/" + std::to_string(f.partition) +
           "@" + std::to_string(f.next);
  }
  std::string operator()(const eventlog::OutOfRange&) const { return "out of range"; }
  std::string operator()(const eventlog::EndSampled& f) const {
    return "end " + std::string(eventlog::Name(f.topic)) + "/" + std::to_string(f.partition) + "=" +
           std::to_string(f.end);
  }
  std::string operator()(const eventlog::CommittedOffset&) const { return "committed offset"; }
  std::string operator()(const eventlog::CommitDone& f) const { return "commit done" + f.error; }
  std::string operator()(const eventlog::LeaseRenewed& f) const { return "lease " + f.error; }
  std::string operator()(const eventlog::Failed& f) const { return "failed " + f.error; }
};

}  // namespace

struct Node::Life : ControlPort, Logger {
  Node& node;
  std::string name;
  std::unique_ptr<eventlog::testing::SimulatedMember> member;
  std::unique_ptr<Network::Client> http;
  // Only where a rule is switched off.
  std::shared_ptr<TamperedLog> tampered_log;
  std::shared_ptr<TamperedHttp> tampered_http;
  std::unique_ptr<Stage> stage;
  eventlog::testing::SeededRandom random;
  std::deque<Fact> facts;
  std::deque<Input> inputs;
  bool is_awake = false;
  Instant busy_until{};
  // Since its last tick, as long as things take time.
  int things = 0;
  Instant tick_at = Instant::max();
  bool dead = false;

  Life(Node& owner, std::string life_name, std::uint64_t seed)
      : node(owner), name(std::move(life_name)), random(seed) {}

  void Send(const v1::FromService& message) override {
    std::optional<v1::ToService> answer = node.machine_.control(message);
    if (!answer) return;
    node.machine_.time.After(
        node.machine_.random.Between(milliseconds(1), milliseconds(50)),
        [self = std::weak_ptr<Life>(node.life_), to_service = *std::move(answer)] {
          const std::shared_ptr<Life> life = self.lock();
          if (!life || life->dead) return;
          life->inputs.emplace_back(to_service);
          life->node.Wake(Duration::zero());
        });
  }

  void Log(Level level, std::string_view message, const Fields& fields) override {
    if (level == Level::kError && node.machine_.on_error) node.machine_.on_error(name, message);
    if (!node.machine_.trace.keeps_lines()) return;
    std::string line(message);
    for (const auto& [field, value] : fields) line += " " + std::string(field) + "=" + value;
    node.machine_.trace.Line(name, "logs " + line);
  }
};

Node::Node(Machine& machine, Events& events, std::string service, std::string instance,
           StageFactory factory)
    : machine_(machine),
      events_(events),
      service_(std::move(service)),
      instance_(std::move(instance)),
      factory_(std::move(factory)),
      disk_(eventlog::MakeMemoryStores()) {}

Node::~Node() {
  if (life_) life_->dead = true;
}

eventlog::testing::SimulatedMember& Node::member() { return *life_->member; }

const std::string& Node::name() const { return life_->name; }

Stage* Node::stage() { return life_ ? life_->stage.get() : nullptr; }

Now Node::now() const {
  Now now = machine_.time.now();
  now.wall += clock_offset_;
  return now;
}

std::unique_ptr<eventlog::LocalStores> Node::CopyDisk() {
  std::unique_ptr<eventlog::LocalStores> copy = eventlog::MakeMemoryStores();
  for (const eventlog::Topic topic : eventlog::kAllTopics) {
    for (eventlog::Partition p = 0; p < machine_.log.partitions(); ++p) {
      const auto from = disk_->Open(topic, p);
      const auto to = copy->Open(topic, p);
      if (!from.ok() || !to.ok() || (*from)->meta().empty()) continue;
      std::vector<std::pair<std::string, std::string>> rows;
      (*from)->Scan({}, {}, [&](std::string_view key, std::string_view value) {
        rows.emplace_back(key, value);
        return true;
      });
      std::vector<eventlog::LocalStore::Write> writes;
      for (const auto& [key, value] : rows) writes.push_back({key, value});
      static_cast<void>((*to)->Apply(writes, (*from)->meta()));
    }
  }
  return copy;
}

void Node::Start(Disk disk) {
  if (life_) return;
  // Rules 7 and 23: copies are caches; what the crash took with it is read again from the topics.
  if (disk == Disk::kLost) disk_ = eventlog::MakeMemoryStores();
  if (disk == Disk::kOld && backup_) disk_ = std::exchange(backup_, nullptr);
  ++lives_;
  suspended_ = false;
  const std::string name = instance_ + "#" + std::to_string(lives_);
  machine_.trace.Line(name, disk == Disk::kKept   ? "starts"
                            : disk == Disk::kLost ? "starts with an empty disk"
                                                  : "starts with an old disk");
  life_ = std::make_shared<Life>(*this, name, machine_.random.Next());
  const std::weak_ptr<Life> weak = life_;
  life_->member = machine_.log.Join(service_, instance_, machine_.delays);
  life_->member->OnFacts([weak, this] {
    if (const std::shared_ptr<Life> life = weak.lock(); life && !life->dead) {
      Wake(machine_.random.Between(microseconds(10), milliseconds(3)));
    }
  });
  Network::Client::Shell shell;
  shell.may_send = [weak, this](http::RequestId id) {
    const std::shared_ptr<Life> life = weak.lock();
    if (!life || life->dead) return false;
    if (life->tampered_http) {
      if (const std::optional<bool> answer = life->tampered_http->MaySend(id)) return *answer;
    }
    return life->stage->MaySend(now(), id);
  };
  shell.complete = [weak, this](http::Completion completion) {
    const std::shared_ptr<Life> life = weak.lock();
    if (!life || life->dead) return;
    if (life->tampered_http && !life->tampered_http->Falsify(completion)) return;
    life->inputs.emplace_back(std::move(completion));
    Wake(Duration::zero());
  };
  life_->http = std::make_unique<Network::Client>(machine_.network, name, std::move(shell));
  eventlog::LogPort* log = life_->member.get();
  http::ClientPort* http = life_->http.get();
  if (machine_.rule_break != RuleBreak::kNone) {
    const Tampering tampering{machine_.rule_break, service_, machine_.takeover};
    life_->tampered_log =
        std::make_shared<TamperedLog>(tampering, machine_.time, machine_.random.Next(),
                                      machine_.present, machine_.log, *life_->member);
    life_->tampered_log->OnFacts([weak, this] {
      if (const std::shared_ptr<Life> life = weak.lock(); life && !life->dead) {
        Wake(Duration::zero());
      }
    });
    life_->tampered_http = std::make_shared<TamperedHttp>(tampering, machine_.time, *http);
    log = life_->tampered_log.get();
    http = life_->tampered_http.get();
  }
  StagePorts ports{*log,   *disk_, *http,
                   *life_, *life_, [raw = life_.get()] { return raw->random.Next(); }};
  life_->stage = factory_(instance_, ports);
  events_.OnStarted(*this);
  Wake(Duration::zero());
}

void Node::Kill(std::string_view why) {
  if (!life_) return;
  machine_.trace.Line(life_->name, "dies: " + std::string(why));
  const std::shared_ptr<Life> life = std::exchange(life_, nullptr);
  life->dead = true;
  suspended_ = false;
  crash_after_.reset();
  machine_.log.Kill(*life->member);
  life->http->Die();
  if (life->tampered_log) life->tampered_log->Die();
  if (life->tampered_http) life->tampered_http->Die();
  events_.OnDied(*this);
  // The stage may be up the stack.
  machine_.time.After(Duration::zero(), [life] {});
}

void Node::Suspend() {
  if (!life_ || suspended_) return;
  machine_.trace.Line(life_->name, "stands still");
  suspended_ = true;
  life_->http->Suspend();
}

void Node::Resume() {
  if (!life_ || !suspended_) return;
  machine_.trace.Line(life_->name, "goes on");
  suspended_ = false;
  life_->http->Resume();
  Wake(Duration::zero());
}

void Node::Drain() {
  if (!life_) return;
  life_->stage->Drain(now());
  Wake(Duration::zero());
}

void Node::Tell(const v1::ToService& message) {
  if (!life_) return;
  life_->inputs.emplace_back(message);
  Wake(Duration::zero());
}

void Node::Wake(Duration delay) {
  if (!life_ || suspended_ || life_->is_awake) return;
  life_->is_awake = true;
  machine_.time.After(delay, [this, weak = std::weak_ptr<Life>(life_)] {
    const std::shared_ptr<Life> life = weak.lock();
    if (!life || life->dead) return;
    life->is_awake = false;
    Step();
  });
}

bool Node::AfterStep(bool is_busy) {
  if (is_busy && crash_after_ && --*crash_after_ <= 0) {
    Restart("at a step", disk_after_crash_);
    return false;
  }
  if (const std::string failure = life_->stage->failure(); !failure.empty()) {
    Restart(failure, Disk::kKept);
    return false;
  }
  return true;
}

void Node::Restart(std::string_view why, Disk disk) {
  Kill(why);
  machine_.time.After(machine_.random.Between(milliseconds(100), seconds(8)),
                      [this, disk] { Start(disk); });
}

bool Node::Do(std::size_t items, bool is_busy, absl::FunctionRef<void()> work) {
  if (!machine_.takes) {
    work();
    return !AfterStep(is_busy);
  }
  const std::shared_ptr<Life> life = life_;
  ++life->things;
  life->busy_until = machine_.time.now().steady + machine_.takes(items, work);
  if (AfterStep(is_busy)) {
    machine_.time.At(life->busy_until, [this, weak = std::weak_ptr<Life>(life)] {
      if (const std::shared_ptr<Life> alive = weak.lock(); alive && !alive->dead) Step();
    });
  }
  return true;
}

void Node::Step() {
  const std::shared_ptr<Life> life = life_;
  if (!life || suspended_ || machine_.time.now().steady < life->busy_until) return;
  const auto is_due = [&] { return machine_.time.now().steady >= life->stage->next_tick(); };
  const auto tick = [&] {
    life->things = 0;
    return Do(1, false, [&] { life->stage->OnTick(now()); });
  };
  // As in the loop of a real process, what comes does not keep a tick away for long.
  if (life->things > kThingsBeforeATick && is_due() && tick()) return;
  for (Fact& fact : life->tampered_log ? life->tampered_log->Poll() : life->member->Poll()) {
    life->facts.push_back(std::move(fact));
  }
  while (!life->facts.empty()) {
    const Fact fact = std::move(life->facts.front());
    life->facts.pop_front();
    if (machine_.trace.keeps_lines()) {
      machine_.trace.Line(life->name, std::visit(FactName{}, fact));
    }
    const auto* const fetched = std::get_if<eventlog::Fetched>(&fact);
    const bool is_busy = fetched != nullptr || std::holds_alternative<eventlog::Produced>(fact);
    if (Do(fetched != nullptr ? fetched->records.size() : 1, is_busy,
           [&] { life->stage->OnLog(now(), fact); })) {
      return;
    }
  }
  while (!life->inputs.empty()) {
    Input input = std::move(life->inputs.front());
    life->inputs.pop_front();
    if (auto* const completion = std::get_if<http::Completion>(&input)) {
      if (machine_.trace.keeps_lines()) {
        machine_.trace.Line(life->name, "answer " + std::to_string(completion->status) + " " +
                                            completion->error + " " +
                                            completion->body.substr(0, kShownBytesMax));
      }
    } else {
      machine_.trace.Line(life->name, "is told by control");
    }
    const bool is_over = Do(1, true, [&] {
      if (auto* const answer = std::get_if<http::Completion>(&input)) {
        life->stage->OnHttp(now(), std::move(*answer));
      } else {
        life->stage->OnControl(now(), std::get<v1::ToService>(input));
      }
    });
    if (is_over) return;
  }
  if (is_due() && tick()) return;
  const Instant next = std::max(life->stage->next_tick(), machine_.time.now().steady);
  if (next == Instant::max() || next >= life->tick_at) return;
  life->tick_at = next;
  machine_.time.At(next, [this, next, weak = std::weak_ptr<Life>(life)] {
    const std::shared_ptr<Life> alive = weak.lock();
    if (!alive || alive->dead || alive->tick_at != next) return;
    alive->tick_at = Instant::max();
    Step();
  });
}

}  // namespace tributary::simulation
