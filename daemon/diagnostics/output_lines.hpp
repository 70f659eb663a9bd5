// Output in pieces of any size becomes lines as a person reads them on a terminal.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace zsync::daemon {

// Without escape sequences (colours, links, cursor), without a carriage return at the end, and of
// what overwrote itself by carriage returns only what was left.
std::string plain_line(std::string_view line);

class OutputLines {
 public:
  using Take = std::function<void(std::string_view line)>;

  // Calls `take` with each line that is whole by now. A line over kDiagnosticLineBytesMax is cut.
  // Time: linear in the bytes.
  void feed(std::string_view bytes, const Take& take);
  // The last line had no end.
  void finish(const Take& take);
  // Bytes are missing here: what is begun is no line.
  void gap();

 private:
  void keep(std::string_view bytes);
  void give(const Take& take);

  std::string begun_;
  bool broken_ = false;  // the rest of a line whose beginning is missing
};

}  // namespace zsync::daemon
