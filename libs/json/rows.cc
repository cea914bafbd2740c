#include "libs/json/rows.h"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "libs/json/reader.h"

namespace tributary::json {
namespace {

constexpr std::size_t kNone = static_cast<std::size_t>(-1);

/// What the paths begin with, so that a name is compared once for all paths that share it.
struct FirstStep {
  std::string_view name;
  /// Pick of the path that is this name alone.
  std::size_t own = kNone;
  std::vector<std::pair<std::string_view, std::size_t>> below;
};

std::vector<FirstStep> FirstStepsOf(const std::vector<std::string_view>& paths) {
  std::vector<FirstStep> steps;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const std::size_t dot = paths[i].find('.');
    const std::string_view name = paths[i].substr(0, dot);
    FirstStep* step = nullptr;
    for (FirstStep& known : steps) {
      if (known.name == name) step = &known;
    }
    if (step == nullptr)
      step = &steps.emplace_back(FirstStep{.name = name, .own = kNone, .below = {}});
    if (dot == std::string_view::npos) {
      step->own = i;
    } else {
      step->below.emplace_back(paths[i].substr(dot + 1), i);
    }
  }
  return steps;
}

/// Told of everything in a page by a Reader. Depth counts the containers that are open.
class RowPicker {
 public:
  RowPicker(const Reader& reader, std::string_view text, const RowShape& shape,
            const RowVisit& visit, bool is_one_row)
      : reader_(reader),
        text_(text),
        shape_(shape),
        visit_(visit),
        steps_(FirstStepsOf(shape.paths)),
        picks_(shape.paths.size()),
        row_depth_(is_one_row ? 1 : kNone) {
    wanted_ = BitOf(shape.wrapper);
    for (const FirstStep& step : steps_) wanted_ |= BitOf(step.name);
  }

  // Each is told behind its last byte.
  void Null() { Scalar(Pick::Kind::kNull, {}, true); }
  void Bool(bool) { Scalar(Pick::Kind::kBool, {}, true); }
  void Number(std::string_view number) { Scalar(Pick::Kind::kNumber, number, true); }
  void String(std::string_view string, bool in_place) {
    Scalar(Pick::Kind::kString, string, in_place);
  }

  void Key(std::string_view name, bool) {
    if (depth_ == names_at_) {
      OnName(name);
    } else if (depth_ == names_at_ + 1 && open_step_ != nullptr) {
      pending_ = kNone;
      for (const auto& [below, pick] : open_step_->below) {
        if (below == name) pending_ = pick;
      }
    } else if (depth_ == 1 && row_depth_ == kNone) {
      is_rows_next_ = !has_rows_ && !shape_.member.empty() && name == shape_.member;
    }
  }

  void StartObject() {
    const std::size_t begin = reader_.at() - 1;
    ++depth_;
    if (!is_in_row_ && depth_ == row_depth_) {
      BeginRow(begin);
      return;
    }
    if (is_wrapper_next_) {
      is_wrapper_next_ = false;
      is_unwrapped_ = true;
      begin_ = begin;
      names_at_ = depth_;
      ForgetPicks();
      return;
    }
    StartContainer();
    is_rows_next_ = false;
  }
  void EndObject() {
    --depth_;
    if (!is_in_row_) return;
    if (is_unwrapped_ && depth_ == row_depth_ && names_at_ == depth_ + 1) {
      end_ = reader_.at();
      names_at_ = kNone;
      return;
    }
    if (depth_ + 1 == row_depth_) {
      if (!is_unwrapped_) end_ = reader_.at();
      EndRow();
      return;
    }
    CloseStep();
  }

  void StartArray() {
    ++depth_;
    if (!is_in_row_ && row_depth_ == kNone) {
      // The document itself, or the member that was looked for.
      if (depth_ == 1 || is_rows_next_) {
        row_depth_ = depth_ + 1;
        has_rows_ = true;
        rows_at_ = reader_.at();
      }
      is_rows_next_ = false;
      return;
    }
    if (!is_in_row_ && depth_ == row_depth_) {
      begin_ = reader_.at() - 1;
      array_row_ = true;
      is_in_row_ = true;
      names_at_ = kNone;
      return;
    }
    is_wrapper_next_ = false;
    StartContainer();
  }
  void EndArray() {
    --depth_;
    if (!is_in_row_) {
      if (depth_ + 2 == row_depth_) row_depth_ = kNone;  // the rows are over
      return;
    }
    if (array_row_ && depth_ + 1 == row_depth_) {
      array_row_ = false;
      is_in_row_ = false;
      rows_at_ = reader_.at();
      visit_(text_.substr(begin_, rows_at_ - begin_), false, {});
      return;
    }
    CloseStep();
  }

  bool has_rows() const { return has_rows_; }

 private:
  // One of 64 bits, so that nearly all names that nobody asks for are passed over at once.
  static std::uint64_t BitOf(std::string_view name) {
    if (name.empty()) return 1;
    const auto front = static_cast<unsigned char>(name.front());
    const auto back = static_cast<unsigned char>(name.back());
    return std::uint64_t{1} << ((name.size() + 13 * front + 7 * back) & 63);
  }

  void OnName(std::string_view name) {
    pending_ = kNone;
    pending_step_ = nullptr;
    is_wrapper_next_ = false;
    if ((BitOf(name) & wanted_) == 0) return;
    is_wrapper_next_ = !is_unwrapped_ && name == shape_.wrapper && !has_seen_wrapper_;
    if (is_wrapper_next_) has_seen_wrapper_ = true;
    for (const FirstStep& step : steps_) {
      if (step.name != name) continue;
      pending_ = step.own;
      pending_step_ = &step;
      return;
    }
  }

  void Scalar(Pick::Kind kind, std::string_view text, bool in_place) {
    if (!is_in_row_) {
      is_rows_next_ = false;
      // An element that is no container, or a document that is none.
      if (depth_ + 1 != row_depth_) return;
      const std::size_t begin = text_.find_first_not_of(" \t\r\n,", rows_at_);
      rows_at_ = reader_.at();
      visit_(text_.substr(begin, rows_at_ - begin), false, {});
      return;
    }
    is_wrapper_next_ = false;
    if (pending_ != kNone && picks_[pending_].kind == Pick::Kind::kAbsent) {
      if (!in_place) text = kept_.emplace_back(text);
      picks_[pending_] = {.kind = kind, .text = text};
    }
    // A name that comes twice: below it the second does not count either.
    if (pending_step_ != nullptr) CloseBelow(*pending_step_);
    pending_ = kNone;
    pending_step_ = nullptr;
  }

  void StartContainer() {
    if (!is_in_row_) return;
    if (pending_ != kNone && picks_[pending_].kind == Pick::Kind::kAbsent) {
      picks_[pending_].kind = Pick::Kind::kContainer;
    }
    pending_ = kNone;
    if (pending_step_ != nullptr && depth_ == names_at_ + 1) {
      bool is_first = true;
      for (const FirstStep* seen : seen_steps_) is_first = is_first && seen != pending_step_;
      if (is_first) open_step_ = pending_step_;
      seen_steps_.push_back(pending_step_);
    }
    pending_step_ = nullptr;
  }
  void CloseStep() {
    if (depth_ == names_at_) open_step_ = nullptr;
  }
  void CloseBelow(const FirstStep& step) {
    if (!step.below.empty()) seen_steps_.push_back(&step);
  }

  void ForgetPicks() {
    for (Pick& pick : picks_) pick = {};
    kept_.clear();
    seen_steps_.clear();
    open_step_ = nullptr;
    pending_ = kNone;
    pending_step_ = nullptr;
  }
  void BeginRow(std::size_t begin) {
    is_in_row_ = true;
    is_unwrapped_ = false;
    has_seen_wrapper_ = shape_.wrapper.empty();
    is_wrapper_next_ = false;
    begin_ = begin;
    names_at_ = depth_;
    ForgetPicks();
  }
  void EndRow() {
    is_in_row_ = false;
    names_at_ = kNone;
    rows_at_ = reader_.at();
    visit_(text_.substr(begin_, end_ - begin_), true, picks_);
  }

  const Reader& reader_;
  const std::string_view text_;
  const RowShape& shape_;
  const RowVisit& visit_;
  const std::vector<FirstStep> steps_;
  /// BitOf() all names that count.
  std::uint64_t wanted_ = 0;

  std::vector<Pick> picks_;
  /// Texts of the row that had escapes.
  std::deque<std::string> kept_;
  std::size_t depth_ = 0;
  /// Inside a row that is an object. kNone: where the rows stand is not known yet, or behind them.
  std::size_t row_depth_;
  bool has_rows_ = false;
  bool is_rows_next_ = false;
  bool is_in_row_ = false;
  bool array_row_ = false;
  bool is_unwrapped_ = false;
  bool has_seen_wrapper_ = false;
  bool is_wrapper_next_ = false;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  /// Behind the last row, or where the first one may begin.
  std::size_t rows_at_ = 0;
  /// Depth of the names that the paths begin with. kNone: none here.
  std::size_t names_at_ = kNone;
  std::size_t pending_ = kNone;
  const FirstStep* pending_step_ = nullptr;
  /// The object whose names are second steps.
  const FirstStep* open_step_ = nullptr;
  std::vector<const FirstStep*> seen_steps_;
};

absl::Status Read(std::string_view text, const RowShape& shape, const RowVisit& visit,
                  const ParseLimits& limits, bool is_one_row) {
  const auto error = [](std::size_t at, std::string_view problem) {
    return absl::InvalidArgumentError("JSON, byte " + std::to_string(at) + ": " +
                                      std::string(problem));
  };
  if (text.size() > limits.bytes_max) {
    return error(limits.bytes_max, "longer than " + std::to_string(limits.bytes_max) + " bytes");
  }
  Reader reader(text, limits.depth_max);
  RowPicker picker(reader, text, shape, visit, is_one_row);
  if (!reader.ReadValue(picker) || !reader.TakeEnd()) return error(reader.at(), reader.problem());
  if (!is_one_row && !picker.has_rows()) {
    return absl::InvalidArgumentError(shape.member.empty() ? "JSON: not an array"
                                                           : "JSON: no array under \"" +
                                                                 std::string(shape.member) + "\"");
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<std::string_view> Pick::ToIdText() const {
  if (kind != Kind::kNumber && kind != Kind::kString) return std::nullopt;
  return text;
}

std::optional<std::int64_t> Pick::ToInt64() const {
  if (kind != Kind::kNumber && kind != Kind::kString) return std::nullopt;
  std::int64_t integer = 0;
  const char* const end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data(), end, integer);
  if (failure != std::errc() || at != end) return std::nullopt;
  return integer;
}

absl::Status ReadRows(std::string_view text, const RowShape& shape, const RowVisit& visit,
                      const ParseLimits& limits) {
  return Read(text, shape, visit, limits, false);
}

absl::Status ReadRow(std::string_view text, const RowShape& shape, const RowVisit& visit,
                     const ParseLimits& limits) {
  return Read(text, shape, visit, limits, true);
}

}  // namespace tributary::json
