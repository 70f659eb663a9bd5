// One inotify instance for any number of sources, with one kernel watch a directory whatever the
// number of those who watch it.
//
// Whoever reads takes what the kernel has queued for everybody: an event is copied to each member
// that watches its directory. So a member that reads to the end knows all that was queued when it
// began, whoever took it from the kernel.
#pragma once

#include <sys/inotify.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "watch/fd.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/task.hpp"

namespace zsync::watching {

inline constexpr size_t kEventBufferBytes = 16 * 1024;
inline constexpr size_t kMemberBytesMax = 8 << 20;  // events kept for a member that does not read

// Threads: every member may be called from any thread; those of one Member one at a time.
class InotifyHub {
 public:
  // One who watches.
  //
  // Lifetime: the destructor gives its watches back; the hub lives as long as any member.
  class Member {
   public:
    Member(std::shared_ptr<InotifyHub> hub, Fd ready);
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;
    ~Member();

    // Readable when events wait.
    [[nodiscard]] int fd() const;
    // As inotify_add_watch; what was asked for a directory before stays.
    int add(const char* path, uint32_t mask);
    void remove(int wd);
    // Appends events as they come from the kernel. A member that did not read for so long that
    // they were too many gets IN_Q_OVERFLOW in their place. True: more may be waiting.
    absl::StatusOr<bool> take(std::string& events);

   private:
    friend class InotifyHub;
    const std::shared_ptr<InotifyHub> hub_;
    const Fd ready_;       // an eventfd; none: it is alone and has the instance's own descriptor
    std::string waiting_;  // guarded by the hub's lock, as what follows
    bool signalled_ = false;
    absl::flat_hash_map<int, char> wds_;
  };

  // `shared`: for several members, and then somebody has to run read(); else for one.
  //
  // Errors: ResourceExhausted with the line that raises the limit.
  static absl::StatusOr<std::shared_ptr<InotifyHub>> open(std::string_view root, bool shared);

  // Errors: ResourceExhausted (open files).
  static absl::StatusOr<std::unique_ptr<Member>> join(std::shared_ptr<InotifyHub> hub,
                                                      std::string_view root);

  // Hands events to members as they come, so that each is woken by what concerns it only.
  //
  // Errors: ResourceExhausted (open files), Internal. Cancel: throws Cancelled; so it usually ends.
  static Task<absl::Status> read(std::shared_ptr<InotifyHub> hub);

  // Kernel watches held.
  size_t watches();

 private:
  explicit InotifyHub(Fd inotify, bool shared) : inotify_(std::move(inotify)), shared_(shared) {}

  enum class Drained : uint8_t { yes, no, failed };
  Drained drain() ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void hand_out(const inotify_event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void give(Member& member, const inotify_event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  void let_go(Member& member, int wd) ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);

  const Fd inotify_;
  const bool shared_;
  rt::Lock lock_;
  std::vector<Member*> members_ ABSL_GUARDED_BY(lock_);
  // 1. Holds the kernel's watches, each with the members whose wds_ hold it.
  absl::flat_hash_map<int, absl::InlinedVector<Member*, 2>> watchers_ ABSL_GUARDED_BY(lock_);
  size_t removed_ ABSL_GUARDED_BY(lock_) = 0;
};

}  // namespace zsync::watching
