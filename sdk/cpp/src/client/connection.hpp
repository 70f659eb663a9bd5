// What every noun's client stands on: one gRPC channel, the bounds of a call, and coming back after
// a restart of the daemon.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stop_state.hpp"
#include "zsync/client/options.hpp"

namespace zsync::client::internal {

using Clock = std::chrono::system_clock;
using Deadline = std::optional<Clock::time_point>;

// The status of a finished call, its ErrorDetail attached.
// `cancelled`: the call was, by us; otherwise the daemon ended it unheard as it went down, and the
// connection counts as broken.
absl::Status to_status(const grpc::Status& status, const grpc::ClientContext& context,
                       bool cancelled = false);

// The connection broke or the daemon is going down: worth another try. An error that the daemon
// spoke on purpose carries a detail and is not.
bool is_broken_connection(const absl::Status& status);
// The daemon did nothing, because another program takes over from it: any call may be made again.
bool is_draining(const absl::Status& status);

// The bounds of one blocking call, which may take several tries.
struct Bounds {
  Deadline deadline;
  StopSource* stop;
};

// One try: a ClientContext that the deadline and the StopSource end.
class Try {
 public:
  explicit Try(const Bounds& bounds);
  ~Try();
  Try(const Try&) = delete;
  Try& operator=(const Try&) = delete;

  grpc::ClientContext& context() { return context_; }
  absl::Status status(const grpc::Status& of_call) const {
    return to_status(of_call, context_, stop_ != nullptr && stop_->cancelled());
  }

 private:
  grpc::ClientContext context_;
  std::shared_ptr<StopState> stop_;
  StopState::Listener listener_;
};

class Connection {
 public:
  static absl::StatusOr<std::unique_ptr<Connection>> open(Options options);

  const Options& options() const { return options_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  Bounds bounds(const CallOptions& options) const;

  // A consumer of a group has lost its call: messages up to `seq` were given to it, and what was
  // not acknowledged comes again. So what is said of an earlier delivery may be refused by now.
  void note_break(const std::string& group, std::uint64_t seq);
  bool given_before_break(const std::string& group, std::uint64_t seq);

  // Runs `attempt` again, as Options::resume allows, while it ends with a broken connection; it
  // sets its argument when it got anything from the daemon, which restarts resume_timeout.
  absl::Status resuming(const Bounds& bounds,
                        const std::function<absl::Status(bool& progressed)>& attempt,
                        bool (*worth_another)(const absl::Status&) = is_broken_connection);

 private:
  Connection(Options options, std::shared_ptr<grpc::Channel> channel)
      : options_(std::move(options)), channel_(std::move(channel)) {}

  // One probe, with a start of the daemon where allowed.
  absl::Status reach() const;
  // Completes a connection, or gives up after a second.
  void connect_now(const StopSource& stop, const Bounds& bounds);

  Options options_;
  std::shared_ptr<grpc::Channel> channel_;
  std::mutex lock_;
  std::map<std::string, std::uint64_t> breaks_;  // by "CHANNEL/GROUP"; guarded by lock_
};

// Whether a unary call may be made twice.
enum class Repeat { kNever, kSafe };

template <typename Stub, typename Request, typename Reply>
absl::StatusOr<Reply> unary(Connection& connection, Stub& stub,
                            grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                         Reply*),
                            const Request& request, const CallOptions& options, Repeat repeat) {
  Reply reply;
  const Bounds bounds = connection.bounds(options);
  const auto attempt = [&](bool&) {
    Try call(bounds);
    reply.Clear();
    return call.status((stub.*method)(&call.context(), request, &reply));
  };
  absl::Status status = connection.resuming(
      bounds, attempt, repeat == Repeat::kSafe ? is_broken_connection : is_draining);
  if (!status.ok()) return status;
  return reply;
}

// Reads a server stream to its end; `callback` returning false ends it well.
template <typename Reader, typename Message>
absl::Status read_all(Try& call, Reader& reader,
                      const std::function<bool(const Message&)>& callback) {
  Message message;
  while (reader.Read(&message)) {
    if (callback(message)) continue;
    call.context().TryCancel();
    reader.Finish();
    return absl::OkStatus();
  }
  return call.status(reader.Finish());
}

}  // namespace zsync::client::internal
