#pragma once

#include <string>

#include "libs/cel/value.h"
#include "tributary/v1/commands.pb.h"
#include "tributary/v1/version.pb.h"

namespace tributary::mapping {

/// Protocol, section 0: scheme byte 1 and the first 16 bytes of SHA-256 over what the state owns at
/// the target: its fields, sorted by path, and its tags with their prefix. A null that leaves the
/// target alone is not part of it, as an absent field is not.
std::string ContentHash(const v1::DesiredState& state);

/// None is made of an absent value: `out` stays unset, false. Canonical: decimals without exponent
/// and zeros at the end, times in UTC, members of maps sorted.
bool ToFieldValue(const cel::Value& value, v1::FieldValue& out);

}  // namespace tributary::mapping
