// Streamed stdin: bytes from the daemon's frames into the command's pipe.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/shim/shim_protocol.hpp"
#include "daemon/store/segment_log.hpp"

namespace zsync::daemon::shim {

class StdinFeeder {
 public:
  void open(segment_log::Fd pipe);

  // Takes what is new in `data`. False: it leaves a hole or passes the window, the sender is
  // broken.
  bool take(const StdinData& data);
  void take_eof();

  // Writes as much as the pipe takes; closes it after the last byte.
  void pump();
  // The command has ended.
  void close();

  int fd() const { return pipe_.get(); }
  bool wants_write() const { return pipe_.valid() && used_ < buffer_.size(); }
  uint64_t received() const { return received_; }
  StdinAck ack() const { return {written_, closed_}; }

 private:
  segment_log::Fd pipe_;
  std::string buffer_;  // received, not yet written from used_ on
  size_t used_ = 0;
  uint64_t received_ = 0;
  uint64_t written_ = 0;  // or thrown away after the command closed its end
  bool opened_ = false;
  bool eof_ = false;
  bool closed_ = false;
};

}  // namespace zsync::daemon::shim
