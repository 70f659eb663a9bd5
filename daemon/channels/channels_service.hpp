// zsync.v1.Channels over the engine: translates, checks, delegates.
#pragma once

#include <memory>

namespace grpc {
class Service;
}

namespace zsync::daemon {

class CallGate;
class ChannelsEngine;

std::unique_ptr<grpc::Service> make_channels_service(CallGate& gate, ChannelsEngine& engine);

}  // namespace zsync::daemon
