#include "zsync/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace zsync::rt {

void assertion_failed(const char* file, int line, const char* condition,
                      const char* message) noexcept {
  std::fprintf(stderr, "zsync: %s (%s:%d: %s)\n", message, file, line, condition);
  std::abort();
}

}  // namespace zsync::rt
