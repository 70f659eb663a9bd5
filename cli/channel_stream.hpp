// `channels send`, `recv` and `follow`: bytes in, bytes out.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

// Where messages of a stdin go. False: nothing more goes there, and it knows why.
class MessageSink {
 public:
  virtual ~MessageSink() = default;
  virtual bool add(std::vector<std::string> messages) = 0;
  // What was gathered is on its way.
  virtual bool send() = 0;
  // It was accepted.
  virtual bool flush() = 0;
};

// Sends what stdin holds; a stdin that is momentarily empty ends the batch, and what was sent is
// acknowledged before we wait for more.
//
// Errors: kInvalidArgument for frames that are cut off or too large; the system's.
absl::Status send_stdin(int fd, bool frames, MessageSink& sink);

void add_channel_streams(Command& channels, Context& context);

}  // namespace zsync::cli
