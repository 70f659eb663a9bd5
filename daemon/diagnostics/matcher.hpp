// Matchers: each understands the lines that one kind of tool prints.
//
// Pure: lines in, findings out. Time: linear in the bytes of a line, whatever is in it; memory: a
// few lines.
#pragma once

#include <memory>
#include <string_view>

#include "daemon/diagnostics/findings.hpp"

namespace zsync::daemon {

// Reads one stream of one attempt.
class Matcher {
 public:
  virtual ~Matcher() = default;
  // A plain line, see plain_line().
  virtual void line(std::string_view line, Findings& findings) = 0;
  // There are no more.
  virtual void finish(Findings&) {}
};

std::unique_ptr<Matcher> make_matcher(MatcherKind kind);

// By file.
std::unique_ptr<Matcher> make_gcc_matcher();
std::unique_ptr<Matcher> make_tsc_matcher();
std::unique_ptr<Matcher> make_pytest_matcher();
std::unique_ptr<Matcher> make_cargo_matcher();
std::unique_ptr<Matcher> make_go_matcher();

}  // namespace zsync::daemon
