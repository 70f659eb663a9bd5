// `zsyncctl watch DIR -- COMMAND`: a task per batch, one at a time.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/context.hpp"
#include "zsync/v1/watch.pb.h"

namespace zsync::cli {

// How many paths ZSYNC_CHANGED names at most.
inline constexpr std::size_t kChangedPathsMax = 100;

// Runs context.command on each batch until Ctrl-C, an error of the watch, or a loop.
absl::StatusOr<int> run_on_changes(Context& context, const v1::SubscribeWatchRequest& request,
                                   const std::vector<std::string>& writes);

// Content of a file as a hash; empty for one that is gone. Of what is no regular file, or larger
// than 64 MiB, size and modification time stand for the content.
std::string content_hash(const std::string& path);

}  // namespace zsync::cli
