// OutputMatching: the output of one attempt goes in, what it tells comes out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "daemon/diagnostics/findings.hpp"
#include "daemon/diagnostics/matcher.hpp"
#include "daemon/diagnostics/output_lines.hpp"

namespace zsync::daemon {

// Pure. The same output tells the same, in whatever pieces each of its streams comes.
class OutputMatching {
 public:
  OutputMatching(std::vector<MatcherKind> kinds, MatchContext context);

  void feed(uint8_t stream, std::string_view bytes);
  // Output is missing: of either stream.
  void gap();
  // There is no more.
  void finish();

  Findings& findings() { return findings_; }

 private:
  struct Reader {
    std::unique_ptr<Matcher> matcher;
    size_t line_bytes_max;
  };
  struct Stream {
    OutputLines lines;
    std::vector<Reader> matchers;
  };
  Stream& stream_of(uint8_t number);
  void match(Stream& stream, std::string_view line);

  const std::vector<MatcherKind> kinds_;
  Findings findings_;
  std::map<uint8_t, Stream> streams_;
};

}  // namespace zsync::daemon
