#include "zsync/testing/sim_runtime.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "rt/classes.hpp"
#include "testing/sim_order.hpp"
#include "testing/sim_world.hpp"
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
      random_(std::make_unique<SimRandom>(seed)),
      now_(rt::TimePoint(std::chrono::hours(1))),
      ready_(std::make_unique<SimReady>()),
      order_(std::make_unique<SimOrder>(options, seed)),
      classes_(std::make_unique<rt::Classes>(*this, 1, options.on_deadline_miss,
                                             options.overload_policy)),
      turns_(std::make_unique<rt::ClassTurns>()),
      world_(std::make_unique<SimWorld>(*this)) {}

SimRuntime::~SimRuntime() { unwind(""); }

uint64_t SimRuntime::random() { return random_->next(); }

uint64_t SimRuntime::random_below(uint64_t limit) { return random_->below(limit); }

SimHost& SimRuntime::host(const std::string& name) { return world_->host(name); }

SimNetwork& SimRuntime::network() { return world_->network(); }

uint64_t SimRuntime::schedule_hash() const { return order_->hash(); }

void SimRuntime::schedule(rt::TaskContext& context) {
  context.next_worker = -1;
  order_->strand_ready(context);
  if (context.has_standing() && classes_->push(context, -1)) return;
  ready_->strands.push_back(&context);
}

void SimRuntime::yield(rt::TaskContext& context) { schedule(context); }

void SimRuntime::post(int, std::function<void()> function) {
  ready_->posted.push_back({std::move(function), this, 0});
}

void SimRuntime::run_blocking(std::function<void()> function) {
  ready_->blocking.push_back({std::move(function), this, order_->priority_of_function()});
}

void SimRuntime::strand_started(rt::TaskContext& context) {
  context.id = next_id_++;
  context.counted = true;
  context.live_previous = nullptr;
  context.live_next = live_;
  if (live_) live_->live_previous = &context;
  live_ = &context;
  ++live_count_;
  if (!context.background && context.scheduler == this) ++foreground_;
  if (unwinding_) context.cancel();
}

void SimRuntime::strand_finished(rt::TaskContext& context) {
  if (context.end_concerns_classes()) classes_->ended(context);
  (context.live_previous ? context.live_previous->live_next : live_) = context.live_next;
  if (context.live_next) context.live_next->live_previous = context.live_previous;
  --live_count_;
  if (!context.background && context.scheduler == this) --foreground_;
}

bool SimRuntime::step(rt::TimePoint limit) {
  if (world_->run_dying()) return true;
  now_ += options_.step_time;
  fire();
  if (std::exchange(unsorted_, false)) sort_now();
  const size_t choices = classes_->waiting() + ready_->choices();
  const bool late = options_.overload_percent && random_below(100) < options_.overload_percent;
  if (choices == 0 || late) {
    if (jump(limit)) return true;
    if (choices == 0) return false;
  }
  run_one();
  return true;
}

std::optional<rt::TimePoint> SimRuntime::next_moment() {
  const std::optional<rt::TimePoint> timer = timers_.next_deadline();
  const std::optional<rt::TimePoint> event = world_->next_event();
  const rt::TimePoint never = rt::TimePoint::max();
  const rt::TimePoint next =
      std::min({timer.value_or(never), event.value_or(never), classes_->next_deadline()});
  if (next == never && !timer && !event) return std::nullopt;
  return next;
}

void SimRuntime::fire() {
  world_->fire(now_);
  timers_.fire(now_);
  if (classes_->next_deadline() <= now_) classes_->expire(now_);
}

bool SimRuntime::jump(rt::TimePoint limit) {
  const std::optional<rt::TimePoint> moment = next_moment();
  if (!moment || *moment > limit) return false;
  now_ = std::max(now_, *moment);
  fire();
  return true;
}

void SimRuntime::run_one() {
  if (classes_->waiting() == 0) return run_choice(order_->choose(*ready_, *random_));
  // Other threads' functions may come first, whatever the class.
  const size_t strands = ready_->strands.size(), functions = ready_->choices() - strands;
  const bool function = random_->below(classes_->waiting() + strands + functions) < functions;
  if (!function && run_classed()) return;
  run_choice(function ? strands + random_->below(functions) : random_->below(strands));
}

void SimRuntime::run_choice(size_t choice) {
  if (choice < ready_->strands.size()) {
    std::swap(ready_->strands[choice], ready_->strands.back());
    rt::TaskContext* context = ready_->strands.back();
    ready_->strands.pop_back();
    context->has_run = true;
    world_->count_step(*context);
    rt::run_strand(*context, rt::running_thread());
    return;
  }
  choice -= ready_->strands.size();
  // Neither kind of function is a strand's: what it calls must not take it for one.
  const bool posted = choice >= ready_->blocking.size();
  std::vector<SimFunction>& functions = posted ? ready_->posted : ready_->blocking;
  const auto chosen = functions.begin() + (posted ? 0 : choice);
  const std::function<void()> function = std::move(chosen->run);
  functions.erase(chosen);
  function();
}

bool SimRuntime::run_classed() {
  const std::optional<rt::Rank> least =
      turns_->next(classes_->above_normal(), !ready_->strands.empty());
  rt::TaskContext* const context = least ? classes_->pop(0, *least) : nullptr;
  turns_->took(context != nullptr);
  if (!context) return false;
  context->has_run = true;
  world_->count_step(*context);
  rt::run_strand(*context, rt::running_thread());
  return true;
}

void SimRuntime::sort_now() {
  for (rt::TaskContext* context : std::exchange(ready_->strands, {})) schedule(*context);
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
  const std::string thrown = world_->take_failure();
  if (failure.empty() && !thrown.empty()) failure = describe(absl::StrCat(thrown, "; alive: "));
  if (!failure.empty()) throw SimFailure(failure);
}

void SimRuntime::cancel_tasks_of(const rt::Scheduler& owner) {
  std::vector<rt::TaskContext*> live;
  for (rt::TaskContext* context = live_; context; context = context->live_next) {
    if (context->scheduler != &owner && &owner != this) continue;
    context->ref();
    live.push_back(context);
  }
  for (rt::TaskContext* context : live) {
    context->cancel();
    context->unref();
  }
}

void SimRuntime::unwind(const std::string& failure) {
  unwinding_ = true;
  world_->end_all();
  cancel_tasks_of(*this);  // and those of every process
  std::string stuck;
  const bool idle = run_until(
      [this] { return live_ == nullptr && ready_->choices() == 0 && classes_->waiting() == 0; },
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
    const bool ready = ready_->choices() > 0 || classes_->waiting() > 0;
    const std::optional<rt::TimePoint> deadline = next_moment();
    if (!ready && !(deadline && *deadline <= end)) break;
    if (steps_++ == steps_end) {
      throw SimFailure(describe("livelock: advance() took SimOptions::steps_max steps; alive: "));
    }
    step(end);
  }
  now_ = std::max(now_, end);
}

}  // namespace zsync::testing
