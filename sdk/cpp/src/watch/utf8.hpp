// File names are bytes, text on the wire is UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace zsync::watching {

// Without surrogates and overlong forms, at most U+10FFFF (RFC 3629).
bool is_utf8(std::string_view bytes);

// Each byte that does not belong to a character becomes U+FFFD.
std::string to_utf8(std::string_view bytes);

}  // namespace zsync::watching
