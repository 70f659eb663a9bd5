// `channels send`, `recv` and `follow`: bytes in, bytes out.
#pragma once

#include "cli/command.hpp"
#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_streams(Command& channels, Context& context);

}  // namespace zsync::cli
