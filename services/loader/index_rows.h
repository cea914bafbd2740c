#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "google/protobuf/message_lite.h"

#include "libs/eventlog/table.h"
#include "libs/ids/keys.h"
#include "tributary/v1/commands.pb.h"

// What the stage asks of single entries of its tables: whether they can be read, and where they are
// found again.

namespace tributary::loader {

/// Rows: `i/<tenant>/<object>/<id>/` who holds a record of the target; `p/<tenant>/` what is
/// parked.
std::vector<std::string> IndexRecord(std::string_view key, const eventlog::TableEntry& entry);
/// Rows: `c/<tenant>/<customer>/`, for `trace`.
std::vector<std::string> IndexCommand(std::string_view key, const eventlog::TableEntry& entry);

/// False: it cannot be read, or is no command of such a key.
bool ParseCommand(ids::CommandKey::Kind kind, std::string_view bytes, v1::Command& out);
/// False: malformed.
bool ParseInto(std::string_view bytes, google::protobuf::MessageLite& out);
/// A snapshot or a blob, as its key says.
bool IsTenantsEntry(std::string_view key, const std::string& bytes);

}  // namespace tributary::loader
