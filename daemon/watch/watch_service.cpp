#include "daemon/watch/watch_service.hpp"

#include <unistd.h>

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/events/event_log.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/rpc/bridge.hpp"
#include "daemon/watch/engine.hpp"
#include "daemon/watch/watch_proto.hpp"
#include "watch/inotify_usage.hpp"
#include "watch/utf8.hpp"
#include "zsync/flow.hpp"
#include "zsync/runtime.hpp"
#include "zsync/v1/watch.grpc.pb.h"

namespace zsync::daemon {
namespace {

constexpr size_t kMessageBytesTarget = 1 << 20;  // a larger batch is sent in parts
constexpr size_t kChangeBytes = 40;              // of a change beside its paths, at most about

using Context = grpc::CallbackServerContext;

// Sets the field, and the one with the exact bytes where the name is not UTF-8.
template <typename SetText, typename SetBytes>
void set_name(std::string name, SetText set_text, SetBytes set_bytes) {
  if (watching::is_utf8(name)) return set_text(std::move(name));
  set_text(watching::to_utf8(name));
  set_bytes(std::move(name));
}

v1::ChangeKind to_proto(FileChangeKind kind) {
  switch (kind) {
    case FileChangeKind::created:
      return v1::CHANGE_KIND_CREATED;
    case FileChangeKind::modified:
      return v1::CHANGE_KIND_MODIFIED;
    case FileChangeKind::deleted:
      return v1::CHANGE_KIND_DELETED;
    case FileChangeKind::renamed:
      return v1::CHANGE_KIND_RENAMED;
  }
  return v1::CHANGE_KIND_UNSPECIFIED;
}

void add_change(v1::WatchBatch& batch, FileChange change) {
  v1::FileChange& proto = *batch.add_changes();
  set_name(
      std::move(change.path), [&](std::string text) { proto.set_path(std::move(text)); },
      [&](std::string bytes) { proto.set_path_bytes(std::move(bytes)); });
  set_name(
      std::move(change.renamed_from),
      [&](std::string text) { proto.set_renamed_from(std::move(text)); },
      [&](std::string bytes) { proto.set_renamed_from_bytes(std::move(bytes)); });
  proto.set_kind(to_proto(change.kind));
  proto.set_directory(change.is_directory);
  proto.set_size(change.size);
  proto.set_mtime_unix_nano(change.mtime_ns);
}

v1::WatchBatch to_proto(const watching::Told& told) {
  v1::WatchBatch message;
  message.set_clock(told.batch.clock);
  if (told.state->entered) {
    message.set_state_entered(told.state->name);
  } else {
    message.set_state_left(told.state->name);
  }
  return message;
}

// In one message, or in several: the first has `fresh` and `gap`, only the last has the clock.
Task<absl::Status> send(StreamWriter<v1::WatchBatch>& out, WatchBatch batch,
                        const std::string& fallback, std::string traceparent) {
  v1::WatchBatch message;
  message.set_fallback(watching::to_utf8(fallback));
  message.set_fresh(batch.fresh);
  message.set_gap(std::string(watching::gap_name(batch.gap)));
  size_t bytes = 0;
  for (FileChange& change : batch.changes) {
    const size_t size = kChangeBytes + 2 * (change.path.size() + change.renamed_from.size());
    if (bytes + size > kMessageBytesTarget && bytes > 0) {
      absl::Status sent = co_await out.write(std::move(message));
      if (!sent.ok()) co_return sent;
      message = v1::WatchBatch();
      bytes = 0;
    }
    bytes += size;
    add_change(message, std::move(change));
  }
  message.set_clock(std::move(batch.clock));
  message.set_traceparent(std::move(traceparent));
  co_return co_await out.write(std::move(message));
}

template <typename Request>
absl::StatusOr<WatchRequest> from_proto(Request proto) {
  WatchRequest request;
  request.path = std::move(*proto.mutable_path());
  request.since = std::move(*proto.mutable_since());
  if (absl::Status taken = take_filter(std::move(*proto.mutable_filter()), request); !taken.ok()) {
    return taken;
  }
  return request;
}

Task<absl::Status> subscribe(WatchEngine& engine, EventLog& events, CallContext call,
                             v1::SubscribeWatchRequest proto, StreamWriter<v1::WatchBatch>& out) {
  const bool traced = proto.traced();
  absl::StatusOr<WatchRequest> request = from_proto(std::move(proto));
  if (!request.ok()) co_return request.status();
  const std::string path = request->path;
  absl::StatusOr<WatchFeed> feed = co_await WatchFeed::open(engine, *std::move(request));
  if (!feed.ok()) co_return feed.status();
  std::string told;
  while (true) {
    absl::StatusOr<watching::Told> next = co_await feed->next();
    if (!next.ok()) co_return WatchEngine::explained(next.status());
    if (next->state) {
      absl::Status sent = co_await out.write(to_proto(*next));
      if (!sent.ok()) co_return sent;
      continue;
    }
    std::string fallback = feed->fallback();
    const bool another = fallback != told;
    if (another) told = fallback;
    std::string settled;
    if (traced && !next->batch.changes.empty()) {
      settled = tell_settled(engine, events, path, *next, call.traceparent);
    }
    absl::Status sent =
        co_await send(out, std::move(next->batch), another ? fallback : "", std::move(settled));
    if (!sent.ok()) co_return sent;
  }
}

// Tells of a state while it is held: that it is in force, and, whatever ends it, that it was left.
class StateEvents {
 public:
  explicit StateEvents(EventLog& events) : events_(events) {}
  StateEvents(const StateEvents&) = delete;
  StateEvents& operator=(const StateEvents&) = delete;
  ~StateEvents() {
    if (!hold_.empty()) events_.append("watch.state_left", hold_, what_);
  }
  void entered(std::string hold, std::map<std::string, std::string> what) {
    hold_ = std::move(hold);
    what_ = std::move(what);
    events_.append("watch.state_entered", hold_, what_);
  }

 private:
  EventLog& events_;
  std::string hold_;
  std::map<std::string, std::string> what_;
};

// Until the client ends the call.
Task<absl::Status> hold_state(WatchEngine& engine, EventLog& events, CallContext call,
                              v1::HoldStateRequest proto, StreamWriter<v1::HoldStateReply>& out) {
  StateRequest request{std::move(*proto.mutable_path()), std::move(*proto.mutable_name()),
                       call.peer.pid, absl::ToUnixNanos(absl::Now())};
  const std::string name = request.name;
  StateEvents told(events);  // ends after the hold
  absl::StatusOr<StateHold> hold = co_await engine.hold_state(std::move(request));
  if (!hold.ok()) co_return hold.status();
  told.entered(hold->id(), {{"path", watching::to_utf8(hold->path())},
                            {"state", name},
                            {"pid", absl::StrCat(call.peer.pid)}});
  v1::HoldStateReply reply;
  reply.set_hold(hold->id());
  for (const StateFacts& state : engine.states()) {
    if (state.path == hold->path() && state.name == name) reply.set_silent(state.silent);
  }
  absl::Status sent = co_await out.write(std::move(reply));
  if (!sent.ok()) co_return sent;
  co_await hold->left();
  co_return absl::OkStatus();
}

Task<absl::StatusOr<v1::LeaveStateReply>> leave_state(WatchEngine& engine,
                                                      v1::LeaveStateRequest request) {
  absl::Status left = co_await engine.leave_state(std::move(*request.mutable_hold()));
  if (!left.ok()) co_return left;
  co_return v1::LeaveStateReply();
}

absl::Status of_use_to_query(const WatchRequest& request) {
  const char* field = request.changed_content  ? "filter.changed_content"
                      : !request.defer.empty() ? "filter.defer"
                      : !request.drop.empty()  ? "filter.drop"
                                               : nullptr;
  if (field == nullptr) return absl::OkStatus();
  return fault(absl::StatusCode::kInvalidArgument,
               absl::StrCat(field, ": a query answers once and at once"),
               {field, "INVALID", "", "leave it out, or ask for it with Subscribe", {}});
}

Task<absl::Status> query(WatchEngine& engine, v1::QueryWatchRequest proto,
                         StreamWriter<v1::WatchBatch>& out) {
  absl::StatusOr<WatchRequest> request = from_proto(std::move(proto));
  if (!request.ok()) co_return request.status();
  if (absl::Status usable = of_use_to_query(*request); !usable.ok()) co_return usable;
  request->sync = true;
  absl::StatusOr<watching::Subscription> subscription =
      co_await engine.subscribe(*std::move(request));
  if (!subscription.ok()) co_return subscription.status();
  absl::StatusOr<WatchBatch> batch = co_await subscription->next();
  if (!batch.ok()) co_return WatchEngine::explained(batch.status());
  co_return co_await send(out, *std::move(batch), subscription->fallback(), "");
}

constexpr uint64_t kWatchesUsedPercent = 80;  // from here on the limit is near

Task<absl::StatusOr<v1::WatchUsageReply>> usage(WatchEngine& engine) {
  const watching::InotifyUsage found = co_await rt::call_blocking(watching::inotify_usage);
  v1::WatchUsageReply reply;
  for (const watching::InotifyUser& user : found.users) {
    v1::WatchUser& proto = *reply.add_users();
    proto.set_pid(user.pid);
    proto.set_command(watching::to_utf8(user.command));
    proto.set_instances(user.instances);
    proto.set_watches(user.watches);
    proto.set_zsyncd(user.pid == ::getpid());
  }
  reply.set_watches(found.watches);
  reply.set_watches_max(found.watches_max);
  reply.set_instances(found.instances);
  reply.set_instances_max(found.instances_max);
  reply.set_hidden(found.hidden);
  reply.set_held(engine.directories());
  reply.set_unshared(engine.unshared());
  if (found.watches * 100 > found.watches_max * kWatchesUsedPercent)
    reply.set_cure(watching::raise_watches_command(2 * found.watches));
  co_return reply;
}

const char* name_of(WatchSource source) {
  switch (source) {
    case WatchSource::inotify:
      return "inotify";
    case WatchSource::fs_events:
      return "fs_events";
    case WatchSource::polling:
      return "polling";
    case WatchSource::automatic:
      break;
  }
  return "";
}

std::string subscribers(size_t count) {
  return absl::StrCat(count, count == 1 ? " subscriber" : " subscribers");
}

void say_why_silent(const watching::RootFacts& facts, v1::WatchRoot& root) {
  for (const auto& [name, silent] : facts.silent) {
    if (silent.deferring > 0) {
      root.add_silent(absl::StrCat("state ", name, " is held: ", subscribers(silent.deferring),
                                   " will be told when it is left"));
    }
    if (silent.dropping > 0) {
      root.add_silent(absl::StrCat("state ", name, " is held: ", subscribers(silent.dropping),
                                   " will not be told what changes meanwhile"));
    }
  }
  if (facts.vcs_locked)
    root.add_silent("git or Mercurial holds its lock: changes are told when it has let go");
}

v1::ListWatchesReply list(WatchEngine& engine) {
  v1::ListWatchesReply reply;
  for (watching::RootFacts& facts : engine.list()) {
    v1::WatchRoot& root = *reply.add_roots();
    root.set_path(watching::to_utf8(facts.path));
    root.set_subscribers(static_cast<uint32_t>(facts.subscribers));
    root.set_directories(facts.directories);
    root.set_files(facts.files);
    root.set_clock(std::move(facts.clock));
    root.set_source(name_of(facts.source));
    root.set_fallback(watching::to_utf8(facts.fallback));
    root.set_forgetful(watching::to_utf8(facts.forgetful));
    say_why_silent(facts, root);
    if (!facts.ended.ok()) {
      root.set_error(watching::to_utf8(std::string(facts.ended.message())));
    } else if (facts.missing) {
      root.set_error("the directory is gone; it is watched again as soon as it is back");
    }
  }
  for (const StateFacts& state : engine.states()) {
    v1::HeldState& held = *reply.add_states();
    held.set_path(watching::to_utf8(state.path));
    held.set_name(state.name);
    held.set_holders(state.holders);
    held.set_pid(state.pid);
    held.set_since_unix_nano(state.since_unix_nano);
    held.set_silent(state.silent);
  }
  return reply;
}

class Service final : public v1::Watch::CallbackService {
 public:
  Service(CallGate& gate, WatchEngine& engine, EventLog& events)
      : gate_(gate), engine_(engine), events_(events) {}

  grpc::ServerWriteReactor<v1::WatchBatch>* Subscribe(
      Context* context, const v1::SubscribeWatchRequest* request) override {
    return stream_call<v1::SubscribeWatchRequest, v1::WatchBatch>(
        gate_, context, request,
        [this](CallContext call, v1::SubscribeWatchRequest request,
               StreamWriter<v1::WatchBatch>& out) {
          return subscribe(engine_, events_, std::move(call), std::move(request), out);
        });
  }
  grpc::ServerWriteReactor<v1::WatchBatch>* Query(Context* context,
                                                  const v1::QueryWatchRequest* request) override {
    return stream_call<v1::QueryWatchRequest, v1::WatchBatch>(
        gate_, context, request,
        [this](CallContext, v1::QueryWatchRequest request, StreamWriter<v1::WatchBatch>& out) {
          return query(engine_, std::move(request), out);
        });
  }
  grpc::ServerWriteReactor<v1::HoldStateReply>* HoldState(
      Context* context, const v1::HoldStateRequest* request) override {
    return stream_call<v1::HoldStateRequest, v1::HoldStateReply>(
        gate_, context, request,
        [this](CallContext call, v1::HoldStateRequest request,
               StreamWriter<v1::HoldStateReply>& out) {
          return hold_state(engine_, events_, std::move(call), std::move(request), out);
        });
  }
  grpc::ServerUnaryReactor* LeaveState(Context* context, const v1::LeaveStateRequest* request,
                                       v1::LeaveStateReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::LeaveStateRequest asked) {
                        return leave_state(engine_, std::move(asked));
                      });
  }
  grpc::ServerUnaryReactor* Usage(Context* context, const v1::WatchUsageRequest* request,
                                  v1::WatchUsageReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::WatchUsageRequest) { return usage(engine_); });
  }
  grpc::ServerUnaryReactor* List(Context* context, const v1::ListWatchesRequest* request,
                                 v1::ListWatchesReply* reply) override {
    return immediate_call(
        gate_, context, request, reply,
        [this](const v1::ListWatchesRequest&) -> absl::StatusOr<v1::ListWatchesReply> {
          return list(engine_);
        });
  }

 private:
  CallGate& gate_;
  WatchEngine& engine_;
  EventLog& events_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_watch_service(CallGate& gate, WatchEngine& engine,
                                                  EventLog& events) {
  return std::make_unique<Service>(gate, engine, events);
}

}  // namespace zsync::daemon
