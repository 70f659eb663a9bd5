// The command line as a whole: parse, act, answer with an exit code.
#pragma once

#include <string>
#include <vector>

#include "cli/io.hpp"

namespace zsync::cli {

// Runs one invocation; `args` without the program's name.
//
// Threads: the main thread. SIGPIPE must be ignored by the process.
int run_cli(const std::vector<std::string>& args, Io io);

}  // namespace zsync::cli
