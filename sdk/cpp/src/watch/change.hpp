// The public change and batch under the names that this module uses, and the clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "zsync/watch/batch.hpp"

namespace zsync::watching {

using ChangeKind = FileChangeKind;
using Change = FileChange;
using Gap = WatchGap;
using Batch = WatchBatch;

// "", "overflow" or "rescan".
[[nodiscard]] std::string_view gap_name(Gap gap);

// The clock `c:<instance>:<counter>`. The instance names one life of one Tree, so that a clock of
// an earlier life is recognised; it is made of letters, digits, '-' and '_'.
struct Clock {
  std::string instance;
  uint64_t counter = 0;
};

// The clocks that one life of a Tree gave out, for a later life that goes on with the same Tree.
struct TreeLife {
  std::string instance;
  uint64_t first = 0;
  uint64_t last = 0;
};

[[nodiscard]] std::string format_clock(std::string_view instance, uint64_t counter);

// Nullopt when the text is not a clock at all.
[[nodiscard]] std::optional<Clock> parse_clock(std::string_view text);

}  // namespace zsync::watching
