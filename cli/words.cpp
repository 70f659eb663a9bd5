#include "cli/words.hpp"

#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace zsync::cli {
namespace {

constexpr double kSecondsMax = 100.0 * 365 * 24 * 3600;

double seconds_of_unit(const std::string& unit) {
  if (unit == "ns") return 1e-9;
  if (unit == "us") return 1e-6;
  if (unit == "ms") return 1e-3;
  if (unit == "s") return 1;
  if (unit == "m") return 60;
  if (unit == "h") return 3600;
  if (unit == "d") return 86400;
  return 0;
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Reads one word from `at` on; the state of a shell's tokenizer.
class WordReader {
 public:
  explicit WordReader(const std::string& line) : line_(line) {}

  absl::StatusOr<std::vector<std::string>> read() {
    while (at_ < line_.size()) {
      const char c = line_[at_];
      if (is_blank(c)) {
        end_word();
        ++at_;
      } else if (c == '#' && !in_word_) {
        break;
      } else if (c == '\'' || c == '"') {
        if (!quoted(c)) return open_quote(c);
      } else if (c == '\\' && at_ + 1 < line_.size()) {
        add(line_[at_ + 1]);
        at_ += 2;
      } else if (std::string("|&;<>()").find(c) != std::string::npos) {
        return absl::InvalidArgumentError(absl::StrCat("'", std::string(1, c),
                                                       "' needs a shell: quote it, or write "
                                                       "sh -c '...'"));
      } else {
        add(c);
        ++at_;
      }
    }
    end_word();
    return std::move(words_);
  }

 private:
  static absl::Status open_quote(char quote) {
    return absl::InvalidArgumentError(
        absl::StrCat("no closing ", quote == '"' ? "double" : "single", " quote"));
  }
  void add(char c) {
    in_word_ = true;
    word_.push_back(c);
  }
  void end_word() {
    if (in_word_) words_.push_back(std::move(word_));
    word_.clear();
    in_word_ = false;
  }
  bool quoted(char quote) {
    in_word_ = true;
    for (++at_; at_ < line_.size(); ++at_) {
      char c = line_[at_];
      if (c == quote) {
        ++at_;
        return true;
      }
      if (quote == '"' && c == '\\' && at_ + 1 < line_.size() &&
          std::string("\\\"$`").find(line_[at_ + 1]) != std::string::npos) {
        c = line_[++at_];
      }
      word_.push_back(c);
    }
    return false;
  }

  const std::string& line_;
  std::size_t at_ = 0;
  bool in_word_ = false;
  std::string word_;
  std::vector<std::string> words_;
};

}  // namespace

absl::StatusOr<std::chrono::nanoseconds> parse_duration(const std::string& text) {
  const absl::Status wrong = absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a duration: write 500ms, 2s, 1m30s, 1h or 2d"));
  const char* at = text.c_str();
  double seconds = 0;
  if (*at == '\0') return wrong;
  while (*at != '\0') {
    if ((*at < '0' || *at > '9') && *at != '.') return wrong;
    char* end = nullptr;
    const double number = std::strtod(at, &end);
    std::string unit;
    for (at = end; (*at >= 'a' && *at <= 'z'); ++at) unit.push_back(*at);
    if (unit.empty() && (*at != '\0' || seconds != 0)) return wrong;
    const double scale = unit.empty() ? 1 : seconds_of_unit(unit);
    if (scale == 0) return wrong;
    seconds += number * scale;
  }
  if (!(seconds <= kSecondsMax)) return wrong;
  return std::chrono::nanoseconds(static_cast<std::int64_t>(std::llround(seconds * 1e9)));
}

absl::StatusOr<std::vector<std::string>> split_words(const std::string& line) {
  return WordReader(line).read();
}

absl::StatusOr<std::pair<std::string, std::string>> parse_pair(const std::string& text,
                                                               const std::string& what) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat(what, " \"", text, "\" is not KEY=VALUE"));
  }
  return std::make_pair(text.substr(0, equals), text.substr(equals + 1));
}

bool is_utf8(const std::string& text) {
  std::size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const int more = lead < 0x80 ? 0 : lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead >= 0x80 && (lead < 0xC2 || lead > 0xF4)) return false;
    if (i + static_cast<std::size_t>(more) >= text.size()) return false;
    for (int k = 1; k <= more; ++k) {
      const auto next = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
      if ((next & 0xC0) != 0x80) return false;
      if (k == 1 && ((lead == 0xE0 && next < 0xA0) || (lead == 0xED && next > 0x9F) ||
                     (lead == 0xF0 && next < 0x90) || (lead == 0xF4 && next > 0x8F))) {
        return false;
      }
    }
    i += static_cast<std::size_t>(more) + 1;
  }
  return true;
}

}  // namespace zsync::cli
