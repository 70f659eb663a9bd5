// `channels request` and `channels reply`.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_requests(CLI::App& channels, Context& context);

}  // namespace zsync::cli
