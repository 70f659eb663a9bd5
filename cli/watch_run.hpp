// `zsyncctl watch DIR -- COMMAND`: a task per batch, one at a time.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/context.hpp"
#include "zsync/v1/watch.pb.h"

namespace zsync::cli {

// Runs context.command on each batch until Ctrl-C, an error of the watch, or a loop.
absl::StatusOr<int> run_on_changes(Context& context, const v1::SubscribeWatchRequest& request,
                                   const std::vector<std::string>& writes);

// The names as the file system has them, be they UTF-8 or not.
const std::string& exact_path(const v1::FileChange& change);
const std::string& exact_renamed_from(const v1::FileChange& change);

// Content of a file as a hash; empty for one that is gone. Of what is no regular file, or larger
// than 64 MiB, size and modification time stand for the content. (zsyncd's own needs OpenSSL, which
// this program does without.)
std::string content_hash(const std::string& path);

}  // namespace zsync::cli
