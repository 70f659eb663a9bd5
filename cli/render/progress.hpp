// A line on stderr for whatever takes longer than a second; nothing where stderr is no terminal.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "cli/io.hpp"

namespace zsync::cli {

// Lifetime: the line is erased when the object goes; nobody else writes to `err` while it lives.
class Progress {
 public:
  Progress(Out& err, bool enabled, std::string text);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  void run();

  Out& err_;
  std::string text_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::thread thread_;
};

}  // namespace zsync::cli
