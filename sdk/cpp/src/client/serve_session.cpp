#include "serve_session.hpp"

#include <utility>

#include "absl/strings/str_cat.h"

namespace zsync::client::internal {
namespace {

constexpr int kAnswersHeldMax = 64;               // before they are sent though more calls wait
constexpr std::size_t kAnswerBytesMax = 1 << 20;  // of payloads held back

}  // namespace

absl::Status ServeSession::run(v1::Functions::Stub& stub, const v1::ServeRequest& first,
                               StopSource& stop, const Deadline& end) {
  grpc::ClientContext context;
  stream_ = stub.Serve(&context);
  if (!stream_->Write(first)) return to_status(stream_->Finish(), context);
  std::vector<std::thread> threads;
  for (int i = 0; i < concurrency_; ++i) threads.emplace_back([this] { work(); });
  const StopState::Listener listener = stop.state()->add([this] { leave(); });
  std::thread timer;
  std::mutex timer_mutex;
  std::condition_variable timer_changed;
  bool ended = false;
  if (end) {
    timer = std::thread([&] {
      std::unique_lock<std::mutex> lock(timer_mutex);
      if (!timer_changed.wait_until(lock, *end, [&] { return ended; })) leave();
    });
  }
  work();
  for (std::thread& thread : threads) thread.join();
  stop.state()->remove(listener);
  if (timer.joinable()) {
    {
      std::lock_guard<std::mutex> lock(timer_mutex);
      ended = true;
    }
    timer_changed.notify_all();
    timer.join();
  }
  stream_->WritesDone();
  v1::ServeReply rest;
  while (stream_->Read(&rest)) {
  }
  return to_status(stream_->Finish(), context);
}

// Whoever has read a call also handles it, and lets another thread read on: a call waits for no
// thread to wake up. There is one thread more than handlers, so that somebody can always read.
void ServeSession::work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    if (!calls_.empty() && handling_ < concurrency_) {
      handle_next(lock);
    } else if (!over_ && !reading_) {
      read_next(lock);
    } else if (over_ && calls_.empty()) {
      changed_.notify_all();
      return;
    } else {
      changed_.wait(lock);
    }
  }
}

void ServeSession::read_next(std::unique_lock<std::mutex>& lock) {
  reading_ = true;
  lock.unlock();
  v1::ServeReply reply;
  const bool more = stream_->Read(&reply);
  lock.lock();
  reading_ = false;
  if (!more) {  // it broke: others get these, and what is being done is of no use
    over_ = broken_ = true;
    calls_.clear();
    for (const auto& [call, flag] : canceled_) flag->store(true);
    changed_.notify_all();
    return;
  }
  served_ |= reply.serving();
  over_ |= reply.drained();
  for (v1::HandedCall& call : *reply.mutable_calls()) {
    canceled_[call.call()] = std::make_shared<std::atomic<bool>>(false);
    calls_.push_back(std::move(call));
  }
  for (std::uint64_t call : reply.canceled()) {
    if (auto found = canceled_.find(call); found != canceled_.end()) found->second->store(true);
  }
  if (reply.calls_size() > 1 || over_) changed_.notify_all();
}

void ServeSession::handle_next(std::unique_lock<std::mutex>& lock) {
  const v1::HandedCall call = std::move(calls_.front());
  calls_.pop_front();
  const Flag canceled = canceled_.at(call.call());
  ++handling_;
  if (!reading_ && !over_) changed_.notify_one();
  lock.unlock();
  v1::CallAnswer answer = answer_to(call, *canceled);
  lock.lock();
  --handling_;
  canceled_.erase(call.call());
  if (broken_) return;
  *pending_.add_answers() = std::move(answer);
  says_something_ = true;
  // Answers go out together while there is more to do.
  const bool more = concurrency_ == 1 && !calls_.empty() &&
                    pending_.answers_size() < kAnswersHeldMax &&
                    pending_.answers(0).payload().size() * kAnswersHeldMax < kAnswerBytesMax;
  if (!more) flush(lock);
}

v1::CallAnswer ServeSession::answer_to(const v1::HandedCall& call,
                                       const std::atomic<bool>& canceled) {
  v1::CallAnswer answer;
  answer.set_call(call.call());
  if (canceled.load()) {
    answer.mutable_error()->set_message("canceled before it began");
    return answer;
  }
  absl::StatusOr<v1::FunctionResult> result = handler_(ServedCall(call, canceled));
  if (!result.ok()) {
    v1::FunctionError& error = *answer.mutable_error();
    error.set_code(absl::StatusCodeToString(result.status().code()));
    error.set_message(std::string(result.status().message()));
    error.set_permanent(absl::IsInvalidArgument(result.status()));
    return answer;
  }
  if (result->has_error()) {
    *answer.mutable_error() = std::move(*result->mutable_error());
    return answer;
  }
  answer.set_payload(std::move(*result->mutable_payload()));
  answer.set_content_type(std::move(*result->mutable_content_type()));
  return answer;
}

// Says what there is to say, unless somebody does already.
void ServeSession::flush(std::unique_lock<std::mutex>& lock) {
  if (writing_) return;
  writing_ = true;
  while (says_something_ && !broken_) {
    const v1::ServeRequest request = std::exchange(pending_, v1::ServeRequest());
    says_something_ = false;
    lock.unlock();
    const bool written = stream_->Write(request);
    lock.lock();
    broken_ |= !written;
  }
  writing_ = false;
}

void ServeSession::leave() {
  std::unique_lock<std::mutex> lock(mutex_);
  pending_.set_drain(true);
  says_something_ = true;
  flush(lock);
}

}  // namespace zsync::client::internal
