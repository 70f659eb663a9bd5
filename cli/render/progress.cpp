#include "cli/render/progress.hpp"

#include <chrono>
#include <utility>

#include "cli/render/text.hpp"

namespace zsync::cli {

constexpr std::chrono::milliseconds kQuietTime{1000};
constexpr std::chrono::milliseconds kRefresh{500};

Progress::Progress(Out& err, bool enabled, std::string text) : err_(err), text_(std::move(text)) {
  if (enabled && err.is_terminal()) thread_ = std::thread([this] { run(); });
}

Progress::~Progress() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Progress::run() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock<std::mutex> lock(mutex_);
  bool shown = false;
  auto pause = kQuietTime;
  while (!changed_.wait_for(lock, pause, [this] { return done_; })) {
    pause = kRefresh;
    shown = true;
    err_.write("\r" + text_ + " " + human_duration(std::chrono::steady_clock::now() - start) +
               "\x1b[K");
    err_.flush();
  }
  if (!shown) return;
  err_.write("\r\x1b[K");
  err_.flush();
}

}  // namespace zsync::cli
