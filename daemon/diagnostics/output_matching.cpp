#include "daemon/diagnostics/output_matching.hpp"

#include <utility>

namespace zsync::daemon {

OutputMatching::OutputMatching(std::vector<MatcherKind> kinds, MatchContext context)
    : kinds_(std::move(kinds)), findings_(std::move(context)) {}

OutputMatching::Stream& OutputMatching::stream_of(uint8_t number) {
  const auto [at, made] = streams_.try_emplace(number);
  if (made) {
    for (const MatcherKind kind : kinds_) {
      const bool plain = kind != MatcherKind::kCargoJson;
      at->second.matchers.push_back(
          {make_matcher(kind), plain ? kDiagnosticPlainLineBytesMax : kDiagnosticLineBytesMax});
    }
  }
  return at->second;
}

void OutputMatching::match(Stream& stream, std::string_view line) {
  for (const Reader& reader : stream.matchers) {
    reader.matcher->line(line.substr(0, reader.line_bytes_max), findings_);
  }
}

void OutputMatching::feed(uint8_t number, std::string_view bytes) {
  Stream& stream = stream_of(number);
  stream.lines.feed(bytes, [&](std::string_view line) { match(stream, line); });
}

void OutputMatching::gap() {
  for (auto& [number, stream] : streams_) stream.lines.gap();
}

void OutputMatching::finish() {
  for (auto& [number, stream] : streams_) {
    stream.lines.finish([&](std::string_view line) { match(stream, line); });
    for (const Reader& reader : stream.matchers) reader.matcher->finish(findings_);
  }
}

}  // namespace zsync::daemon
