// `channels select`.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_select(Command& channels, Context& context);

}  // namespace zsync::cli
