#include "daemon/channels/exchange.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "daemon/fault/fault.hpp"
#include "zsync/timeout.hpp"

namespace zsync::daemon {
namespace {

int64_t steady_now() { return rt::TimePoint::clock::now().time_since_epoch().count(); }

}  // namespace

absl::Status Exchange::refusal() const {
  if (removed_) {
    return fault(absl::StatusCode::kNotFound,
                 absl::StrCat("channel \"", channel_, "\" was removed"),
                 {"channel", "NOT_FOUND", "", "create it again", {}});
  }
  if (closed_) {
    return fault(absl::StatusCode::kFailedPrecondition,
                 absl::StrCat("channel \"", channel_, "\" is closed"),
                 {"channel", "CLOSED", "", "create another one", {}});
  }
  return absl::OkStatus();
}

absl::Status Exchange::no_responders() const {
  return fault(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("nobody replies to requests of channel \"", channel_, "\""),
      {"channel",
       "NO_RESPONDERS",
       "",
       absl::StrCat("start a responder: zsyncctl channels reply ", channel_, " -- COMMAND"),
       {}});
}

Task<void> Exchange::wait_for(PendingPtr pending) {
  while (true) {
    const uint64_t seen = pending->answered.epoch();
    {
      rt::LockGuard guard(lock_);
      if (pending->answer) co_return;
    }
    co_await pending->answered.changed(seen);
  }
}

Task<absl::StatusOr<std::string>> Exchange::request(std::string body, std::string trace,
                                                    int64_t timeout_ns) {
  auto pending = std::make_shared<Pending>();
  {
    rt::LockGuard guard(lock_);
    if (absl::Status refused = refusal(); !refused.ok()) co_return refused;
    if (responders_.empty()) co_return no_responders();
    if (waiting_.size() >= waiting_max_) {
      co_return fault(absl::StatusCode::kResourceExhausted,
                      absl::StrCat(waiting_.size(), " requests of channel \"", channel_,
                                   "\" wait for a responder"),
                      {"channel",
                       "FULL",
                       absl::StrCat("capacity = ", waiting_max_, " requests"),
                       "start more responders, or ask again later",
                       {}});
    }
    pending->inquiry = {next_id_++, std::move(body), std::move(trace), steady_now() + timeout_ns};
    pending_[pending->inquiry.id] = pending;
    waiting_.push_back(pending->inquiry.id);
  }
  struct Withdrawal {
    Exchange& exchange;
    uint64_t id;
    ~Withdrawal() { exchange.withdraw(id); }
  } withdrawal{*this, pending->inquiry.id};
  arrived_.notify_all();
  const absl::Status waited =
      co_await timeout(wait_for(pending), std::chrono::nanoseconds(timeout_ns));
  rt::LockGuard guard(lock_);
  if (pending->answer) co_return std::move(*pending->answer);
  if (!absl::IsDeadlineExceeded(waited)) co_return waited;
  co_return fault(absl::StatusCode::kDeadlineExceeded,
                  absl::StrCat("no reply from channel \"", channel_, "\" within ",
                               absl::FormatDuration(absl::Nanoseconds(timeout_ns))),
                  {"timeout", "TIMEOUT", "", "give it more time, or start more responders", {}});
}

void Exchange::withdraw(uint64_t id) {
  rt::LockGuard guard(lock_);
  pending_.erase(id);
  auto found = std::lower_bound(waiting_.begin(), waiting_.end(), id);
  if (found != waiting_.end() && *found == id) waiting_.erase(found);
}

ExchangeCounts Exchange::counts() {
  rt::LockGuard guard(lock_);
  return {next_id_ - 1,
          answered_,
          late_,
          waiting_.size(),
          pending_.size() - waiting_.size(),
          static_cast<uint32_t>(responders_.size())};
}

void Exchange::close() {
  {
    rt::LockGuard guard(lock_);
    closed_ = true;
  }
  arrived_.notify_all();
}

void Exchange::remove() {
  std::vector<PendingPtr> ended;
  {
    rt::LockGuard guard(lock_);
    closed_ = removed_ = true;
    for (auto& [id, pending] : pending_) {
      if (pending->answer) continue;
      pending->answer = refusal();
      ended.push_back(pending);
    }
    waiting_.clear();
  }
  for (const PendingPtr& pending : ended) pending->answered.notify_all();
  arrived_.notify_all();
}

Exchange::Responder::Responder(std::shared_ptr<Exchange> exchange, int64_t pid)
    : exchange_(std::move(exchange)), attendance_(pid, exchange_->clock_()) {
  free_since_ = attendance_.connected_unix_nano;
  rt::LockGuard guard(exchange_->lock_);
  id_ = exchange_->next_responder_++;
  exchange_->responders_[id_] = this;
}

Task<absl::StatusOr<std::vector<Inquiry>>> Exchange::Responder::next(size_t max) {
  Exchange& exchange = *exchange_;
  attendance_.wait(Phase::kWaiting, exchange.clock_);
  Permit turn = co_await exchange.turn_.lock();
  while (true) {
    const uint64_t seen = exchange.arrived_.epoch();
    {
      rt::LockGuard guard(exchange.lock_);
      if (exchange.removed_) co_return exchange.refusal();
      std::vector<Inquiry> taken;
      while (taken.size() < max && !exchange.waiting_.empty()) {
        const uint64_t id = exchange.waiting_.front();
        exchange.waiting_.pop_front();
        taken.push_back(exchange.pending_.at(id)->inquiry);
        in_hand_.emplace(id, exchange.clock_());
      }
      attendance_.delivered(taken.size());
      if (!taken.empty() || exchange.closed_) co_return taken;
    }
    co_await exchange.arrived_.changed(seen);
  }
}

bool Exchange::Responder::reply(uint64_t id, absl::StatusOr<std::string> answer) {
  PendingPtr pending;
  {
    rt::LockGuard guard(exchange_->lock_);
    if (in_hand_.erase(id) == 0) return false;
    if (in_hand_.empty()) free_since_ = exchange_->clock_();
    auto found = exchange_->pending_.find(id);
    if (found == exchange_->pending_.end()) {
      ++exchange_->late_;
      return false;
    }
    pending = found->second;
    pending->answer = std::move(answer);
    ++exchange_->answered_;
    ++answered_;
  }
  pending->answered.notify_all();
  return true;
}

void Exchange::Responder::leave() {
  std::vector<PendingPtr> ended;
  {
    rt::LockGuard guard(exchange_->lock_);
    if (std::exchange(left_, true)) return;
    exchange_->responders_.erase(id_);
    const auto end = [&](uint64_t id, const absl::Status& status) {
      exchange_->lock_.assert_held();
      auto found = exchange_->pending_.find(id);
      if (found == exchange_->pending_.end() || found->second->answer) return;
      found->second->answer = status;
      ended.push_back(found->second);
    };
    for (const auto& [id, since] : in_hand_) {
      end(id, fault(absl::StatusCode::kUnavailable,
                    absl::StrCat("the responder of channel \"", exchange_->channel_,
                                 "\" went away before it replied"),
                    {"channel",
                     "RESPONDER_LEFT",
                     "",
                     "ask again if the work may be done twice; it may have been done",
                     {}}));
    }
    in_hand_.clear();
    if (exchange_->responders_.empty()) {
      for (uint64_t id : std::exchange(exchange_->waiting_, {})) {
        end(id, exchange_->no_responders());
      }
    }
  }
  for (const PendingPtr& pending : ended) pending->answered.notify_all();
}

}  // namespace zsync::daemon
