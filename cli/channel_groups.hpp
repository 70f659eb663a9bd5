// `channels add-group`, `groups`, `remove-group`, `ack`, `nack`, `extend`.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_groups(Command& channels, Context& context);

}  // namespace zsync::cli
