#include "daemon/channels/selection.hpp"

#include <algorithm>

namespace zsync::daemon {

Selection::Selection(std::vector<Source> sources, int64_t pid)
    : left_(static_cast<uint32_t>(sources.size())) {
  members_.reserve(sources.size());
  for (Source& source : sources) {
    Member& member = members_.emplace_back(Member{source.channel});
    if (!source.group.empty()) {
      member.consumer = std::make_unique<NamedChannel::Consumer>(
          member.channel, std::move(source.group), pid, left_);
    } else if (source.follows) {
      member.follower =
          std::make_unique<NamedChannel::Follower>(member.channel, source.seq, pid, left_);
    } else {
      member.receiver = std::make_unique<NamedChannel::Receiver>(member.channel, pid, left_);
    }
    member.channel->listen(news_);
  }
}

Selection::~Selection() {
  for (Member& member : members_) member.channel->unlisten(news_);
}

Task<absl::StatusOr<Delivery>> Selection::look(Member& member, size_t max) {
  if (member.receiver) co_return co_await member.receiver->look(max);
  if (member.consumer) co_return co_await member.consumer->look(max);
  co_return co_await member.follower->look(max);
}

Task<absl::StatusOr<Delivery>> Selection::next(size_t max) {
  while (true) {
    const uint64_t seen = news_->epoch();
    for (size_t i = 0; i < members_.size(); ++i) {
      const size_t at = (turn_ + i) % members_.size();
      if (members_[at].over) continue;
      absl::StatusOr<Delivery> delivery = co_await look(members_[at], max);
      if (!delivery.ok()) co_return delivery;
      if (delivery->empty()) continue;
      turn_ = (at + 1) % members_.size();
      given(at, *delivery);
      co_return delivery;
    }
    co_await wait(seen);
  }
}

void Selection::given(size_t at, Delivery& delivery) {
  Member& member = members_[at];
  if (delivery.closed) {
    member.over = true;
    --left_;
  }
  delivery.origin = DeliveryOrigin{member.channel->spec().name, static_cast<uint32_t>(at), left_};
  const uint64_t count = delivery.messages.size();
  if (count == 0) return;
  rt::LockGuard guard(lock_);
  if (!runs_.empty() && runs_.back().member == at) {
    runs_.back().count += count;
  } else {
    runs_.push_back({at, count});
  }
}

Task<void> Selection::wait(uint64_t seen) {
  for (Member& member : members_) {
    if (member.receiver) member.receiver->wait();
    if (member.consumer) member.consumer->wait();
    if (member.follower) member.follower->wait();
  }
  std::deque<NamedChannel::WaitingReceiver> waiting;
  for (Member& member : members_) {
    if (!member.over && (member.receiver || member.consumer)) waiting.emplace_back(*member.channel);
  }
  co_await news_->changed(seen);
}

void Selection::confirm(uint64_t count) {
  while (count > 0) {
    Run run;
    {
      rt::LockGuard guard(lock_);
      if (runs_.empty()) return;
      run = {runs_.front().member, std::min(count, runs_.front().count)};
      runs_.front().count -= run.count;
      if (runs_.front().count == 0) runs_.pop_front();
    }
    count -= run.count;
    Member& member = members_[run.member];
    if (member.receiver) member.receiver->confirm(run.count);
    if (member.consumer) member.consumer->confirm(run.count);
  }
}

Task<absl::Status> Selection::flush() {
  absl::Status all;
  for (Member& member : members_) {
    if (member.consumer) all.Update(co_await member.consumer->flush());
  }
  co_return all;
}

void Selection::leave() {
  for (Member& member : members_) {
    if (member.receiver) member.receiver->leave();
    if (member.consumer) member.consumer->leave();
  }
}

void Selection::enter(Phase phase) {
  for (Member& member : members_) {
    if (member.receiver) member.receiver->enter(phase);
    if (member.consumer) member.consumer->enter(phase);
    if (member.follower) member.follower->enter(phase);
  }
}

}  // namespace zsync::daemon
