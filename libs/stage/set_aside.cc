#include "libs/stage/set_aside.h"

#include <utility>

#include "libs/ids/keys.h"

namespace tributary {
namespace {

constexpr std::size_t kPrefixBytes = 64;

}  // namespace

void SetAsideRecords::Add(eventlog::Topic topic, eventlog::Partition partition,
                          eventlog::Offset offset, std::string_view key, std::string_view bytes,
                          Logger& logger) {
  SetAside aside;
  aside.topic = topic;
  aside.partition = partition;
  aside.offset = offset;
  aside.key = std::string(key);
  aside.sha256_hex = ids::Sha256Hex(bytes);
  aside.prefix_hex = ids::ToHex(bytes.substr(0, kPrefixBytes));
  logger.Log(Logger::Level::kError, "A record cannot be decoded and is set aside.",
             {{"topic", std::string(eventlog::Name(topic))},
              {"partition", std::to_string(partition)},
              {"offset", std::to_string(offset)},
              {"key", aside.key},
              {"sha256", aside.sha256_hex},
              {"bytes", aside.prefix_hex}});
  records_.push_back(std::move(aside));
  if (records_.size() > kRecordsMax) records_.pop_front();
}

}  // namespace tributary
