// What a killed daemon left on disk, and so in which phase of whose life the kill fell.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "tests/chaos/ledgers.hpp"

namespace zsync::chaos {

// Looks at a copy of the store, so that recovery is left to the next daemon. Notes every phase that
// some task stood in.
absl::Status examine(const std::string& state_dir, const std::string& scratch_dir, int kill,
                     Ledgers& ledgers);

}  // namespace zsync::chaos
