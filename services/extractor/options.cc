#include "services/extractor/options.h"

#include "tributary/v1/config.pb.h"

namespace tributary::extractor {
namespace {

/// What is not set keeps the default.
void Take(bool is_set, const google::protobuf::Duration& from, Duration& to) {
  if (is_set) to = std::chrono::seconds(from.seconds()) + Duration(from.nanos() / 1000);
}

}  // namespace

Options OptionsFrom(const v1::ConfigFile& config) {
  Options options;
  const v1::LogConfig& log = config.log();
  const v1::ExtractorConfig& extractor = config.extractor();
  if (!log.instance().empty()) options.instance = log.instance();
  if (log.partitions() > 0) options.partitions = log.partitions();
  Take(log.has_min_compaction_lag(), log.min_compaction_lag(), options.min_compaction_lag);
  Take(log.has_delete_retention(), log.delete_retention(), options.delete_retention);
  Take(extractor.has_lease(), extractor.lease(), options.lease);
  Take(extractor.has_pause_bound(), extractor.pause_bound(), options.pause_bound);
  Take(extractor.has_poll_interval(), extractor.poll_interval(), options.poll_interval);
  Take(extractor.has_visibility_lag(), extractor.visibility_lag(), options.visibility_lag);
  Take(extractor.has_request_timeout(), extractor.request_timeout(), options.request_timeout);
  Take(config.loader().has_action_age(), config.loader().action_age(), options.action_age);
  if (extractor.requests_in_flight_max() > 0) {
    options.requests_in_flight_max = extractor.requests_in_flight_max();
  }
  if (extractor.page_size() > 0) options.page_size = extractor.page_size();
  if (extractor.body_bytes_max() > 0) {
    options.body_bytes_max = static_cast<std::size_t>(extractor.body_bytes_max());
  }
  if (extractor.unacknowledged_pages_max() > 0) {
    options.unacknowledged_pages_max = extractor.unacknowledged_pages_max();
  }
  return options;
}

}  // namespace tributary::extractor
