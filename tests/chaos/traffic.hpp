// One client of a chaos run: submits, follows, cancels, waits, and checks what it is told.
#pragma once

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/chaos/ledgers.hpp"

namespace zsync::chaos {

struct TrafficOptions {
  std::string socket;
  std::string worker;
  std::string ledger;    // file
  std::string run_mark;  // NAME=VALUE in every command's environment
};

// Runs on a thread of its own until `stop`, then ends what it has begun. Never waits longer than
// kPatience for anything: what takes longer is a fault.
void run_traffic(int client, uint64_t seed, const TrafficOptions& options, Ledgers& ledgers,
                 const std::atomic<bool>& stop);

}  // namespace zsync::chaos
