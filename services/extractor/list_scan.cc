#include "services/extractor/list_scan.h"

#include <algorithm>

namespace tributary::extractor {
namespace {

/// Questions in a row that bring nothing further, before the list is read in passes. Rows that came
/// in front of what was read do that too.
constexpr int kFutileMax = 4;
/// Pages in a row of one pass without a row that is new to it.
constexpr int kStalePagesMax = 3;
/// Overlapping pages are tried again after so many scans.
constexpr int kScansInPasses = 100;

constexpr std::string_view kPerPageIgnored =
    "the site ignores per_page; the list is read twice, until both agree";
constexpr std::string_view kPageIgnored =
    "the site gives the same rows whatever page is asked for; rows beyond them cannot be seen";
constexpr std::string_view kPageIgnoredAndCut =
    "the site gives only the first rows, whatever page is asked for; the others cannot be read";
constexpr std::string_view kNeverStill = "the list did not stand still while it was read";

std::uint64_t Mix(std::uint64_t hash) {
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdULL;
  hash ^= hash >> 33;
  hash *= 0xc4ceb9fe1a85ec53ULL;
  return hash ^ (hash >> 33);
}

}  // namespace

ListScan::ListScan(Options options, ListTraits& traits) : options_(options), traits_(traits) {
  question_.per_page = options_.page_size;
  size_max_ = options_.page_size;
  page_rows_max_ = options_.page_size;
  if (traits_.scans_in_passes > 0) {
    --traits_.scans_in_passes;
    remark_ = kPerPageIgnored;
    BeginPasses();
  }
}

ListScan::State ListScan::OnPage(const std::vector<RowPlace>& places, std::size_t rows,
                                 bool order_is_known) {
  if (state_ != State::kReading) return state_;
  const bool exceeds = rows > question_.per_page;
  if (!in_passes_ && (!order_is_known || exceeds)) {
    // Where sizes are not what is asked for, pages cannot be made to overlap.
    const Question answered = question_;
    if (exceeds) {
      LearnPasses(kPerPageIgnored);
    } else {
      BeginPasses();
    }
    // A later page, or one of another size, is of no use to a pass that begins now.
    const bool is_first = answered.page == 1 && (exceeds || answered.per_page == size_max_);
    if (!is_first) return state_;
  }
  state_ = in_passes_ ? OnPassPage(places, rows) : OnOrderedPage(places, rows);
  traits_.rows_seen_max = std::max(traits_.rows_seen_max, rows);
  return state_;
}

ListScan::State ListScan::OnOrderedPage(const std::vector<RowPlace>& places, std::size_t rows) {
  // A page that is certainly not full ends the list at the moment of its reading.
  const bool not_full = rows < std::min(question_.per_page, traits_.rows_seen_max);

  if (asks_behind_) {
    // An empty page alone says nothing: rows may have gone in front, and the unread moved forward.
    // But where all of the first page still stands, it stood then too, and was all that there was.
    if (rows == 0 && !has_confirmed_) {
      has_confirmed_ = true;
      confirms_ = true;
      asks_behind_ = false;
      question_ = first_question_;
    } else {
      OnTiesBeyondPage();
    }
    return State::kReading;
  }
  if (question_.page == 1 && not_full) return State::kEnded;  // one answer is one moment
  if (confirms_) {
    confirms_ = false;
    const bool all_stand =
        std::all_of(first_page_.begin(), first_page_.end(), [&](std::uint64_t id_hash) {
          return std::any_of(places.begin(), places.end(),
                             [&](const RowPlace& place) { return place.id_hash == id_hash; });
        });
    if (all_stand) return State::kEnded;
  }
  if (question_.page == 1) {
    first_question_ = question_;
    first_rows_ = rows;
    first_page_.clear();
    for (const RowPlace& place : places) first_page_.push_back(place.id_hash);
  }
  if (rows == 0) {
    // Rows went away in front of us; nothing shows that none is left between.
    StepBack();
    return State::kReading;
  }
  for (std::size_t i = 1; i < places.size(); ++i) {
    const bool ascends = options_.keys_are_unique ? places[i - 1].key < places[i].key
                                                  : places[i - 1].key <= places[i].key;
    if (!ascends) {
      BeginPasses();
      return State::kReading;
    }
  }
  if (places.empty()) {
    // Nothing of this page could be read; its caller shows that. On, as if it had been in order.
    reached_ = offset() + rows;
    bound_ = reached_ - 1;
    Advance();
    return State::kReading;
  }
  if (question_.page > 1 && last_) {
    // Rule 41. Among equal keys there is no order, so a row before all of them must be seen.
    const bool touches =
        options_.keys_are_unique ? places.front().key <= *last_ : places.front().key < *last_;
    if (!touches) {
      StepBack();
      return State::kReading;
    }
    if (places.back().key <= *last_ && !not_full) {
      OnFutile(1);
      if (in_passes_) return State::kReading;
    }
  }
  back_step_ = 1;

  // A first answer below what was asked for: either that is all, or the site clamps. Staying at or
  // below it makes page numbers mean the same in both cases.
  if (question_.page == 1 && rows < question_.per_page) page_rows_max_ = rows;
  if (!last_ || places.back().key > *last_) {
    last_ = places.back().key;
    futile_ = 0;
  }
  if (not_full) return State::kEnded;

  reached_ = offset() + rows;
  if (options_.keys_are_unique) {
    bound_ = reached_ - 1;
  } else {
    std::size_t below = places.size();
    while (below > 0 && places[below - 1].key == places.back().key) --below;
    if (below == 0 && offset() == 0 && rows < options_.page_size) {
      bound_ = 0;  // all that there is has one key, it seems; Advance() asks behind it
    } else if (below == 0) {
      // One instant fills the page: there is no row before it to hold on to.
      OnTiesBeyondPage();
      return State::kReading;
    } else {
      bound_ = offset() + below - 1;
    }
  }
  Advance();
  return State::kReading;
}

void ListScan::Advance() {
  if (Choose(bound_)) return;
  if (reached_ != first_rows_) {
    OnTiesBeyondPage();
    return;
  }
  for (std::size_t size = page_rows_max_; size >= 1; --size) {
    if (reached_ % size != 0) continue;
    question_ = {.page = reached_ / size + 1, .per_page = size};
    asks_behind_ = true;
    return;
  }
}

void ListScan::StepBack() {
  ++steps_back_;
  Choose(offset() > back_step_ ? offset() - back_step_ : 0);
  back_step_ *= 2;
  // From the first page on nothing is left to step back to.
  if (question_.page == 1) OnFutile(2);
}

void ListScan::OnFutile(int weight) {
  futile_ += weight;
  if (futile_ >= kFutileMax) LearnPasses(kPerPageIgnored);
}

void ListScan::LearnPasses(std::string_view remark) {
  remark_ = remark;
  traits_.scans_in_passes = kScansInPasses;
  BeginPasses();
}

bool ListScan::Choose(std::size_t bound) {
  asks_behind_ = false;
  confirms_ = false;
  const std::size_t size_max = std::max<std::size_t>(2, page_rows_max_);
  std::size_t furthest = 0;
  for (std::size_t size = size_max; size >= 2; --size) {
    const std::size_t end = size * (bound / size) + size;
    if (end <= furthest) continue;
    furthest = end;
    question_ = {.page = bound / size + 1, .per_page = size};
  }
  return furthest > reached_;
}

void ListScan::OnTiesBeyondPage() {
  if (has_grown_ || page_rows_max_ >= options_.page_size_max) {
    BeginPasses();
    return;
  }
  has_grown_ = true;
  asks_behind_ = false;
  confirms_ = false;
  size_max_ = std::max(size_max_, options_.page_size_max);
  page_rows_max_ = size_max_;
  question_ = {.page = 1, .per_page = page_rows_max_};
  last_.reset();
  bound_ = 0;
  reached_ = 0;
}

void ListScan::BeginPasses() {
  in_passes_ = true;
  asks_behind_ = false;
  has_previous_ = false;
  BeginPass(size_max_);
}

void ListScan::BeginPass(std::size_t per_page) {
  question_ = {.page = 1, .per_page = per_page};
  current_.clear();
  current_all_.clear();
  pass_rows_.clear();
  pass_pages_.clear();
  repeats_ = false;
  stale_pages_ = 0;
}

ListScan::State ListScan::OnPassPage(const std::vector<RowPlace>& places, std::size_t rows) {
  const bool alone =
      question_.page == 1 && rows < std::min(question_.per_page, traits_.rows_seen_max);
  if (alone) return State::kEnded;  // one answer is one moment
  if (rows == 0) return OnPassEnded(/*is_repetition=*/false);
  if (rows > question_.per_page) {
    remark_ = kPerPageIgnored;
    traits_.scans_in_passes = kScansInPasses;
  }

  std::uint64_t page_hash = rows;
  std::unordered_set<std::uint64_t> page_rows;
  for (const RowPlace& place : places) {
    if (page_rows.insert(place.id_hash).second) page_hash += Mix(place.id_hash);
  }
  const bool came_before = !pass_pages_.insert(page_hash).second;
  // The same page under another number: the site ignores numbers, or those behind the last.
  if (came_before) return OnPassEnded(/*is_repetition=*/true);

  bool brings_new = places.empty();  // nothing of it can be read, which its caller shows
  for (const RowPlace& place : places) {
    if (page_rows.erase(place.id_hash) == 0) continue;  // twice in one answer: nothing has moved
    const bool is_new = pass_rows_.insert(place.id_hash).second;
    brings_new = brings_new || is_new;
    repeats_ = repeats_ || !is_new;
    current_all_.push_back(place.id_hash);
    if (place.is_settled) current_.push_back(place.id_hash);
  }
  stale_pages_ = brings_new ? 0 : stale_pages_ + 1;
  if (stale_pages_ >= kStalePagesMax) return OnPassEnded(/*is_repetition=*/false);
  ++question_.page;
  return State::kReading;
}

ListScan::State ListScan::OnPassEnded(bool is_repetition) {
  std::size_t next_size = size_max_;
  bool is_cut_off = false;
  if (is_repetition && pass_pages_.size() == 1) {
    // Is that all, or only as much as was asked for? Asked for another size, it shows.
    const std::size_t only = current_all_.size();
    is_cut_off = only == question_.per_page && only_page_rows_ == only_page_asked_ &&
                 only_page_rows_ != 0 && only_page_asked_ != question_.per_page;
    if (only == question_.per_page && only > 1 && only_page_rows_ == 0) next_size = only - 1;
    only_page_rows_ = only;
    only_page_asked_ = question_.per_page;
    remark_ = kPageIgnored;
    traits_.scans_in_passes = kScansInPasses;
  }
  // Rows that changed meanwhile belong to the next scan, so that a busy list ends. Not where a page
  // that came twice was taken for the end: rows that came in front can look like that once.
  std::sort(current_all_.begin(), current_all_.end());
  std::sort(current_.begin(), current_.end());
  const std::vector<std::uint64_t>& counted = is_repetition ? current_all_ : current_;
  if (is_cut_off) {
    remark_ = kPageIgnoredAndCut;
    return State::kGivenUp;
  }
  // A row is passed over when rows in front of it go away. Those had been read by then, for else
  // the pass would have brought a row twice, and the next pass lacks them: passes that agree on
  // what counts and still lack a row that the one before had, settled or not, say nothing.
  const bool lacks_none = std::includes(current_all_.begin(), current_all_.end(),
                                        previous_all_.begin(), previous_all_.end());
  // Nor do passes that did not end alike: rows that came in front make one end too early, once.
  const bool agree = has_previous_ && previous_is_repetition_ == is_repetition && !repeats_ &&
                     lacks_none && counted == previous_;
  if (agree) return State::kEnded;
  if (++passes_ >= options_.passes_max) {
    remark_ = kNeverStill;
    return State::kGivenUp;
  }
  has_previous_ = !repeats_;
  previous_is_repetition_ = is_repetition;
  previous_ = counted;
  previous_all_ = std::move(current_all_);
  BeginPass(next_size);
  return State::kReading;
}

void ListScan::ShrinkPages() {
  size_max_ = std::max<std::size_t>(2, question_.per_page / 2);
  page_rows_max_ = size_max_;
  if (in_passes_) {
    // Other sizes, other pages: a pass begins again.
    BeginPass(size_max_);
  } else if (reached_ == 0) {
    question_ = {.page = 1, .per_page = page_rows_max_};
  } else {
    Advance();
  }
}

}  // namespace tributary::extractor
