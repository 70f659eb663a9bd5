#include "zsync/client/channels.hpp"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "connection.hpp"
#include "zsync/client/error.hpp"
#include "zsync/v1/channels.grpc.pb.h"

namespace zsync::client {
namespace {

using internal::Bounds;
using internal::Connection;
using internal::Repeat;
using internal::Try;
using Stub = v1::Channels::Stub;

// Messages that a receiver lets come before its callback has seen them; given back in halves.
constexpr std::uint64_t kRecvCredit = 4096;

std::unique_ptr<Stub> stub_of(Connection& connection) {
  return v1::Channels::NewStub(connection.channel());
}

// Of a message that was acknowledged meanwhile, or is or will be delivered again.
bool is_late(const std::string& reason) {
  return reason == "SETTLED" || reason == "RETURNED" || reason == "REDELIVERED" ||
         reason == "NOT_DELIVERED";
}

// Acknowledges, gives back or extends. A restart of the daemon makes the first try's outcome
// unknown and gives messages to others: a refusal that comes from that is told in the reply.
template <typename Request>
absl::StatusOr<v1::AckReply> settle(Connection& connection,
                                    grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                                 const Request&, v1::AckReply*),
                                    const Request& request, const CallOptions& options) {
  const Bounds bounds = connection.bounds(options);
  const std::unique_ptr<Stub> stub = stub_of(connection);
  v1::AckReply reply;
  int tries = 0;
  absl::Status status = connection.resuming(bounds, [&](bool&) {
    ++tries;
    Try call(bounds);
    reply.Clear();
    return call.status((stub.get()->*method)(&call.context(), request, &reply));
  });
  if (status.ok()) return reply;
  const std::optional<v1::ErrorDetail> detail = error_detail(status);
  if (request.messages_size() != 1 || !detail || !is_late(detail->reason())) return status;
  const std::uint64_t seq = request.messages(0).seq();
  const std::string group = absl::StrCat(request.channel(), "/", request.group());
  if (tries == 1 && !connection.given_before_break(group, seq)) return status;
  reply.Clear();
  v1::AckRefusal& refused = *reply.add_refused();
  refused.set_seq(seq);
  refused.set_reason(detail->reason());
  refused.set_message(std::string(status.message()));
  return reply;
}

}  // namespace

absl::StatusOr<v1::Channel> Channels::create(const v1::CreateChannelRequest& request,
                                             const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Create, request, options,
               request.if_absent() ? Repeat::kSafe : Repeat::kNever);
}

absl::StatusOr<v1::Channel> Channels::get(const std::string& name, const CallOptions& options) {
  v1::GetChannelRequest request;
  request.set_name(name);
  return unary(connection_, *stub_of(connection_), &Stub::Get, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::ListChannelsReply> Channels::list(const v1::ListChannelsRequest& request,
                                                     const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::List, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::Channel> Channels::close(const std::string& name, const CallOptions& options) {
  v1::CloseChannelRequest request;
  request.set_name(name);
  return unary(connection_, *stub_of(connection_), &Stub::Close, request, options, Repeat::kSafe);
}

absl::Status Channels::remove(const std::string& name, const CallOptions& options) {
  v1::RemoveChannelRequest request;
  request.set_name(name);
  return unary(connection_, *stub_of(connection_), &Stub::Remove, request, options, Repeat::kNever)
      .status();
}

absl::StatusOr<v1::Channel> Channels::update(const v1::UpdateChannelRequest& request,
                                             const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::Update, request, options, Repeat::kSafe);
}

absl::StatusOr<v1::SendReply> Channels::try_send(const v1::SendRequest& request,
                                                 const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::TrySend, request, options,
               Repeat::kNever);
}

struct ChannelSender::Impl {
  Impl(Connection& connection, std::string channel, const CallOptions& options)
      : stub(stub_of(connection)), call(connection.bounds(options)), name(std::move(channel)) {
    stream = stub->Send(&call.context());
  }
  ~Impl() {
    if (finished) return;
    call.context().TryCancel();
    stream->Finish();
  }

  bool read_one() {
    v1::SendReply reply;
    if (!stream->Read(&reply)) {
      ended = true;
      return false;
    }
    total.set_accepted(total.accepted() + reply.accepted());
    total.set_duplicates(total.duplicates() + reply.duplicates());
    if (reply.last_seq() != 0) total.set_last_seq(reply.last_seq());
    if (reply.accepted() < in_flight.front()) partial = true;
    in_flight.pop_front();
    return !partial;
  }

  std::unique_ptr<Stub> stub;
  Try call;
  std::string name;  // until it was sent with the first batch
  std::unique_ptr<grpc::ClientReaderWriter<v1::SendRequest, v1::SendReply>> stream;
  std::deque<std::uint64_t> in_flight;  // messages of each batch that waits for its reply
  v1::SendReply total;
  bool partial = false;
  bool ended = false;  // nothing comes any more
  bool finished = false;
};

ChannelSender::ChannelSender(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChannelSender::ChannelSender(ChannelSender&&) noexcept = default;
ChannelSender::~ChannelSender() = default;

bool ChannelSender::send(std::vector<std::string> messages) {
  v1::SendRequest request;
  for (std::string& message : messages) request.add_messages(std::move(message));
  return send(std::move(request));
}

bool ChannelSender::send(v1::SendRequest request) {
  if (impl_->partial || impl_->finished) return false;
  if (impl_->in_flight.size() >= kSendBatchesInFlightMax && !impl_->read_one()) return false;
  request.set_channel(std::exchange(impl_->name, ""));
  if (!impl_->stream->Write(request)) return false;
  impl_->in_flight.push_back(static_cast<std::uint64_t>(request.messages_size()));
  return true;
}

bool ChannelSender::flush() {
  while (!impl_->in_flight.empty()) {
    if (!impl_->read_one()) return false;
  }
  return true;
}

absl::StatusOr<v1::SendReply> ChannelSender::finish() {
  if (impl_->finished) return absl::FailedPreconditionError("the sender is finished already");
  // A stream without a batch still names its channel, so that a wrong name is an error.
  if (!impl_->name.empty() && !send(v1::SendRequest())) impl_->in_flight.clear();
  impl_->stream->WritesDone();
  while (!impl_->in_flight.empty()) {
    if (!impl_->read_one() && (impl_->ended || !impl_->partial)) break;
  }
  const bool unanswered = !impl_->in_flight.empty();
  impl_->finished = true;
  absl::Status status = impl_->call.status(impl_->stream->Finish());
  if (!status.ok()) return status;
  if (impl_->partial) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the channel is full: ", impl_->total.accepted(), " messages were accepted, not all"));
  }
  if (unanswered) return absl::DataLossError("the stream ended before every batch was accepted");
  return impl_->total;
}

ChannelSender Channels::send(const std::string& name, const CallOptions& options) {
  return ChannelSender(std::make_unique<ChannelSender::Impl>(connection_, name, options));
}

absl::StatusOr<v1::ChannelGroup> Channels::create_group(const v1::CreateGroupRequest& request,
                                                        const CallOptions& options) {
  return unary(connection_, *stub_of(connection_), &Stub::CreateGroup, request, options,
               Repeat::kSafe);
}

absl::Status Channels::remove_group(const std::string& channel, const std::string& group,
                                    const CallOptions& options) {
  v1::RemoveGroupRequest request;
  request.set_channel(channel);
  request.set_group(group);
  return unary(connection_, *stub_of(connection_), &Stub::RemoveGroup, request, options,
               Repeat::kNever)
      .status();
}

absl::StatusOr<v1::AckReply> Channels::ack(const v1::AckRequest& request,
                                           const CallOptions& options) {
  return settle(connection_, &Stub::Ack, request, options);
}

absl::StatusOr<v1::AckReply> Channels::nack(const v1::NackRequest& request,
                                            const CallOptions& options) {
  return settle(connection_, &Stub::Nack, request, options);
}

absl::StatusOr<v1::AckReply> Channels::extend(const v1::ExtendRequest& request,
                                              const CallOptions& options) {
  return settle(connection_, &Stub::Extend, request, options);
}

absl::Status Channels::recv(const std::string& name, std::uint64_t limit,
                            const RecordsCallback& callback, const CallOptions& options) {
  v1::RecvRequest request;
  request.set_channel(name);
  request.set_limit(limit);
  return receive(std::move(request), Acks::kOnReturn, callback, options);
}

absl::Status Channels::consume(const std::string& channel, const std::string& group,
                               std::uint64_t limit, Acks acks, const RecordsCallback& callback,
                               const CallOptions& options) {
  v1::RecvRequest request;
  request.set_channel(channel);
  request.set_group(group);
  const Bounds bounds = connection_.bounds(options);
  std::uint64_t seen = 0, highest = 0;
  absl::Status last;  // of a call that is not made again: its limit was reached
  const absl::Status status = connection_.resuming(bounds, [&](bool& progressed) {
    CallOptions rest = options;
    if (bounds.deadline) {
      rest.timeout = std::max(*bounds.deadline - internal::Clock::now(), {});
    }
    request.set_limit(limit == 0 ? 0 : limit - seen);
    const auto take = [&](const v1::RecvBatch& batch) {
      progressed = true;
      seen += static_cast<std::uint64_t>(batch.records_size());
      for (const v1::Record& record : batch.records()) highest = std::max(highest, record.seq());
      return callback(batch);
    };
    absl::Status ended = receive(request, acks, take, rest);
    if (!internal::is_broken_connection(ended)) return ended;
    connection_.note_break(absl::StrCat(channel, "/", group), highest);
    if (limit == 0 || seen < limit) return ended;
    last = std::move(ended);
    return absl::OkStatus();
  });
  return last.ok() ? status : last;
}

absl::Status Channels::select(const std::vector<v1::RecvSource>& sources, std::uint64_t limit,
                              Acks acks, const RecordsCallback& callback,
                              const CallOptions& options) {
  if (sources.empty()) return absl::InvalidArgumentError("a selection needs a channel");
  v1::RecvRequest request;
  for (const v1::RecvSource& source : sources) *request.add_sources() = source;
  request.set_limit(limit);
  return receive(std::move(request), acks, callback, options);
}

absl::Status Channels::select(const std::vector<std::string>& channels, std::uint64_t limit,
                              const RecordsCallback& callback, const CallOptions& options) {
  std::vector<v1::RecvSource> sources(channels.size());
  for (std::size_t i = 0; i < channels.size(); ++i) sources[i].set_channel(channels[i]);
  return select(sources, limit, Acks::kOnReturn, callback, options);
}

absl::Status Channels::receive(v1::RecvRequest request, Acks acks, const RecordsCallback& callback,
                               const CallOptions& options) {
  const std::unique_ptr<Stub> stub = stub_of(connection_);
  Try call(connection_.bounds(options));
  auto stream = stub->Recv(&call.context());
  const std::uint64_t limit = request.limit();
  const bool confirms = acks == Acks::kOnReturn;
  const bool several = request.sources_size() > 0;
  request.set_confirms(true);
  // By hand the group's in_flight_max is the credit.
  if (confirms) request.set_credit(limit == 0 ? kRecvCredit : std::min(limit, kRecvCredit));
  std::uint64_t granted = request.credit();
  std::uint64_t seen = 0;
  bool open = stream->Write(request);
  v1::RecvBatch batch;
  while (open && stream->Read(&batch)) {
    const bool go_on = callback(batch);
    seen += static_cast<std::uint64_t>(batch.records_size());
    const bool over = batch.closed() && (!several || batch.sources_left() == 0);
    if (!go_on || over || (limit != 0 && seen >= limit)) {
      v1::RecvRequest last;  // what the callback has seen does not come again
      if (confirms) last.set_received(seen);
      stream->Write(last, grpc::WriteOptions().set_last_message());
      while (stream->Read(&batch)) {  // sent before the daemon heard of the end: goes back
      }
      const absl::Status status = call.status(stream->Finish());
      // A group whose channel is drained has settled everything, and by hand nothing was confirmed.
      const bool nothing_left = !request.group().empty() && (over || !confirms);
      const bool well = !go_on || (nothing_left && internal::is_broken_connection(status));
      return well ? absl::OkStatus() : status;
    }
    if (!confirms) continue;
    v1::RecvRequest more;
    more.set_received(seen);
    more.set_credit(limit == 0 ? seen + kRecvCredit - granted
                               : std::min(seen + kRecvCredit, limit) - granted);
    granted += more.credit();
    open = stream->Write(more);
  }
  stream->WritesDone();
  return call.status(stream->Finish());
}

absl::StatusOr<std::string> Channels::request(const std::string& channel, std::string body,
                                              const CallOptions& options) {
  v1::RequestRequest request;
  request.set_channel(channel);
  request.set_body(std::move(body));
  if (options.timeout) {
    request.mutable_timeout()->set_seconds(options.timeout->count() / 1'000'000'000);
    request.mutable_timeout()->set_nanos(
        static_cast<std::int32_t>(options.timeout->count() % 1'000'000'000));
  }
  auto reply =
      unary(connection_, *stub_of(connection_), &Stub::Request, request, options, Repeat::kNever);
  if (!reply.ok()) return reply.status();
  return std::move(*reply->mutable_body());
}

absl::Status Channels::reply(const std::string& channel, const Responder& responder,
                             const CallOptions& options) {
  const std::unique_ptr<Stub> stub = stub_of(connection_);
  Try call(connection_.bounds(options));
  auto stream = stub->Reply(&call.context());
  v1::ReplyRequest more;
  more.set_channel(channel);
  more.set_credit(1);
  bool open = stream->Write(more);
  v1::InquiryBatch batch;
  while (open && stream->Read(&batch) && !batch.closed()) {
    more.Clear();
    for (const v1::Inquiry& inquiry : batch.inquiries()) {
      absl::StatusOr<std::string> body = responder(inquiry);
      v1::Answer& answer = *more.add_answers();
      answer.set_id(inquiry.id());
      if (body.ok()) {
        answer.set_body(std::move(*body));
      } else {
        answer.set_error(body.status().message().empty() ? "the responder failed"
                                                         : std::string(body.status().message()));
      }
      more.set_credit(more.credit() + 1);
    }
    open = stream->Write(more);
  }
  stream->WritesDone();
  while (stream->Read(&batch)) {
  }
  return call.status(stream->Finish());
}

absl::Status Channels::follow(const std::string& name, std::uint64_t from_seq,
                              const RecordsCallback& callback, const CallOptions& options) {
  v1::FollowChannelRequest request;
  request.set_channel(name);
  request.set_from_seq(from_seq);
  return follow(std::move(request), callback, options);
}

absl::Status Channels::follow(v1::FollowChannelRequest request, const RecordsCallback& callback,
                              const CallOptions& options) {
  const Bounds bounds = connection_.bounds(options);
  const std::unique_ptr<Stub> stub = stub_of(connection_);
  const bool from_now =
      request.from_seq() == 0 && !request.from_start() && request.from_time_unix_nano() == 0;
  if (from_now && connection_.options().resume) {
    // "From now on" must be a number, or what is sent during a restart would be a silent hole.
    const absl::StatusOr<v1::Channel> channel = get(request.channel(), options);
    if (!channel.ok()) return channel.status();
    // Of the values of now the newest ones are wanted.
    if (channel->spec().form() != v1::CHANNEL_FORM_LATEST) {
      request.set_from_seq(channel->next_seq());
    }
  }
  const auto go_on_from = [&](std::uint64_t seq) {
    request.set_from_seq(seq);
    request.clear_from_start();
    request.clear_from_time_unix_nano();
  };
  return connection_.resuming(bounds, [&](bool& progressed) {
    Try call(bounds);
    auto reader = stub->Follow(&call.context(), request);
    return internal::read_all<grpc::ClientReader<v1::RecvBatch>, v1::RecvBatch>(
        call, *reader, [&](const v1::RecvBatch& batch) {
          progressed = true;
          if (batch.has_gap()) go_on_from(batch.gap().to() + 1);
          if (batch.records_size() > 0) go_on_from(batch.records().rbegin()->seq() + 1);
          return callback(batch);
        });
  });
}

}  // namespace zsync::client
