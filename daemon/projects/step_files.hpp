// StepFiles: the files that a step reads and makes, looked at on disk.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace zsync::daemon {

inline constexpr size_t kStepEntriesMax = 1'000'000;  // looked at for one step, directories too
inline constexpr size_t kStepFilesMax = 100'000;      // that its globs of inputs match

struct StepFiles {
  std::string root;                  // absolute; globs and paths are below it
  std::string command;               // what stands for how it runs
  std::vector<std::string> inputs;   // globs, as in zsync.yaml
  std::vector<std::string> outputs;  // likewise; what they match is no input
};

struct StepLook {
  // Of the command, and of the paths, permissions and bytes of the inputs; empty: there are none,
  // so nobody can say whether they have changed.
  std::string print;
  bool outputs_there = true;  // each of their globs matches a file
};

// Reads all inputs: not for a worker thread. Links are not followed, .git is not looked at, and
// what goes away meanwhile is as if it had never been there. Of a file above
// watching::kContentBytesMax size and times stand for the bytes.
//
// Errors: kInvalidArgument (a glob); kResourceExhausted with the limit's name; of the file system,
//         with the path; kCancelled once `stop` is set.
absl::StatusOr<StepLook> look_at(const StepFiles& files, const std::atomic<bool>* stop = nullptr);

// Whether it can stand in `in` or `out`. Errors: kInvalidArgument, naming the glob.
absl::Status check_step_glob(const std::string& glob);

}  // namespace zsync::daemon
