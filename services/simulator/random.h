#pragma once

#include <cstdint>
#include <string_view>

namespace tributary::simulator {

/// PCG-XSH-RR 64/32. Streams of one seed are independent, so that chance of one part does not move
/// with how often another part asked.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) : increment_((stream << 1u) | 1u) {
    Next();
    state_ += seed;
    Next();
  }

  std::uint32_t Next() {
    const std::uint64_t old = state_;
    state_ = old * 6364136223846793005ULL + increment_;
    const auto shifted = static_cast<std::uint32_t>(((old >> 18u) ^ old) >> 27u);
    const auto turn = static_cast<std::uint32_t>(old >> 59u);
    return (shifted >> turn) | (shifted << ((32u - turn) & 31u));
  }
  /// 0 ≤ result < bound; bound > 0.
  std::int64_t Below(std::int64_t bound) {
    const std::uint64_t wide = (static_cast<std::uint64_t>(Next()) << 32u) | Next();
    return static_cast<std::int64_t>(wide % static_cast<std::uint64_t>(bound));
  }
  std::int64_t Between(std::int64_t low, std::int64_t high) { return low + Below(high - low + 1); }
  double Fraction() { return static_cast<double>(Next()) / 4294967296.0; }
  bool Chance(double probability) { return Fraction() < probability; }

 private:
  std::uint64_t state_ = 0;
  std::uint64_t increment_;
};

/// Mixes two numbers into one that looks random.
inline std::uint64_t Mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9E3779B97F4A7C15ULL ^ (b + 0xD1B54A32D192ED03ULL);
  x ^= x >> 30u;
  x *= 0xBF58476D1CE4E5B9ULL;
  x ^= x >> 27u;
  x *= 0x94D049BB133111EBULL;
  return x ^ (x >> 31u);
}

/// FNV-1a, mixed.
inline std::uint64_t HashText(std::string_view text, std::uint64_t seed = 0) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return Mix(hash, seed);
}

}  // namespace tributary::simulator
