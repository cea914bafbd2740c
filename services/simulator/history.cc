#include "services/simulator/history.h"

#include <array>
#include <utility>

#include "services/simulator/civil_time.h"
#include "services/simulator/json_text.h"

namespace tributary::simulator {

void History::Append(WallTime time, Op op, std::string_view kind, std::string_view id,
                     std::string document) {
  entries_.push_back({time, op, std::string(kind), std::string(id), std::move(document)});
}

std::string History::Line(std::int64_t sequence, WallTime time, Op op, std::string_view kind,
                          std::string_view id, std::string_view document) {
  static constexpr std::array kOps = {"put", "gone", "event"};
  std::string line;
  ObjectText object(line);
  object.Integer("seq", sequence);
  object.Text("time", IsoUtc(time));
  object.Text("op", kOps[static_cast<std::size_t>(op)]);
  object.Text("kind", kind);
  object.Text("id", id);
  object.Raw("document", document.empty() ? "null" : document);
  object.End();
  return line;
}

void History::ForEachLine(const std::function<void(std::string_view line)>& line) const {
  std::int64_t sequence = 0;
  for (const Entry& entry : entries_) {
    ++sequence;
    line(Line(sequence, entry.time, entry.op, entry.kind, entry.id, entry.document));
  }
}

}  // namespace tributary::simulator
