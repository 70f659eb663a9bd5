// Picture: one task as it was at one moment, taken while its runtime goes on.
//
// A strand that waits has published its operation in its word; while the word is locked, whoever
// completes the operation spins before resuming the strand (invariant 4 of zsync/rt/operation.hpp).
// So frames, operation and branches of a held strand stay; branches are held below their parent,
// one at a time. What is read of them was written before the operation was published, or is atomic.
// Nothing is looked up and nothing waited for meanwhile: a frame whose code is not known yet is
// noted by its address, and the picture is taken once more when it is.
#pragma once

#include <cstdint>
#include <string>
#include <typeinfo>
#include <vector>

#include "diagnostics/symbols.hpp"
#include "zsync/diagnostics.hpp"
#include "zsync/rt/context.hpp"
#include "zsync/rt/operation.hpp"

namespace zsync {

struct FramePicture {
  const void* resume;      // its code
  int suspend_point = -1;  // -1: not known
};

struct StrandPicture {
  bool waits = false;
  bool ended = false;
  std::vector<FramePicture> frames;
  rt::WaitInfo wait;
  const std::type_info* operation = nullptr;
  std::vector<StrandPicture> branches;
  size_t branches_left_out = 0;
};

// Takes the picture; `unknown` gets the code that `symbols` has not read yet.
//
// Threads: any. The caller holds a reference to the task.
StrandPicture take_picture(rt::TaskContext& task, TraceLimits limits, const Symbols& symbols,
                           std::vector<const void*>& unknown);

}  // namespace zsync
