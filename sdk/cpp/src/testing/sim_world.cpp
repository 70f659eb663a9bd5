#include "testing/sim_world.hpp"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "zsync/assert.hpp"

namespace zsync::testing {

SimWorld::SimWorld(SimRuntime& sim)
    : sim_(sim),
      random_(sim.seed() * 0x9e3779b97f4a7c15 + 1),
      network_(std::make_unique<SimNetworkState>(*this)) {}

SimWorld::~SimWorld() = default;

void SimWorld::at(rt::TimePoint time, std::function<void()> function) {
  events_.push({time, next_event_++, std::make_shared<std::function<void()>>(std::move(function))});
}

std::optional<rt::TimePoint> SimWorld::next_event() const {
  if (events_.empty()) return std::nullopt;
  return events_.top().time;
}

void SimWorld::fire(rt::TimePoint now) {
  while (!events_.empty() && events_.top().time <= now) {
    const std::shared_ptr<std::function<void()>> function = events_.top().function;
    events_.pop();
    (*function)();
  }
}

rt::TimePoint SimWorld::now() const { return sim_.now(); }

rt::Duration SimWorld::random_duration(rt::Duration most) {
  if (most.count() <= 0) return rt::Duration(0);
  return rt::Duration(random_.below(static_cast<uint64_t>(most.count()) + 1));
}

SimHost& SimWorld::host(const std::string& name) {
  std::unique_ptr<SimHost>& host = hosts_[name];
  if (!host) {
    const size_t number = hosts_by_number_.size() + 1;
    ZS_ASSERT(number < (1 << 16), "a simulated network has 65,535 hosts at most");
    host = std::make_unique<SimHost>(
        *this, name,
        IpAddress::v4({10, 0, static_cast<uint8_t>(number >> 8), static_cast<uint8_t>(number)}));
    hosts_by_number_.push_back(&host->state());
  }
  return *host;
}

SimHostState* SimWorld::host_at(const IpAddress& address) {
  const auto found = std::find_if(hosts_by_number_.begin(), hosts_by_number_.end(),
                                  [&](SimHostState* host) { return host->address() == address; });
  return found == hosts_by_number_.end() ? nullptr : *found;
}

SimProcess& SimWorld::add_process(SimHostState& host) {
  processes_.push_back(std::make_unique<SimProcess>(*this, host));
  return *processes_.back();
}

bool SimWorld::run_dying() {
  if (dying_.empty()) return false;
  const auto is_dying = [this](const rt::Scheduler* owner) {
    return std::find(dying_.begin(), dying_.end(), owner) != dying_.end();
  };
  SimReady& ready = *sim_.ready_;
  const auto strand =
      std::find_if(ready.strands.begin(), ready.strands.end(),
                   [&](rt::TaskContext* context) { return is_dying(context->scheduler); });
  if (strand != ready.strands.end()) {
    rt::TaskContext* const context = *strand;
    ready.strands.erase(strand);
    context->has_run = true;
    rt::run_strand(*context, rt::running_thread());
    return true;
  }
  for (std::vector<SimFunction>* functions : {&ready.blocking, &ready.posted}) {
    const auto found =
        std::find_if(functions->begin(), functions->end(),
                     [&](const SimFunction& function) { return is_dying(function.owner); });
    if (found == functions->end()) continue;
    const std::function<void()> run = std::move(found->run);
    functions->erase(found);
    run();
    return true;
  }
  dying_.clear();
  return false;
}

void SimWorld::count_step(const rt::TaskContext& context) {
  for (SimHostState* host : hosts_by_number_) {
    if (!host->steps_left || host->process() != context.scheduler) continue;
    if ((*host->steps_left)-- == 0) {
      host->steps_left.reset();
      host->crash(host->step_crash);
    }
  }
}

void SimWorld::end_all() {
  for (SimHostState* host : hosts_by_number_) {
    host->steps_left.reset();
    host->calls_left.reset();
    host->forget_process();
  }
}

void SimWorld::report(std::string failure) {
  if (failure_.empty()) failure_ = std::move(failure);
}

SimHostState::SimHostState(SimWorld& world, std::string name, IpAddress address)
    : world_(world),
      name_(std::move(name)),
      address_(address),
      disk_(std::make_unique<SimDiskState>(world)) {}

SimProcess& SimHostState::running_process() {
  if (!process_) {
    process_ = &world_.add_process(*this);
    ++incarnations;
  }
  return *process_;
}

void SimHostState::crash(SimCrash how) {
  steps_left.reset();
  calls_left.reset();
  SimProcess* const process = std::exchange(process_, nullptr);
  if (!process) return;
  // 1. Nothing of it gets out any more. 2. The disk forgets. 3. What remains is unwound.
  process->stop(how);
  if (how == SimCrash::power_loss) disk_.state().lose_power();
  world_.add_dying(*process);
}

// -- SimProcess

SimProcess::SimProcess(SimWorld& world, SimHostState& host)
    : world_(world), host_(host), sockets_(world, host), files_(world, host) {}

void SimProcess::stop(SimCrash how) {
  stopped_ = true;
  sockets_.stop(how);
  files_.stop();
  world_.sim().cancel_tasks_of(*this);
}

void SimProcess::schedule(rt::TaskContext& context) { world_.sim().schedule(context); }

void SimProcess::yield(rt::TaskContext& context) { world_.sim().schedule(context); }

void SimProcess::strand_started(rt::TaskContext& context) {
  world_.sim().strand_started(context);
  if (stopped_) context.cancel();
}

void SimProcess::strand_finished(rt::TaskContext& context) {
  world_.sim().strand_finished(context);
}

rt::TimePoint SimProcess::now() { return world_.now(); }

rt::TimerQueue& SimProcess::timers() { return world_.sim().timers(); }

rt::Classes& SimProcess::classes() { return world_.sim().classes(); }

void SimProcess::sort_ready() { world_.sim().sort_ready(); }

void SimProcess::post(int, std::function<void()> function) {
  world_.sim().ready_->posted.push_back({std::move(function), this, 0});
}

void SimProcess::run_blocking(std::function<void()> function) {
  const rt::Duration latency =
      stopped_ ? rt::Duration(0)
               : world_.random_duration(host_.disk().state().options().latency_max);
  auto begin = [this, function = std::move(function)]() mutable {
    SimRuntime& sim = world_.sim();
    sim.ready_->blocking.push_back({std::move(function), this, sim.order_->priority_of_function()});
  };
  if (latency.count() == 0) return begin();
  world_.after(latency, std::move(begin));
}

// -- SimHost

namespace {

Task<void> run_program(SimWorld& world, std::string host,
                       std::shared_ptr<std::function<Task<void>()>> program) {
  try {
    co_await (*program)();
  } catch (const Cancelled&) {
    throw;
  } catch (const std::exception& exception) {
    world.report(absl::StrCat("the program of host \"", host, "\" threw: ", exception.what()));
  }
}

}  // namespace

SimHost::SimHost(SimWorld& world, std::string name, IpAddress address)
    : state_(std::make_unique<SimHostState>(world, std::move(name), address)) {}

SimHost::~SimHost() = default;

const std::string& SimHost::name() const { return state_->name(); }

IpAddress SimHost::address() const { return state_->address(); }

SimDisk& SimHost::disk() { return state_->disk(); }

void SimHost::start(std::function<Task<void>()> main) {
  state_->programs.push_back(std::make_shared<std::function<Task<void>()>>(std::move(main)));
  SpawnOptions options;
  options.name = state_->name();
  rt::spawn_on(scheduler(), std::move(options),
               run_program(state_->world(), state_->name(), state_->programs.back()))
      .detach();
}

void SimHost::crash(SimCrash how) { state_->crash(how); }

void SimHost::crash_after_steps(uint64_t steps, SimCrash how) {
  state_->steps_left = steps;
  state_->step_crash = how;
}

void SimHost::crash_after_file_calls(uint64_t calls, SimCrash how) {
  state_->calls_left = calls;
  state_->call_crash = how;
}

void SimHost::restart(SimCrash how) {
  state_->crash(how);
  for (const auto& program : state_->programs) {
    SpawnOptions options;
    options.name = state_->name();
    rt::spawn_on(scheduler(), std::move(options),
                 run_program(state_->world(), state_->name(), program))
        .detach();
  }
}

bool SimHost::running() const { return state_->process() != nullptr; }

uint64_t SimHost::incarnations() const { return state_->incarnations; }

rt::Scheduler& SimHost::scheduler() { return state_->running_process(); }

}  // namespace zsync::testing
