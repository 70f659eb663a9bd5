// `zsyncctl watch trigger`: commands that zsyncd runs on changes, whoever is connected.
#pragma once

#include <string>

#include "cli/command.hpp"
#include "cli/context.hpp"
#include "zsync/v1/triggers.pb.h"

namespace zsync::cli {

void add_watch_triggers(Command& watch, Context& context);

// "idle", "root gone".
std::string trigger_state_text(v1::TriggerState state);
// How its newest run stands or ended.
std::string trigger_last_text(const v1::Trigger& trigger);

}  // namespace zsync::cli
