// Futures: a result that code with callbacks gives later, from any thread.
//
// The Promise is the producer's half, the Future the consumer's. then() and catch_error() run in
// tasks of their own; a plain thread may await() what a task may co_await.
//
// Prints:
//   awaited: 42
//   chained: got 43
//   rescued: 0 instead of "no route"
//   broken promise: UNAVAILABLE
//   cancelled: CANCELLED, and the promise knows: yes
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

#include "zsync/zsync.hpp"

// Stands for any library that answers through a callback on a thread of its own.
class Library {
 public:
  ~Library() { thread_.join(); }
  void request(std::function<void(int)> callback) {
    thread_ = std::thread([callback = std::move(callback)] { callback(42); });
  }

 private:
  std::thread thread_;
};

zsync::Future<int> ask(Library& library) {
  auto promise = std::make_shared<zsync::Promise<int>>();  // std::function wants to be copied
  zsync::Future<int> future = promise->future();
  library.request([promise](int answer) { promise->set_value(answer); });
  return future;
}

zsync::Task<std::string> describe(int n) {
  co_await zsync::yield_now();
  co_return "got " + std::to_string(n);
}

zsync::Task<void> main_task() {
  Library library;
  zsync::Future<int> answer = ask(library);
  const absl::StatusOr<int> awaited = co_await answer;
  std::printf("awaited: %d\n", *awaited);

  zsync::Promise<int> first;
  zsync::Future<std::string> chained =
      first.future().then([](int n) { return n + 1; }).then(describe);
  first.set_value(*awaited);
  const absl::StatusOr<std::string> text = co_await chained;
  std::printf("chained: %s\n", text->c_str());

  zsync::Promise<int> failing;
  std::string reason;
  zsync::Future<int> rescued =
      failing.future().then([](int n) { return n * 2; }).catch_error([&](absl::Status error) {
        reason = std::string(error.message());
        return 0;
      });
  failing.set_error(absl::NotFoundError("no route"));
  const absl::StatusOr<int> instead = co_await rescued;
  std::printf("rescued: %d instead of \"%s\"\n", *instead, reason.c_str());

  zsync::Future<int> broken = zsync::Promise<int>().future();
  const absl::StatusOr<int> nothing = co_await broken;
  std::printf("broken promise: %s\n", absl::StatusCodeToString(nothing.status().code()).c_str());

  zsync::Promise<int> unwanted;
  zsync::Future<int> cancelled = unwanted.future();
  cancelled.cancel();
  const absl::StatusOr<int> outcome = co_await cancelled;
  std::printf("cancelled: %s, and the promise knows: %s\n",
              absl::StatusCodeToString(outcome.status().code()).c_str(),
              unwanted.is_cancelled() ? "yes" : "no");
}

int main() { zsync::run(main_task()); }
