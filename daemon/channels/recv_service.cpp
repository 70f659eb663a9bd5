#include "daemon/channels/recv_service.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/channels/channels_proto.hpp"
#include "daemon/channels/receivers.hpp"
#include "daemon/channels/selection.hpp"
#include "daemon/fault/fault.hpp"
#include "zsync/flow.hpp"
#include "zsync/notify.hpp"

namespace zsync::daemon {
namespace {

constexpr uint64_t kCreditDefault = 1024;  // messages on their way to a receiver that names none

using ChannelPtr = ChannelsEngine::ChannelPtr;

// One receiving call: its place among the receivers and what it may still be sent. Its client asks
// for more by reactions, while the call's task delivers.
struct Receiving {
  Receiving(ChannelPtr channel, const v1::RecvRequest& first, pid_t pid)
      : confirms(first.confirms() || !first.group().empty()) {
    if (first.group().empty()) {
      receiver.emplace(std::move(channel), pid);
    } else {
      consumer.emplace(std::move(channel), first.group(), pid);
    }
  }
  Receiving(std::vector<Selection::Source> sources, const v1::RecvRequest& first, pid_t pid)
      : confirms(first.confirms() || has_group(first)) {
    selection.emplace(std::move(sources), pid);
  }

  static bool has_group(const v1::RecvRequest& first) {
    return std::any_of(first.sources().begin(), first.sources().end(),
                       [](const v1::RecvSource& source) { return !source.group().empty(); });
  }
  // Calls it with the one that there is.
  template <typename Use>
  auto with(const Use& use) {
    if (receiver) return use(*receiver);
    return consumer ? use(*consumer) : use(*selection);
  }
  Task<absl::StatusOr<Delivery>> next(uint64_t max) {
    return with([max](auto& one) { return one.next(max); });
  }
  void confirm(uint64_t count) {
    with([count](auto& one) { one.confirm(count); });
  }
  void leave() {
    with([](auto& one) { one.leave(); });
  }
  void enter(Phase phase) {
    with([phase](auto& one) { one.enter(phase); });
  }
  Task<absl::Status> flush() {
    if (consumer) return consumer->flush();
    return selection->flush();
  }

  void take(const v1::RecvRequest& request) {
    uint64_t confirmed = 0;
    {
      rt::LockGuard guard(lock);
      credit += request.credit();
      confirmed = confirms ? 0 : request.credit();
      if (request.received() > 0) {
        confirmed = request.received() - std::min(request.received(), received);
        received += confirmed;
      }
    }
    confirm(confirmed);
    changed.notify_all();
  }
  void end_grants() {
    {
      rt::LockGuard guard(lock);
      over = true;
    }
    changed.notify_all();
  }

  std::optional<NamedChannel::Receiver> receiver;  // one of the three
  std::optional<NamedChannel::Consumer> consumer;
  std::optional<Selection> selection;
  const bool confirms;  // only by number
  rt::Lock lock;
  uint64_t credit ABSL_GUARDED_BY(lock) = 0;
  uint64_t received ABSL_GUARDED_BY(lock) = 0;  // confirmed by number
  bool over ABSL_GUARDED_BY(lock) = false;      // the client asks for no more
  Notify changed;
};

// Waits for credit -> how much there is; 0: there will be none.
Task<uint64_t> wait_for_credit(Receiving& state) {
  bool told = false;
  while (true) {
    const uint64_t seen = state.changed.epoch();
    {
      rt::LockGuard guard(state.lock);
      if (state.over) co_return 0;
      if (state.credit > 0) co_return state.credit;
    }
    if (!std::exchange(told, true)) state.enter(Phase::kNoCredit);
    co_await state.changed.changed(seen);
  }
}

// Waits until the client has dealt with `count` messages, or asks for no more.
Task<void> wait_for_received(Receiving& state, uint64_t count) {
  while (true) {
    const uint64_t seen = state.changed.epoch();
    {
      rt::LockGuard guard(state.lock);
      if (state.over || state.received >= count) co_return;
    }
    co_await state.changed.changed(seen);
  }
}

// The next messages; nullopt when the client wants no more. What was taken meanwhile is given back
// by the end of the call.
Task<std::optional<absl::StatusOr<Delivery>>> next_or_end(Receiving& state, uint64_t max) {
  auto first = co_await race(state.next(max), wait_for_received(state, UINT64_MAX));
  if (first.index == 1) co_return std::nullopt;
  co_return std::move(std::get<0>(first.value));
}

// Sends until the limit, the end of the channel, or the client's end.
Task<absl::Status> deliver(std::shared_ptr<Receiving> state, ChannelSpans& spans,
                           std::string channel, uint64_t limit, bool automatic,
                           StreamWriter<v1::RecvBatch>& out) {
  uint64_t sent = 0;
  while (true) {
    // A group's in_flight_max stands for the credit.
    const uint64_t own = state->consumer ? UINT64_MAX : kCreditDefault;
    const uint64_t credit = automatic ? own : co_await wait_for_credit(*state);
    if (credit == 0) co_return absl::OkStatus();
    const uint64_t max = limit ? std::min(credit, limit - sent) : credit;
    // A client that leaves the credit to us may have closed its side long ago.
    std::optional<absl::StatusOr<Delivery>> next;
    if (automatic && !state->consumer) {
      next = co_await state->next(max);
    } else {
      next = co_await next_or_end(*state, max);
    }
    if (!next) co_return absl::OkStatus();
    absl::StatusOr<Delivery>& delivery = *next;
    if (!delivery.ok()) co_return delivery.status();
    const uint64_t count = delivery->messages.size();
    spans.received(delivery->origin ? delivery->origin->channel : channel, *delivery,
                   absl::GetCurrentTimeNanos());
    // The end of one of several channels is not that of the call.
    const bool closed = delivery->closed && (!delivery->origin || delivery->origin->left == 0);
    {
      rt::LockGuard guard(state->lock);
      if (!automatic) state->credit -= count;
    }
    state->enter(Phase::kSending);
    if (absl::Status status = co_await out.write(to_proto(std::move(*delivery))); !status.ok()) {
      co_return status;
    }
    sent += count;
    if (automatic && !state->confirms) state->confirm(count);
    if (!closed && (limit == 0 || sent < limit)) continue;
    if (closed && state->consumer) co_return absl::OkStatus();
    state->enter(Phase::kLast);
    if (state->confirms) {
      co_await wait_for_received(*state, sent);
    } else {
      state->confirm(sent);
    }
    co_return absl::OkStatus();
  }
}

absl::Status bad_sources(std::string what, std::string limit, std::string cure) {
  return fault(
      absl::StatusCode::kInvalidArgument, std::move(what),
      {"sources", limit.empty() ? "INVALID" : "LIMIT", std::move(limit), std::move(cure), {}});
}

absl::Status check_sources(const v1::RecvRequest& first) {
  const auto size = static_cast<size_t>(first.sources_size());
  if (!first.channel().empty() || !first.group().empty()) {
    return bad_sources("both a channel and sources", "", "give one of them");
  }
  if (size > kSelectSourcesMax) {
    return bad_sources(absl::StrCat("a selection of ", size, " sources"),
                       absl::StrCat("select_sources_max = ", kSelectSourcesMax),
                       "use fewer, or several calls");
  }
  std::set<std::tuple<std::string, std::string, bool>> seen;
  for (const v1::RecvSource& source : first.sources()) {
    if (source.follow() && !source.group().empty()) {
      return bad_sources(absl::StrCat("channel \"", source.channel(),
                                      "\" is both followed and received by a group"),
                         "", "give one of them; give it as two sources for both");
    }
    if (!seen.emplace(source.channel(), source.group(), source.follow()).second) {
      return bad_sources(absl::StrCat("channel \"", source.channel(), "\" twice"), "",
                         "give each source once");
    }
  }
  return absl::OkStatus();
}

Task<absl::StatusOr<Selection::Source>> source_of(ChannelsEngine& engine, v1::RecvSource wanted) {
  absl::StatusOr<ChannelPtr> channel = co_await engine.find_to_read(wanted.channel());
  if (!channel.ok()) co_return channel.status();
  Selection::Source source{*channel, wanted.group(), wanted.follow()};
  if (!wanted.follow()) {
    absl::Status fits = (*channel)->check_form({ChannelForm::kQueue});
    if (!fits.ok()) co_return fits;
    co_return source;
  }
  absl::Status fits =
      (*channel)->check_form({ChannelForm::kQueue, ChannelForm::kLatest, ChannelForm::kBroadcast});
  if (!fits.ok()) co_return fits;
  NamedChannel::Start start{wanted.from_seq(), false, wanted.from_start(),
                            wanted.from_time_unix_nano()};
  // From now on means from this call on, not from when its turn comes; of the values of now the
  // newest are wanted.
  const bool said = start.seq != 0 || start.oldest || start.time_unix_nano != 0;
  start.now = !said && (*channel)->spec().form != ChannelForm::kLatest;
  absl::StatusOr<uint64_t> from = co_await (*channel)->resolve(start);
  if (!from.ok()) co_return from.status();
  source.seq = *from;
  co_return source;
}

Task<absl::StatusOr<std::shared_ptr<Receiving>>> open_call(ChannelsEngine& engine,
                                                           const v1::RecvRequest& first,
                                                           pid_t pid) {
  if (first.sources().empty()) {
    absl::StatusOr<ChannelPtr> channel = co_await engine.find_to_read(first.channel());
    if (!channel.ok()) co_return channel.status();
    absl::Status fits = (*channel)->check_form({ChannelForm::kQueue});
    if (!fits.ok()) co_return fits;
    co_return std::make_shared<Receiving>(*channel, first, pid);
  }
  if (absl::Status status = check_sources(first); !status.ok()) co_return status;
  std::vector<Selection::Source> sources;
  for (const v1::RecvSource& wanted : first.sources()) {
    absl::StatusOr<Selection::Source> source = co_await source_of(engine, wanted);
    if (!source.ok()) co_return source.status();
    sources.push_back(std::move(*source));
  }
  co_return std::make_shared<Receiving>(std::move(sources), first, pid);
}

}  // namespace

Task<absl::Status> receive(ChannelsEngine& engine, CallContext call,
                           StreamReader<v1::RecvRequest>& in, StreamWriter<v1::RecvBatch>& out) {
  std::optional<v1::RecvRequest> first = co_await in.read();
  if (!first) co_return absl::OkStatus();
  absl::StatusOr<std::shared_ptr<Receiving>> opened =
      co_await open_call(engine, *first, call.peer.pid);
  if (!opened.ok()) co_return opened.status();
  const std::shared_ptr<Receiving> state = std::move(*opened);
  const bool automatic = first->credit() == 0;
  state->take(*first);
  in.listen([state](const v1::RecvRequest* request) {
    request ? state->take(*request) : state->end_grants();
  });
  struct Ending {
    Receiving& state;
    ~Ending() { state.leave(); }
  } ending{*state};
  absl::Status delivered =
      co_await deliver(state, engine.spans(), first->channel(), first->limit(), automatic, out);
  if (!delivered.ok() || state->receiver) co_return delivered;
  co_return co_await state->flush();
}

}  // namespace zsync::daemon
