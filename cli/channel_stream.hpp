// `channels send`, `recv` and `follow`: bytes in, bytes out.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/context.hpp"

namespace zsync::cli {

void add_channel_streams(CLI::App& channels, Context& context);

}  // namespace zsync::cli
