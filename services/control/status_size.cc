#include "services/control/status_size.h"

#include <cstdint>
#include <string>

namespace tributary::control {
namespace {

constexpr std::size_t kTextBytesMax = 200;
// At most: tag and length of an entry; `ready`, and the count of those that are left out.
constexpr std::size_t kEntryOverhead = 6;
constexpr std::size_t kCountBytes = 16;

void Shorten(std::string& text) {
  if (text.size() <= kTextBytesMax) {
    return;
  }
  constexpr std::string_view kMore = "...";
  std::size_t end = kTextBytesMax - kMore.size();
  // Not inside a character.
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) {
    --end;
  }
  text.resize(end);
  text += kMore;
}

template <typename Entry>
bool HasProblem(const Entry& entry) {
  return !entry.problem().empty();
}

// Keeps those from the front that fit into what is left of `room`.
template <typename Entries>
std::int64_t KeepWhatFits(bool has_problem, std::size_t& room, Entries& entries) {
  std::int64_t left_out = 0;
  int kept = 0;
  for (int i = 0; i < entries.size(); ++i) {
    if (HasProblem(entries[i]) == has_problem) {
      const std::size_t size = entries[i].ByteSizeLong() + kEntryOverhead;
      if (size > room) {
        ++left_out;
        continue;
      }
      room -= size;
    }
    if (kept != i) {
      entries.SwapElements(kept, i);
    }
    ++kept;
  }
  entries.DeleteSubrange(kept, entries.size() - kept);
  return left_out;
}

}  // namespace

void FitInto(std::size_t bytes_max, v1::ServiceStatus& status) {
  if (status.ByteSizeLong() <= bytes_max) {
    return;
  }
  for (v1::SyncStatus& sync : *status.mutable_syncs()) {
    Shorten(*sync.mutable_problem());
    Shorten(*sync.mutable_fix());
  }
  for (v1::ConnectionReport& report : *status.mutable_connections()) {
    Shorten(*report.mutable_problem());
    Shorten(*report.mutable_fix());
    Shorten(*report.mutable_waits_for());
  }
  for (v1::StreamStatus& stream : *status.mutable_streams()) {
    Shorten(*stream.mutable_problem());
    Shorten(*stream.mutable_unavailable());
  }
  if (status.ByteSizeLong() <= bytes_max) {
    return;
  }
  std::size_t room = bytes_max < kCountBytes ? 0 : bytes_max - kCountBytes;
  std::int64_t left_out = 0;
  for (const bool has_problem : {true, false}) {
    left_out += KeepWhatFits(has_problem, room, *status.mutable_syncs());
    left_out += KeepWhatFits(has_problem, room, *status.mutable_connections());
    left_out += KeepWhatFits(has_problem, room, *status.mutable_streams());
  }
  status.set_left_out(left_out);
}

}  // namespace tributary::control
