// One stream of a worker, from its opening to its end: handlers on threads, answers in batches.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "connection.hpp"
#include "zsync/client/functions.hpp"
#include "zsync/v1/functions.grpc.pb.h"

namespace zsync::client::internal {

class ServeSession {
 public:
  ServeSession(const Functions::Handler& handler, int concurrency)
      : handler_(handler), concurrency_(concurrency) {}

  // Until `stop` or `end`, when it leaves in good order: ok; or until the stream breaks.
  absl::Status run(v1::Functions::Stub& stub, const v1::ServeRequest& first, StopSource& stop,
                   const Deadline& end);
  // Whether the daemon let it serve.
  bool served() const { return served_; }

 private:
  using Stream = grpc::ClientReaderWriter<v1::ServeRequest, v1::ServeReply>;
  using Flag = std::shared_ptr<std::atomic<bool>>;

  void work();
  void read_next(std::unique_lock<std::mutex>& lock);
  void handle_next(std::unique_lock<std::mutex>& lock);
  v1::CallAnswer answer_to(const v1::HandedCall& call, const std::atomic<bool>& canceled);
  void leave();
  void flush(std::unique_lock<std::mutex>& lock);

  const Functions::Handler& handler_;
  const int concurrency_;
  std::unique_ptr<Stream> stream_;
  bool served_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::HandedCall> calls_;
  std::map<std::uint64_t, Flag> canceled_;  // of those in hand
  v1::ServeRequest pending_;                // what is to be said
  bool says_something_ = false;
  bool writing_ = false;  // somebody writes, and will write what comes meanwhile
  bool over_ = false;     // no more calls come
  bool reading_ = false;  // somebody waits for the next message
  int handling_ = 0;      // threads in a handler
  bool broken_ = false;   // nothing can be said any more
};

}  // namespace zsync::client::internal
