// `channels select`.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_select(CLI::App& channels, Context& context);

}  // namespace zsync::cli
