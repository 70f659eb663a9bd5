// Exchange: the requests and replies of a channel of the form `request`.
//
// A request goes to one responder, once: a responder that goes away before it replied ends its
// requests with an error, since nobody knows how far it came. A reply that comes after its request
// has ended (timed out, cancelled) is dropped and counted.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/channels/attendance.hpp"
#include "daemon/channels/channel.hpp"
#include "zsync/notify.hpp"
#include "zsync/rt/lock.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

inline constexpr int64_t kRequestTimeoutNs = 30'000'000'000;
inline constexpr int64_t kRequestTimeoutNsMax = 3600ll * 1'000'000'000;

struct Inquiry {
  uint64_t id = 0;
  std::string body;
  std::string trace;
  int64_t until = 0;  // ns of the steady clock
};

// Lifetime: shared by its channel and every call that uses it.
// Threads:  every member may be called from any thread.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  using Clock = std::function<int64_t()>;  // ns since the Unix epoch
  Exchange(std::string channel, uint64_t waiting_max, Clock clock)
      : channel_(std::move(channel)), waiting_max_(waiting_max), clock_(std::move(clock)) {}

  // Completes with the reply.
  //
  // Errors: kFailedPrecondition NO_RESPONDERS at once when there is none, CLOSED; kNotFound when
  // the
  //         channel is removed; kResourceExhausted when too many wait; kDeadlineExceeded;
  //         kUnavailable when the responder went away; kAborted with what the responder said.
  // Cancel: throws Cancelled; the reply will be dropped.
  Task<absl::StatusOr<std::string>> request(std::string body, std::string trace,
                                            int64_t timeout_ns);

  class Responder {
   public:
    explicit Responder(std::shared_ptr<Exchange> exchange, int64_t pid = 0);
    Responder(const Responder&) = delete;
    Responder& operator=(const Responder&) = delete;
    ~Responder() { leave(); }

    // Waits for requests; none: the channel is closed and nothing is left.
    //
    // Errors: kNotFound when the channel is removed. Cancel: throws Cancelled, takes nothing.
    Task<absl::StatusOr<std::vector<Inquiry>>> next(size_t max);
    // False: nobody waits for it any more.
    bool reply(uint64_t id, absl::StatusOr<std::string> answer);
    // Idempotent.
    void leave();
    // What its call does, for those who ask why no reply comes.
    void enter(Phase phase) { attendance_.enter(phase, exchange_->clock_()); }

   private:
    friend class Exchange;
    const std::shared_ptr<Exchange> exchange_;
    Attendance attendance_;
    uint64_t id_ = 0;                      // the rest is guarded by the exchange's lock
    std::map<uint64_t, int64_t> in_hand_;  // since when
    uint64_t answered_ = 0;
    int64_t free_since_ = 0;  // it has nothing in hand
    bool left_ = false;
  };

  ExchangeCounts counts();
  // The first `max` responders, and why each of them does not reply; `why`: the same of the
  // channel.
  std::vector<ResponderInfo> responders(size_t max, std::string& why);
  void close();
  void remove();

 private:
  struct Pending {
    Inquiry inquiry;
    std::optional<absl::StatusOr<std::string>> answer;
    Notify answered;
  };
  using PendingPtr = std::shared_ptr<Pending>;

  absl::Status refusal() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(lock_);
  absl::Status no_responders() const;
  void withdraw(uint64_t id);
  Task<void> wait_for(PendingPtr pending);

  const std::string channel_;
  const uint64_t waiting_max_;
  const Clock clock_;
  Mutex turn_;  // held by the responder that waits, so that they take turns
  Notify arrived_;

  rt::Lock lock_;
  std::map<uint64_t, PendingPtr> pending_ ABSL_GUARDED_BY(lock_);
  std::deque<uint64_t> waiting_ ABSL_GUARDED_BY(lock_);  // not taken, oldest first
  uint64_t next_id_ ABSL_GUARDED_BY(lock_) = 1;
  uint64_t answered_ ABSL_GUARDED_BY(lock_) = 0;
  uint64_t late_ ABSL_GUARDED_BY(lock_) = 0;
  std::map<uint64_t, Responder*> responders_ ABSL_GUARDED_BY(lock_);  // connected
  uint64_t next_responder_ ABSL_GUARDED_BY(lock_) = 1;
  bool closed_ ABSL_GUARDED_BY(lock_) = false;
  bool removed_ ABSL_GUARDED_BY(lock_) = false;
};

}  // namespace zsync::daemon
