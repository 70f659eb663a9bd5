// Channels: named message streams between processes.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "zsync/client/options.hpp"
#include "zsync/client/ring.hpp"
#include "zsync/v1/channels.pb.h"

namespace zsync::client {

namespace internal {
class Connection;
}

// How many batches a ChannelSender has on the way before it waits for an acknowledgement.
inline constexpr int kSendBatchesInFlightMax = 16;

// A stream of batches into one channel, acknowledged one by one.
//
// Cancel:   the StopSource it was opened with.
// Threads:  one at a time.
// Lifetime: destroyed without finish(), it withdraws what was not acknowledged.
class ChannelSender {
 public:
  struct Impl;
  // Use Channels::send().
  explicit ChannelSender(std::unique_ptr<Impl> impl);
  ChannelSender(ChannelSender&&) noexcept;
  ~ChannelSender();

  // Puts one batch on the way; waits while kSendBatchesInFlightMax are unacknowledged (a full
  // channel). False: the stream is over, finish() says why.
  [[nodiscard]] bool send(std::vector<std::string> messages);
  // The same with what a request may say beyond that: keys, ids, a trace. Its channel is ignored.
  [[nodiscard]] bool send(v1::SendRequest request);

  // Waits until everything sent so far is accepted. False as send().
  [[nodiscard]] bool flush();

  // Ends the stream: returns once the last batch is accepted, with how many messages were accepted
  // in all and the seq of the last.
  //
  // Errors: the daemon's; kResourceExhausted when a batch was accepted in part only.
  [[nodiscard]] absl::StatusOr<v1::SendReply> finish();

 private:
  std::unique_ptr<Impl> impl_;
};

// Who acknowledges what a consumer of a group was given.
enum class Acks {
  kOnReturn,  // consume(), once the callback has returned
  kByHand,    // whoever calls ack()
};

// Errors, Cancel, Threads, Lifetime: as Tasks.
class Channels {
 public:
  // Called once a batch, in order; false ends the call well.
  using RecordsCallback = std::function<bool(const v1::RecvBatch&)>;

  // Use Client::channels().
  explicit Channels(internal::Connection& connection) : connection_(connection) {}

  // Errors: kAlreadyExists, unless request.if_absent and it has the same specification.
  [[nodiscard]] absl::StatusOr<v1::Channel> create(const v1::CreateChannelRequest& request,
                                                   const CallOptions& options = {});
  // One channel, with its settings and what is in it.
  [[nodiscard]] absl::StatusOr<v1::Channel> get(const std::string& name,
                                                const CallOptions& options = {});
  // One page; request.page_token goes on from the one before.
  [[nodiscard]] absl::StatusOr<v1::ListChannelsReply> list(const v1::ListChannelsRequest& request,
                                                           const CallOptions& options = {});
  // Later sends fail, receivers drain what is there.
  [[nodiscard]] absl::StatusOr<v1::Channel> close(const std::string& name,
                                                  const CallOptions& options = {});
  // Forgets the channel and what is in it.
  [[nodiscard]] absl::Status remove(const std::string& name, const CallOptions& options = {});

  // Changes how long messages and their ids are kept; what the request leaves unset stays.
  //
  // Errors: kInvalidArgument, naming field, limit and cure.
  [[nodiscard]] absl::StatusOr<v1::Channel> update(const v1::UpdateChannelRequest& request,
                                                   const CallOptions& options = {});

  // One batch that never waits for room.
  [[nodiscard]] absl::StatusOr<v1::SendReply> try_send(const v1::SendRequest& request,
                                                       const CallOptions& options = {});
  // Opens a stream of batches that waits for room.
  [[nodiscard]] ChannelSender send(const std::string& name, const CallOptions& options = {});

  // Competes for messages: each goes to one receiver. Credit is given back only after `callback`
  // returned, so a slow callback holds the senders. Ends after `limit` messages (0: none), or well
  // when the channel is closed and drained. A batch is received for good once `callback` has
  // returned: what was on its way when the call broke or the process died goes back to the front of
  // the channel. Never resumed.
  //
  // Cancel: the messages that `callback` has not seen go back to the channel; those of its last
  //         batch may come again.
  [[nodiscard]] absl::Status recv(const std::string& name, std::uint64_t limit,
                                  const RecordsCallback& callback, const CallOptions& options = {});

  // Makes a consumer group of a durable channel; one of the same settings that exists is a success.
  //
  // Errors: kAlreadyExists with other settings; kFailedPrecondition for a memory channel, or while
  //         receivers without a group are connected.
  [[nodiscard]] absl::StatusOr<v1::ChannelGroup> create_group(const v1::CreateGroupRequest& request,
                                                              const CallOptions& options = {});
  // Forgets how far a group came.
  [[nodiscard]] absl::Status remove_group(const std::string& channel, const std::string& group,
                                          const CallOptions& options = {});

  // Receives as a consumer of a group: every message goes to one of its consumers, and to another
  // one when it is not acknowledged within the group's ack_wait or this call ends before. Ends as
  // recv() does. When the daemon restarts it joins the group again, as Options::resume allows: what
  // was not acknowledged by then comes again, as the next delivery, to this or another consumer.
  //
  // Errors: kUnavailable also when the connection broke while its last `limit`ed batch was
  //         acknowledged: that may come again, to somebody else.
  [[nodiscard]] absl::Status consume(const std::string& channel, const std::string& group,
                                     std::uint64_t limit, Acks acks,
                                     const RecordsCallback& callback,
                                     const CallOptions& options = {});

  // Receives whatever comes first from any of several channels: each source is received as by
  // recv(), as by consume() where it names a group, or observed with `follow`. Those that have
  // something take turns, a batch each; batch.channel() and source() say whose it is. A batch that
  // is closed() tells the end of one source, the others go on; the call ends with the last of them,
  // or after `limit` messages in all. Nothing is taken from a channel that is not given. Never
  // resumed.
  //
  // Errors: kInvalidArgument for more than 64 sources, and for one that is there twice.
  // Cancel: as recv().
  [[nodiscard]] absl::Status select(const std::vector<v1::RecvSource>& sources, std::uint64_t limit,
                                    Acks acks, const RecordsCallback& callback,
                                    const CallOptions& options = {});
  // The same of channels that are received without groups.
  [[nodiscard]] absl::Status select(const std::vector<std::string>& channels, std::uint64_t limit,
                                    const RecordsCallback& callback,
                                    const CallOptions& options = {});

  // Settles messages of a group for good. Done means: on disk.
  //
  // Errors: a single message's refusal (kFailedPrecondition, kInvalidArgument: never delivered);
  //         those of several are in the reply.
  [[nodiscard]] absl::StatusOr<v1::AckReply> ack(const v1::AckRequest& request,
                                                 const CallOptions& options = {});
  // Gives messages back, to be delivered again after request.delay. Errors: as ack().
  [[nodiscard]] absl::StatusOr<v1::AckReply> nack(const v1::NackRequest& request,
                                                  const CallOptions& options = {});
  // Begins the ack wait of messages anew: the heartbeat of work that takes longer. Errors: as
  // ack().
  [[nodiscard]] absl::StatusOr<v1::AckReply> extend(const v1::ExtendRequest& request,
                                                    const CallOptions& options = {});

  // Observes from a cursor (0: what comes from now on) and takes nothing away. Resumable.
  [[nodiscard]] absl::Status follow(const std::string& name, std::uint64_t from_seq,
                                    const RecordsCallback& callback,
                                    const CallOptions& options = {});
  // The same from where the request says: a message, a time, the oldest one that is kept.
  //
  // Errors: kInvalidArgument for more than one of them, and for a message that is not there yet.
  [[nodiscard]] absl::Status follow(v1::FollowChannelRequest request,
                                    const RecordsCallback& callback,
                                    const CallOptions& options = {});

  // Asks one of those who reply on a channel of the form request -> the answer. It waits for
  // options.timeout, else for 30 s.
  //
  // Errors: kFailedPrecondition (NO_RESPONDERS) at once; kUnavailable (RESPONDER_LEFT): it may have
  //         been done; kAborted with what the responder said; kDeadlineExceeded;
  //         kResourceExhausted.
  [[nodiscard]] absl::StatusOr<std::string> request(const std::string& channel, std::string body,
                                                    const CallOptions& options = {});
  // Called for each request; an error is told to the one who asked.
  using Responder = std::function<absl::StatusOr<std::string>(const v1::Inquiry&)>;
  // Answers requests, one at a time, until the channel is closed and nothing waits. Several calls
  // share the requests. Never resumed.
  [[nodiscard]] absl::Status reply(const std::string& channel, const Responder& responder,
                                   const CallOptions& options = {});

  // Becomes the sender of a channel of the form ring: its messages go to the receiver through
  // shared memory (ring.hpp). On the daemon's own machine only. Never resumed.
  //
  // Errors: kFailedPrecondition when it has a sender, whose process is named, when it is closed, or
  //         is of another form; kNotFound; kDataLoss when an end before wrote nonsense into it.
  [[nodiscard]] absl::StatusOr<RingSender> ring_sender(const std::string& name,
                                                       const RingOptions& ring = {},
                                                       const CallOptions& options = {});
  // Becomes its receiver. Errors: as ring_sender().
  [[nodiscard]] absl::StatusOr<RingReceiver> ring_receiver(const std::string& name,
                                                           const RingOptions& ring = {},
                                                           const CallOptions& options = {});

 private:
  absl::Status receive(v1::RecvRequest first, Acks acks, const RecordsCallback& callback,
                       const CallOptions& options);

  internal::Connection& connection_;
};

}  // namespace zsync::client
