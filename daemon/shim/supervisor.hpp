// The life of one command, from the claim to the exit record.
#pragma once

#include <poll.h>

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/shim/command.hpp"
#include "daemon/shim/connection.hpp"
#include "daemon/shim/listener.hpp"
#include "daemon/shim/output_log.hpp"
#include "daemon/shim/process_tree.hpp"
#include "daemon/shim/stdin_feeder.hpp"

namespace zsync::daemon::shim {

inline constexpr int64_t kKillAgainMs = 20;      // between two rounds of SIGKILL
inline constexpr int64_t kListenAgainMs = 1000;  // on a disk without space for a socket
inline constexpr int64_t kUnkillableMs =
    10'000;                                 // then the end is recorded in spite of what remains
inline constexpr int kPipeBytes = 1 << 20;  // of a stream that has filled a whole read

// 1. Nothing is executed before the claim is ours; whoever has the claim writes an exit record,
// unless killed.
// 2. Nothing waits for a daemon: every descriptor is non-blocking and every buffer has a limit.
// 3. The end is recorded only when the tree is gone (or unkillable, or to be kept) and the pipes
// are drained.
// 4. Whenever nobody is connected it listens, so that the next daemon finds it.
class Supervisor {
 public:
  Supervisor(Spec spec, segment_log::Fd signals, segment_log::Fd exit_file, Listener listener,
             segment_log::Fd first_connection);

  // Runs the command to its end, and returns when its connections have taken the news: who is not
  // there any more finds the exit file.
  void run();

 private:
  enum class Ask : uint8_t { kNothing, kCancel, kTimeout };

  void start();
  void fail_start(int error, int code, std::string text);
  bool ended();
  int64_t ends_at_ms() const;
  void turn(int64_t wait_ms);
  int64_t wait_ms() const;
  void keep_time();
  void take_signals();
  void reap();
  void begin_end(uint64_t grace_ms, Ask ask);
  void resize(const TerminalSize& size);
  void pause();
  void resume();
  void read_output(int stream);
  bool read_once(int stream, size_t bytes_max, ssize_t& got);
  void drain();
  void record_end();
  void accept_daemon();
  void take_frame(const Frame& frame, bool& good);
  void serve(Connection& connection, short events, bool& good);
  void update_daemons();
  bool alone() const;
  bool owes_news() const;

  const Spec spec_;
  segment_log::Fd signals_;
  segment_log::Fd exit_file_;
  Listener listener_;
  std::list<Connection> connections_;
  OutputLog log_;
  ProcessTree tree_;
  Command command_;
  StdinFeeder stdin_;
  State state_;
  ExitRecord exit_;
  std::unique_ptr<char[]> buffer_;

  bool main_done_ = false;
  bool childless_ = true;
  bool quit_ = false;          // SIGTERM after the end
  Ask ask_ = Ask::kNothing;    // who asked first for the end, while the main process ran
  bool ending_ = false;        // SIGTERM was sent to the tree
  int64_t timeout_at_ms_ = 0;  // monotonic; 0: none. Stands still while it is paused
  int64_t paused_at_ms_ = 0;   // 0: it is not
  int64_t deadline_at_ms_ = 0;
  int64_t kill_at_ms_ = 0;
  int64_t kill_again_at_ms_ = 0;
};

}  // namespace zsync::daemon::shim
