// Selection: the first messages of any of several channels, as one receiving call.
//
// A source is looked at without waiting, so nothing is taken from a channel that is not given:
// there is no losing side that would have to give something back. Who has something takes turns.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/channels/follower.hpp"
#include "daemon/channels/receivers.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr size_t kSelectSourcesMax = 64;

// Threads: as NamedChannel::Receiver.
class Selection {
 public:
  struct Source {
    std::shared_ptr<NamedChannel> channel;
    std::string group = {};  // as a consumer of it; "": as a receiver
    bool follows = false;    // takes nothing away, from `seq` on (0: what comes from now on)
    uint64_t seq = 0;
  };

  explicit Selection(std::vector<Source> sources, int64_t pid = 0);
  Selection(const Selection&) = delete;
  Selection& operator=(const Selection&) = delete;
  ~Selection();

  // Waits for messages, a gap or the end of one of the sources, told in the delivery's origin. A
  // source whose end was told is not looked at any more. Once there is none left it never
  // completes.
  //
  // Errors: those of the first source that has one. Cancel: as the sources' own.
  Task<absl::StatusOr<Delivery>> next(size_t max);
  // The `count` messages that next() gave first, of those that were not confirmed.
  void confirm(uint64_t count);
  // What was confirmed is on disk.
  Task<absl::Status> flush();
  // What was not confirmed goes back to where it came from.
  void leave();
  // What the call does, for those who ask at any of its channels.
  void enter(Phase phase);

 private:
  struct Member {
    std::shared_ptr<NamedChannel> channel;
    std::unique_ptr<NamedChannel::Receiver> receiver = {};  // one of the three
    std::unique_ptr<NamedChannel::Consumer> consumer = {};
    std::unique_ptr<NamedChannel::Follower> follower = {};
    bool over = false;
  };
  // Messages of one source that were given one after the other.
  struct Run {
    size_t member = 0;
    uint64_t count = 0;
  };

  Task<absl::StatusOr<Delivery>> look(Member& member, size_t max);
  void given(size_t member, Delivery& delivery);
  Task<void> wait(uint64_t seen);

  const std::shared_ptr<Notify> news_ = std::make_shared<Notify>();
  std::vector<Member> members_;
  size_t turn_ = 0;  // who is looked at first
  uint32_t left_ = 0;
  rt::Lock lock_;
  std::deque<Run> runs_ ABSL_GUARDED_BY(lock_);  // not confirmed
};

}  // namespace zsync::daemon
