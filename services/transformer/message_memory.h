#pragma once

#include <array>
#include <cstddef>

#include "google/protobuf/arena.h"

// Private to the transformer.

namespace tributary::transformer {

/// Makes protobuf messages in one piece of memory, which is used again. What goes beyond kBytes is
/// given back by Reset().
template <std::size_t kBytes>
class MessageMemory {
 public:
  /// Lives until Reset().
  template <typename Message>
  Message& Make() {
    return *google::protobuf::Arena::CreateMessage<Message>(&arena_);
  }
  void Reset() { arena_.Reset(); }

 private:
  alignas(std::max_align_t) std::array<char, kBytes> bytes_;
  google::protobuf::Arena arena_{bytes_.data(), bytes_.size()};
};

}  // namespace tributary::transformer
