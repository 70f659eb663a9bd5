// The bytes of one fuzz run, taken apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace zsync::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.empty(); }
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const char first = rest_.front();
    rest_.remove_prefix(1);
    return static_cast<uint8_t>(first);
  }
  std::string_view take(size_t most) {
    const std::string_view part = rest_.substr(0, most);
    rest_.remove_prefix(part.size());
    return part;
  }
  // Up to the next newline, which goes too.
  std::string_view line() {
    const std::string_view part = take(rest_.find('\n'));
    if (!rest_.empty()) rest_.remove_prefix(1);
    return part;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace zsync::fuzz
