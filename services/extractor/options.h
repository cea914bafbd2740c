#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "libs/time/time.h"

namespace tributary::v1 {
class ConfigFile;
}  // namespace tributary::v1

namespace tributary::extractor {

struct Options {
  /// Name of this member of the group.
  std::string instance = "extractor";
  std::int32_t partitions = 64;
  /// V, P, C and R of the protocol.
  Duration lease = std::chrono::seconds(10);
  Duration pause_bound = std::chrono::seconds(5);
  Duration min_compaction_lag = std::chrono::hours(1);
  Duration delete_retention = std::chrono::hours(24);
  /// Rule 14.
  bool predecessor_is_dead = false;

  /// A connection's setting `poll_interval` (e.g. `1s`) goes before this.
  Duration poll_interval = std::chrono::seconds(30);
  /// D of the protocol. A connection's setting `visibility_lag` goes before this.
  Duration visibility_lag = std::chrono::seconds(120);
  /// Q of the protocol for reads.
  Duration request_timeout = std::chrono::seconds(120);
  std::int32_t requests_in_flight_max = 4;
  /// Of all sites together.
  std::int32_t requests_in_flight_total_max = 256;
  std::int32_t page_size = 200;
  std::size_t body_bytes_max = 32u << 20;
  /// Pages of one stream whose entries wait for their acknowledgement.
  std::int32_t unacknowledged_pages_max = 4;
  /// Own entries of one partition that have not been read back.
  std::size_t unread_entries_max = 1'000;

  Duration retry_delay_min = std::chrono::seconds(1);
  Duration retry_delay_max = std::chrono::minutes(10);
  /// After a 429, which names no time; less or more by a quarter.
  Duration throttle_pause = std::chrono::minutes(3);
  /// Refusals of the key must go on for so long before a person is asked.
  Duration refusal_patience = std::chrono::minutes(1);
  /// What a site does not offer is asked for again after this.
  Duration unavailable_retry = std::chrono::hours(1);
  /// A position that moved by time alone is stored this often; an older one is harmless.
  Duration cursor_interval = std::chrono::minutes(5);
  /// A of the protocol: no rule acts on an event that is older.
  Duration action_age = std::chrono::hours(24 * 30);
  /// `/site.json` is asked for once in so many polls.
  std::int32_t site_polls = 20;
  /// `/endpoints.json`, from one answer to the next question, 0: never asked; and after none or a
  /// broken one.
  Duration endpoints_interval = std::chrono::hours(1);
  Duration endpoints_retry = std::chrono::minutes(10);
};

Options OptionsFrom(const v1::ConfigFile& config);

}  // namespace tributary::extractor
