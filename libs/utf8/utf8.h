#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// What others send is bytes; a `string` of a message must be UTF-8, or whoever gets it can read
// nothing of the message.

namespace tributary::utf8 {

/// Of the character at the front: well-formed, as short as it can be, and no surrogate. 0: there is
/// none.
std::size_t CharacterBytes(std::string_view text);

/// `text` as a message may carry it: what is no UTF-8 becomes U+FFFD, byte by byte, and what would
/// be more than `bytes_max` bytes is cut where a character begins.
std::string Cleaned(std::string_view text, std::size_t bytes_max = std::string::npos);

}  // namespace tributary::utf8
