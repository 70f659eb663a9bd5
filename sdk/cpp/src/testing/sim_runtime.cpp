#include "zsync/testing/sim_runtime.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "rt/classes.hpp"
#include "zsync/assert.hpp"

namespace zsync::testing {
namespace {

constexpr size_t kNamesMax = 20;  // strands named in one failure

std::string name_of(const rt::TaskContext& context) {
  return context.name().empty() ? absl::StrCat("task ", context.id)
                                : absl::StrCat("\"", context.name(), "\"");
}

}  // namespace

SimRuntime::SimRuntime(uint64_t seed, SimOptions options)
    : seed_(seed),
      options_(options),
      random_state_(seed),
      now_(rt::TimePoint(std::chrono::hours(1))),
      classes_(std::make_unique<rt::Classes>(*this, 1, options.on_deadline_miss,
                                             options.overload_policy)),
      turns_(std::make_unique<rt::ClassTurns>()) {}

SimRuntime::~SimRuntime() { unwind(""); }

// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
uint64_t SimRuntime::random() {
  uint64_t mixed = random_state_ += 0x9e3779b97f4a7c15;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
  return mixed ^ (mixed >> 31);
}

uint64_t SimRuntime::random_below(uint64_t limit) { return random() % limit; }

void SimRuntime::schedule(rt::TaskContext& context) {
  context.next_worker = -1;
  if (context.has_standing() && classes_->push(context, -1)) return;
  ready_.push_back(&context);
}

void SimRuntime::yield(rt::TaskContext& context) { schedule(context); }

void SimRuntime::post(int, std::function<void()> function) {
  posted_.push_back(std::move(function));
}

void SimRuntime::run_blocking(std::function<void()> function) {
  blocking_.push_back(std::move(function));
}

void SimRuntime::strand_started(rt::TaskContext& context) {
  context.id = next_id_++;
  context.counted = true;
  context.live_previous = nullptr;
  context.live_next = live_;
  if (live_) live_->live_previous = &context;
  live_ = &context;
  ++live_count_;
  if (!context.background) ++foreground_;
  if (unwinding_) context.cancel();
}

void SimRuntime::strand_finished(rt::TaskContext& context) {
  if (context.end_concerns_classes()) classes_->ended(context);
  (context.live_previous ? context.live_previous->live_next : live_) = context.live_next;
  if (context.live_next) context.live_next->live_previous = context.live_previous;
  --live_count_;
  if (!context.background) --foreground_;
}

bool SimRuntime::step(rt::TimePoint limit) {
  now_ += options_.step_time;
  fire_timers();
  if (std::exchange(unsorted_, false)) sort_now();
  const size_t choices =
      classes_->waiting() + ready_.size() + blocking_.size() + (posted_.empty() ? 0 : 1);
  const bool late = options_.overload_percent && random_below(100) < options_.overload_percent;
  if (choices == 0 || late) {
    const std::optional<rt::TimePoint> deadline = next_event();
    if (deadline && *deadline <= limit) {
      now_ = std::max(now_, *deadline);
      fire_timers();
      return true;
    }
    if (choices == 0) return false;
  }
  run_one_of(choices);
  return true;
}

void SimRuntime::run_one_of(size_t choices) {
  size_t choice = random_below(choices);
  if (classes_->waiting() > 0) {
    // Other threads' functions may come first, whatever the class.
    const size_t functions = blocking_.size() + (posted_.empty() ? 0 : 1);
    const bool function = choice < functions;
    if (!function && run_classed()) return;
    choice = function ? ready_.size() + choice : random_below(ready_.size());
  }
  if (choice < ready_.size()) {
    std::swap(ready_[choice], ready_.back());
    rt::TaskContext* context = ready_.back();
    ready_.pop_back();
    rt::run_strand(*context);
    return;
  }
  choice -= ready_.size();
  // Neither kind of function is a strand's: what it calls must not take it for one.
  std::vector<std::function<void()>>& functions = choice < blocking_.size() ? blocking_ : posted_;
  const auto chosen = functions.begin() + (&functions == &posted_ ? 0 : choice);
  const std::function<void()> function = std::move(*chosen);
  functions.erase(chosen);
  function();
}

bool SimRuntime::run_classed() {
  const std::optional<rt::Rank> least = turns_->next(classes_->above_normal(), !ready_.empty());
  rt::TaskContext* const context = least ? classes_->pop(0, *least) : nullptr;
  turns_->took(context != nullptr);
  if (context) rt::run_strand(*context);
  return context != nullptr;
}

void SimRuntime::fire_timers() {
  timers_.fire(now_);
  if (classes_->next_deadline() <= now_) classes_->expire(now_);
}

std::optional<rt::TimePoint> SimRuntime::next_event() {
  const std::optional<rt::TimePoint> timer = timers_.next_deadline();
  const rt::TimePoint late = classes_->next_deadline();
  if (late == rt::TimePoint::max()) return timer;
  return timer ? std::min(*timer, late) : late;
}

void SimRuntime::sort_now() {
  for (rt::TaskContext* context : std::exchange(ready_, {})) schedule(*context);
}

bool SimRuntime::run_until(const std::function<bool()>& done, std::string& failure) {
  const uint64_t steps_end = steps_ + options_.steps_max;
  while (!done()) {
    if (steps_++ == steps_end) {
      failure = describe(absl::StrCat("livelock: not done after SimOptions::steps_max (",
                                      options_.steps_max, ") steps; alive: "));
      return false;
    }
    if (!step()) {
      failure = describe("deadlock: nothing is ready and no timer is set; waiting: ");
      return false;
    }
  }
  return true;
}

std::string SimRuntime::describe(const std::string& what) const {
  std::vector<std::string> names;
  for (const rt::TaskContext* context = live_; context; context = context->live_next) {
    names.push_back(name_of(*context));
  }
  std::reverse(names.begin(), names.end());
  if (names.size() > kNamesMax) {
    const std::string more = absl::StrCat("and ", names.size() - kNamesMax, " more");
    names.resize(kNamesMax);
    names.push_back(more);
  }
  return absl::StrCat(what, absl::StrJoin(names, ", "), " (seed ", seed_, ")");
}

void SimRuntime::drive(rt::TaskContext& main) {
  ZS_ASSERT(rt::current_context() == nullptr,
            "SimRuntime::run() inside a task: co_await the task instead");
  std::string failure;
  run_until([this, &main] { return main.done() && foreground_ == 0; }, failure);
  unwind(failure);
  if (!failure.empty()) throw SimFailure(failure);
}

void SimRuntime::unwind(const std::string& failure) {
  unwinding_ = true;
  std::vector<rt::TaskContext*> live;
  for (rt::TaskContext* context = live_; context; context = context->live_next) {
    context->ref();
    live.push_back(context);
  }
  for (rt::TaskContext* context : live) {
    context->cancel();
    context->unref();
  }
  std::string stuck;
  const bool idle = run_until(
      [this] {
        return live_ == nullptr && ready_.empty() && blocking_.empty() && posted_.empty() &&
               classes_->waiting() == 0;
      },
      stuck);
  if (!idle) {
    if (!failure.empty()) std::fprintf(stderr, "zsync: simulation: %s\n", failure.c_str());
    std::fprintf(stderr, "zsync: simulation: while unwinding cancelled tasks: %s\n", stuck.c_str());
    std::abort();
  }
  ZS_ASSERT(!timers_.next_deadline(), "a timer outlived every task of the simulation");
  unwinding_ = false;
}

void SimRuntime::advance(rt::Duration duration) {
  const rt::TimePoint end = now_ + duration;
  const uint64_t steps_end = steps_ + options_.steps_max;
  while (true) {
    const bool ready =
        !ready_.empty() || !blocking_.empty() || !posted_.empty() || classes_->waiting() > 0;
    const std::optional<rt::TimePoint> deadline = next_event();
    if (!ready && !(deadline && *deadline <= end)) break;
    if (steps_++ == steps_end) {
      throw SimFailure(describe("livelock: advance() took SimOptions::steps_max steps; alive: "));
    }
    step(end);
  }
  now_ = std::max(now_, end);
}

}  // namespace zsync::testing
