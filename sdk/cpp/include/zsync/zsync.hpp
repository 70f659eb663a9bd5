// Everything of the runtime in one include.
#pragma once

#include "zsync/channel.hpp"
#include "zsync/config.hpp"
#include "zsync/executor.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"
#include "zsync/select.hpp"
#include "zsync/spawn.hpp"
#include "zsync/stop_token.hpp"
#include "zsync/sync.hpp"
#include "zsync/task.hpp"
#include "zsync/timeout.hpp"
