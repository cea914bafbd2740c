#include "services/extractor/list_scan.h"

#include <algorithm>

namespace tributary::extractor {

ListScan::State ListScan::OnPage(const std::vector<RowPlace>& places, std::size_t rows,
                                bool order_is_known) {
  if (state_ != State::kReading) return state_;
  if (!in_passes_ && !order_is_known) {
    const bool is_first = question_.page == 1;
    const std::size_t per_page = question_.per_page;
    BeginPasses();
    question_.per_page = per_page;
    // A later page is of no use to a pass that begins now.
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
    if (rows == 0) return State::kEnded;
    // The list goes on and no page can overlap.
    OnTiesBeyondPage();
    return State::kReading;
  }
  if (question_.page == 1 && not_full) return State::kEnded;  // one answer is one moment
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
    const bool touches = options_.keys_are_unique ? places.front().key <= *last_
                                                  : places.front().key < *last_;
    if (!touches) {
      StepBack();
      return State::kReading;
    }
  }
  back_step_ = 1;

  // A first answer below what was asked for: either that is all, or the site clamps. Staying at or
  // below it makes page numbers mean the same in both cases.
  if (question_.page == 1 && rows < question_.per_page) page_rows_max_ = rows;
  last_ = last_ ? std::max(*last_, places.back().key) : places.back().key;
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
  // Only an empty page right behind what was read is as good as an overlap.
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
}

bool ListScan::Choose(std::size_t bound) {
  asks_behind_ = false;
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
  page_rows_max_ = options_.page_size_max;
  question_ = {.page = 1, .per_page = page_rows_max_};
  last_.reset();
  bound_ = 0;
  reached_ = 0;
}

void ListScan::BeginPasses() {
  in_passes_ = true;
  asks_behind_ = false;
  current_.clear();
  current_all_.clear();
  has_previous_ = false;
  question_ = {.page = 1, .per_page = std::max<std::size_t>(2, page_rows_max_)};
}

ListScan::State ListScan::OnPassPage(const std::vector<RowPlace>& places, std::size_t rows) {
  for (const RowPlace& place : places) {
    current_all_.push_back(place.id_hash);
    if (place.is_settled) current_.push_back(place.id_hash);
  }
  const bool alone = question_.page == 1 &&
                     rows < std::min(question_.per_page, traits_.rows_seen_max);
  if (alone) return State::kEnded;  // one answer is one moment
  if (rows > 0) {
    ++question_.page;
    return State::kReading;
  }
  // The pass ended. Rows that changed meanwhile belong to the next scan, so that a busy list ends.
  std::sort(current_all_.begin(), current_all_.end());
  const bool repeats =
      std::adjacent_find(current_all_.begin(), current_all_.end()) != current_all_.end();
  std::sort(current_.begin(), current_.end());
  if (has_previous_ && !repeats && current_ == previous_) return State::kEnded;
  if (++passes_ >= options_.passes_max) return State::kGivenUp;
  has_previous_ = !repeats;
  previous_ = std::move(current_);
  current_.clear();
  current_all_.clear();
  question_.page = 1;
  return State::kReading;
}

void ListScan::ShrinkPages() {
  page_rows_max_ = std::max<std::size_t>(2, question_.per_page / 2);
  if (in_passes_ || reached_ == 0) {
    // Other sizes, other pages: a pass begins again.
    question_ = {.page = 1, .per_page = page_rows_max_};
    current_.clear();
    current_all_.clear();
    return;
  }
  Advance();
}

}  // namespace tributary::extractor
