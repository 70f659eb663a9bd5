#include "diagnostics/picture.hpp"

#include <algorithm>
#include <coroutine>

#include "zsync/rt/scope.hpp"
#include "zsync/task.hpp"

namespace zsync {
namespace {

constexpr int kDepthMax = 100;  // of branches below branches

// Of the frame itself; more than the compiler asked for by less than a granule.
int64_t frame_bytes(std::coroutine_handle<> frame) {
  const rt::FrameHeader& header = rt::FrameBlock::of(frame.address()).header();
  return static_cast<int64_t>(header.bytes) - int64_t{header.before} * rt::kFrameGranule -
         static_cast<int64_t>(sizeof(rt::FrameBlock));
}

class Photographer {
 public:
  Photographer(TraceLimits limits, const Symbols& symbols, std::vector<const void*>& unknown)
      : limits_(limits), symbols_(symbols), unknown_(unknown) {}

  void take(rt::TaskContext& strand, StrandPicture& into, int depth) {
    const rt::Operation* const operation = strand.hold();
    if (!operation) return;
    struct Held {
      rt::TaskContext& strand;
      ~Held() { strand.let_go(); }
    } held{strand};
    into.waits = true;
    into.operation = &typeid(*operation);
    into.wait.kind = operation->wait_kind();
    operation->tell_wait(into.wait);
    take_frames(strand.resume_point, into);
    if (const auto* scope = dynamic_cast<const rt::BranchScope*>(operation)) {
      take_branches(*scope, into, depth);
    }
  }

 private:
  void take_frames(std::coroutine_handle<> innermost, StrandPicture& into) {
    for (std::coroutine_handle<> at = innermost; at && into.frames.size() < limits_.frames;) {
      const void* const resume = *static_cast<const void* const*>(at.address());
      FramePicture frame{resume};
      if (const CoroutineCode* code = symbols_.known(resume)) {
        if (code->index_offset >= 0 && code->index_offset < frame_bytes(at)) {
          frame.suspend_point = static_cast<const uint8_t*>(at.address())[code->index_offset];
        }
      } else {
        unknown_.push_back(resume);
      }
      into.frames.push_back(frame);
      // Every promise of a chain begins with a PromiseBase, and none is aligned wider.
      at =
          std::coroutine_handle<rt::PromiseBase>::from_address(at.address()).promise().continuation;
    }
  }

  void take_branches(const rt::BranchScope& scope, StrandPicture& into, int depth) {
    const size_t room = depth < kDepthMax ? limits_.branches - branches_ : 0;
    const size_t shown = std::min<size_t>(scope.branch_count(), room);
    branches_ += shown;
    into.branches.resize(shown);
    into.branches_left_out = scope.branch_count() - shown;
    scope.visit_branches([&](rt::TaskContext& branch, uint32_t number, bool ended) {
      if (number >= shown) return;
      into.branches[number].ended = ended;
      if (!ended) take(branch, into.branches[number], depth + 1);
    });
  }

  const TraceLimits limits_;
  const Symbols& symbols_;
  std::vector<const void*>& unknown_;
  size_t branches_ = 0;
};

}  // namespace

StrandPicture take_picture(rt::TaskContext& task, TraceLimits limits, const Symbols& symbols,
                           std::vector<const void*>& unknown) {
  StrandPicture picture;
  Photographer(limits, symbols, unknown).take(task, picture, 0);
  return picture;
}

}  // namespace zsync
