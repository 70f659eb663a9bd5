#include "daemon/ops/log.hpp"

#include <time.h>
#include <unistd.h>

#include <atomic>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace zsync::daemon {
namespace {

std::atomic<LogFormat> format_now{LogFormat::text};
std::atomic<LogLevel> level_now{LogLevel::info};

const char* level_name(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "info";
}

std::string utc_now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900,
                         parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                         now.tv_nsec / 1'000'000);
}

std::string json_string(absl::string_view text) {
  std::string out = "\"";
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + "\"";
}

std::string as_text(LogLevel level, absl::string_view message,
                    std::initializer_list<LogField> fields) {
  std::string line = absl::StrCat(utc_now(), " ", level_name(level), " ");
  absl::StrAppend(&line, message);
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&line, " ", name, "=");
    line.append(value.find_first_of(" \"\n\t") == std::string::npos ? value : json_string(value));
  }
  return line + "\n";
}

std::string as_json(LogLevel level, absl::string_view message,
                    std::initializer_list<LogField> fields) {
  std::string line = absl::StrCat("{\"time\":\"", utc_now(), "\",\"level\":\"", level_name(level),
                                  "\",\"message\":", json_string(message));
  for (const auto& [name, value] : fields) {
    line.append(",").append(json_string(name)).append(":").append(json_string(value));
  }
  return line + "}\n";
}

}  // namespace

void configure_log(LogFormat format, LogLevel level) {
  format_now.store(format, std::memory_order_relaxed);
  level_now.store(level, std::memory_order_relaxed);
}

void log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  if (level < level_now.load(std::memory_order_relaxed)) return;
  const std::string line = format_now.load(std::memory_order_relaxed) == LogFormat::json
                               ? as_json(level, message, fields)
                               : as_text(level, message, fields);
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) {
    // A log that nobody reads any more must not stop the daemon.
  }
}

}  // namespace zsync::daemon
