// The bridge between gRPC's reactions and coroutines.
//
// gRPC has two reaction threads here; application code never runs on them. A call becomes a task of
// the runtime; reactions only complete what that task waits for. Two owners hold a call: its
// coroutine and gRPC (until OnDone); the last one deletes it. A call that its client cancelled, or
// whose client died, cancels its task, whatever that waits for.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/rpc/call.hpp"
#include "daemon/rpc/completion.hpp"
#include "daemon/rpc/handover.hpp"
#include "daemon/rpc/read_ahead.hpp"
#include "daemon/rpc/status.hpp"
#include "zsync/spawn.hpp"

namespace zsync::daemon {

// What every kind of call shares: its task, its two owners, its way out.
template <typename Reactor>
class BridgedCall : public Reactor {
 public:
  BridgedCall(CallGate& gate, grpc::CallbackServerContext& context)
      : gate_(gate), context_(context) {}

  // The two reactions below are short and wait for nothing, so gRPC may run them where it stands:
  // otherwise each call wakes a thread of gRPC's executor at its end. It calls this no API; the
  // default is that thread.
  bool InternalInlineable() override { return true; }

  // Its caller may be this call's own task, in the middle of an operation: the cancel is left to
  // another one.
  void OnCancel() override {
    take_from_grpc(this);
    owners_.fetch_add(1, std::memory_order_relaxed);
    gate_.runtime().spawn(cancel_task(this)).detach();
    give_to_grpc(this);
  }
  void OnDone() override {
    take_from_grpc(this);
    release();
  }

 protected:
  // Enters the gate and runs `body(call)`, a coroutine function -> absl::Status, as the call's
  // task.
  template <typename Body>
  void begin(Body body) {
    absl::StatusOr<CallContext> call = gate_.enter(context_);
    if (!call.ok()) {
      give_to_grpc(this);
      this->Finish(to_grpc(call.status(), context_));
      release();
      return;
    }
    SpawnOptions options;
    options.name = "call";
    {
      rt::LockGuard guard(lock_);
      task_.emplace(gate_.runtime().spawn(std::move(options),
                                          drive(this, std::move(*call), std::move(body))));
      if (cancelled_) task_->cancel();
    }
    give_to_grpc(this);  // gRPC calls OnDone() only after it was given the reactor
  }

  grpc::CallbackServerContext& context() { return context_; }

 private:
  template <typename Body>
  static Task<void> drive(BridgedCall* self, CallContext call, Body body) {
    absl::Status status;
    try {
      status = co_await body(call);
    } catch (const Cancelled&) {
      status = absl::CancelledError("the call was cancelled");
    } catch (const std::exception& error) {
      status = absl::InternalError(error.what());
    }
    self->gate_.leave(call);
    give_to_grpc(self);
    self->Finish(to_grpc(status, self->context_));
    self->release();
  }

  static Task<void> cancel_task(BridgedCall* self) {
    {
      rt::LockGuard guard(self->lock_);
      self->cancelled_ = true;
      if (self->task_) self->task_->cancel();
    }
    self->release();
    co_return;
  }

  void release() {
    if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  CallGate& gate_;
  grpc::CallbackServerContext& context_;
  std::atomic<int> owners_{2};
  rt::Lock lock_;
  bool cancelled_ ABSL_GUARDED_BY(lock_) = false;
  std::optional<TaskHandle<void>> task_ ABSL_GUARDED_BY(lock_);
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
    gate.leave(*call);
  }
  reactor->Finish(to_grpc(status, *context));
  return reactor;
}

// handler(CallContext, Request) -> Task<absl::StatusOr<Reply>>
template <typename Request, typename Reply, typename Handler>
grpc::ServerUnaryReactor* unary_call(CallGate& gate, grpc::CallbackServerContext* context,
                                     const Request* request, Reply* reply, Handler handler) {
  class Call final : public BridgedCall<grpc::ServerUnaryReactor> {
   public:
    Call(CallGate& gate, grpc::CallbackServerContext& context, const Request* request, Reply* reply,
         Handler handler)
        : BridgedCall(gate, context), reply_(reply) {
      begin([this, request, handler = std::move(handler)](CallContext& call) {
        return serve(this, call, *request, handler);
      });
    }

   private:
    static Task<absl::Status> serve(Call* self, CallContext call, Request request,
                                    Handler handler) {
      absl::StatusOr<Reply> reply = co_await handler(std::move(call), std::move(request));
      if (!reply.ok()) co_return reply.status();
      *self->reply_ = std::move(*reply);
      co_return absl::OkStatus();
    }
    Reply* reply_;
  };
  return new Call(gate, *context, request, reply, std::move(handler));
}

// The sending half of a streaming call.
template <typename Reply>
class StreamWriter {
 public:
  // Completes when gRPC has taken the message: a slow client holds the stream back.
  //
  // Errors: kCancelled when the client is gone.
  virtual Task<absl::Status> write(Reply message) = 0;

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
    take_from_grpc(this);
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
    give_to_grpc(this);
    this->StartRead(message);
  }

  Request request_;
  Completion read_;
  std::function<void(const Request*)> listener_;
  std::optional<ReadAhead<Request>> ahead_;
};

// handler(CallContext, Request, StreamWriter<Reply>&) -> Task<absl::Status>
template <typename Request, typename Reply, typename Handler>
grpc::ServerWriteReactor<Reply>* stream_call(CallGate& gate, grpc::CallbackServerContext* context,
                                             const Request* request, Handler handler) {
  class Call final : public BridgedCall<grpc::ServerWriteReactor<Reply>>,
                     public StreamWriter<Reply> {
   public:
    Call(CallGate& gate, grpc::CallbackServerContext& context, const Request* request,
         Handler handler)
        : BridgedCall<grpc::ServerWriteReactor<Reply>>(gate, context),
          written_([&context] { context.TryCancel(); }) {
      this->begin([this, request, handler = std::move(handler)](CallContext& call) {
        return handler(std::move(call), *request, static_cast<StreamWriter<Reply>&>(*this));
      });
    }
    void OnWriteDone(bool ok) override {
      take_from_grpc(this);
      written_.complete(ok);
    }
    Task<absl::Status> write(Reply message) override {
      message_ = std::move(message);
      written_.expect();
      give_to_grpc(this);
      this->StartWrite(&message_);
      const bool ok = co_await written_.wait();
      co_return ok ? absl::OkStatus() : absl::CancelledError("the client is gone");
    }

   private:
    Reply message_;
    Completion written_;
  };
  return new Call(gate, *context, request, std::move(handler));
}

// handler(CallContext, StreamReader<Request>&, StreamWriter<Reply>&) -> Task<absl::Status>
template <typename Request, typename Reply, typename Handler>
grpc::ServerBidiReactor<Request, Reply>* bidi_call(CallGate& gate,
                                                   grpc::CallbackServerContext* context,
                                                   Handler handler) {
  class Call final : public ReadingCall<grpc::ServerBidiReactor<Request, Reply>, Request>,
                     public StreamWriter<Reply> {
   public:
    Call(CallGate& gate, grpc::CallbackServerContext& context, Handler handler)
        : ReadingCall<grpc::ServerBidiReactor<Request, Reply>, Request>(gate, context),
          written_([&context] { context.TryCancel(); }) {
      this->begin([this, handler = std::move(handler)](CallContext& call) {
        return handler(std::move(call), static_cast<StreamReader<Request>&>(*this),
                       static_cast<StreamWriter<Reply>&>(*this));
      });
    }
    void OnWriteDone(bool ok) override {
      take_from_grpc(this);
      written_.complete(ok);
    }
    Task<absl::Status> write(Reply message) override {
      reply_ = std::move(message);
      written_.expect();
      give_to_grpc(this);
      this->StartWrite(&reply_);
      const bool ok = co_await written_.wait();
      co_return ok ? absl::OkStatus() : absl::CancelledError("the client is gone");
    }

   private:
    Reply reply_;
    Completion written_;
  };
  return new Call(gate, *context, std::move(handler));
}

// handler(CallContext, StreamReader<Request>&) -> Task<absl::StatusOr<Reply>>
template <typename Request, typename Reply, typename Handler>
grpc::ServerReadReactor<Request>* upload_call(CallGate& gate, grpc::CallbackServerContext* context,
                                              Reply* reply, Handler handler) {
  class Call final : public ReadingCall<grpc::ServerReadReactor<Request>, Request> {
   public:
    Call(CallGate& gate, grpc::CallbackServerContext& context, Reply* reply, Handler handler)
        : ReadingCall<grpc::ServerReadReactor<Request>, Request>(gate, context), reply_(reply) {
      this->begin([this, handler = std::move(handler)](CallContext& call) {
        return serve(this, call, handler);
      });
    }

   private:
    static Task<absl::Status> serve(Call* self, CallContext call, Handler handler) {
      absl::StatusOr<Reply> reply =
          co_await handler(std::move(call), static_cast<StreamReader<Request>&>(*self));
      if (!reply.ok()) co_return reply.status();
      *self->reply_ = std::move(*reply);
      co_return absl::OkStatus();
    }
    Reply* reply_;
  };
  return new Call(gate, *context, reply, std::move(handler));
}

}  // namespace zsync::daemon
