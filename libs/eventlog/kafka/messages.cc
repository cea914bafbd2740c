#include "libs/eventlog/kafka/messages.h"

#include <chrono>
#include <cstddef>
#include <utility>

namespace tributary::eventlog::kafka {

Record ToRecord(const rd_kafka_message_t& message, Topic topic) {
  Record record{.topic = topic, .partition = message.partition, .offset = message.offset};
  if (message.key != nullptr) {
    record.key.assign(static_cast<const char*>(message.key), message.key_len);
  }
  if (message.payload != nullptr) {
    record.value.emplace(static_cast<const char*>(message.payload), message.len);
  }
  rd_kafka_timestamp_type_t type{};
  const std::int64_t milliseconds = rd_kafka_message_timestamp(&message, &type);
  if (milliseconds > 0) record.appended_at = WallTime(std::chrono::milliseconds(milliseconds));
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    constexpr std::size_t kUsualBytes = 320;
    record.headers.reserve(rd_kafka_header_cnt(headers), kUsualBytes);
    const char* name = nullptr;
    const void* value = nullptr;
    std::size_t size = 0;
    for (std::size_t i = 0;
         rd_kafka_header_get_all(headers, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR;
         ++i) {
      record.headers.emplace_back(
          name, value == nullptr ? std::string_view()
                                 : std::string_view(static_cast<const char*>(value), size));
    }
  }
  return record;
}

// By producev: produceva of 2.0.2 frees headers twice.
rd_kafka_resp_err_t Send(rd_kafka_t* producer, rd_kafka_topic_t* topic, Partition partition,
                         const std::string& key, const std::optional<std::string>& value,
                         const Headers& headers, void* opaque) {
  rd_kafka_headers_t* list = rd_kafka_headers_new(headers.size());
  for (const auto& [name, text] : headers) {
    rd_kafka_header_add(list, name.data(), static_cast<ssize_t>(name.size()), text.data(),
                        static_cast<ssize_t>(text.size()));
  }
  // A null pointer is a tombstone, an empty value is not.
  void* const payload = value ? const_cast<char*>(value->data()) : nullptr;
  const std::size_t size = value ? value->size() : 0;
  const rd_kafka_resp_err_t error =
      rd_kafka_producev(producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(partition),
                        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                        RD_KAFKA_V_KEY(key.data(), key.size()), RD_KAFKA_V_VALUE(payload, size),
                        RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) rd_kafka_headers_destroy(list);
  return error;
}

}  // namespace tributary::eventlog::kafka
