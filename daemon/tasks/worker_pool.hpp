// WorkerPool: which worker has which call. Pure: no clock, no threads, no wire; whoever owns it
// tells it what happens and the time.
//
// A worker serves one function and has a window: places for calls of tasks, and as many for direct
// ones, so that neither kind keeps the other out. A place is free again once its call was answered,
// also too late: a worker that does not answer gets no more than its window, ever.
//
//   held       a worker has it, and its answer counts
//   given up   a worker has it, and its answer comes too late: it is refused (fenced). Only the
//              worker's answer, or its end, frees the place
//
// Every hand-over has a number that no other one ever gets, so an answer can only be that of the
// hand-over that it names; and it counts only from the worker that was given it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace zsync::daemon {

enum class Lane : uint8_t { kTask = 0, kDirect = 1 };

class WorkerPool {
 public:
  struct Handed {
    uint64_t worker = 0;
    uint64_t call = 0;
  };
  // A call that a worker has or had.
  struct Call {
    uint64_t call = 0;
    Lane lane = Lane::kTask;
    uint64_t subject = 0;  // what its owner calls it
  };
  struct Counts {
    uint32_t workers = 0;
    uint32_t places = 0;  // of tasks
    uint32_t held = 0;    // of both lanes
  };

  // -> its number. `silence_ns`: it counts as gone when it was not heard for so long; 0: never.
  uint64_t join(const std::string& function, uint32_t window, int64_t silence_ns, int64_t now);
  // -> the calls that it held, oldest first; they are nobody's now.
  std::vector<Call> leave(uint64_t worker);
  // It gets no more calls.
  void drain(uint64_t worker);
  void heard(uint64_t worker, int64_t now);

  // Gives the call to the worker with the most free places; `until`: expired() tells of it then,
  // 0: never. nullopt: no place is free.
  std::optional<Handed> hand(const std::string& function, Lane lane, uint64_t subject,
                             int64_t until);
  // Frees its place. nullopt: the answer is refused, since it is not held by this worker.
  std::optional<Call> answered(uint64_t worker, uint64_t call);
  // Its answer will be refused. -> the worker that has it; nullopt: nobody holds it.
  std::optional<uint64_t> give_up(uint64_t call);
  // nullopt: nobody holds it.
  std::optional<uint64_t> holder(uint64_t call) const;
  // Another time for expired(), where that is sooner.
  void limit(uint64_t call, int64_t until);

  // Calls whose time has come; each is told once and stays held.
  std::vector<Call> expired(int64_t now);
  // Workers that were not heard for too long.
  std::vector<uint64_t> silent(int64_t now);
  // When one of the two has something to tell; nullopt: never.
  std::optional<int64_t> wake_at() const;

  // How many calls of a lane may be on their way to, in the hands of, and on their way back from
  // the function's workers at once.
  uint32_t places(const std::string& function, Lane lane) const;
  Counts counts(const std::string& function) const;
  size_t workers() const { return workers_.size(); }

 private:
  struct Side {  // one lane of a worker
    uint32_t held = 0;
    uint32_t given_up = 0;
  };
  struct Worker {
    std::string function;
    uint32_t window = 1;
    bool draining = false;
    int64_t silence = 0;
    int64_t due = 0;  // 0: never
    Side sides[2];
    absl::flat_hash_set<uint64_t> calls;
    uint32_t places(Lane lane) const;
    uint32_t free(Lane lane) const;
  };
  struct Held {
    uint64_t worker = 0;
    Lane lane = Lane::kTask;
    uint64_t subject = 0;
    int64_t until = 0;
    bool given_up = false;
  };
  struct Function {
    std::set<std::pair<uint32_t, uint64_t>> free[2];  // free places, worker
    uint32_t places[2] = {0, 0};
    uint32_t held = 0;
    uint32_t workers = 0;
  };

  // Runs `change` on a worker and keeps what is counted by function true.
  template <typename Change>
  void update(uint64_t id, Worker& worker, const Change& change);
  void forget_time(uint64_t call, Held& held);

  std::map<std::string, Function> functions_;
  absl::flat_hash_map<uint64_t, Worker> workers_;
  absl::flat_hash_map<uint64_t, Held> calls_;
  std::set<std::pair<int64_t, uint64_t>> times_;     // until, call
  std::set<std::pair<int64_t, uint64_t>> silences_;  // due, worker
  uint64_t next_worker_ = 1;
  uint64_t next_call_ = 1;
};

}  // namespace zsync::daemon
