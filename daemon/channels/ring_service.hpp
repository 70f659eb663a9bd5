// The ends of rings: who connects to pass descriptors instead of calls.
#pragma once

#include "daemon/channels/engine.hpp"
#include "daemon/rpc/identity.hpp"
#include "zsync/fd.hpp"

namespace zsync::daemon {

// Reads an OpenRingRequest from the connection, answers it, and keeps the place until the
// connection is closed (channels.proto says what goes over it). Returns at once.
void take_ring_end(ChannelsEngine& engine, UniqueFd connection, Peer peer);

}  // namespace zsync::daemon
