#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "libs/time/time.h"

// One scan of a list that has page numbers only and changes while it is read: which page to ask for
// next, and when everything was seen. Protocol rules 39 to 42. Pure: given pages, returns
// questions.
//
// A site may make of `per_page`, `page` and the order what it likes. Whatever it does, the
// questions of one scan are bounded by the rows that it showed: what brings nothing new is asked a
// few times.

namespace tributary::extractor {

/// Where a row stands in the order in which the list was asked for.
struct RowPlace {
  /// Grows along the list. Ids are unique; times of creation may tie.
  std::int64_t key = 0;
  /// Identifies the row.
  std::uint64_t id_hash = 0;
  /// False: the row has been changed after the scan began, so that the next one brings it again.
  bool is_settled = true;
};

/// Learnt of one list and kept from scan to scan.
struct ListTraits {
  /// The most rows that a page ever had: the site gives at least so many where there are more, so a
  /// page with fewer is the last one. What it says of `per_page` itself is believed never (trap
  /// 42).
  std::size_t rows_seen_max = 2;
  /// Pages could not be made to overlap: so many scans more begin in passes, before overlapping
  /// pages are tried again.
  int scans_in_passes = 0;
};

class ListScan {
 public:
  struct Options {
    std::size_t page_size = 200;
    /// What the vendor gives at most. Asked for where pages of `page_size` do not reach over the
    /// rows of one second.
    std::size_t page_size_max = 200;
    /// False: rows with one key come in any order, another one each time.
    bool keys_are_unique = true;
    /// Passes over a list without a dependable order before the scan is given up.
    int passes_max = 8;
  };
  struct Question {
    std::size_t page = 1;
    std::size_t per_page = 200;
  };
  enum class State : std::uint8_t {
    /// `question()` is to be asked.
    kReading,
    /// Everything that the list held when the scan began has been seen.
    kEnded,
    /// What was seen is right, but may not be all: `remark()` says why.
    kGivenUp,
  };

  ListScan(Options options, ListTraits& traits);

  const Question& question() const { return question_; }
  /// The page that `question()` was answered with: `rows` elements, of which `places` could be
  /// read. Where the order of one is not known, the scan goes on without an order.
  State OnPage(const std::vector<RowPlace>& places, std::size_t rows, bool order_is_known);
  State state() const { return state_; }
  /// The order was not what was asked for: the list is read until two passes agree.
  bool reads_in_passes() const { return in_passes_; }
  int steps_back() const { return steps_back_; }
  /// What the site made of the questions, for people. Empty: what was asked for.
  std::string_view remark() const { return remark_; }

  /// A page did not arrive because it was too large: smaller ones from now on.
  void ShrinkPages();

 private:
  State OnOrderedPage(const std::vector<RowPlace>& places, std::size_t rows);
  State OnPassPage(const std::vector<RowPlace>& places, std::size_t rows);
  /// `is_repetition`: it ended with a page that had come before, not with an empty one.
  State OnPassEnded(bool is_repetition);
  void BeginPass(std::size_t per_page);
  /// Chooses the page that reaches furthest and begins at or before row `bound`. False: none
  /// reaches beyond what was read.
  bool Choose(std::size_t bound);
  /// Goes on behind what was read.
  void Advance();
  void StepBack();
  void BeginPasses();
  /// The same, for what a site does to every scan.
  void LearnPasses(std::string_view remark);
  /// A question brought no row that is further than those before.
  void OnFutile(int weight);
  /// No page reaches over what was read, or over the rows of one key: larger pages, and if they are
  /// the largest, passes.
  void OnTiesBeyondPage();
  std::size_t offset() const { return (question_.page - 1) * question_.per_page; }

  const Options options_;
  ListTraits& traits_;
  Question question_;
  State state_ = State::kReading;
  bool in_passes_ = false;
  std::string_view remark_;
  /// What is asked for at most.
  std::size_t size_max_ = 0;
  /// The same, where a first answer had fewer rows: no more than those.
  std::size_t page_rows_max_ = 0;
  bool has_grown_ = false;

  // In order.
  /// Largest key read. None: nothing was read.
  std::optional<std::int64_t> last_;
  /// The next page must begin at or before this row, to touch what was read.
  std::size_t bound_ = 0;
  /// Rows up to the end of the furthest page.
  std::size_t reached_ = 0;
  std::size_t back_step_ = 1;
  int steps_back_ = 0;
  /// The page behind the first one is asked without touching it, because none of the allowed sizes
  /// reaches over. Where it is empty, the first page is asked again, to confirm that nothing moved.
  bool asks_behind_ = false;
  bool confirms_ = false;
  bool has_confirmed_ = false;
  /// The newest answer to page 1.
  Question first_question_;
  std::size_t first_rows_ = 0;
  std::vector<std::uint64_t> first_page_;
  int futile_ = 0;

  // In passes.
  int passes_ = 0;
  bool has_previous_ = false;
  bool previous_is_repetition_ = false;
  /// Of the pass before, which brought no row twice: the rows that count, and all of them.
  std::vector<std::uint64_t> previous_;
  std::vector<std::uint64_t> previous_all_;
  std::vector<std::uint64_t> current_;
  std::vector<std::uint64_t> current_all_;
  /// Of the running pass: every row, and every page as the hash of its rows in no order.
  std::unordered_set<std::uint64_t> pass_rows_;
  std::unordered_set<std::uint64_t> pass_pages_;
  bool repeats_ = false;
  int stale_pages_ = 0;
  /// Rows of the one page that all page numbers gave, and what was asked for. 0: none.
  std::size_t only_page_rows_ = 0;
  std::size_t only_page_asked_ = 0;
};

}  // namespace tributary::extractor
