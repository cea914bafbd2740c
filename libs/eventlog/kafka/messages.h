#pragma once

#include <optional>
#include <string>

#include <librdkafka/rdkafka.h>

#include "libs/eventlog/log.h"

// Between librdkafka's messages and our records.

namespace tributary::eventlog::kafka {

/// Copies; topic is the caller's to know.
Record ToRecord(const rd_kafka_message_t& message, Topic topic);

/// Queues a copy. RD_KAFKA_RESP_ERR_NO_ERROR, or why it was not taken. `opaque` comes back with the
/// delivery report.
rd_kafka_resp_err_t Send(rd_kafka_t* producer, rd_kafka_topic_t* topic, Partition partition,
                         const std::string& key, const std::optional<std::string>& value,
                         const Headers& headers, void* opaque);

}  // namespace tributary::eventlog::kafka
