// `channels request` and `channels reply`.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_requests(Command& channels, Context& context);

}  // namespace zsync::cli
