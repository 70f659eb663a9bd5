// SimProcess: one incarnation of a host's program. It is the Scheduler of its tasks, so every task
// that they spawn belongs to it, and its driver gives them the simulated system calls.
#pragma once

#include <functional>
#include <memory>

#include "testing/sim_files.hpp"
#include "testing/sim_sockets.hpp"
#include "zsync/rt/scheduler.hpp"
#include "zsync/testing/sim_host.hpp"

namespace zsync::testing {

class SimHostState;
class SimWorld;

class SimProcess final : public rt::Scheduler {
 public:
  SimProcess(SimWorld& world, SimHostState& host);

  SimHostState& host() { return host_; }
  bool stopped() const { return stopped_; }
  SimSockets& sockets() { return sockets_; }
  // Cuts it off from its host and cancels its tasks.
  void stop(SimCrash how);

  // -- rt::Scheduler
  void schedule(rt::TaskContext& context) override;
  void yield(rt::TaskContext& context) override;
  void strand_started(rt::TaskContext& context) override;
  void strand_finished(rt::TaskContext& context) override;
  rt::TimePoint now() override;
  rt::TimerQueue& timers() override;
  rt::Driver* driver() override { return &driver_; }
  rt::Classes& classes() override;
  void sort_ready() override;
  int current_worker() override { return 0; }
  void post(int worker, std::function<void()> function) override;
  void run_blocking(std::function<void()> function) override;

 private:
  class Driver final : public rt::Driver {
   public:
    explicit Driver(SimProcess& process) : process_(process) {}
    void poll() override {}
    void park(std::optional<rt::TimePoint>) override {}
    void wake() override {}
    absl::StatusOr<rt::FdSource*> add(int fd, rt::FdListener& listener) override {
      return process_.sockets_.watch(fd, listener);
    }
    void arm(rt::FdSource& source, uint32_t events) override {
      process_.sockets_.arm(source, events);
    }
    void remove(rt::FdSource& source, std::function<void()> then) override {
      process_.sockets_.unwatch(source);
      then();
    }
    rt::SocketCalls& sockets() override { return process_.sockets_; }
    rt::FileCalls& files() override { return process_.files_; }

   private:
    SimProcess& process_;
  };

  SimWorld& world_;
  SimHostState& host_;
  SimSockets sockets_;
  SimFiles files_;
  Driver driver_{*this};
  bool stopped_ = false;
};

}  // namespace zsync::testing
