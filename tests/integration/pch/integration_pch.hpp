// The heavy headers of every integration test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "zsync/client.hpp"
