// The flags that say which changes below a directory are wanted.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/command.hpp"
#include "zsync/v1/watch.pb.h"

namespace zsync::cli {

struct WatchFlags {
  std::string directory;
  std::vector<std::string> globs, ignore, writes, defer, drop;
  bool no_gitignore = false, changed_content = false;
  std::string settle, since;
};

// Globs and ignored paths. `glob`: the names of the flag.
void add_watch_selection(Command& app, WatchFlags& flags, const std::string& glob = "-g,--glob");
// When a batch ends, what is left out of it, and which states make it silent.
void add_watch_pace(Command& app, WatchFlags& flags);
// What the command itself writes.
void add_watch_writes(Command& app, WatchFlags& flags);

// The canonical path.
//
// Errors: kNotFound; kInvalidArgument when it is no directory.
absl::StatusOr<std::string> watched_directory(const WatchFlags& flags);
// Errors: kInvalidArgument, naming the flag.
absl::StatusOr<v1::WatchFilter> make_watch_filter(const WatchFlags& flags);

}  // namespace zsync::cli
