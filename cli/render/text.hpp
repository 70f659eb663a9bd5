// Times, sizes and foreign text as a person reads them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace zsync::cli {

// Control characters and escape sequences of foreign text are shown, never obeyed by the terminal.
std::string printable(const std::string& text);

// Columns that a terminal needs for UTF-8 text: one a code point.
std::size_t display_width(const std::string& text);

// Cut to `columns`, with an ellipsis where something was cut.
std::string fit(const std::string& text, std::size_t columns);

// "12ms", "3.4s", "2m05s", "3h10m", "4d02h".
std::string human_duration(std::chrono::nanoseconds duration);

// "512 B", "1.5 KiB", "2.0 MiB".
std::string human_bytes(std::uint64_t bytes);

// "2026-11-22T17:26:24.123Z".
std::string utc_time(std::int64_t unix_nano);

std::int64_t now_unix_nano();

}  // namespace zsync::cli
