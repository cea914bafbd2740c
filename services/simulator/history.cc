#include "services/simulator/history.h"

#include <array>
#include <utility>

#include "services/simulator/civil_time.h"
#include "services/simulator/json_text.h"

namespace tributary::simulator {

void History::Append(WallTime time, Op op, std::string_view kind, std::string_view id,
                     std::string document) {
  kept_.push_back({time, op, std::string(kind), std::string(id), std::move(document)});
}

std::string History::Line(const Entry& entry) {
  static constexpr std::array kOps = {"put", "gone", "event"};
  std::string line;
  ObjectText object(line);
  object.Integer("seq", entry.sequence);
  object.Text("time", IsoUtc(entry.time));
  object.Text("op", kOps[static_cast<std::size_t>(entry.op)]);
  object.Text("kind", entry.kind);
  object.Text("id", entry.id);
  object.Raw("document", entry.document.empty() ? "null" : entry.document);
  object.End();
  return line;
}

void History::ForEach(std::int64_t after,
                      const std::function<void(const Entry& entry)>& visit) const {
  for (std::int64_t sequence = after + 1; sequence <= size(); ++sequence) {
    const Kept& kept = kept_[static_cast<std::size_t>(sequence - 1)];
    visit({sequence, kept.time, kept.op, kept.kind, kept.id, kept.document});
  }
}

}  // namespace tributary::simulator
