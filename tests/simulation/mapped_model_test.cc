#include <algorithm>
#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

// Rules 35 and 36 in small: every order in which a `tenants` can be lost and made anew, a mapping
// can change and a customer can change, for one customer of one sync. What is searched is the rule,
// not the code: docs/adr/2026-11-22-mapped-names-its-generation.md.

namespace tributary {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Rules {
  // `mapped` counts for the generation that it names.
  bool mapped_names_its_generation = true;
  // A snapshot that lies in front of the founding of a `tenants` after its loss is none.
  bool snapshots_of_a_lost_log_are_ignored = true;
};

// Of the sync. Offset 0: none.
struct Snapshot {
  int offset = 0;
  int revision = 0;
  int mapping = 0;
  bool is_of_lost_log = false;
  auto operator<=>(const Snapshot&) const = default;
};

struct Version {
  int generation = 0;
  int offset = 0;
  int revision = 0;
  auto operator<=>(const Version&) const = default;
};

struct State {
  // Control's database.
  int mapping = 1;
  // `tenants`.
  int generation = 1;
  int end = 0;
  Snapshot snapshot;
  // The newest change of the customer; its offset is its number.
  int change = 0;
  // The transformer: what it has committed of `changes`, and the snapshot that it knows.
  int committed = 0;
  Snapshot known;
  // `commands`.
  Version version;
  int command_change = 0;
  int command_mapping = 0;
  int mapped_generation = 0;
  int mapped_revision = 0;
  // How often something happened, to bound the search.
  int losses = 0;
  int strays = 0;
  int restarts = 0;
  auto operator<=>(const State&) const = default;
};

class Search {
 public:
  explicit Search(const Rules& rules) : rules_(rules) {}

  // The shortest way to a state that breaks the promise. Empty: there is none.
  std::vector<std::string> Run() {
    Add({}, nullptr, "start");
    while (!open_.empty()) {
      const State* const state = open_.front();
      open_.pop_front();
      if (IsBroken(*state)) {
        return WayTo(state);
      }
      Next(*state);
    }
    return {};
  }
  std::size_t states() const { return seen_.size(); }

 private:
  struct Origin {
    const State* from = nullptr;
    std::string step;
  };

  void Add(const State& state, const State* from, std::string step) {
    const auto [entry, is_new] = seen_.try_emplace(state, Origin{from, std::move(step)});
    if (is_new) {
      open_.push_back(&entry->first);
    }
  }

  std::vector<std::string> WayTo(const State* state) const {
    std::vector<std::string> way;
    for (; state != nullptr; state = seen_.at(*state).from) {
      way.insert(way.begin(), seen_.at(*state).step);
    }
    return way;
  }

  bool IsMapped(const State& s) const {
    return s.mapped_revision == s.known.revision &&
           (!rules_.mapped_names_its_generation || s.mapped_generation == s.generation);
  }

  // At rest, what stands is not the newest change under the newest mapping.
  bool IsBroken(const State& s) const {
    const bool is_at_rest = s.snapshot.offset > 0 && !s.snapshot.is_of_lost_log &&
                            s.snapshot.mapping == s.mapping && s.known == s.snapshot &&
                            s.committed == s.change && s.change > 0 && IsMapped(s);
    return is_at_rest && (s.command_change != s.change || s.command_mapping != s.mapping);
  }

  void Derive(State& s) const {
    const Version version = {s.generation, s.committed, s.known.revision};
    if (version > s.version) {
      s.version = version;
      s.command_change = s.committed;
      s.command_mapping = s.known.mapping;
    }
  }

  // What the transformer takes up from `tenants`.
  void Read(State& s) const {
    const bool is_ignored = s.snapshot.is_of_lost_log && rules_.snapshots_of_a_lost_log_are_ignored;
    if (s.snapshot.offset > 0 && !is_ignored) {
      s.known = s.snapshot;
    }
  }

  void Next(const State& s) {
    constexpr int kOffsetsMax = 3;
    const auto step = [&](const char* name, auto&& change) {
      State next = s;
      change(next);
      Add(next, &s, name);
    };
    if (s.change < 3) {
      step("the customer changes", [](State& n) { ++n.change; });
    }
    if (s.mapping < 3) {
      step("a person changes the mapping", [](State& n) { ++n.mapping; });
    }
    if (s.end < kOffsetsMax) {
      step("control writes another tenant", [](State& n) { ++n.end; });
    }
    if (s.snapshot.offset == 0 || s.snapshot.is_of_lost_log || s.snapshot.mapping != s.mapping) {
      step("control writes the tenant", [](State& n) {
        ++n.end;
        n.snapshot = {n.end, n.end, n.mapping, false};
      });
    }
    if (s.losses < 2) {
      const auto lose = [](State& n) {
        ++n.losses;
        ++n.generation;
        n.end = 0;
        n.snapshot = {};
        n.known = {};
      };
      step("`tenants` is lost and made anew", lose);
      if (s.snapshot.offset > 0 && s.strays == 0) {
        step("`tenants` is lost; a dead control's snapshot lands in front of the founding",
             [&](State& n) {
               lose(n);
               ++n.strays;
               n.end = 1;
               n.snapshot = {1, s.snapshot.revision, s.snapshot.mapping, true};
               Read(n);
             });
      }
    }
    if (s.restarts < 1) {
      step("the transformer starts again", [&](State& n) {
        ++n.restarts;
        n.known = {};
        Read(n);
      });
    }
    step("the transformer reads the tenant", [&](State& n) { Read(n); });
    if (s.committed < s.change) {
      step("the transformer handles the changes", [&](State& n) {
        n.committed = n.change;
        if (n.known.offset > 0) {
          Derive(n);
        }
      });
    }
    if (s.known.offset > 0 && !IsMapped(s)) {
      step("the transformer maps every customer", [&](State& n) {
        if (n.committed > 0) {
          Derive(n);
        }
        n.mapped_generation = n.generation;
        n.mapped_revision = n.known.revision;
      });
    }
  }

  const Rules rules_;
  std::map<State, Origin> seen_;
  std::deque<const State*> open_;
};

TEST(MappedModelTest, WhatStandsAtRestIsTheNewestChangeUnderTheNewestMapping) {
  Search search({});
  EXPECT_THAT(search.Run(), IsEmpty());
  EXPECT_GT(search.states(), 10'000U);
}

TEST(MappedModelTest, ARevisionWithoutItsGenerationLosesAChange) {
  Search search({.mapped_names_its_generation = false});
  EXPECT_THAT(search.Run(), Contains(HasSubstr("made anew")));
}

TEST(MappedModelTest, ASnapshotOfALostLogOutbidsTheNewMapping) {
  Search search({.snapshots_of_a_lost_log_are_ignored = false});
  EXPECT_THAT(search.Run(), Contains(HasSubstr("in front of the founding")));
}

}  // namespace
}  // namespace tributary
