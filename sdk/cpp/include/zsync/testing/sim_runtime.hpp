// SimRuntime: the same program on one thread, in an order that a seed decides, in virtual time.
//
//   TEST(Inbox, KeepsTheOrder) {
//     zsync::testing::explore(500, [](zsync::testing::SimRuntime& sim) { sim.run(program()); });
//   }
//
// It is a second real rt::Scheduler: tasks, channels, timers and cancels are the ones of the worker
// pool. Each step resumes one ready strand (or runs one posted or blocking function) that the seed
// picks (SimPolicy); a strand that yields may be picked next. Time stands still while something is
// ready and then jumps to the next timer, so an hour of sleeping costs nothing.
//
// gtest is `::testing` inside namespace zsync.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "zsync/rt/scheduler.hpp"
#include "zsync/rt/timer.hpp"
#include "zsync/spawn.hpp"
#include "zsync/task.hpp"

namespace zsync::testing {

class SimHost;
class SimNetwork;
class SimOrder;
class SimProcess;
class SimRandom;
class SimWorld;
struct SimReady;

// How the next step is chosen among those that are ready.
enum class SimPolicy : uint8_t {
  mixed,   // explore(): random and pct in turns, with depths of 1 to 4; a SimRuntime alone: random
  random,  // each choice uniform: finds what many orders show
  pct,     // priorities with few change points (Burckhardt et al., ASPLOS 2010): finds what needs
           // few steps in one exact order, among many that do not matter
};

// What a simulated run may take, and how slow its machine is.
struct SimOptions {
  uint64_t steps_max = 1'000'000;  // steps of one run(); more are taken for a livelock
  rt::Duration step_time{0};       // virtual time that each step takes
  // Chance that a step lets time jump to the next timer although strands are ready, as on a machine
  // that is too slow: every timeout then races what it limits.
  uint32_t overload_percent = 0;                            // percent
  DeadlineMissCallback on_deadline_miss;                    // as Config's
  OverloadPolicy overload_policy = OverloadPolicy::reject;  // as Config's
  SimPolicy policy = SimPolicy::mixed;                      // how the next step is chosen
  // Of pct: a bug of depth d needs d steps in one order. With n strands each schedule finds it with
  // a chance of at least 1 / (n * pct_steps^(d - 1)).
  uint32_t pct_depth = 3;
  uint64_t pct_steps = 100;  // steps that a run takes, about; explore() counts them
};

// A run that cannot go on: a deadlock, or more steps than SimOptions::steps_max. what() names the
// waiting strands and the seed. Thrown by run() on the test's own thread, where there is no Status
// to carry it; everything was unwound before.
class SimFailure final : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Threads:  one; nothing of a simulated program may be touched from another thread.
// Lifetime: destruction cancels and unwinds what spawn() left behind.
class SimRuntime final : public rt::Scheduler {
 public:
  // The same seed and program give the same order, times and random numbers.
  explicit SimRuntime(uint64_t seed, SimOptions options = {});
  ~SimRuntime() override;
  SimRuntime(const SimRuntime&) = delete;
  SimRuntime& operator=(const SimRuntime&) = delete;

  // As zsync::run(): returns when `main` and every task not marked `background` has ended;
  // background tasks are then cancelled and unwound. May be called again; time goes on.
  //
  // Errors: rethrows what `main` threw; SimFailure. A wait that no cancel can end (inside shield,
  //         or an Executor that drains) is reported and ends the program, for it cannot be unwound.
  template <typename T>
  T run(Task<T> main) {
    SpawnOptions options;
    options.name = "main";
    TaskHandle<T> handle = rt::spawn_on(*this, std::move(options), std::move(main));
    drive(handle.strand());
    return handle.take();
  }

  // Starts a task that runs within the next run() or advance().
  template <typename T>
  [[nodiscard]] TaskHandle<T> spawn(Task<T> task) {
    return rt::spawn_on(*this, std::move(task));
  }
  // The same with a name, or in the background.
  template <typename T>
  [[nodiscard]] TaskHandle<T> spawn(SpawnOptions options, Task<T> task) {
    return rt::spawn_on(*this, std::move(options), std::move(task));
  }
  // Starts a coroutine function or a plain callable; it and its arguments live in the task's frame.
  template <typename Function, typename... Args>
    requires(!kIsTask<std::remove_cvref_t<Function>> &&
             std::invocable<std::decay_t<Function>&, std::decay_t<Args>...>)
  [[nodiscard]] auto spawn(Function&& function, Args&&... args) {
    return spawn(rt::start_call(std::forward<Function>(function), std::forward<Args>(args)...));
  }

  // Runs a function as a step of its own, in the order of posting.
  void post(std::function<void()> function) { post(0, std::move(function)); }

  // Lets virtual time pass: runs what is ready and every timer up to now() + `duration`. For
  // engines without coroutines, and between two calls of run(). Errors: SimFailure (steps_max).
  void advance(rt::Duration duration);

  // Virtual steady time. The first is an hour after the clock's epoch.
  rt::TimePoint now() override { return now_; }
  // The same as a callable, for engines that are given their clock. Lifetime: the simulator's.
  std::function<rt::TimePoint()> clock() {
    return [this] { return now_; };
  }

  // The simulated machine of this name, made when it is asked for the first time: programs run
  // there with sockets, files, crashes and restarts. See zsync/testing/sim_host.hpp. Tasks that
  // belong to no host have neither sockets nor files.
  SimHost& host(const std::string& name);
  // What lies between the hosts.
  SimNetwork& network();

  // Random numbers of this run, for a program whose own choices belong to the seed.
  uint64_t random();
  // 0 to `limit` - 1; `limit` is at least 1.
  uint64_t random_below(uint64_t limit);

  // What the order was decided by.
  uint64_t seed() const { return seed_; }
  // Steps since construction.
  uint64_t steps() const { return steps_; }
  // Names the choices that were made so far: two schedules of one program with the same name were
  // the same, whatever their seeds.
  uint64_t schedule_hash() const;
  // Tasks that have not ended.
  size_t active_tasks() const { return live_count_; }

  // -- rt::Scheduler
  void schedule(rt::TaskContext& context) override;
  void yield(rt::TaskContext& context) override;
  void strand_started(rt::TaskContext& context) override;
  void strand_finished(rt::TaskContext& context) override;
  rt::Classes& classes() override { return *classes_; }
  void sort_ready() override { unsorted_ = true; }
  rt::TimerQueue& timers() override { return timers_; }
  rt::Driver* driver() override { return nullptr; }
  int current_worker() override { return 0; }
  void post(int worker, std::function<void()> function) override;
  void run_blocking(std::function<void()> function) override;

 private:
  friend class SimProcess;
  friend class SimWorld;

  // Runs until `main` and the foreground have ended, then unwinds the rest.
  void drive(rt::TaskContext& main);
  bool run_until(const std::function<bool()>& done, std::string& failure);
  // False when there is nothing to run and no timer. Time does not jump beyond `limit`.
  bool step(rt::TimePoint limit = rt::TimePoint::max());
  void run_one();
  void run_choice(size_t choice);
  // Runs a strand with a class when it is its turn.
  bool run_classed();
  void sort_now();
  // Lets time jump to the next timer or event, if that is not beyond `limit`.
  bool jump(rt::TimePoint limit);
  std::optional<rt::TimePoint> next_moment();
  void fire();
  void cancel_tasks_of(const rt::Scheduler& owner);
  void unwind(const std::string& failure);
  std::string describe(const std::string& what) const;

  const uint64_t seed_;
  const SimOptions options_;
  const std::unique_ptr<SimRandom> random_;
  rt::TimePoint now_;
  uint64_t steps_ = 0;
  uint64_t next_id_ = 1;
  bool unwinding_ = false;  // whatever is spawned now is cancelled at once

  const std::unique_ptr<SimReady> ready_;
  const std::unique_ptr<SimOrder> order_;
  rt::TimerQueue timers_;
  std::unique_ptr<rt::Classes> classes_;
  bool unsorted_ = false;  // sort_ready() was called
  std::unique_ptr<rt::ClassTurns> turns_;
  const std::unique_ptr<SimWorld> world_;
  rt::TaskContext* live_ = nullptr;  // the latest first, through live_next
  size_t live_count_ = 0;
  size_t foreground_ = 0;
};

// Runs `program` on `schedules` simulators with consecutive seeds, from ZSYNC_SIM_SEED or 1 on. The
// first failed expectation, exception or deadlock ends it and prints one line that repeats this
// schedule when it is given to a shell:
//
//   ZSYNC_SIM_SEED=123 ZSYNC_SIM_POLICY=pct:3:57 ZSYNC_SIM_TIMES=1 build/.../zsync-tests \
//     --gtest_filter=Inbox.KeepsTheOrder          (one line)
//
// ZSYNC_SIM_TIMES=N runs N times as many schedules and tells at the end of the program how many
// there were and how many of them were distinct. ZSYNC_SIM_POLICY: `random`, or `pct:DEPTH:STEPS`.
// Needs GoogleTest.
void explore(int schedules, const std::function<void(SimRuntime&)>& program,
             SimOptions options = {});

}  // namespace zsync::testing
