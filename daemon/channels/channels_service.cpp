#include "daemon/channels/channels_service.hpp"

#include <algorithm>
#include <map>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/channels_proto.hpp"
#include "daemon/channels/engine.hpp"
#include "daemon/channels/exchange_service.hpp"
#include "daemon/channels/follow_service.hpp"
#include "daemon/channels/recv_service.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/rpc/bridge.hpp"
#include "daemon/rpc/identity.hpp"
#include "zsync/runtime.hpp"
#include "zsync/v1/channels.grpc.pb.h"

namespace zsync::daemon {
namespace {

constexpr uint32_t kPageDefault = 100;  // channels
constexpr uint32_t kPageMax = 1000;

using Context = grpc::CallbackServerContext;
using ChannelPtr = ChannelsEngine::ChannelPtr;

// The channel itself, if messages go through it, not requests.
absl::StatusOr<ChannelPtr> check_messages(ChannelPtr channel) {
  absl::Status fits =
      channel->check_form({ChannelForm::kQueue, ChannelForm::kLatest, ChannelForm::kBroadcast});
  if (!fits.ok()) return fits;
  return channel;
}

absl::StatusOr<ChannelPtr> find_messages(ChannelsEngine& engine, const std::string& name) {
  absl::StatusOr<ChannelPtr> channel = engine.find(name);
  return channel.ok() ? check_messages(std::move(*channel)) : channel;
}

std::vector<std::string> take_messages(v1::SendRequest& request) {
  std::vector<std::string> messages;
  messages.reserve(static_cast<size_t>(request.messages_size()));
  for (std::string& message : *request.mutable_messages()) messages.push_back(std::move(message));
  return messages;
}

// The message's own, or that of the call.
std::string trace_of(const v1::SendRequest& request, const Context& context) {
  return request.trace().empty() ? traceparent_of(context) : request.trace();
}

absl::StatusOr<SendBatch> to_batch(ChannelsEngine& engine, const CallContext& call,
                                   v1::SendRequest& request) {
  std::vector<std::string> messages = take_messages(request);
  if (absl::Status status = engine.check_messages(messages); !status.ok()) return status;
  absl::StatusOr<Extras> extras = extras_of(request);
  if (!extras.ok()) return extras.status();
  return SendBatch{std::move(messages),
                   request.trace().empty() ? call.traceparent : request.trace(),
                   std::move(*extras)};
}

// -> how many of the batches are done, one at least.
Task<size_t> send_some(NamedChannel& channel, std::span<SendBatch> batches) {
  if (channel.spec().kind == ChannelClass::kDurable)
    co_return co_await channel.send_durable(batches);
  SendBatch& first = batches.front();
  first.result =
      co_await channel.send(std::move(first.messages), first.trace, std::move(first.extras));
  co_return 1;
}

Task<absl::Status> send_all(ChannelsEngine& engine, CallContext call,
                            StreamReader<v1::SendRequest>& in, StreamWriter<v1::SendReply>& out) {
  ChannelPtr channel;
  while (true) {
    std::vector<v1::SendRequest> requests = co_await in.read_some();
    if (requests.empty()) co_return absl::OkStatus();
    if (!channel) {
      absl::StatusOr<ChannelPtr> found = find_messages(engine, requests.front().channel());
      if (!found.ok()) co_return found.status();
      channel = std::move(*found);
    }
    std::vector<SendBatch> batches;
    absl::Status refused;
    for (v1::SendRequest& request : requests) {
      absl::StatusOr<SendBatch> batch = to_batch(engine, call, request);
      refused = batch.status();
      if (!refused.ok()) break;
      batches.push_back(std::move(*batch));
    }
    for (std::span<SendBatch> left = batches; !left.empty();) {
      const size_t done = co_await send_some(*channel, left);
      for (const SendBatch& batch : left.first(done)) {
        const Accepted& accepted = batch.result;
        engine.spans().waited_for_room(channel->spec().name, batch.trace, accepted.room_wait_ns);
        if (accepted.status.ok() || accepted.count > 0) {
          if (absl::Status status = co_await out.write(to_proto(accepted)); !status.ok())
            co_return status;
        }
        if (!accepted.status.ok()) co_return accepted.status;
      }
      left = left.subspan(done);
    }
    if (!refused.ok()) co_return refused;
  }
}

// Acknowledges, gives back or extends.
template <typename Request>
Task<absl::StatusOr<v1::AckReply>> settle(ChannelsEngine& engine, Request request,
                                          Settling::Kind kind) {
  absl::StatusOr<Settling> settling = from_proto(request, kind);
  if (!settling.ok()) co_return settling.status();
  absl::StatusOr<ChannelPtr> channel = engine.find(request.channel());
  if (!channel.ok()) co_return channel.status();
  absl::StatusOr<Settled> settled =
      co_await (*channel)->settle(request.group(), std::move(*settling));
  if (!settled.ok()) co_return settled.status();
  if (request.messages_size() == 1 && !settled->refused.empty()) {
    co_return settled->refused[0].status;
  }
  co_return to_proto(*settled);
}

Task<absl::StatusOr<v1::ChannelGroup>> create_group(ChannelsEngine& engine,
                                                    v1::CreateGroupRequest request) {
  absl::StatusOr<GroupSpec> spec = from_proto(request.spec());
  if (!spec.ok()) co_return spec.status();
  absl::StatusOr<GroupInfo> info =
      co_await engine.create_group(request.channel(), std::move(*spec),
                                   {request.from_seq(), request.from_now(), request.from_start(),
                                    request.from_time_unix_nano()});
  if (!info.ok()) co_return info.status();
  co_return to_proto(*info, request.channel());
}

Task<absl::StatusOr<v1::RemoveGroupReply>> remove_group(ChannelsEngine& engine,
                                                        v1::RemoveGroupRequest request) {
  absl::Status status = co_await engine.remove_group(request.channel(), request.group());
  if (!status.ok()) co_return status;
  co_return v1::RemoveGroupReply();
}

// Everything of a channel, with the names of the programs that use it, which the kernel knows.
Task<absl::StatusOr<v1::Channel>> get(ChannelsEngine& engine, v1::GetChannelRequest request) {
  absl::StatusOr<ChannelPtr> found = engine.find(request.name());
  if (!found.ok()) co_return found.status();
  v1::Channel channel = to_proto((*found)->info(true), (*found)->groups_info(true));
  co_await rt::call_blocking([&channel] {
    std::map<int64_t, std::string> names;
    const auto name_all = [&names](auto& attending) {
      for (auto& one : attending) {
        const auto [at, fresh] = names.try_emplace(one.pid());
        if (fresh) at->second = command_of(static_cast<pid_t>(one.pid()));
        one.set_command(at->second);
      }
    };
    name_all(*channel.mutable_consumers());
    name_all(*channel.mutable_followers());
    name_all(*channel.mutable_responders());
    for (v1::ChannelGroup& group : *channel.mutable_groups()) name_all(*group.mutable_attending());
  });
  co_return channel;
}

Task<absl::StatusOr<v1::Channel>> update(ChannelsEngine& engine, v1::UpdateChannelRequest request) {
  absl::StatusOr<ChannelPolicy> change = from_proto(request.policy());
  if (!change.ok()) co_return change.status();
  absl::StatusOr<ChannelInfo> info = co_await engine.update(request.name(), std::move(*change));
  if (!info.ok()) co_return info.status();
  co_return to_proto(*info);
}

Task<absl::StatusOr<v1::SendReply>> send_once(ChannelPtr channel, CallContext call,
                                              v1::SendRequest request) {
  // A durable send waits for the disk, never for room.
  std::vector<std::string> messages = take_messages(request);
  const std::string& trace = request.trace().empty() ? call.traceparent : request.trace();
  absl::StatusOr<NamedChannel::Extras> extras = extras_of(request);
  if (!extras.ok()) co_return extras.status();
  Accepted accepted =
      co_await channel->send_what_fits(std::move(messages), trace, std::move(*extras));
  if (accepted.count == 0 && !accepted.status.ok()) co_return accepted.status;
  co_return to_proto(accepted);
}

class Service final
    : public v1::Channels::WithRawCallbackMethod_Follow<v1::Channels::CallbackService> {
 public:
  Service(CallGate& gate, ChannelsEngine& engine) : gate_(gate), engine_(engine) {}

  grpc::ServerUnaryReactor* Create(Context* context, const v1::CreateChannelRequest* request,
                                   v1::Channel* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::CreateChannelRequest request) {
                        return create(engine_, std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* Get(Context* context, const v1::GetChannelRequest* request,
                                v1::Channel* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::GetChannelRequest request) {
                        return get(engine_, std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* List(Context* context, const v1::ListChannelsRequest* request,
                                 v1::ListChannelsReply* reply) override {
    return immediate_call(gate_, context, request, reply,
                          [this](const v1::ListChannelsRequest& request) { return list(request); });
  }
  grpc::ServerUnaryReactor* Close(Context* context, const v1::CloseChannelRequest* request,
                                  v1::Channel* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::CloseChannelRequest request) {
                        return close(engine_, request.name());
                      });
  }
  grpc::ServerUnaryReactor* Remove(Context* context, const v1::RemoveChannelRequest* request,
                                   v1::RemoveChannelReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::RemoveChannelRequest request) {
                        return remove(engine_, request.name());
                      });
  }
  grpc::ServerUnaryReactor* TrySend(Context* context, const v1::SendRequest* request,
                                    v1::SendReply* reply) override {
    absl::StatusOr<ChannelPtr> channel = find_messages(engine_, request->channel());
    if (channel.ok() && (*channel)->spec().kind == ChannelClass::kDurable) {
      return unary_call(gate_, context, request, reply,
                        [this](CallContext call, v1::SendRequest request) {
                          return try_send_waiting(engine_, std::move(call), std::move(request));
                        });
    }
    if (channel.ok() && (*channel)->spills()) {
      // The reaction takes what has room in memory; only what may touch the disk becomes a task.
      if (grpc::ServerUnaryReactor* done = send_in_memory(context, *channel, *request, reply)) {
        return done;
      }
      return unary_call(gate_, context, request, reply,
                        [this](CallContext call, v1::SendRequest request) {
                          return try_send_waiting(engine_, std::move(call), std::move(request));
                        });
    }
    return immediate_call(gate_, context, request, reply, [&](const v1::SendRequest& request) {
      return try_send(engine_, channel, request, *context);
    });
  }
  grpc::ServerBidiReactor<v1::SendRequest, v1::SendReply>* Send(Context* context) override {
    return bidi_call<v1::SendRequest, v1::SendReply>(
        gate_, context,
        [this](CallContext call, StreamReader<v1::SendRequest>& in,
               StreamWriter<v1::SendReply>& out) {
          return send_all(engine_, std::move(call), in, out);
        });
  }
  grpc::ServerBidiReactor<v1::RecvRequest, v1::RecvBatch>* Recv(Context* context) override {
    return bidi_call<v1::RecvRequest, v1::RecvBatch>(
        gate_, context,
        [this](CallContext call, StreamReader<v1::RecvRequest>& in,
               StreamWriter<v1::RecvBatch>& out) {
          return receive(engine_, std::move(call), in, out);
        });
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Follow(Context* context,
                                                     const grpc::ByteBuffer* request) override {
    return stream_call<grpc::ByteBuffer, grpc::ByteBuffer>(
        gate_, context, request,
        [this](CallContext call, grpc::ByteBuffer request, StreamWriter<grpc::ByteBuffer>& out) {
          return follow_channel(engine_, std::move(call), std::move(request), out);
        });
  }
  grpc::ServerUnaryReactor* CreateGroup(Context* context, const v1::CreateGroupRequest* request,
                                        v1::ChannelGroup* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::CreateGroupRequest request) {
                        return create_group(engine_, std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* RemoveGroup(Context* context, const v1::RemoveGroupRequest* request,
                                        v1::RemoveGroupReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::RemoveGroupRequest request) {
                        return remove_group(engine_, std::move(request));
                      });
  }
  grpc::ServerUnaryReactor* Ack(Context* context, const v1::AckRequest* request,
                                v1::AckReply* reply) override {
    return settling_call(context, request, reply, Settling::kAck);
  }
  grpc::ServerUnaryReactor* Nack(Context* context, const v1::NackRequest* request,
                                 v1::AckReply* reply) override {
    return settling_call(context, request, reply, Settling::kNack);
  }
  grpc::ServerUnaryReactor* Extend(Context* context, const v1::ExtendRequest* request,
                                   v1::AckReply* reply) override {
    return settling_call(context, request, reply, Settling::kExtend);
  }
  grpc::ServerUnaryReactor* Request(Context* context, const v1::RequestRequest* request,
                                    v1::RequestReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext call, v1::RequestRequest request) {
                        return ask(engine_, std::move(call), std::move(request));
                      });
  }
  grpc::ServerBidiReactor<v1::ReplyRequest, v1::InquiryBatch>* Reply(Context* context) override {
    return bidi_call<v1::ReplyRequest, v1::InquiryBatch>(
        gate_, context,
        [this](CallContext call, StreamReader<v1::ReplyRequest>& in,
               StreamWriter<v1::InquiryBatch>& out) {
          return respond(engine_, std::move(call), in, out);
        });
  }
  grpc::ServerUnaryReactor* Update(Context* context, const v1::UpdateChannelRequest* request,
                                   v1::Channel* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::UpdateChannelRequest request) {
                        return update(engine_, std::move(request));
                      });
  }

 private:
  // Null: some of it has to wait for the disk; nothing was done.
  grpc::ServerUnaryReactor* send_in_memory(Context* context, const ChannelPtr& channel,
                                           const v1::SendRequest& request, v1::SendReply* reply) {
    std::vector<std::string> messages(request.messages().begin(), request.messages().end());
    absl::StatusOr<Extras> extras = extras_of(request);
    if (!engine_.check_messages(messages).ok() || !extras.ok()) return nullptr;  // says so
    absl::StatusOr<CallContext> call = gate_.enter(*context);
    if (!call.ok()) return nullptr;  // so does this
    const std::string& trace = request.trace().empty() ? call->traceparent : request.trace();
    const std::optional<Accepted> accepted = channel->try_send_all(messages, trace, *extras);
    gate_.leave(call->peer.uid);
    if (!accepted) return nullptr;
    const bool refused = accepted->count == 0 && !accepted->status.ok();
    if (!refused) *reply = to_proto(*accepted);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(to_grpc(refused ? accepted->status : absl::OkStatus(), *context));
    return reactor;
  }
  template <typename Request>
  grpc::ServerUnaryReactor* settling_call(Context* context, const Request* request,
                                          v1::AckReply* reply, Settling::Kind kind) {
    return unary_call(gate_, context, request, reply, [this, kind](CallContext, Request request) {
      return settle(engine_, std::move(request), kind);
    });
  }
  static Task<absl::StatusOr<v1::Channel>> create(ChannelsEngine& engine,
                                                  v1::CreateChannelRequest request) {
    absl::StatusOr<ChannelSpec> spec = from_proto(request.spec());
    if (!spec.ok()) co_return spec.status();
    absl::StatusOr<ChannelInfo> info =
        co_await engine.create(std::move(*spec), request.if_absent());
    if (!info.ok()) co_return info.status();
    co_return to_proto(*info);
  }
  static Task<absl::StatusOr<v1::Channel>> close(ChannelsEngine& engine, std::string name) {
    absl::StatusOr<ChannelInfo> info = co_await engine.close(std::move(name));
    if (!info.ok()) co_return info.status();
    co_return to_proto(*info);
  }
  static Task<absl::StatusOr<v1::RemoveChannelReply>> remove(ChannelsEngine& engine,
                                                             std::string name) {
    absl::Status status = co_await engine.remove(std::move(name));
    if (!status.ok()) co_return status;
    co_return v1::RemoveChannelReply();
  }
  static Task<absl::StatusOr<v1::SendReply>> try_send_waiting(ChannelsEngine& engine,
                                                              CallContext call,
                                                              v1::SendRequest request) {
    absl::StatusOr<ChannelPtr> channel = engine.find(request.channel());
    if (!channel.ok()) co_return channel.status();
    std::vector<std::string> messages(request.messages().begin(), request.messages().end());
    if (absl::Status status = engine.check_messages(messages); !status.ok()) co_return status;
    co_return co_await send_once(*channel, std::move(call), std::move(request));
  }
  static absl::StatusOr<v1::SendReply> try_send(ChannelsEngine& engine,
                                                const absl::StatusOr<ChannelPtr>& channel,
                                                const v1::SendRequest& request,
                                                const Context& context) {
    if (!channel.ok()) return channel.status();
    std::vector<std::string> messages(request.messages().begin(), request.messages().end());
    if (absl::Status status = engine.check_messages(messages); !status.ok()) return status;
    absl::StatusOr<NamedChannel::Extras> extras = extras_of(request);
    if (!extras.ok()) return extras.status();
    Accepted accepted =
        (*channel)->try_send(std::move(messages), trace_of(request, context), *extras);
    if (accepted.count == 0 && !accepted.status.ok()) return accepted.status;
    return to_proto(accepted);
  }
  absl::StatusOr<v1::ListChannelsReply> list(const v1::ListChannelsRequest& request) {
    const uint32_t size = request.page_size() ? request.page_size() : kPageDefault;
    if (size > kPageMax) {
      return fault(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("a page of ", size, " channels"),
                   {"page_size",
                    "LIMIT",
                    absl::StrCat("page_size_max = ", kPageMax),
                    "ask for at most 1000 and use next_page_token",
                    {}});
    }
    v1::ListChannelsReply reply;
    for (const ChannelInfo& info : engine_.list(request.page_token(), size)) {
      *reply.add_channels() = to_proto(info);
    }
    if (reply.channels_size() == static_cast<int>(size)) {
      reply.set_next_page_token(reply.channels(reply.channels_size() - 1).spec().name());
    }
    return reply;
  }

  CallGate& gate_;
  ChannelsEngine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_channels_service(CallGate& gate, ChannelsEngine& engine) {
  return std::make_unique<Service>(gate, engine);
}

}  // namespace zsync::daemon
