#include "daemon/diagnostics/matcher.hpp"

#include "zsync/assert.hpp"

namespace zsync::daemon {

std::unique_ptr<Matcher> make_matcher(MatcherKind kind) {
  switch (kind) {
    case MatcherKind::kGcc:
      return make_gcc_matcher();
    case MatcherKind::kTsc:
      return make_tsc_matcher();
    case MatcherKind::kPytest:
      return make_pytest_matcher();
    case MatcherKind::kCargoJson:
      return make_cargo_matcher();
    case MatcherKind::kGo:
      return make_go_matcher();
  }
  ZS_ASSERT(false, "a matcher of no kind");
  return nullptr;
}

}  // namespace zsync::daemon
