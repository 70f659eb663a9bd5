// The libuv driver: uv_poll for readiness, one uv_timer for the deadline, uv_async to be woken.
#include <uv.h>

#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rt/driver.hpp"

namespace zsync::rt {

namespace {

class UvSource final : public FdSource {
 public:
  uv_poll_t poll;
  FdListener* listener = nullptr;
  uint32_t armed = 0;
  std::function<void()> closed;
};

class UvDriver final : public Driver {
 public:
  static absl::StatusOr<std::unique_ptr<Driver>> create() {
    std::unique_ptr<UvDriver> driver(new UvDriver);
    if (int error = uv_loop_init(&driver->loop_)) return refused("uv_loop_init", error);
    driver->open_ = true;
    if (int error = uv_async_init(&driver->loop_, &driver->wake_, [](uv_async_t*) {})) {
      return refused("uv_async_init", error);
    }
    uv_timer_init(&driver->loop_, &driver->deadline_);
    return driver;
  }

  ~UvDriver() override {
    if (!open_) return;
    uv_walk(
        &loop_,
        [](uv_handle_t* handle, void*) {
          if (!uv_is_closing(handle)) uv_close(handle, nullptr);
        },
        nullptr);
    uv_run(&loop_, UV_RUN_DEFAULT);
    uv_loop_close(&loop_);
  }

  void poll() override { uv_run(&loop_, UV_RUN_NOWAIT); }

  void park(std::optional<TimePoint> deadline) override {
    if (deadline) {
      const auto left = *deadline - std::chrono::steady_clock::now();
      if (left <= Duration::zero()) return poll();
      const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
      uv_update_time(&loop_);
      // Up to 1.44 libuv runs due timers before it polls: one that is due by then would be used up
      // and the poll have no end, so it stops the loop.
      uv_timer_start(
          &deadline_, [](uv_timer_t* timer) { uv_stop(timer->loop); }, static_cast<uint64_t>(ms),
          0);
    }
    uv_run(&loop_, UV_RUN_ONCE);
    if (deadline) uv_timer_stop(&deadline_);
  }

  void wake() override { uv_async_send(&wake_); }

  absl::StatusOr<FdSource*> add(int fd, FdListener& listener) override {
    auto source = std::make_unique<UvSource>();
    source->listener = &listener;
    if (int error = uv_poll_init(&loop_, &source->poll, fd))
      return refused("watching a descriptor", error);
    source->poll.data = source.get();
    return source.release();
  }

  void arm(FdSource& watched, uint32_t events) override {
    auto& source = static_cast<UvSource&>(watched);
    if (events & kNews) events = (events & ~kNews) | kReadable;
    if (events == source.armed) return;
    source.armed = events;
    if (events == 0) {
      uv_poll_stop(&source.poll);
      return;
    }
    int mask = 0;
    if (events & kReadable) mask |= UV_READABLE | UV_DISCONNECT;
    if (events & kHangup) mask |= UV_DISCONNECT;
    if (events & kWritable) mask |= UV_WRITABLE;
    uv_poll_start(&source.poll, mask, [](uv_poll_t* handle, int status, int ready) {
      auto& source = *static_cast<UvSource*>(handle->data);
      uint32_t events = 0;
      if (ready & (UV_READABLE | UV_DISCONNECT)) events |= kReadable;
      if (ready & UV_WRITABLE) events |= kWritable;
      if (ready & UV_DISCONNECT) events |= kHangup;
      if (status < 0) {  // let both sides find out by their system call
        events = kReadable | kWritable | kHangup;
        source.armed = 0;
      }
      source.listener->on_ready(events);
    });
  }

  void remove(FdSource& watched, std::function<void()> then) override {
    auto& source = static_cast<UvSource&>(watched);
    source.closed = std::move(then);
    uv_close(reinterpret_cast<uv_handle_t*>(&source.poll), [](uv_handle_t* handle) {
      std::unique_ptr<UvSource> source(static_cast<UvSource*>(handle->data));
      source->closed();
    });
  }

 private:
  UvDriver() = default;

  static absl::Status refused(const char* what, int error) {
    return absl::ResourceExhaustedError(absl::StrCat(
        what, ": ", uv_strerror(error), "; raise the limit of open files (ulimit -n)"));
  }

  bool open_ = false;
  uv_loop_t loop_;
  uv_async_t wake_;
  uv_timer_t deadline_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Driver>> make_uv_driver() { return UvDriver::create(); }

}  // namespace zsync::rt
