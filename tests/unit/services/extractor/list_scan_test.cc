#include "services/extractor/list_scan.h"

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
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

// Pages of two and three rows cannot overlap the sixth: an empty third page is no end of the list.
TEST(ListScanTest, Rule41TakesNoEmptyPageForTheEndWhereRowsMovedForward) {
  for (std::size_t page_size = 2; page_size <= 7; ++page_size) {
    for (std::size_t count = 1; count <= 24; ++count) {
      for (int at = 1; at <= 8; ++at) {
        List list = Numbered(count);
        ListTraits traits;
        std::set<std::uint64_t> standing;
        const Walk walk =
            Read(list, {.page_size = page_size}, traits, [&](List& changing, const Walk& so_far) {
              auto& rows = changing.rows;
              if (so_far.pages != at || rows.size() < 3) return;
              rows.erase(rows.begin(), rows.begin() + 2);
            });
        for (const auto& row : list.rows) standing.insert(row.id);
        EXPECT_TRUE(walk.ended);
        for (const std::uint64_t id : standing) {
          EXPECT_TRUE(walk.seen.contains(id))
              << id << " of " << count << " by " << page_size << ", two gone after page " << at;
        }
      }
    }
  }
}

// The smallest form of it: eight rows, two of them gone before the page behind the sixth is read.
TEST(ListScanTest, Rule41ReadsOnAfterAnEmptyPageThatTouchesNothing) {
  List list = Numbered(8);
  ListTraits traits;
  const Walk walk = Read(list, {.page_size = 3}, traits, [](List& changing, const Walk& so_far) {
    if (so_far.pages != 3) return;
    changing.rows.erase(changing.rows.begin() + 3, changing.rows.begin() + 5);
  });

  EXPECT_TRUE(walk.ended);
  EXPECT_EQ(walk.seen.size(), 8u);
}

// Two rows are a whole list, or the two that a site gives at most.
TEST(ListScanTest, Rule41ConfirmsAListOfTwoRowsByReadingThemAgain) {
  List list = Numbered(2);
  ListTraits traits;
  EXPECT_EQ(Read(list, {.page_size = 20}, traits, kNothing).pages, 3);

  list = Numbered(3);
  list.clamp = 2;
  const Walk walk = Read(list, {.page_size = 20}, traits, [](List& changing, const Walk& so_far) {
    if (so_far.pages == 1) changing.rows.erase(changing.rows.begin());
  });
  EXPECT_TRUE(walk.ended);
  EXPECT_EQ(walk.seen.size(), 3u);
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
    const Walk walk =
        Read(list, {.page_size = 15, .keys_are_unique = !list.shuffles_ties, .passes_max = 50},
             traits, [&](List& changing, const Walk& so_far) {
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
                 const std::int64_t key = at == rows.size()
                                              ? 1'000'000 + static_cast<std::int64_t>(so_far.pages)
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

// Two rows a page are read in passes. Two passes can agree on every old row and both have passed
// over one, when a new row stands in front of it and goes away while each of them reads: what
// agrees must not lack a row that the pass before had. The seeds are those that lost a row by that.
TEST(ListScanTest, Rule41CountsNoPassThatLacksARowOfTheOneBefore) {
  std::vector<std::uint64_t> seeds = {48'705, 54'135, 89'721};
  for (std::uint64_t seed = 1; seed <= 3'000; ++seed) seeds.push_back(seed);
  int in_passes = 0;
  for (const std::uint64_t seed : seeds) {
    List list = Numbered(1 + seed % 31);
    list.chance.seed(seed);
    list.clamp = 2 + seed % 5;
    std::set<std::uint64_t> standing;
    for (const auto& row : list.rows) standing.insert(row.id);
    std::uint64_t next_id = 1'000'000;
    ListTraits traits;
    const Walk walk = Read(list, {.page_size = 2 + seed % 7, .passes_max = 50}, traits,
                           [&](List& changing, const Walk& so_far) {
                             if (so_far.pages > 40) return;
                             auto& rows = changing.rows;
                             if (!rows.empty() && changing.chance() % 3 == 0) {
                               const std::size_t gone = changing.chance() % rows.size();
                               standing.erase(rows[gone].id);
                               rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(gone));
                             }
                             if (changing.chance() % 3 == 0) {
                               const std::size_t at = changing.chance() % (rows.size() + 1);
                               const std::int64_t key =
                                   at == rows.size() ? 1'000'000 + so_far.pages : rows[at].key - 1;
                               if (at == 0 || rows[at - 1].key < key) {
                                 rows.insert(rows.begin() + static_cast<std::ptrdiff_t>(at),
                                             {.key = key, .id = next_id++, .is_old = false});
                               }
                             }
                           });
    in_passes += walk.in_passes ? 1 : 0;
    ASSERT_TRUE(walk.ended) << seed;
    for (const std::uint64_t id : standing) ASSERT_TRUE(walk.seen.contains(id)) << seed;
  }
  EXPECT_GT(in_passes, 300);
}

// The smallest form of it.
TEST(ListScanTest, Rule41ReadsOnWhereTwoPassesLackTheSameRow) {
  List list = Numbered(4);
  list.clamp = 2;
  const List::Row first_guest{.key = 1, .id = 101, .is_old = false};
  const List::Row second_guest{.key = 1, .id = 102, .is_old = false};
  list.rows.insert(list.rows.begin(), first_guest);
  ListTraits traits;
  traits.scans_in_passes = 1;

  // Pages of two: guest 1 | 2 3 | 4. The guest goes after the first page, and 2 is passed over.
  const Walk walk = Read(list, {.page_size = 2}, traits, [&](List& changing, const Walk& so_far) {
    auto& rows = changing.rows;
    if (so_far.pages == 1 || so_far.pages == 4) rows.erase(rows.begin());
    if (so_far.pages == 3) rows.insert(rows.begin(), second_guest);
  });

  EXPECT_TRUE(walk.ended);
  EXPECT_THAT(walk.seen, ::testing::IsSupersetOf({1u, 2u, 3u, 4u}));
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

  const Walk walk = Read(list, {.page_size = 20, .page_size_max = 20, .keys_are_unique = false},
                         traits, kNothing);

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

  const Walk walk =
      Read(list, {.page_size = 20, .page_size_max = 20, .keys_are_unique = false, .passes_max = 4},
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

// What foreign sites make of `page`, `per_page` and the order.
struct ForeignList {
  std::size_t count = 0;
  /// Rows of a page, whatever is asked for. 0: as asked for.
  std::size_t fixed_size = 0;
  bool ignores_page = false;
  /// Behind the last page comes the last page again, or the first.
  bool repeats_last = false;
  bool wraps = false;
  bool descends = false;
  bool shuffles = false;
  bool has_keys = true;
  std::mt19937_64 chance{11};

  std::vector<RowPlace> Page(ListScan::Question question) {
    std::vector<RowPlace> rows;
    for (std::size_t i = 1; i <= count; ++i) {
      rows.push_back({.key = has_keys ? static_cast<std::int64_t>(i) : 0, .id_hash = i});
    }
    if (descends) std::reverse(rows.begin(), rows.end());
    if (shuffles) std::shuffle(rows.begin(), rows.end(), chance);
    const std::size_t size = fixed_size > 0 ? fixed_size : question.per_page;
    const std::size_t pages = std::max<std::size_t>(1, (count + size - 1) / size);
    std::size_t page = question.page;
    if (ignores_page) page = 1;
    if (repeats_last) page = std::min(page, pages);
    if (wraps) page = (page - 1) % pages + 1;
    const std::size_t begin = std::min(count, (page - 1) * size);
    const std::size_t end = std::min(count, begin + size);
    return {rows.begin() + static_cast<std::ptrdiff_t>(begin),
            rows.begin() + static_cast<std::ptrdiff_t>(end)};
  }
};

struct ForeignWalk {
  std::set<std::uint64_t> seen;
  int questions = 0;
  ListScan::State state{};
  std::string remark;
};

ForeignWalk Read(ForeignList list, ListTraits& traits, bool keys_are_unique = true) {
  ListScan scan({.page_size = 20, .page_size_max = 20, .keys_are_unique = keys_are_unique}, traits);
  ForeignWalk walk;
  while (scan.state() == ListScan::State::kReading && walk.questions < 1'000) {
    const std::vector<RowPlace> places = list.Page(scan.question());
    ++walk.questions;
    for (const RowPlace& place : places) walk.seen.insert(place.id_hash);
    scan.OnPage(places, places.size(), list.has_keys);
  }
  walk.state = scan.state();
  walk.remark = std::string(scan.remark());
  return walk;
}

struct ForeignCase {
  const char* name;
  ForeignList list;
};

class ForeignListTest : public ::testing::TestWithParam<ForeignCase> {};

TEST_P(ForeignListTest, IsReadWholeWithFewQuestions) {
  // Around every size that could be taken for another.
  for (std::size_t count = 0; count <= 65; ++count) {
    for (const bool keys_are_unique : {true, false}) {
      ForeignList list = GetParam().list;
      list.count = count;
      const std::size_t pages = list.fixed_size > 0 ? count / list.fixed_size + 1 : count / 20 + 1;
      // Without an order that stands, a site with pages may show a row never; not so in one answer.
      if (list.shuffles && !list.ignores_page && count > 20) continue;
      ListTraits traits;
      for (int scan = 0; scan < 3; ++scan) {
        const ForeignWalk walk = Read(list, traits, keys_are_unique);
        ASSERT_EQ(walk.state, ListScan::State::kEnded) << count << " " << scan;
        ASSERT_EQ(walk.seen.size(), count) << scan;
        ASSERT_LE(walk.questions, static_cast<int>(12 + 3 * pages)) << count << " " << scan;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Sites, ForeignListTest,
    ::testing::Values(
        ForeignCase{"IgnoresPerPage", {.fixed_size = 1'000}},
        ForeignCase{"IgnoresPerPageAndPage", {.fixed_size = 1'000, .ignores_page = true}},
        ForeignCase{"IgnoresPagingAndOrder",
                    {.fixed_size = 1'000, .ignores_page = true, .descends = true}},
        ForeignCase{"IgnoresPagingAndHasNoOrder",
                    {.fixed_size = 1'000, .ignores_page = true, .shuffles = true}},
        ForeignCase{"ShowsIdsOnly", {.fixed_size = 1'000, .ignores_page = true, .has_keys = false}},
        ForeignCase{"HasSmallPagesOfItsOwn", {.fixed_size = 7}},
        ForeignCase{"HasPagesOfTheSizeAskedFor", {.fixed_size = 20}},
        ForeignCase{"HasLargePagesOfItsOwn", {.fixed_size = 30}},
        ForeignCase{"HasPagesOfItsOwnDescending", {.fixed_size = 7, .descends = true}},
        ForeignCase{"HasPagesOfItsOwnWithIdsOnly", {.fixed_size = 7, .has_keys = false}},
        ForeignCase{"RepeatsTheLastPage", {.repeats_last = true}},
        ForeignCase{"RepeatsTheLastPageOfItsOwn", {.fixed_size = 7, .repeats_last = true}},
        ForeignCase{"BeginsAgainBehindTheLastPage", {.fixed_size = 7, .wraps = true}},
        ForeignCase{"BeginsAgainInTheSizeAskedFor", {.wraps = true}},
        ForeignCase{"IgnoresTheOrder", {.descends = true}}),
    [](const auto& tested) { return tested.param.name; });

// More rows than it ever gives cannot be had from such a site, and that must not look like an end.
TEST(ListScanTest, SaysThatASiteWithoutPagesGivesTheFirstRowsOnly) {
  ListTraits traits;
  for (int scan = 0; scan < 3; ++scan) {
    const ForeignWalk walk = Read({.count = 50, .ignores_page = true}, traits);
    EXPECT_EQ(walk.state, ListScan::State::kGivenUp);
    EXPECT_THAT(walk.remark, ::testing::HasSubstr("only the first rows"));
    EXPECT_LE(walk.questions, 15);
  }
}

TEST(ListScanTest, TriesOverlappingPagesAgainAfterManyScans) {
  ListTraits traits;
  Read({.count = 50, .fixed_size = 7}, traits);
  ASSERT_GT(traits.scans_in_passes, 0);
  traits.scans_in_passes = 0;
  List list = Numbered(90);

  const Walk walk = Read(list, {.page_size = 20}, traits, kNothing);

  EXPECT_FALSE(walk.in_passes);
  EXPECT_EQ(walk.seen.size(), 90u);
}

// Rows that come in front can make a page come again once, which is no end.
TEST(ListScanTest, Rule41DoesNotTakeAShiftByOnePageForTheEnd) {
  List list = Numbered(90);
  std::reverse(list.rows.begin(), list.rows.end());
  std::set<std::uint64_t> standing;
  for (const auto& row : list.rows) standing.insert(row.id);
  ListTraits traits;
  std::uint64_t next_id = 1'000;

  const Walk walk = Read(list, {.page_size = 20}, traits, [&](List& changing, const Walk& so_far) {
    if (so_far.pages != 1 && so_far.pages != 4) return;
    for (int i = 0; i < 20; ++i) {
      changing.rows.insert(
          changing.rows.begin(),
          {.key = static_cast<std::int64_t>(next_id * 10), .id = next_id, .is_old = false});
      ++next_id;
    }
  });

  EXPECT_TRUE(walk.ended);
  for (const std::uint64_t id : standing) EXPECT_TRUE(walk.seen.contains(id)) << id;
}

}  // namespace
}  // namespace tributary::extractor
