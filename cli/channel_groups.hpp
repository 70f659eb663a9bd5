// `channels add-group`, `groups`, `remove-group`, `ack`, `nack`, `extend`.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_groups(CLI::App& channels, Context& context);

}  // namespace zsync::cli
