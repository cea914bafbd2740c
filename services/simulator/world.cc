#include "services/simulator/world.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "services/simulator/chargify.h"
#include "services/simulator/civil_time.h"
#include "services/simulator/faults.h"
#include "services/simulator/highlevel.h"
#include "services/simulator/judge.h"
#include "services/simulator/query.h"
#include "services/simulator/random.h"
#include "services/simulator/rest_crm.h"
#include "services/simulator/site.h"
#include "services/simulator/stored.h"

namespace tributary::simulator {

std::string_view Name(Target target) {
  static constexpr std::array<std::string_view, 3> kNames = {"chargify", "highlevel", "rest"};
  return kNames[static_cast<std::size_t>(target)];
}

struct World::Parts {
  struct Entry {
    WallTime time;
    Target target;
    std::string method;
    std::string path;
    int status;
    const char* form;
    bool applied;
    /// Until the first byte of the answer, and what was in the request.
    Duration takes;
    std::uint64_t body_hash;
  };
  struct Late {
    Target target;
    http::Request request;
  };

  explicit Parts(WorldOptions given)
      : options(std::move(given)),
        site(options),
        chargify(options, site),
        highlevel(options),
        rest(options),
        faults(options.seed) {}

  void Advance(WallTime now) {
    while (!late.empty() && late.begin()->first <= now) {
      const auto node = late.extract(late.begin());
      site.Advance(node.key());
      bool applied = false;
      const Asked asked = TakeApart(node.mapped().request);
      const Answer answer = Dispatch(node.key(), node.mapped().target, asked, &applied);
      Record({node.key(), node.mapped().target, asked.method, PathOf(node.mapped().request),
              answer.status, "late", applied, Duration{}, HashText(node.mapped().request.body)});
    }
    site.Advance(now);
  }

  Answer Dispatch(WallTime now, Target target, const Asked& asked, bool* applied) {
    switch (target) {
      case Target::kChargify:
        return chargify.Handle(now, asked);
      case Target::kHighLevel:
        return highlevel.Handle(now, asked, applied);
      case Target::kRest:
        break;
    }
    return rest.Handle(now, asked, applied);
  }

  // At the site: in how long this answer comes, given those that are still open. False: too many.
  bool Admit(WallTime now, Duration takes, Duration* delay) {
    while (!open.empty() && *open.begin() <= now) open.erase(open.begin());
    const auto count = static_cast<std::int64_t>(open.size());
    WallTime begin = now;
    if (count >= options.in_flight_max) {
      const std::int64_t before = count - options.in_flight_max;
      if (before >= options.queue_max) return false;
      begin = *std::next(open.begin(), before);
    }
    open.insert(begin + takes);
    *delay = begin + takes - now;
    return true;
  }

  static std::string PathOf(const http::Request& request) {
    const std::size_t scheme = request.url.find("://");
    if (scheme == std::string::npos) return request.url;
    const std::size_t slash = request.url.find('/', scheme + 3);
    return slash == std::string::npos ? "/" : request.url.substr(slash);
  }

  void Record(Entry entry) {
    ++counts[static_cast<std::size_t>(entry.target)];
    if (entry.applied) ++applied_counts[static_cast<std::size_t>(entry.target)];
    if (journal.size() >= options.journal_entries_max) return;
    journal.push_back(std::move(entry));
  }

  const WorldOptions options;
  Site site;
  Chargify chargify;
  HighLevel highlevel;
  RestCrm rest;
  Faults faults;
  RecordJudge judge;
  std::multimap<WallTime, Late> late;
  std::multiset<WallTime> open;
  std::vector<Entry> journal;
  std::array<std::int64_t, 3> counts{};
  std::array<std::int64_t, 3> applied_counts{};
  std::int64_t provoked_429 = 0;
};

World::World(WorldOptions options) : parts_(std::make_unique<Parts>(std::move(options))) {}
World::~World() = default;

Answer World::Handle(WallTime now, Target target, const http::Request& request) {
  Parts& world = *parts_;
  world.Advance(now);
  const Asked asked = TakeApart(request);
  const std::string path = Parts::PathOf(request);
  const auto fault = world.faults.Strike(target, asked.method + " " + path);
  bool applied = false;
  Answer answer;
  if (fault && !Applies(fault->kind)) {
    answer.delay = world.options.answer_delay;
    if (target == Target::kChargify) {
      answer.headers.emplace_back("Date", HttpDate(world.site.Clock(now)));
    }
    if (fault->kind == Faults::Kind::kApplyLate) {
      world.late.emplace(now + fault->delay, Parts::Late{target, request});
    }
  } else {
    answer = world.Dispatch(now, target, asked, &applied);
  }
  if (fault) Spoil(*fault, target, answer);
  // The connection is cut long before the request takes effect.
  if (fault && fault->kind == Faults::Kind::kApplyLate) answer.delay = world.options.answer_delay;
  if (target == Target::kChargify && !world.Admit(now, answer.delay, &answer.delay)) {
    ++world.provoked_429;
    answer = world.chargify.Refuse(now);
  }
  static constexpr std::array kForms = {"answer", "reset_before", "reset_after", "truncate",
                                        "hang"};
  world.Record({now, target, asked.method, path, answer.status,
                kForms[static_cast<std::size_t>(answer.form)], applied, answer.delay,
                HashText(request.body)});
  return answer;
}

void World::Advance(WallTime now) { parts_->Advance(now); }
void World::StopMutating() { parts_->site.StopMutating(); }

void World::Mutate(WallTime now, std::int64_t count) {
  parts_->Advance(now);
  parts_->site.Mutate(now, count);
}

absl::Status World::Set(WallTime now, std::string_view entity, std::string_view id,
                        std::string_view members_json) {
  parts_->Advance(now);
  return parts_->site.Set(now, entity, id, members_json);
}

bool World::finished_mutating() const { return parts_->site.finished_mutating(); }
std::int64_t World::mutations() const { return parts_->site.mutations(); }

void World::SetQuota(WallTime now, std::int64_t requests_max, double neighbour_share) {
  parts_->Advance(now);
  Quota& quota = parts_->highlevel.quota();
  quota.SetNeighbour(now, neighbour_share);
  quota.SetMax(now, requests_max);
}

absl::Status World::SetEndpoint(std::int64_t id, std::string_view status) {
  return parts_->chargify.SetEndpoint(id, status);
}

absl::Status World::SetFaults(std::string_view json) { return parts_->faults.Set(json); }

void World::ForEachTruth(const std::function<void(std::string_view line)>& line) const {
  const auto write = [&line](const History::Entry& entry) { line(History::Line(entry)); };
  parts_->site.ForEachBase(write);
  parts_->site.history().ForEach(0, write);
}

std::map<std::string, std::string> World::NewestDocuments(std::string_view kind) const {
  std::map<std::string, std::string> documents;
  const auto take = [&](const History::Entry& entry) {
    if (entry.kind == kind) documents[std::string(entry.id)] = entry.document;
  };
  parts_->site.ForEachBase(take, {}, kind);
  parts_->site.history().ForEach(0, take);
  return documents;
}

std::string World::Truth() const {
  std::string out;
  ForEachTruth([&](std::string_view line) {
    out += line;
    out += "\n";
  });
  return out;
}

std::string World::Requests() const {
  std::string out;
  std::int64_t sequence = 0;
  for (const Parts::Entry& entry : parts_->journal) {
    ObjectText object(out);
    object.Integer("seq", ++sequence);
    object.Text("time", IsoUtc(entry.time));
    object.Text("target", Name(entry.target));
    object.Text("method", entry.method);
    object.Text("path", entry.path);
    object.Integer("status", entry.status);
    object.Text("form", entry.form);
    object.Boolean("applied", entry.applied);
    object.Integer("takes_ms", entry.takes.count() / 1'000);
    object.Text("body", std::to_string(entry.body_hash));
    object.End();
    out += "\n";
  }
  return out;
}

std::int64_t World::request_count(Target target) const {
  return parts_->counts[static_cast<std::size_t>(target)];
}

std::int64_t World::applied_count(Target target) const {
  return parts_->applied_counts[static_cast<std::size_t>(target)];
}

std::string World::Records() const {
  std::string out;
  ObjectText object(out);
  object.Key("highlevel");
  parts_->highlevel.WriteRecords(out);
  object.Key("rest");
  parts_->rest.WriteRecords(out);
  object.End();
  return out;
}

Judgement World::Judge(WallTime now, JudgeScope scope) const {
  parts_->Advance(now);
  Judgement judgement = parts_->judge.Look(parts_->site, parts_->highlevel, parts_->rest, scope);
  judgement.provoked_429 = parts_->provoked_429 + parts_->highlevel.quota().refused();
  return judgement;
}

Access World::access() const {
  return {parts_->chargify.key(), parts_->highlevel.token(), parts_->highlevel.location(),
          parts_->rest.key()};
}

const WorldOptions& World::options() const { return parts_->options; }

}  // namespace tributary::simulator
