// UniqueFd: a file descriptor with one owner.
#pragma once

#include <unistd.h>

#include <utility>

namespace zsync {

// Lifetime: closes what it holds; -1 holds nothing.
class UniqueFd {
 public:
  // Holds nothing.
  UniqueFd() = default;
  // Takes over `descriptor`.
  explicit UniqueFd(int descriptor) : descriptor_(descriptor) {}
  UniqueFd(UniqueFd&& other) noexcept : descriptor_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) {
      reset();
      descriptor_ = other.release();
    }
    return *this;
  }
  ~UniqueFd() { reset(); }

  // -1: nothing.
  int get() const { return descriptor_; }
  // Gives the descriptor away; this holds nothing then.
  [[nodiscard]] int release() { return std::exchange(descriptor_, -1); }
  // Closes it now.
  void reset() {
    if (const int descriptor = release(); descriptor >= 0) ::close(descriptor);
  }
  // Whether it holds a descriptor.
  explicit operator bool() const { return descriptor_ >= 0; }

 private:
  int descriptor_ = -1;
};

}  // namespace zsync
