// A task's output on our own streams.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/context.hpp"
#include "zsync/client.hpp"

namespace zsync::cli {

// Writes records to stdout and stderr, bytes unchanged or with a time before each line.
class RecordWriter {
 public:
  RecordWriter(Context& context, bool timestamps) : context_(context), timestamps_(timestamps) {}

  void write(const v1::Record& record);
  void write(const v1::Gap& gap);
  // False once the reader of stdout is gone.
  bool flush();

 private:
  Context& context_;
  bool timestamps_;
  bool line_start_[2] = {true, true};
};

// Follows a task to its end; the final record. kCancelled when stdout's reader is gone.
absl::StatusOr<v1::Task> stream_task(Context& context, client::Client& client,
                                     const std::string& id, const client::CallOptions& call);

// Says on stderr what the exit code alone does not.
void explain_end(Context& context, const v1::Task& task);

// Asks for the end of a task; a grace of zero kills at once.
absl::Status request_cancel(client::Client& client, const std::string& id, bool kill);

}  // namespace zsync::cli
