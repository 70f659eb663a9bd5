// What tasks print, as each matcher reads it: the same in whatever pieces it comes, and bounded.
#include <cstdlib>
#include <string>

#include "daemon/diagnostics/output_matching.hpp"
#include "tests/fuzz/input.hpp"

namespace {

using zsync::daemon::Diagnostic;
using zsync::daemon::MatcherKind;
using zsync::daemon::OutputMatching;

std::string told(MatcherKind kind, std::string_view output, size_t step) {
  OutputMatching matching({kind}, {"/src", "example.com/m", "/src"});
  zsync::fuzz::Input input(reinterpret_cast<const uint8_t*>(output.data()), output.size());
  while (!input.empty()) matching.feed(1, input.take(step));
  matching.finish();
  std::string text;
  for (const auto& [path, diagnostics] : matching.findings().by_path()) {
    if (path.size() > zsync::daemon::kDiagnosticPathBytesMax) std::abort();
    for (const Diagnostic& one : diagnostics) {
      if (one.message.size() > zsync::daemon::kDiagnosticMessageBytesMax) std::abort();
      text += path + ":" + std::to_string(one.line) + ":" + std::to_string(one.column) +
              one.message + one.code + std::to_string(one.related.size()) + "\n";
    }
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zsync::fuzz::Input input(data, size);
  const size_t step = 1 + input.byte();
  for (const MatcherKind kind : {MatcherKind::kGcc, MatcherKind::kTsc, MatcherKind::kPytest,
                                 MatcherKind::kCargoJson, MatcherKind::kGo}) {
    if (told(kind, input.rest(), input.rest().size() + 1) != told(kind, input.rest(), step)) {
      std::abort();
    }
  }
  return 0;
}
