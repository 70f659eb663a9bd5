// `zsyncctl tasks attach` and `run --tty`: this terminal as the terminal of a task.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cli/context.hpp"
#include "zsync/client.hpp"

namespace zsync::cli {

inline constexpr const char* kDetachKeysDefault = "ctrl-p,ctrl-q";
inline constexpr const char* kDetachKeysHelp =
    "Keys that leave the task alone, as in ctrl-p,ctrl-q or ctrl-],d; none turns them off";

// Finds the sequence of keys that detaches in what is typed.
class DetachKeys {
 public:
  // "ctrl-p,ctrl-q": keys are single characters or ctrl-X; "none": there is no such sequence.
  //
  // Errors: kInvalidArgument, naming the key.
  static absl::StatusOr<DetachKeys> parse(const std::string& text);

  // Takes what was typed and appends to `pass` what goes to the task: a sequence that was begun is
  // held back until it cannot become the whole one any more. True: it was completed; what was typed
  // after it is dropped.
  bool take(std::string_view typed, std::string& pass);

 private:
  std::string sequence_;
  std::size_t matched_ = 0;
};

// How large the terminal behind `fd` is; nullopt: it is no terminal.
std::optional<v1::TerminalSize> terminal_size(int fd);

struct AttachOptions {
  DetachKeys keys;
  bool read_only = false;
  bool started_here = false;  // by this command: its output is shown from its beginning
};

// Connects, asks `find` which task it is, shows what that prints and sends it what is typed, until
// it ends or the keys detach. -> the command's exit code, or 0 when detached. Called before the
// client is first used: its threads must not take the signals of the terminal.
//
// Errors: kFailedPrecondition when the task has no terminal; kInvalidArgument when stdin is none.
absl::StatusOr<int> attach(Context& context,
                           const std::function<absl::StatusOr<std::string>(client::Client&)>& find,
                           AttachOptions options);

}  // namespace zsync::cli
