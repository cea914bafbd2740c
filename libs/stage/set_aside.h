#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>

#include "libs/eventlog/log.h"
#include "libs/stage/stage.h"

namespace tributary {

/// A record that could not be decoded. It is no state, and it is not forgotten.
struct SetAside {
  eventlog::Topic topic{};
  eventlog::Partition partition = 0;
  eventlog::Offset offset = 0;
  std::string key;
  std::string sha256_hex;
  /// Of the first bytes.
  std::string prefix_hex;
};

/// The newest of them, for one stage and its thread.
class SetAsideRecords {
 public:
  static constexpr std::size_t kRecordsMax = 100;

  /// Logs it too, as an error with its place and first bytes.
  void Add(eventlog::Topic topic, eventlog::Partition partition, eventlog::Offset offset,
           std::string_view key, std::string_view bytes, Logger& logger);
  const std::deque<SetAside>& newest() const { return records_; }

 private:
  std::deque<SetAside> records_;
};

}  // namespace tributary
