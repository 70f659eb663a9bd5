// The bridge between gRPC's reactions and coroutines.
//
// gRPC has two reaction threads here. A call becomes a task of the runtime (call_task.hpp), and
// reactions complete what that task waits for. What runs in a reaction itself (immediate_call,
// StreamReader::listen, WriteFeed, LaterCall) is bounded and waits for nothing.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/rpc/call.hpp"
#include "daemon/rpc/call_task.hpp"
#include "daemon/rpc/completion.hpp"
#include "daemon/rpc/read_ahead.hpp"
#include "daemon/rpc/status.hpp"
#include "daemon/rpc/write_feed.hpp"
#include "zsync/task.hpp"

namespace zsync::daemon {

// A call of one of gRPC's kinds.
template <typename Reactor>
class BridgedCall : public Reactor, public CallTask {
 public:
  BridgedCall(CallGate& gate, grpc::CallbackServerContext& context) : CallTask(gate, context) {}

  // The two reactions below are short and wait for nothing, so gRPC may run them where it stands:
  // otherwise each call wakes a thread of gRPC's executor at its end. It calls this no API; the
  // default is that thread.
  bool InternalInlineable() override { return true; }
  void OnCancel() override { cancelled_in_grpc(); }
  void OnDone() override { done_in_grpc(); }

 private:
  void finish(const grpc::Status& status) override { this->Finish(status); }
};

// A call that never waits is answered by the reaction itself: handler(Request) ->
// absl::StatusOr<Reply>, thread-safe, bounded, no I/O.
template <typename Request, typename Reply, typename Handler>
grpc::ServerUnaryReactor* immediate_call(CallGate& gate, grpc::CallbackServerContext* context,
                                         const Request* request, Reply* reply,
                                         const Handler& handler) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<CallContext> call = gate.enter(*context);
  absl::Status status = call.status();
  if (call.ok()) {
    absl::StatusOr<Reply> answer = handler(*request);
    status = answer.status();
    if (answer.ok()) *reply = std::move(*answer);
    gate.leave(call->peer.uid);
  }
  reactor->Finish(to_grpc(status, *context));
  return reactor;
}

template <typename Request, typename Reply, typename Handler>
Task<absl::Status> serve_unary(CallContext call, Request request, Reply* reply, Handler handler) {
  absl::StatusOr<Reply> answer = co_await handler(std::move(call), std::move(request));
  if (!answer.ok()) co_return answer.status();
  *reply = std::move(*answer);
  co_return absl::OkStatus();
}

// handler(CallContext, Request) -> Task<absl::StatusOr<Reply>>
template <typename Request, typename Reply, typename Handler>
grpc::ServerUnaryReactor* unary_call(CallGate& gate, grpc::CallbackServerContext* context,
                                     const Request* request, Reply* reply, Handler handler) {
  auto* call = new BridgedCall<grpc::ServerUnaryReactor>(gate, *context);
  if (std::optional<CallContext> entered = call->enter())
    call->run(*entered, serve_unary(*entered, *request, reply, std::move(handler)));
  return call;
}

// The sending half of a streaming call.
template <typename Reply>
class StreamWriter {
 public:
  // Completes when gRPC has taken the message: a slow client holds the stream back.
  //
  // Errors: kCancelled when the client is gone.
  virtual Task<absl::Status> write(Reply message) = 0;
  // From now on writes what `next` gives whenever the feed is poked; no write() then, and the feed
  // is finished before the call ends.
  virtual std::shared_ptr<WriteFeed<Reply>> feed(std::function<bool(Reply&)> next) = 0;

 protected:
  ~StreamWriter() = default;
};

template <typename Request>
class StreamReader {
 public:
  // The next message; nullopt when the client has finished or is gone.
  virtual Task<std::optional<Request>> read() = 0;
  // Waits for a message -> it and those that came while nobody asked, in order; empty as nullopt.
  // From then on neither read() nor listen() may be called.
  virtual Task<std::vector<Request>> read_some() = 0;
  // From now on hands every message to `take` instead, and nullptr at the end: in gRPC's reaction,
  // so it must be quick, bounded and thread-safe. It may be called until the call is done.
  virtual void listen(std::function<void(const Request*)> take) = 0;

 protected:
  ~StreamReader() = default;
};

// The reading half of a call whose client streams.
template <typename Reactor, typename Request>
class ReadingCall : public BridgedCall<Reactor>, public StreamReader<Request> {
 public:
  ReadingCall(CallGate& gate, grpc::CallbackServerContext& context)
      : BridgedCall<Reactor>(gate, context), read_([&context] { context.TryCancel(); }) {}

  void OnReadDone(bool ok) override {
    this->from_grpc();
    if (ahead_) return ahead_->on_read(ok);
    if (!listener_) return read_.complete(ok);
    listener_(ok ? &request_ : nullptr);
    if (ok) start_read(&request_);
  }
  void listen(std::function<void(const Request*)> take) override {
    listener_ = std::move(take);
    start_read(&request_);
  }
  Task<std::optional<Request>> read() override {
    read_.expect();
    start_read(&request_);
    if (!co_await read_.wait()) co_return std::nullopt;
    co_return std::move(request_);
  }
  Task<std::vector<Request>> read_some() override {
    if (!ahead_) {
      ahead_.emplace([this] { this->context().TryCancel(); },
                     [this](Request* message) { start_read(message); });
    }
    return ahead_->read();
  }

 private:
  void start_read(Request* message) {
    this->to_grpc();
    this->StartRead(message);
  }

  Request request_;
  Completion read_;
  std::function<void(const Request*)> listener_;
  std::optional<ReadAhead<Request>> ahead_;
};

// The writing half of a call that answers with a stream; `Base` is the rest of the call.
template <typename Base, typename Reply>
class WritingCall final : public Base, public StreamWriter<Reply> {
 public:
  WritingCall(CallGate& gate, grpc::CallbackServerContext& context)
      : Base(gate, context), written_([&context] { context.TryCancel(); }) {}

  void OnWriteDone(bool ok) override {
    this->from_grpc();
    feed_ ? feed_->on_written(ok) : written_.complete(ok);
  }
  Task<absl::Status> write(Reply message) override {
    message_ = std::move(message);
    written_.expect();
    start_write(&message_);
    const bool ok = co_await written_.wait();
    co_return ok ? absl::OkStatus() : absl::CancelledError("the client is gone");
  }
  std::shared_ptr<WriteFeed<Reply>> feed(std::function<bool(Reply&)> next) override {
    feed_ = std::make_shared<WriteFeed<Reply>>(
        [this] { this->context().TryCancel(); },
        [this](const Reply* message) { start_write(message); }, std::move(next));
    return feed_;
  }

 private:
  void start_write(const Reply* message) {
    this->to_grpc();
    this->StartWrite(message);
  }

  Reply message_;
  Completion written_;
  std::shared_ptr<WriteFeed<Reply>> feed_;
};

template <typename Request, typename Reply, typename Handler>
Task<absl::Status> serve_stream(CallContext call, const Request* request, StreamWriter<Reply>* out,
                                Handler handler) {
  co_return co_await handler(std::move(call), *request, *out);
}

// handler(CallContext, Request, StreamWriter<Reply>&) -> Task<absl::Status>
template <typename Request, typename Reply, typename Handler>
grpc::ServerWriteReactor<Reply>* stream_call(CallGate& gate, grpc::CallbackServerContext* context,
                                             const Request* request, Handler handler) {
  auto* call = new WritingCall<BridgedCall<grpc::ServerWriteReactor<Reply>>, Reply>(gate, *context);
  if (std::optional<CallContext> entered = call->enter()) {
    StreamWriter<Reply>* out = call;
    call->run(*entered, serve_stream(*entered, request, out, std::move(handler)));
  }
  return call;
}

template <typename Request, typename Reply, typename Handler>
Task<absl::Status> serve_bidi(CallContext call, StreamReader<Request>* in, StreamWriter<Reply>* out,
                              Handler handler) {
  co_return co_await handler(std::move(call), *in, *out);
}

// handler(CallContext, StreamReader<Request>&, StreamWriter<Reply>&) -> Task<absl::Status>
template <typename Request, typename Reply, typename Handler>
grpc::ServerBidiReactor<Request, Reply>* bidi_call(CallGate& gate,
                                                   grpc::CallbackServerContext* context,
                                                   Handler handler) {
  using Reading = ReadingCall<grpc::ServerBidiReactor<Request, Reply>, Request>;
  auto* call = new WritingCall<Reading, Reply>(gate, *context);
  if (std::optional<CallContext> entered = call->enter()) {
    StreamReader<Request>* in = call;
    StreamWriter<Reply>* out = call;
    call->run(*entered, serve_bidi(*entered, in, out, std::move(handler)));
  }
  return call;
}

template <typename Request, typename Reply, typename Handler>
Task<absl::Status> serve_upload(CallContext call, StreamReader<Request>* in, Reply* reply,
                                Handler handler) {
  absl::StatusOr<Reply> answer = co_await handler(std::move(call), *in);
  if (!answer.ok()) co_return answer.status();
  *reply = std::move(*answer);
  co_return absl::OkStatus();
}

// handler(CallContext, StreamReader<Request>&) -> Task<absl::StatusOr<Reply>>
template <typename Request, typename Reply, typename Handler>
grpc::ServerReadReactor<Request>* upload_call(CallGate& gate, grpc::CallbackServerContext* context,
                                              Reply* reply, Handler handler) {
  auto* call = new ReadingCall<grpc::ServerReadReactor<Request>, Request>(gate, *context);
  if (std::optional<CallContext> entered = call->enter()) {
    StreamReader<Request>* in = call;
    call->run(*entered, serve_upload(*entered, in, reply, std::move(handler)));
  }
  return call;
}

}  // namespace zsync::daemon
