#include "daemon/channels/exchange_service.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/channels_proto.hpp"
#include "daemon/channels/exchange.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/flow.hpp"
#include "zsync/notify.hpp"

namespace zsync::daemon {
namespace {

constexpr uint64_t kInquiriesMax = 1024;  // in one responder's hands
constexpr size_t kErrorBytesMax = 4096;   // of a responder's error

// One responding call: its place among the responders and how many requests it may still get.
struct Responding {
  Responding(ChannelsEngine& engine, std::shared_ptr<Exchange> exchange, pid_t pid)
      : engine(engine), responder(std::move(exchange), pid) {}

  void take(const v1::ReplyRequest& request) {
    for (const v1::Answer& answer : request.answers()) {
      if (answer.error().empty()) {
        absl::Status fits = engine.check_messages({answer.body()});
        responder.reply(answer.id(), fits.ok() ? absl::StatusOr<std::string>(answer.body()) : fits);
        continue;
      }
      responder.reply(answer.id(),
                      fault(absl::StatusCode::kAborted, answer.error().substr(0, kErrorBytesMax),
                            {"body", "RESPONDER_FAILED", "", "see what the responder says", {}}));
    }
    {
      rt::LockGuard guard(lock);
      credit = std::min(credit + request.credit(), kInquiriesMax);
    }
    changed.notify_all();
  }
  void end() {
    {
      rt::LockGuard guard(lock);
      over = true;
    }
    changed.notify_all();
  }

  ChannelsEngine& engine;
  Exchange::Responder responder;
  rt::Lock lock;
  uint64_t credit ABSL_GUARDED_BY(lock) = 0;
  bool over ABSL_GUARDED_BY(lock) = false;  // the responder closed its side
  Notify changed;
};

// Waits for credit -> how much there is; 0: there will be none.
Task<uint64_t> wait_for_credit(std::shared_ptr<Responding> state) {
  bool told = false;
  while (true) {
    const uint64_t seen = state->changed.epoch();
    {
      rt::LockGuard guard(state->lock);
      if (state->over) co_return 0;
      if (state->credit > 0) co_return state->credit;
    }
    if (!std::exchange(told, true)) state->responder.enter(Phase::kNoCredit);
    co_await state->changed.changed(seen);
  }
}

Task<void> wait_for_end(std::shared_ptr<Responding> state) {
  while (true) {
    const uint64_t seen = state->changed.epoch();
    {
      rt::LockGuard guard(state->lock);
      if (state->over) co_return;
    }
    co_await state->changed.changed(seen);
  }
}

Task<absl::Status> hand_out(std::shared_ptr<Responding> state,
                            StreamWriter<v1::InquiryBatch>& out) {
  while (true) {
    const uint64_t credit = co_await wait_for_credit(state);
    if (credit == 0) co_return absl::OkStatus();
    auto first = co_await race(state->responder.next(credit), wait_for_end(state));
    if (first.index == 1) co_return absl::OkStatus();
    absl::StatusOr<std::vector<Inquiry>>& inquiries = std::get<0>(first.value);
    if (!inquiries.ok()) co_return inquiries.status();
    v1::InquiryBatch batch;
    batch.set_closed(inquiries->empty());
    const int64_t now = rt::TimePoint::clock::now().time_since_epoch().count();
    for (Inquiry& inquiry : *inquiries) {
      v1::Inquiry& one = *batch.add_inquiries();
      one.set_id(inquiry.id);
      one.set_body(std::move(inquiry.body));
      one.set_trace(std::move(inquiry.trace));
      set_ns(std::max<int64_t>(inquiry.until - now, 0), *one.mutable_time_left());
    }
    {
      rt::LockGuard guard(state->lock);
      state->credit -= std::min<uint64_t>(state->credit, inquiries->size());
    }
    const bool closed = batch.closed();
    state->responder.enter(Phase::kSending);
    if (absl::Status status = co_await out.write(std::move(batch)); !status.ok()) co_return status;
    if (!closed) continue;
    // What is in its hands may still be answered.
    state->responder.enter(Phase::kLast);
    co_await wait_for_end(state);
    co_return absl::OkStatus();
  }
}

absl::StatusOr<std::shared_ptr<Exchange>> exchange_of(ChannelsEngine& engine,
                                                      const std::string& name) {
  absl::StatusOr<ChannelsEngine::ChannelPtr> channel = engine.find(name);
  if (!channel.ok()) return channel.status();
  if (absl::Status fits = (*channel)->check_form({ChannelForm::kRequest}); !fits.ok()) return fits;
  return (*channel)->exchange();
}

}  // namespace

Task<absl::StatusOr<v1::RequestReply>> ask(ChannelsEngine& engine, CallContext call,
                                           v1::RequestRequest request) {
  absl::StatusOr<std::shared_ptr<Exchange>> exchange = exchange_of(engine, request.channel());
  if (!exchange.ok()) co_return exchange.status();
  if (absl::Status status = engine.check_messages({request.body()}); !status.ok()) {
    co_return status;
  }
  int64_t timeout_ns = kRequestTimeoutNs;
  if (request.has_timeout()) {
    absl::StatusOr<int64_t> given = to_ns(request.timeout(), "timeout", kRequestTimeoutNsMax);
    if (!given.ok()) co_return given.status();
    timeout_ns = *given;
  }
  const std::string trace = request.trace().empty() ? call.traceparent : request.trace();
  absl::StatusOr<std::string> body =
      co_await (*exchange)->request(std::move(*request.mutable_body()), trace, timeout_ns);
  if (!body.ok()) co_return body.status();
  v1::RequestReply reply;
  reply.set_body(std::move(*body));
  co_return reply;
}

Task<absl::Status> respond(ChannelsEngine& engine, CallContext call,
                           StreamReader<v1::ReplyRequest>& in,
                           StreamWriter<v1::InquiryBatch>& out) {
  std::optional<v1::ReplyRequest> first = co_await in.read();
  if (!first) co_return absl::OkStatus();
  absl::StatusOr<std::shared_ptr<Exchange>> exchange = exchange_of(engine, first->channel());
  if (!exchange.ok()) co_return exchange.status();
  auto state = std::make_shared<Responding>(engine, *exchange, call.peer.pid);
  state->take(*first);
  in.listen(
      [state](const v1::ReplyRequest* request) { request ? state->take(*request) : state->end(); });
  struct Ending {
    Responding& state;
    ~Ending() { state.responder.leave(); }
  } ending{*state};
  co_return co_await hand_out(state, out);
}

}  // namespace zsync::daemon
