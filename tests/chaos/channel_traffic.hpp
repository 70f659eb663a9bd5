// A sender and a receiver of one durable channel, through every kill of the daemon.
//
// Proves, or says where not: an acknowledged message comes at least once, and messages come for the
// first time in the order in which they were sent.
#pragma once

#include <atomic>
#include <string>

#include "tests/chaos/ledgers.hpp"

namespace zsync::chaos {

// Sends numbered batches until `stop`, then closes the channel.
void send_messages(const std::string& socket, Ledgers& ledgers, const std::atomic<bool>& stop);

// Receives until the channel is closed and drained.
void receive_messages(const std::string& socket, Ledgers& ledgers);

}  // namespace zsync::chaos
