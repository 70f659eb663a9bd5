#include "connection.hpp"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "zsync/client/endpoint.hpp"
#include "zsync/client/error.hpp"

namespace zsync::client {

StopSource::StopSource() : state_(std::make_shared<internal::StopState>()) {}
StopSource::~StopSource() = default;
void StopSource::cancel() { state_->cancel(); }
bool StopSource::cancelled() const { return state_->cancelled(); }
bool StopSource::wait_for(std::chrono::nanoseconds limit) const { return state_->wait_for(limit); }

std::optional<v1::ErrorDetail> error_detail(const absl::Status& status) {
  const auto payload = status.GetPayload(kErrorDetailUrl);
  if (!payload.has_value()) return std::nullopt;
  v1::ErrorDetail detail;
  if (!detail.ParseFromString(std::string(*payload))) return std::nullopt;
  return detail;
}

namespace internal {
namespace {

constexpr char kErrorTrailer[] = "zsync-error-bin";
constexpr std::chrono::milliseconds kBackoffFirst{10};
constexpr std::chrono::milliseconds kBackoffMax{1000};
constexpr std::chrono::milliseconds kConnectLimit{1000};
constexpr std::chrono::milliseconds kConnectSlice{50};  // after which a cancel is heard

grpc::ChannelArguments channel_arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(kMessageBytesMax));
  arguments.SetMaxSendMessageSize(static_cast<int>(kMessageBytesMax));
  arguments.SetCompressionAlgorithm(GRPC_COMPRESS_NONE);
  // Each client its own connection: it ends with its client, and the daemon can count it.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  arguments.SetServiceConfigJSON("{}");
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  return arguments;
}

}  // namespace

absl::Status to_status(const grpc::Status& status, const grpc::ClientContext& context,
                       bool cancelled) {
  if (status.ok()) return absl::OkStatus();
  if (status.error_code() == grpc::StatusCode::CANCELLED && !cancelled) {
    return absl::UnavailableError("zsyncd ended the call as it went down");
  }
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto detail = trailers.find(kErrorTrailer);
  if (detail != trailers.end()) {
    result.SetPayload(kErrorDetailUrl, absl::Cord(absl::string_view(detail->second.data(),
                                                                    detail->second.length())));
  }
  return result;
}

bool is_broken_connection(const absl::Status& status) {
  if (!absl::IsUnavailable(status)) return false;
  return !error_detail(status).has_value() || is_draining(status);
}

bool is_draining(const absl::Status& status) {
  const std::optional<v1::ErrorDetail> detail = error_detail(status);
  return detail.has_value() && detail->reason() == "DRAINING";
}

Try::Try(const Bounds& bounds) {
  if (bounds.deadline.has_value()) context_.set_deadline(*bounds.deadline);
  if (bounds.stop == nullptr) return;
  stop_ = bounds.stop->state();
  listener_ = stop_->add([this] { context_.TryCancel(); });
}

Try::~Try() {
  if (stop_ != nullptr) stop_->remove(listener_);
}

absl::StatusOr<std::unique_ptr<Connection>> Connection::open(Options options) {
  absl::StatusOr<std::string> path = socket_path(options.socket);
  if (!path.ok()) return path.status();
  options.socket = *std::move(path);
  auto connection = std::unique_ptr<Connection>(new Connection(std::move(options), nullptr));
  absl::Status reached = connection->reach();
  if (!reached.ok()) return reached;
  connection->channel_ =
      grpc::CreateCustomChannel("unix:" + connection->options_.socket,
                                grpc::InsecureChannelCredentials(), channel_arguments());
  return connection;
}

absl::Status Connection::reach() const {
  absl::Status status = probe(options_.socket);
  if (!absl::IsUnavailable(status) || !options_.autostart) return status;
  const absl::StatusOr<StartedDaemon> daemon = ensure_daemon(options_.socket, options_.daemon_path);
  if (!daemon.ok()) return daemon.status();
  if (daemon->started && options_.on_started) options_.on_started(daemon->pid);
  return absl::OkStatus();
}

// A call fails at once while the channel counts as broken, and no thread looks at its new
// connection but those that wait in a call: gRPC would look for itself every 5 s.
void Connection::connect_now(const StopSource& stop, const Bounds& bounds) {
  grpc::experimental::ChannelResetConnectionBackoff(channel_.get());
  Clock::time_point until = Clock::now() + kConnectLimit;
  if (bounds.deadline.has_value()) until = std::min(until, *bounds.deadline);
  while (!stop.cancelled() && Clock::now() < until) {
    if (channel_->WaitForConnected(std::min(until, Clock::now() + kConnectSlice))) return;
  }
}

Bounds Connection::bounds(const CallOptions& options) const {
  const auto& timeout = options.timeout.has_value() ? options.timeout : options_.timeout;
  Bounds bounds{std::nullopt, options.stop};
  if (timeout.has_value()) {
    bounds.deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(*timeout);
  }
  return bounds;
}

void Connection::note_break(const std::string& group, std::uint64_t seq) {
  const std::lock_guard<std::mutex> guard(lock_);
  std::uint64_t& highest = breaks_[group];
  highest = std::max(highest, seq);
}

bool Connection::given_before_break(const std::string& group, std::uint64_t seq) {
  const std::lock_guard<std::mutex> guard(lock_);
  const auto found = breaks_.find(group);
  return found != breaks_.end() && seq <= found->second;
}

absl::Status Connection::resuming(const Bounds& bounds,
                                  const std::function<absl::Status(bool& progressed)>& attempt,
                                  bool (*worth_another)(const absl::Status&)) {
  StopSource never;
  const StopSource& stop = bounds.stop != nullptr ? *bounds.stop : never;
  std::optional<Clock::time_point> give_up;
  std::chrono::milliseconds backoff = kBackoffFirst;
  while (true) {
    bool progressed = false;
    absl::Status status = attempt(progressed);
    if (!options_.resume || !worth_another(status)) return status;
    if (progressed) {
      give_up.reset();
      backoff = kBackoffFirst;
    }
    if (!give_up.has_value()) {
      give_up = Clock::now() + std::chrono::duration_cast<Clock::duration>(options_.resume_timeout);
    }
    absl::Status reached = absl::UnavailableError("");
    while (!reached.ok()) {
      if (stop.wait_for(backoff)) return absl::CancelledError("cancelled while reconnecting");
      backoff = std::min(backoff * 2, kBackoffMax);
      if (bounds.deadline.has_value() && Clock::now() >= *bounds.deadline) {
        return absl::DeadlineExceededError("deadline passed while reconnecting to zsyncd");
      }
      reached = reach();
      if (!reached.ok() && (!absl::IsUnavailable(reached) || Clock::now() >= *give_up)) {
        return reached;
      }
      if (reached.ok() && Clock::now() >= *give_up) return status;
    }
    connect_now(stop, bounds);
  }
}

}  // namespace internal
}  // namespace zsync::client
