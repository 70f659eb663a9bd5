// One daemon that is connected to the shim.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/shim/shim_protocol.hpp"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

// The shim's present state; every connection brings its daemon up to it.
struct State {
  Hello hello;
  std::string cgroup_error;
  StdinAck stdin_ack;
  std::optional<ExitRecord> exit;
};

// Frames are made only when everything before them was taken by the socket, each from the state of
// that moment: a slow daemon misses intermediate states, never the last one, and costs a few
// hundred bytes at most.
class Connection {
 public:
  explicit Connection(segment_log::Fd socket);

  // Sends what changed. False: the daemon is gone.
  bool update(const State& state);
  // Reads what has come. False: the daemon is gone, or speaks nonsense.
  bool receive(std::vector<Frame>& frames);

  int fd() const { return socket_.get(); }
  bool wants_write() const { return !out_.empty(); }

 private:
  bool compose(const State& state);
  bool flush();

  segment_log::Fd socket_;
  FrameReader in_;
  std::string out_;
  bool hello_sent_ = false;
  bool started_sent_ = false;
  bool exited_sent_ = false;
  bool output_outstanding_ = false;
  uint64_t output_sent_ = 0;  // bytes of the last Output frame
  StdinAck ack_sent_;
  int64_t paused_sent_ = 0;
};

}  // namespace zsync::daemon::shim
