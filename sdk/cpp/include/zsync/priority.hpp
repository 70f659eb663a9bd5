// Priorities and deadlines: which of the ready tasks runs next.
//
//   zsync::spawn({.name = "control", .priority = zsync::Priority::high}, control()).detach();
//   zsync::spawn({.deadline = now + 20ms, .cost = 2ms}, frame()).detach();
//
// A task has a class, told when it is spawned; its branches (all, race, any, timeout, shield) have
// the same. Tasks that it spawns do not: they are `normal` unless their own options say otherwise.
// At each scheduling point a worker runs what is ready of the first class of this list:
//
//   deadline    tasks with SpawnOptions::deadline, the earliest deadline first (EDF); Liu, Layland:
//               Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment (1973).
//               One that is late goes on with its SpawnOptions::priority, so that it does not make
//               those late which can still be in time
//   critical    what keeps the program alive: watchdogs, shedding of load
//   high        what somebody waits for
//   normal      everything else
//   low         what may wait as long as something else is ready: clean-up, prefetching
//
// Equal ones run in the order in which they became ready. Nothing is preempted: a class is looked
// at when the running strand waits, yields, ends or has used up its budget (128 operations in a row
// that did not have to wait), so a strand that only computes delays everybody.
//
// Aging: nobody starves. A strand that waits in the classes is raised by one level for every
// kAgingRounds strands that were taken from them, in the end above deadlines. Where classes above
// normal are always ready, a worker runs a normal strand after every kAgingRounds of them; where
// normal ones are always ready, a low one after every kAgingRounds of those.
//
// A zsync::Mutex lends the class of who waits for it to its holder (zsync/sync.hpp).
//
// Cost: strands of class normal run as if there were no classes; a runtime without any other task
// pays one look at a flag of the task when it is made ready. The others share one lock in the
// process, so they are for the few tasks whose order matters, not for the bulk of the work.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace zsync {

// SpawnOptions::priority.
enum class Priority : uint8_t {
  low,       // when nothing else is ready
  normal,    // the default
  high,      // before normal
  critical,  // before high
};

// Strands that pass before one that waits is raised; see above.
inline constexpr uint32_t kAgingRounds = 64;

// What Config::on_deadline_miss is told.
struct DeadlineMiss {
  uint64_t id = 0;                                 // TaskHandle::id()
  std::string name;                                // SpawnOptions::name
  std::chrono::steady_clock::time_point deadline;  // SpawnOptions::deadline
  std::chrono::nanoseconds lateness{0};            // when it was noticed; above zero
  bool ended = false;                              // it had ended by then, late
};

// Told once of each task that is late: when its deadline passes while it is alive, or when it ends,
// whichever is seen first. A worker sees it when it next looks at its timers, after 61 strands at
// most.
//
// Threads: on a worker, outside every task; it must not block and must not throw.
using DeadlineMissCallback = std::function<void(const DeadlineMiss&)>;

// What becomes of a task whose deadline cannot be kept beside those that were promised before. That
// is known only of tasks that declare SpawnOptions::cost: up to each deadline the declared costs of
// those tasks must fit into the time that is left (processor demand; exact on one worker, and on
// several a bound that an admitted set may still miss). Without a cost nothing is refused.
enum class OverloadPolicy : uint8_t {
  // Its body never runs; the handle's outcome is kResourceExhausted and says what is missing.
  reject,
  // It runs with SpawnOptions::priority. Its deadline is still watched.
  demote,
  // The admitted task with the latest deadline is cancelled (kCancelled) until the rest fits; where
  // that is the new one itself, it is rejected.
  shed_latest,
};

// The deadline of the running task; nullopt: it has none, or no task runs here.
std::optional<std::chrono::steady_clock::time_point> deadline();
// The time that is left until then, below zero once it is late.
std::optional<std::chrono::nanoseconds> slack();

}  // namespace zsync
