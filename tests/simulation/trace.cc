#include "tests/simulation/trace.h"

namespace tributary::simulation {

std::uint64_t Fingerprint(std::string_view bytes, std::uint64_t hash) {
  for (const char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3;
  }
  return hash;
}

std::string Hex(std::uint64_t number) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out(16, '0');
  for (std::size_t i = 0; i < 16; ++i) out[15 - i] = kDigits[(number >> (4 * i)) & 15];
  return out;
}

void Trace::Line(std::string_view who, std::string_view what) {
  if (!keeps_lines_) return;
  text_ += std::to_string(time_.now().steady.time_since_epoch().count());
  text_ += ' ';
  text_ += who;
  text_ += ": ";
  text_ += what;
  text_ += '\n';
  ++lines_;
}

}  // namespace tributary::simulation
