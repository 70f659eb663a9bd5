// SimHost: a simulated machine with an address, a disk and a process that can be stopped dead.
//
//   zsync::testing::explore(200, [](zsync::testing::SimRuntime& sim) {
//     sim.network().set_options({.loss_percent = 5, .straggler_percent = 10});
//     zsync::testing::SimHost& server = sim.host("server");
//     server.start(&serve);                      // an ordinary program: TcpListener, File, spawn()
//     sim.host("client").start(&use_it);
//     sim.run(crash_and_restart(server));        // the test's own task, on no host
//   });
//
// The same program: zsync::TcpListener, TcpStream, connect_tcp(addresses), UdpSocket, File and the
// functions of files.hpp run unchanged; only the system calls below them are a simulation's
// (io/socket_calls.hpp, io/file_calls.hpp). Not simulated, and a failed assertion on a host: Unix
// sockets, pipes, child processes, signals, terminals, name servers and TLS; IPv6 is
// kUnimplemented.
//
// A crash ends a process at one instant: from then on nothing that it does reaches the network, the
// disk or the clock. C++ cannot forget a coroutine's frame without leaking what it owns, and cannot
// destroy one whose children and locks refer to it in an order of its own; so a stopped process is
// cancelled and unwound in the dark, before anything else runs: its calls fail, and its destructors
// and what stands behind its awaits do run. Nobody in the simulated world can see that; a test can,
// in memory that it shares with the process. Judge by what others were told, as a client would, or
// ask running(). What cannot be cancelled (shield) is left behind and ends when its time comes.
//
// Threads: as SimRuntime, one. Lifetime: hosts live as long as their SimRuntime.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "zsync/socket.hpp"
#include "zsync/spawn.hpp"
#include "zsync/task.hpp"
#include "zsync/testing/sim_runtime.hpp"

namespace zsync::testing {

class SimDiskState;
class SimHostState;
class SimNetworkState;

// What happens to packets on their way.
struct SimNetworkOptions {
  rt::Duration latency_min = std::chrono::microseconds(100);  // one way, uniform between the two
  rt::Duration latency_max = std::chrono::milliseconds(1);    // one way
  uint32_t straggler_percent = 0;  // of packets: they take up to straggler_latency more
  rt::Duration straggler_latency = std::chrono::milliseconds(100);  // at most, on top
  // Of packets. A datagram is gone; what belongs to a stream is sent again, after 200 ms at first.
  uint32_t loss_percent = 0;
  uint32_t duplicate_percent = 0;  // of datagrams: they arrive twice
};

// What happened to packets so far.
struct SimNetworkCounts {
  uint64_t sent = 0;        // packets, those of streams included
  uint64_t lost = 0;        // by loss_percent or because the way was cut
  uint64_t duplicated = 0;  // datagrams
  uint64_t overtaken = 0;   // datagrams that arrived before one that was sent earlier
  uint64_t refused = 0;     // connections to a port where nobody listens
  uint64_t resets = 0;      // of connections
};

// What lies between hosts. Datagrams arrive each in its own time: later ones overtake earlier ones.
// Streams keep their order, hold 64 KiB that the reader has not read, and fail with
// kDeadlineExceeded when nothing got through for about 100 s. Within a host nothing is lost.
class SimNetwork {
 public:
  // By SimRuntime.
  explicit SimNetwork(std::unique_ptr<SimNetworkState> state);
  ~SimNetwork();
  // Of every way; may change at any time.
  void set_options(const SimNetworkOptions& options);
  // Of what `from` sends to `to`.
  void set_options(const std::string& from, const std::string& to,
                   const SimNetworkOptions& options);
  // Nothing of `from` arrives at `to` any more, also what is under way.
  void cut(const std::string& from, const std::string& to);
  // cut() in both directions.
  void partition(const std::string& a, const std::string& b);
  // partition() from every other host, also from later ones.
  void isolate(const std::string& host);
  // Undoes cut(), partition() and isolate() between two hosts.
  void heal(const std::string& a, const std::string& b);
  // The same everywhere.
  void heal();
  // Ends every connection between the two: both get a reset, at once.
  void reset_connections(const std::string& a, const std::string& b);
  // What has happened so far.
  const SimNetworkCounts& counts() const;

  // What it is made of; for the simulation itself.
  SimNetworkState& state() { return *state_; }

 private:
  std::unique_ptr<SimNetworkState> state_;
};

// How a disk is, and what a power cut does to it.
struct SimDiskOptions {
  uint64_t bytes_max = uint64_t{1} << 30;  // of all files; more is kResourceExhausted
  size_t sector_bytes = 512;               // what is written whole or not at all; 512 or 4096
  // Unsynced writes outlive a power cut each by its own luck: whole, in some of their sectors, or
  // not at all. false: in the order of writing, up to some moment.
  bool reorder_unsynced = true;
  uint32_t lying_sync_percent = 0;  // of syncs: they succeed, and nothing has reached the disk
  // Of syncs: kDataLoss or the system's code for EIO, and what was to be synced never is, although
  // it can still be read (as Linux does: the next sync succeeds).
  uint32_t failing_sync_percent = 0;
  uint32_t failing_io_percent = 0;  // of reads and writes: EIO
  rt::Duration latency_max{0};      // of each blocking function, from 0 on
};

// The disk of a host. What a program sees is what it wrote (the page cache); what outlives a power
// cut is what was synced, and by luck some of the rest. A file's name is durable once its directory
// was synced (write_file_atomic() does that); renaming is atomic in any case.
class SimDisk {
 public:
  // By its host.
  explicit SimDisk(std::unique_ptr<SimDiskState> state);
  ~SimDisk();
  // May change at any time.
  void set_options(const SimDiskOptions& options);
  // The file as a program would read it now; nullopt: there is none.
  std::optional<std::string> content(const std::string& path) const;
  // Puts a file there, durable.
  void put(const std::string& path, const std::string& content);
  // Paths of all files, in order.
  std::vector<std::string> files() const;
  // Bytes of all files.
  uint64_t bytes() const;

  // What it is made of; for the simulation itself.
  SimDiskState& state() { return *state_; }

 private:
  std::unique_ptr<SimDiskState> state_;
};

// How a process is stopped. In both cases its tasks stop at one instant.
enum class SimCrash : uint8_t {
  // kill -9: the system goes on. What was written is kept, connections end as by close().
  kill,
  // The machine: what was not synced is left to luck, and peers get a reset (unless the way is cut:
  // then they learn of it when they send next).
  power_loss,
};

// A machine. Made by SimRuntime::host(); the first has the address 10.0.0.1, the next 10.0.0.2.
class SimHost {
 public:
  // By SimRuntime::host().
  SimHost(SimWorld& world, std::string name, IpAddress address);
  ~SimHost();
  SimHost(const SimHost&) = delete;
  SimHost& operator=(const SimHost&) = delete;

  // What it was asked for by.
  const std::string& name() const;
  // What others connect to. 127.0.0.1 is the host itself.
  IpAddress address() const;
  // The same with a port.
  SocketAddress at(uint16_t port) const { return {address(), port}; }
  // Its disk, which outlives every crash.
  SimDisk& disk();

  // Starts a program: `main` is called, here and by every restart(), and runs on this host with
  // everything that it spawns. A process that runs already gets it as another task. An exception
  // that leaves it makes SimRuntime::run() throw SimFailure. SimRuntime::run() does not wait for
  // processes: those that still run at its end are cancelled and unwound.
  void start(std::function<Task<void>()> main);
  // Runs a task in the host's process, which begins with it when there is none.
  template <typename T>
  [[nodiscard]] TaskHandle<T> spawn(Task<T> task) {
    return rt::spawn_on(scheduler(), SpawnOptions{}, std::move(task));
  }

  // Stops the process at this instant; a task of its own that calls this goes on to its next await.
  void crash(SimCrash how = SimCrash::power_loss);
  // The same after so many more steps of the process's tasks: 0 is before the next one.
  void crash_after_steps(uint64_t steps, SimCrash how = SimCrash::power_loss);
  // The same in front of a file system call, after so many more of them: also in the middle of
  // write_file_atomic(), which makes several. 0 is the next one.
  void crash_after_file_calls(uint64_t calls, SimCrash how = SimCrash::power_loss);
  // Starts the programs of start() again, after a crash if the process still runs. What one of the
  // two above has asked for and did not happen yet is over, as after crash().
  void restart(SimCrash how = SimCrash::power_loss);
  // Whether there is a process: started and not stopped.
  bool running() const;
  // Processes so far.
  uint64_t incarnations() const;

  // What it is made of; for the simulation itself.
  SimHostState& state() { return *state_; }

 private:
  rt::Scheduler& scheduler();
  std::unique_ptr<SimHostState> state_;
};

}  // namespace zsync::testing
