// The heavy headers of every integration test, and no header of the house: tests/lint (pch) says
// why.
#include <absl/status/statusor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "zsync/v1/channels.pb.h"
#include "zsync/v1/common.pb.h"
#include "zsync/v1/daemon.pb.h"
#include "zsync/v1/events.pb.h"
#include "zsync/v1/tasks.pb.h"
#include "zsync/v1/watch.pb.h"
