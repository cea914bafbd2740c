#pragma once

#include <memory>

#include "libs/eventlog/admin.h"
#include "libs/eventlog/kafka/kafka_log.h"

namespace tributary::eventlog::kafka {

std::unique_ptr<LogAdmin> MakeAdmin(const KafkaOptions& options);

}  // namespace tributary::eventlog::kafka
