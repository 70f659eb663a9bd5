// What a chaos task prints: numbered, checksummed lines that both the task and its follower can
// make from a seed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <string>

namespace zsync::chaos {

inline uint64_t mixed(uint64_t value) {  // splitmix64
  value += 0x9e3779b97f4a7c15ull;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

struct OutputLine {
  int stream = 1;  // 1: stdout, 2: stderr
  std::string text;
};

class OutputSource {
 public:
  // `bytes`: of both streams together, at least.
  OutputSource(uint64_t seed, uint64_t bytes) : seed_(seed), left_(bytes) {}

  bool done() const { return left_ == 0; }
  OutputLine next() {
    const uint64_t word = mixed(seed_ ^ mixed(number_));
    OutputLine line;
    line.stream = word % 5 == 0 ? 2 : 1;
    char head[64];
    std::snprintf(head, sizeof head, "%08llu %016llx ", static_cast<unsigned long long>(number_),
                  static_cast<unsigned long long>(word));
    line.text = head;
    line.text.append(static_cast<size_t>(word >> 8) % 900, static_cast<char>('a' + word % 26));
    line.text += '\n';
    left_ -= std::min<uint64_t>(left_, line.text.size());
    ++number_;
    return line;
  }
  // Everything, by stream: [1] stdout, [2] stderr.
  std::array<std::string, 3> all() {
    std::array<std::string, 3> streams;
    while (!done()) {
      OutputLine line = next();
      streams[static_cast<size_t>(line.stream)] += line.text;
    }
    return streams;
  }

 private:
  uint64_t seed_;
  uint64_t left_;
  uint64_t number_ = 0;
};

}  // namespace zsync::chaos
