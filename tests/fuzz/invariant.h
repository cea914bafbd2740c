#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

// What a fuzz target asks of the code, beyond that it does not crash.

namespace tributary::fuzz {

/// Ends the process, saying `what`, unless it holds.
void Require(bool holds, std::string_view what);

inline std::string_view TextOf(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Takes an input apart, from its front, into the choices that a target needs besides the bytes
/// under test. An input that is used up gives zeros.
class Choices {
 public:
  explicit Choices(std::string_view input) : rest_(input) {}

  std::uint8_t Byte() {
    if (rest_.empty()) return 0;
    const char byte = rest_.front();
    rest_.remove_prefix(1);
    return static_cast<std::uint8_t>(byte);
  }
  /// Below `count`, which is at most 256.
  std::size_t Below(std::size_t count) { return Byte() % count; }
  std::string_view Take(std::size_t bytes_max) {
    const std::string_view taken = rest_.substr(0, bytes_max);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  /// What stands before the next NUL, which is taken too.
  std::string_view TakeToNul() {
    const std::string_view taken = rest_.substr(0, rest_.find('\0'));
    rest_.remove_prefix(taken.size());
    if (!rest_.empty()) rest_.remove_prefix(1);
    return taken;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace tributary::fuzz

/// What libFuzzer calls, and replay_main.cc. Each target defines it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
