// Channels of the memory class on their way from one program of zsyncd to the next (daemon
// upgrade).
//
// They are written to a segment log that nobody syncs: it has to outlive a program, not the
// machine. One channel after the other: a header, the ids that are remembered, the messages, an
// end.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/channels/named_channel.hpp"

namespace zsync::daemon {

class ChannelCarry {
 public:
  using ChannelPtr = std::shared_ptr<NamedChannel>;

  // Appends `channel`, whose calls have ended. Waiting requests of the form request are not kept:
  // who asked is gone.
  //
  // Errors: kUnavailable, kResourceExhausted: the disk's.
  static absl::Status write(NamedChannel& channel, segment_log::Writer& log);

  // What that takes of the disk, with what read() puts there again, at most.
  static uint64_t bytes_of(NamedChannel& channel);

  // Makes every whole channel of the log in `dir` anew and gives it to `take`. What was on disk
  // because memory was full is put under `spill_dir`, or into memory where that is empty.
  //
  // Errors: kDataLoss for a log that is not what write() wrote; what was whole was given before.
  static absl::Status read(const std::string& dir, const NamedChannel::Clock& clock,
                           const std::function<void(std::string name, ChannelPtr)>& take,
                           const std::string& spill_dir = "");

 private:
  static std::string header_of(NamedChannel& channel) ABSL_EXCLUSIVE_LOCKS_REQUIRED(channel.lock_);
  static absl::StatusOr<ChannelPtr> made_of(const segment_log::Record& header,
                                            const NamedChannel::Clock& clock,
                                            const std::string& spill_dir);
  static absl::Status add(NamedChannel& channel, const segment_log::Record& record);
};

}  // namespace zsync::daemon
