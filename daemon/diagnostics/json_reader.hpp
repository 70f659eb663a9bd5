// Reading one JSON text from the left, without building a tree (RFC 8259).
//
// The caller asks for what it wants and skips the rest. Anything unexpected makes the reader fail,
// and everything after that gives nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace zsync::daemon {

class JsonReader {
 public:
  static constexpr int kDepthMax = 64;  // values within values

  explicit JsonReader(std::string_view text) : text_(text) {}

  // Calls `take` with each key; `take` reads or skips exactly its value.
  void object(const std::function<void(const std::string& key)>& take);
  // Calls `take` in front of each element.
  void array(const std::function<void()>& take);
  // The value if it is of that kind, else nothing; the value is passed either way.
  std::string string();
  uint32_t number();
  bool boolean();
  void skip();
  // Whether the next value is null; then it is passed.
  bool null();

  [[nodiscard]] bool failed() const { return failed_; }

 private:
  char peek();
  bool take(char wanted);
  void fail();
  std::string read_string();
  void read_escape(std::string& into);
  uint32_t read_hex();
  void skip_scalar();

  std::string_view text_;
  int depth_ = 0;
  bool failed_ = false;
};

}  // namespace zsync::daemon
