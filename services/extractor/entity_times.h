#pragma once

#include <chrono>
#include <cstdint>
#include <utility>

#include "libs/time/time.h"
#include "tributary/v1/changes.pb.h"

// Times of entities and cursors, between our form and theirs on the topics.

namespace tributary::extractor {

inline void SetTime(google::protobuf::Timestamp* out, WallTime time) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch());
  out->set_seconds(whole.count());
  out->set_nanos(static_cast<std::int32_t>((time.time_since_epoch() - whole).count() * 1000));
}

inline WallTime TimeOf(const google::protobuf::Timestamp& time) {
  return WallTime(std::chrono::seconds(time.seconds()) + Duration(time.nanos() / 1000));
}

/// `a` was changed after `b`.
inline bool Later(const v1::Entity& a, const v1::Entity& b) {
  const auto order = [](const google::protobuf::Timestamp& time) {
    return std::pair(time.seconds(), time.nanos());
  };
  return order(b.updated_at()) < order(a.updated_at());
}

}  // namespace tributary::extractor
