// No header of the house: tests/lint (pch) says why.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "zsync/v1/channels.pb.h"
#include "zsync/v1/common.pb.h"
#include "zsync/v1/daemon.pb.h"
#include "zsync/v1/events.pb.h"
#include "zsync/v1/tasks.pb.h"
#include "zsync/v1/watch.pb.h"
