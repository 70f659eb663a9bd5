#include <grpcpp/grpcpp.h>

#include "cli/testing/fake_server.hpp"
#include "zsync/v1/channels.grpc.pb.h"

namespace zsync::cli::testing {
namespace {

class FakeChannels final : public v1::Channels::Service {
 public:
  explicit FakeChannels(FakeState& state) : state_(state) {}

  grpc::Status Create(grpc::ServerContext*, const v1::CreateChannelRequest* request,
                      v1::Channel* reply) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.create = *request;
    *reply->mutable_spec() = request->spec();
    return grpc::Status::OK;
  }
  grpc::Status Get(grpc::ServerContext*, const v1::GetChannelRequest* request,
                   v1::Channel* reply) override {
    reply->mutable_spec()->set_name(request->name());
    reply->set_next_seq(7);
    reply->set_why("no receiver is connected for 1 message");
    v1::ChannelConsumer& receiver = *reply->add_consumers();
    receiver.set_id(3);
    receiver.set_pid(4711);
    receiver.set_delivered(9);
    receiver.set_in_hand(2);
    receiver.set_why("nothing is left");
    v1::ChannelConsumer& consumer = *reply->add_groups()->add_attending();
    consumer.set_id(1);
    consumer.set_state(v1::CONSUMER_STATE_KEY_HELD);
    consumer.set_why("a key\x1b is held");
    return grpc::Status::OK;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListChannelsRequest*,
                    v1::ListChannelsReply* reply) override {
    reply->add_channels()->mutable_spec()->set_name("jobs");
    return grpc::Status::OK;
  }
  grpc::Status Close(grpc::ServerContext*, const v1::CloseChannelRequest* request,
                     v1::Channel* reply) override {
    note("close " + request->name());
    reply->mutable_spec()->set_name(request->name());
    reply->set_closed(true);
    return grpc::Status::OK;
  }
  grpc::Status Remove(grpc::ServerContext*, const v1::RemoveChannelRequest* request,
                      v1::RemoveChannelReply*) override {
    note("remove " + request->name());
    return grpc::Status::OK;
  }
  grpc::Status CreateGroup(grpc::ServerContext*, const v1::CreateGroupRequest* request,
                           v1::ChannelGroup* reply) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.create_group = *request;
    reply->set_channel(request->channel());
    *reply->mutable_spec() = request->spec();
    return grpc::Status::OK;
  }
  grpc::Status RemoveGroup(grpc::ServerContext*, const v1::RemoveGroupRequest* request,
                           v1::RemoveGroupReply*) override {
    note("remove-group " + request->channel() + " " + request->group());
    return grpc::Status::OK;
  }
  grpc::Status Ack(grpc::ServerContext*, const v1::AckRequest* request,
                   v1::AckReply* reply) override {
    note_settling("ack", *request);
    for (int i = 1; i < request->messages_size(); ++i) {
      reply->add_refused()->set_message("message refused");
    }
    return grpc::Status::OK;
  }
  grpc::Status Nack(grpc::ServerContext*, const v1::NackRequest* request, v1::AckReply*) override {
    note_settling("nack", *request);
    note(std::to_string(request->delay().seconds()) + "s " + request->reason());
    return grpc::Status::OK;
  }
  grpc::Status Extend(grpc::ServerContext*, const v1::ExtendRequest* request,
                      v1::AckReply*) override {
    note_settling("extend", *request);
    return grpc::Status::OK;
  }
  grpc::Status Request(grpc::ServerContext*, const v1::RequestRequest* request,
                       v1::RequestReply* reply) override {
    note("request " + request->channel() + " " + std::to_string(request->timeout().seconds()) +
         "s");
    reply->set_body("<" + request->body() + ">");
    return grpc::Status::OK;
  }
  // Asks what `messages` holds, and keeps the answers in `sent`.
  grpc::Status Reply(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::InquiryBatch, v1::ReplyRequest>* stream) override {
    v1::ReplyRequest request;
    std::size_t next = 0;
    while (stream->Read(&request)) {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      for (const v1::Answer& answer : request.answers()) {
        state_.sent.push_back(answer.error().empty() ? answer.body() : "! " + answer.error());
      }
      v1::InquiryBatch batch;
      batch.set_closed(next == state_.messages.size());
      if (!batch.closed()) {
        v1::Inquiry& one = *batch.add_inquiries();
        one.set_id(next + 1);
        one.set_body(state_.messages[next++]);
        one.mutable_time_left()->set_seconds(60);
      }
      stream->Write(batch);
    }
    return grpc::Status::OK;
  }
  grpc::Status Update(grpc::ServerContext*, const v1::UpdateChannelRequest* request,
                      v1::Channel* reply) override {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.update = *request;
    reply->mutable_spec()->set_name(request->name());
    *reply->mutable_spec()->mutable_policy() = request->policy();
    return grpc::Status::OK;
  }
  grpc::Status TrySend(grpc::ServerContext*, const v1::SendRequest* request,
                       v1::SendReply* reply) override {
    reply->set_accepted(static_cast<std::uint64_t>(request->messages_size()));
    return grpc::Status::OK;
  }
  grpc::Status Send(grpc::ServerContext* context,
                    grpc::ServerReaderWriter<v1::SendReply, v1::SendRequest>* stream) override {
    v1::SendRequest request;
    std::uint64_t seq = 0;
    while (stream->Read(&request)) {
      if (state_.send_failure.has_value()) return to_grpc(*context, state_.send_failure);
      v1::SendReply reply;
      {
        const std::lock_guard<std::mutex> lock(state_.mutex);
        ++state_.send_batches;
        for (const std::string& message : request.messages()) state_.sent.push_back(message);
      }
      seq += static_cast<std::uint64_t>(request.messages_size());
      reply.set_accepted(static_cast<std::uint64_t>(request.messages_size()));
      reply.set_last_seq(seq);
      stream->Write(reply);
    }
    return grpc::Status::OK;
  }
  // Obeys credit: a message more than was granted would be the client's loss.
  grpc::Status Recv(grpc::ServerContext*,
                    grpc::ServerReaderWriter<v1::RecvBatch, v1::RecvRequest>* stream) override {
    v1::RecvRequest request;
    std::uint64_t credit = 0, given = 0, limit = 0;
    std::size_t next = 0;
    while (stream->Read(&request)) {
      {
        const std::lock_guard<std::mutex> lock(state_.mutex);
        state_.recvs.push_back(request);
      }
      if (request.limit() != 0) limit = request.limit();
      credit += request.credit() == 0 && credit == 0 ? UINT64_MAX : request.credit();
      v1::RecvBatch batch;
      while (next < state_.messages.size() && given < credit && (limit == 0 || given < limit)) {
        *batch.add_records() = record(next + 1, state_.messages[next]);
        ++next;
        ++given;
      }
      batch.set_closed(next == state_.messages.size());
      if (!state_.recvs.front().sources().empty()) {
        batch.set_channel(state_.recvs.front().sources(0).channel());
      }
      stream->Write(batch);
      if (batch.closed() || (limit != 0 && given == limit)) break;
    }
    return grpc::Status::OK;
  }
  grpc::Status Follow(grpc::ServerContext* context, const v1::FollowChannelRequest* request,
                      grpc::ServerWriter<v1::RecvBatch>* writer) override {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      state_.channel_follows.push_back(*request);
    }
    if (!state_.channel_follow) return grpc::Status::OK;
    return to_grpc(*context, state_.channel_follow(
                                 *request, [&](const auto& batch) { return writer->Write(batch); },
                                 [&] { return context->IsCancelled() || state_.stopping; }));
  }

 private:
  template <typename Request>
  void note_settling(std::string call, const Request& request) {
    call += " " + request.channel() + " " + request.group();
    for (const v1::Delivered& one : request.messages()) {
      call += " " + std::to_string(one.seq()) + ":" + std::to_string(one.delivery());
    }
    note(call);
  }
  void note(const std::string& call) {
    const std::lock_guard<std::mutex> lock(state_.mutex);
    state_.calls.push_back(call);
  }

  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_fake_channels(FakeState& state) {
  return std::make_unique<FakeChannels>(state);
}

}  // namespace zsync::cli::testing
