// SimWorld: what a simulation has beside its strands: events in virtual time, hosts and processes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <vector>

#include "testing/sim_disk.hpp"
#include "testing/sim_network.hpp"
#include "testing/sim_order.hpp"
#include "testing/sim_process.hpp"
#include "zsync/testing/sim_host.hpp"

namespace zsync::testing {

class SimWorld {
 public:
  explicit SimWorld(SimRuntime& sim);
  ~SimWorld();

  // Runs a function once time has come there; those of one moment in the order of asking.
  void at(rt::TimePoint time, std::function<void()> function);
  void after(rt::Duration delay, std::function<void()> function) {
    at(now() + delay, std::move(function));
  }
  std::optional<rt::TimePoint> next_event() const;
  void fire(rt::TimePoint now);

  rt::TimePoint now() const;
  SimRuntime& sim() { return sim_; }
  // Random numbers of the world: the program's own stay as they are.
  SimRandom& random() { return random_; }
  bool by_chance(uint32_t percent) { return percent > 0 && random_.below(100) < percent; }
  // 0 to `most`.
  rt::Duration random_duration(rt::Duration most);

  SimHost& host(const std::string& name);
  SimHostState* host_at(const IpAddress& address);
  SimNetwork& network() { return network_; }
  int next_descriptor() { return next_descriptor_++; }

  // A new process. Lifetime: the world's, since handles refer to its tasks.
  SimProcess& add_process(SimHostState& host);
  // A stopped process runs alone until nothing of it is ready any more. False: there is none.
  bool run_dying();
  void add_dying(SimProcess& process) { dying_.push_back(&process); }
  // Before a strand's step.
  void count_step(const rt::TaskContext& context);
  // The run is over: no process goes on, none crashes any more.
  void end_all();

  // A program that ended with an exception.
  void report(std::string failure);
  std::string take_failure() { return std::exchange(failure_, ""); }

 private:
  struct Event {
    rt::TimePoint time;
    uint64_t order;
    std::shared_ptr<std::function<void()>> function;
    bool operator>(const Event& other) const {
      return time != other.time ? time > other.time : order > other.order;
    }
  };

  SimRuntime& sim_;
  SimRandom random_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  uint64_t next_event_ = 0;
  int next_descriptor_ = 1 << 30;  // no number of the real kernel's, and none twice
  std::string failure_;
  SimNetwork network_;
  std::map<std::string, std::unique_ptr<SimHost>> hosts_;
  std::vector<SimHostState*> hosts_by_number_;
  std::vector<std::unique_ptr<SimProcess>> processes_;
  std::vector<SimProcess*> dying_;
};

// What a SimHost is made of.
class SimHostState {
 public:
  SimHostState(SimWorld& world, std::string name, IpAddress address);

  SimWorld& world() { return world_; }
  const std::string& name() const { return name_; }
  const IpAddress& address() const { return address_; }
  SimDisk& disk() { return disk_; }
  SimPorts& ports() { return ports_; }

  SimProcess* process() { return process_; }
  SimProcess& running_process();
  void crash(SimCrash how);
  // The process ends by itself; the next start() begins another one.
  void forget_process() { process_ = nullptr; }

  // Programs of start(), for restart(). They stand here while their tasks run: a coroutine may
  // refer to the function object that made it.
  std::vector<std::shared_ptr<std::function<Task<void>()>>> programs;
  std::optional<uint64_t> steps_left;  // until the crash
  std::optional<uint64_t> calls_left;
  SimCrash step_crash = SimCrash::power_loss;
  SimCrash call_crash = SimCrash::power_loss;
  uint64_t incarnations = 0;

 private:
  SimWorld& world_;
  const std::string name_;
  const IpAddress address_;
  SimDisk disk_;
  SimPorts ports_;
  SimProcess* process_ = nullptr;
};

}  // namespace zsync::testing
