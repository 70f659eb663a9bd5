// The newest whole set of diagnostics of each source and path.
//
// Pure: no clock, no disk. Keyed latest: who has seen everything up to some version asks for what
// changed after it, and gets each set at most once, as it is now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "daemon/diagnostics/diagnostics.hpp"

namespace zsync::daemon {

inline constexpr size_t kDiagnosticsMax = 20'000;            // all sources together
inline constexpr size_t kDiagnosticsBytesMax = 16 << 20;     // of them
inline constexpr size_t kDiagnosticSetsClearedMax = 10'000;  // remembered for subscribers

struct SetKey {
  std::string path;
  std::string source;

  auto operator<=>(const SetKey&) const = default;
};

struct DiagnosticSet {
  SetKey key;
  uint64_t version = 0;
  std::string task;  // whose output said it last, or cleared it
  int64_t changed_unix_nano = 0;
  std::vector<Diagnostic> diagnostics;  // empty: cleared
};

struct DiagnosticFilter {
  std::string source;       // empty: all
  std::string path_prefix;  // this file, or all below this directory; empty: all
  Severity at_least = Severity::kNote;

  bool takes(const SetKey& key) const;
  // What is left of a set.
  DiagnosticSet applied(const DiagnosticSet& set) const;
};

struct SetLimits {
  size_t diagnostics_max = kDiagnosticsMax;
  size_t bytes_max = kDiagnosticsBytesMax;
  size_t cleared_max = kDiagnosticSetsClearedMax;
};

class DiagnosticSets {
 public:
  explicit DiagnosticSets(SetLimits limits = {}) : limits_(limits) {}

  // Versions from now on are larger than those of an earlier generation.
  void begin_generation(uint64_t generation);
  // A set as it was saved.
  void load(DiagnosticSet set);

  // -> whether it differs from what was there. What is too much then makes the sets that changed
  // longest ago go, as if they were cleared.
  bool replace(const SetKey& key, std::vector<Diagnostic> diagnostics, const std::string& task,
               int64_t now);
  // Where this source has diagnostics.
  std::vector<std::string> paths_of(const std::string& source) const;
  // Those that went to make room, since the last call.
  std::set<SetKey> take_evicted();

  const DiagnosticSet* find(const SetKey& key) const;

  struct Page {
    std::vector<DiagnosticSet> sets;
    std::string next;  // token of the next page; empty: there is none
  };
  // In the order of paths and sources, until `sets_max` or `bytes_max` is reached. A token that is
  // none begins anew.
  Page list(const DiagnosticFilter& filter, const std::string& token, size_t sets_max,
            size_t bytes_max) const;

  // How far somebody has come. Not kept longer than the DiagnosticSets.
  struct Cursor {
    bool begun = false;
    uint64_t since = 0;  // what was cleared up to here was never told
    uint64_t seen = 0;
  };
  struct Changes {
    bool reset = false;  // what was told before is not enough: it begins anew
    std::vector<DiagnosticSet> sets;
    bool current = false;  // there is no more for now
  };
  // Goes on from `cursor`, oldest change first, and moves it. A new one gets what is there.
  Changes changes(const DiagnosticFilter& filter, Cursor& cursor, size_t bytes_max) const;

  size_t diagnostics() const { return diagnostics_; }
  size_t bytes() const { return bytes_; }
  uint64_t left_out() const { return left_out_; }

 private:
  void put(DiagnosticSet set);
  void keep_limits(const SetKey& newest, const std::string& task, int64_t now);
  void forget_cleared();

  const SetLimits limits_;
  std::map<SetKey, DiagnosticSet> sets_;
  std::map<uint64_t, SetKey> by_version_;
  std::map<std::string, std::set<std::string>> paths_;  // by source, where it has some
  std::set<SetKey> evicted_;
  uint64_t version_ = 0;
  uint64_t forgotten_ = 0;  // the newest version of a cleared set that is not remembered any more
  size_t cleared_ = 0;
  size_t diagnostics_ = 0;
  size_t bytes_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace zsync::daemon
