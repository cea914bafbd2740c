#include "services/extractor/list_scan.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"

namespace tributary::extractor {
namespace {

/// A list with page numbers that changes between the pages.
struct List {
  struct Row {
    std::int64_t key = 0;
    std::uint64_t id = 0;
    bool is_old = true;
  };
  std::vector<Row> rows;
  /// What the site makes of a larger `per_page`.
  std::size_t clamp = 200;
  bool shuffles_ties = false;
  std::mt19937_64 chance{7};

  std::vector<RowPlace> Page(ListScan::Question question) {
    if (shuffles_ties) {
      std::shuffle(rows.begin(), rows.end(), chance);
      std::stable_sort(rows.begin(), rows.end(),
                       [](const Row& a, const Row& b) { return a.key < b.key; });
    }
    const std::size_t size = std::min(question.per_page, clamp);
    std::vector<RowPlace> places;
    for (std::size_t i = (question.page - 1) * size; i < rows.size() && places.size() < size; ++i) {
      places.push_back({.key = rows[i].key, .id_hash = rows[i].id, .is_settled = rows[i].is_old});
    }
    return places;
  }
};

struct Walk {
  std::set<std::uint64_t> seen;
  int pages = 0;
  bool ended = false;
  bool in_passes = false;
  int steps_back = 0;
};

template <typename Between>
Walk Read(List& list, ListScan::Options options, ListTraits& traits, Between between) {
  ListScan scan(options, traits);
  Walk walk;
  while (scan.state() == ListScan::State::kReading && walk.pages < 5'000) {
    const std::vector<RowPlace> places = list.Page(scan.question());
    ++walk.pages;
    for (const RowPlace& place : places) walk.seen.insert(place.id_hash);
    scan.OnPage(places, places.size(), true);
    between(list, walk);
  }
  walk.ended = scan.state() == ListScan::State::kEnded;
  walk.in_passes = scan.reads_in_passes();
  walk.steps_back = scan.steps_back();
  return walk;
}

const auto kNothing = [](List&, const Walk&) {};

List Numbered(std::size_t count) {
  List list;
  for (std::size_t i = 1; i <= count; ++i) {
    list.rows.push_back({.key = static_cast<std::int64_t>(i * 10), .id = i});
  }
  return list;
}

TEST(ListScanTest, ReadsEveryLengthOfListToItsEnd) {
  for (std::size_t count = 0; count <= 90; ++count) {
    List list = Numbered(count);
    ListTraits traits;
    const Walk walk = Read(list, {.page_size = 20}, traits, kNothing);
    EXPECT_TRUE(walk.ended) << count;
    EXPECT_EQ(walk.seen.size(), count);
    EXPECT_FALSE(walk.in_passes) << count;
    EXPECT_LE(walk.pages, static_cast<int>(count / 15 + 3)) << count;
  }
}

TEST(ListScanTest, NeedsOneRequestForAShortListOnceALongerPageWasSeen) {
  List list = Numbered(50);
  ListTraits traits;
  Read(list, {.page_size = 20}, traits, kNothing);
  list.rows.resize(5);

  const Walk walk = Read(list, {.page_size = 20}, traits, kNothing);

  EXPECT_EQ(walk.pages, 1);
  EXPECT_EQ(walk.seen.size(), 5u);
}

TEST(ListScanTest, Trap42ReadsToTheEndWhateverTheSiteMakesOfPerPage) {
  for (std::size_t clamp = 1; clamp <= 60; ++clamp) {
    List list = Numbered(130);
    list.clamp = clamp;
    ListTraits traits;
    const Walk walk = Read(list, {.page_size = 50}, traits, kNothing);
    // A site that gives single rows is beyond what can be told from the end of a list.
    if (clamp == 1) continue;
    EXPECT_TRUE(walk.ended) << clamp;
    EXPECT_EQ(walk.seen.size(), 130u) << clamp;
  }
}

// Rule 41: the first row of a page must be one that was read, else rows went away in front of it.
TEST(ListScanTest, Rule41StepsBackWhenRowsMovedForward) {
  List list = Numbered(100);
  ListTraits traits;
  bool deleted = false;
  const Walk walk = Read(list, {.page_size = 20}, traits, [&](List& changing, const Walk& so_far) {
    if (so_far.pages != 2 || deleted) return;
    deleted = true;
    changing.rows.erase(changing.rows.begin(), changing.rows.begin() + 7);
  });

  EXPECT_TRUE(walk.ended);
  EXPECT_GT(walk.steps_back, 0);
  EXPECT_EQ(walk.seen.size(), 100u);
}

TEST(ListScanTest, Rule41SeesEveryRowThatStandsWhileOthersComeAndGo) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    List list = Numbered(30 + seed % 90);
    list.chance.seed(seed);
    list.shuffles_ties = seed % 2 == 0;
    if (list.shuffles_ties) {
      for (auto& row : list.rows) row.key = row.key / 40;  // four of one second
    }
    // Where keys tie, a page must hold the ties of a second and more.
    list.clamp = seed % 3 != 0 ? 200 : list.shuffles_ties ? 14 : 9;
    std::set<std::uint64_t> standing;
    for (const auto& row : list.rows) standing.insert(row.id);
    std::uint64_t next_id = 1'000'000;
    ListTraits traits;
    const Walk walk = Read(
        list, {.page_size = 15, .keys_are_unique = !list.shuffles_ties, .passes_max = 50}, traits,
        [&](List& changing, const Walk& so_far) {
          if (so_far.pages > 40) return;
          auto& rows = changing.rows;
          // A row goes; one comes into the window in the middle, or at the end.
          if (!rows.empty() && changing.chance() % 3 == 0) {
            const std::size_t gone = changing.chance() % rows.size();
            standing.erase(rows[gone].id);
            rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(gone));
          }
          if (changing.chance() % 3 == 0) {
            const std::size_t at = changing.chance() % (rows.size() + 1);
            const std::int64_t key = at == rows.size() ? 1'000'000 + static_cast<std::int64_t>(
                                                                         so_far.pages)
                                                       : rows[at].key - 1;
            const bool is_free = at == 0 || rows[at - 1].key < key;
            if (is_free) {
              rows.insert(rows.begin() + static_cast<std::ptrdiff_t>(at),
                          {.key = key, .id = next_id++, .is_old = false});
            }
          }
        });
    ASSERT_TRUE(walk.ended) << seed;
    for (const std::uint64_t id : standing) ASSERT_TRUE(walk.seen.contains(id)) << seed;
  }
}

TEST(ListScanTest, Rule41ReadsInPassesWhereThereIsNoOrder) {
  List list = Numbered(90);
  std::shuffle(list.rows.begin(), list.rows.end(), list.chance);
  ListTraits traits;

  const Walk walk = Read(list, {.page_size = 20}, traits, kNothing);

  EXPECT_TRUE(walk.in_passes);
  EXPECT_TRUE(walk.ended);
  EXPECT_EQ(walk.seen.size(), 90u);
}

TEST(ListScanTest, Rule41ReadsInPassesWhereOneSecondFillsAPage) {
  List list = Numbered(90);
  for (auto& row : list.rows) row.key = 5;
  ListTraits traits;

  const Walk walk = Read(list, {.page_size = 20, .page_size_max = 20, .keys_are_unique = false}, traits, kNothing);

  EXPECT_TRUE(walk.in_passes);
  EXPECT_TRUE(walk.ended);
  EXPECT_EQ(walk.seen.size(), 90u);
}

TEST(ListScanTest, Rule41AsksForTheLargestPagesWhereOneSecondFillsASmallOne) {
  List list = Numbered(150);
  for (std::size_t i = 40; i < 110; ++i) list.rows[i].key = 405;
  list.shuffles_ties = true;
  ListTraits traits;

  const Walk walk = Read(list, {.page_size = 20, .keys_are_unique = false}, traits, kNothing);

  EXPECT_FALSE(walk.in_passes);
  EXPECT_TRUE(walk.ended);
  EXPECT_EQ(walk.seen.size(), 150u);
}

TEST(ListScanTest, GivesUpOnAListWithoutOrderThatNeverStandsStill) {
  List list = Numbered(90);
  for (auto& row : list.rows) row.key = 5;
  list.shuffles_ties = true;
  ListTraits traits;

  const Walk walk = Read(list, {.page_size = 20, .page_size_max = 20, .keys_are_unique = false, .passes_max = 4},
                         traits, kNothing);

  EXPECT_FALSE(walk.ended);
}

TEST(ListScanTest, AsksForSmallerPagesWhenOneWasTooLarge) {
  List list = Numbered(100);
  ListTraits traits;
  ListScan scan({.page_size = 40}, traits);
  scan.ShrinkPages();
  std::set<std::uint64_t> seen;
  while (scan.state() == ListScan::State::kReading) {
    EXPECT_LE(scan.question().per_page, 20u);
    const auto places = list.Page(scan.question());
    for (const RowPlace& place : places) seen.insert(place.id_hash);
    scan.OnPage(places, places.size(), true);
  }
  EXPECT_EQ(seen.size(), 100u);
}

}  // namespace
}  // namespace tributary::extractor
