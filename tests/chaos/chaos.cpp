// zsync-chaos --kills N --seed S: kills zsyncd at random moments while clients use it.
//
// Proves, or says where not: no acknowledged task or message is lost, nothing runs twice that
// nobody asked to be tried again, no byte of output is missing or doubled, nothing is left behind.
// Exit code 1 with the seed otherwise. The programs come by environment: tests/meson.build.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/chaos/autopsy.hpp"
#include "tests/chaos/channel_traffic.hpp"
#include "tests/chaos/traffic.hpp"
#include "tests/kit/private_daemon.hpp"
#include "zsync/client.hpp"

namespace zsync::chaos {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kClients = 4;
constexpr int kDelayMaxMs = 220;      // of a kill after the daemon was ready
constexpr int kStartDelayMaxMs = 40;  // of a kill while it starts
constexpr int kSubmitDelayMaxMs = 5;  // of a kill after a submit began
constexpr int kHitsPerThousand = 20;  // each phase
constexpr size_t kFaultsShown = 30;
constexpr size_t kLogShown = 2000;  // bytes of zsyncd's log
constexpr milliseconds kReadyLimit{20'000};
constexpr milliseconds kLeftoversLimit{10'000};

struct Arguments {
  int kills = 100;
  uint64_t seed = std::random_device{}();
};

class Run {
 public:
  explicit Run(const Arguments& arguments)
      : arguments_(arguments),
        random_(arguments.seed),
        mark_(absl::StrCat("ZSYNC_CHAOS_RUN=", getpid())),
        ledger_(daemon_.dir() / "ledger") {
    kit::write_file(ledger_, "");
  }

  int go();

 private:
  bool make_programs();
  void spawn();
  void kill_and_restart(int kill);
  std::string log_tail() const;
  bool ready();
  void check_records();
  void check_ledger();
  void check_leftovers();
  void print_table() const;
  bool phases_covered() const;
  int verdict();

  const Arguments arguments_;
  std::mt19937_64 random_;
  const std::string mark_;
  kit::PrivateDaemon daemon_{
      {.config = "version: 1\ntasks:\n  groups:\n    chaos: {parallel: 6}\n"}};
  const std::string ledger_;
  Ledgers ledgers_;
  int examined_ = 0;
  int while_starting_ = 0;
  Clock::time_point began_ = Clock::now();
};

std::string Run::log_tail() const {
  const std::string log = daemon_.log();
  return log.substr(log.size() - std::min(log.size(), kLogShown));
}

bool Run::ready() {
  if (daemon_.wait_ready(kReadyLimit)) return true;
  ledgers_.fault("zsyncd did not come back:\n" + log_tail());
  return false;
}

// zsyncd beside a shim that is late now and then.
bool Run::make_programs() {
  const char* late_shim = std::getenv("CHAOS_LATE_SHIM");
  if (late_shim == nullptr) return false;
  const std::string bin = daemon_.dir() / "bin";
  std::error_code error;
  std::filesystem::create_directory(bin, error);
  const kit::Programs& programs = kit::Programs::get();
  std::filesystem::copy_file(programs.zsyncd, bin + "/zsyncd", error);
  std::filesystem::copy_file(programs.shim, bin + "/zsync-shim.real", error);
  std::filesystem::copy_file(late_shim, bin + "/zsync-shim", error);
  daemon_.options().program = bin + "/zsyncd";
  return !error;
}

// Every other daemon has a slow disk.
void Run::spawn() {
  const char* slow_disk = std::getenv("CHAOS_SLOW_DISK");
  const bool slow = slow_disk != nullptr && random_() % 2 == 0;
  daemon_.options().set_env.clear();
  if (slow) daemon_.options().set_env.push_back(absl::StrCat("LD_PRELOAD=", slow_disk));
  daemon_.spawn();
}

// One kill in four is followed by the next start at once, unexamined: only then can a new daemon
// meet a shim that was just being started.
void Run::kill_and_restart(int kill) {
  if (random_() % 8 == 0) {
    ++while_starting_;
    poll(nullptr, 0, static_cast<int>(random_() % kStartDelayMaxMs));
  } else {
    if (!ready()) return;
    if (random_() % 2 == 0) {  // aimed at the time between a submit and its reply
      ledgers_.wait_for_submit(milliseconds(kDelayMaxMs));
      poll(nullptr, 0, static_cast<int>(random_() % kSubmitDelayMaxMs));
    } else {
      poll(nullptr, 0, static_cast<int>(random_() % kDelayMaxMs));
    }
  }
  if (!daemon_.process().running()) {
    ledgers_.fault(absl::StrCat("zsyncd ended by itself before kill ", kill, ":\n", log_tail()));
  }
  daemon_.kill9();
  if (random_() % 4 != 0) {
    ++examined_;
    const absl::Status examined =
        examine(daemon_.state_dir(), daemon_.dir() / "autopsy", kill, ledgers_);
    if (!examined.ok()) ledgers_.fault(absl::StrCat("kill ", kill, ": ", examined.ToString()));
  }
  spawn();
}

void Run::check_records() {
  auto client = client::Client::connect({daemon_.socket()});
  if (!client.ok()) return ledgers_.fault(absl::StrCat("at the end: ", client.status().ToString()));
  for (const auto& [id, promise] : ledgers_.promises()) {
    if (ledgers_.was_removed(id)) continue;
    const auto record = (*client)->tasks().get(id);
    if (!record.ok()) {
      ledgers_.fault(
          absl::StrCat(id, " was acknowledged and is gone: ", record.status().ToString()));
    } else if (!client::is_final(record->state()) || record->state() == v1::TASK_STATE_LOST) {
      ledgers_.fault(absl::StrCat(id, " was acknowledged and is ",
                                  v1::TaskState_Name(record->state()), ": ", record->reason()));
    }
  }
}

void Run::check_ledger() {
  std::map<std::string, std::map<int, int>> runs;  // task -> attempt -> times
  std::istringstream lines(kit::read_file(ledger_).value_or(""));
  std::string id;
  int attempt = 0;
  while (lines >> id >> attempt) ++runs[id][attempt];
  const auto promises = ledgers_.promises();
  for (const auto& [task, attempts] : runs) {
    for (const auto& [number, times] : attempts) {
      if (times > 1) {
        ledgers_.fault(absl::StrCat(task, " attempt ", number, " ran ", times, " times"));
      }
      if (ledgers_.was_seen_empty(task, static_cast<uint32_t>(number))) {
        ledgers_.fault(absl::StrCat(task, " attempt ", number, " ran, its follow saw nothing"));
      }
    }
    const auto promise = promises.find(task);
    if (promise == promises.end()) {
      ledgers_.fault(absl::StrCat(task, " ran and nobody was promised it"));
    } else if (attempts.size() > 1 + promise->second.retries) {
      ledgers_.fault(absl::StrCat(task, " ran in ", attempts.size(), " attempts, allowed were ",
                                  1 + promise->second.retries));
    }
  }
  for (const auto& [task, promise] : promises) {
    if (!promise.cancels && runs.count(task) == 0) {
      ledgers_.fault(absl::StrCat(task, " was acknowledged and never ran"));
    }
  }
  std::printf("  tasks acknowledged %zu, of them ran %zu\n", promises.size(), runs.size());
}

void Run::check_leftovers() {
  std::vector<pid_t> shims;
  std::vector<pid_t> commands;
  kit::poll_until(
      [&] {
        shims = daemon_.shims();
        commands = kit::processes_with_variable(mark_);
        return shims.empty() && commands.empty();
      },
      kLeftoversLimit);
  for (const pid_t pid : shims) ledgers_.fault(absl::StrCat("shim ", pid, " is left"));
  for (const pid_t pid : commands) ledgers_.fault(absl::StrCat("process ", pid, " is left"));
  std::printf("  left behind: %zu shims, %zu processes\n", shims.size(), commands.size());
}

void Run::print_table() const {
  static constexpr const char* kNames[kPhases] = {
      "acknowledged and queued", "before claim (running, no claim)", "after exec (claim, no exit)",
      "during commit (exit, no final record)", "during reply (submit on disk, no reply)"};
  std::printf("  kills %d, while starting %d, examined on disk %d; they found\n", arguments_.kills,
              while_starting_, examined_);
  for (int phase = 0; phase < kPhases; ++phase) {
    std::printf("    %-42s %5zu\n", kNames[phase], ledgers_.hits(static_cast<Phase>(phase)));
  }
  std::printf("  output followed %.1f MiB\n",
              static_cast<double>(ledgers_.followed_bytes()) / (1 << 20));
}

bool Run::phases_covered() const {
  if (arguments_.kills < 1000) return true;
  bool covered = true;
  for (int phase = 0; phase < kPhases; ++phase) {
    covered &= ledgers_.hits(static_cast<Phase>(phase)) >=
               static_cast<size_t>(arguments_.kills * kHitsPerThousand / 1000);
  }
  return covered;
}

int Run::verdict() {
  const std::vector<std::string> faults = ledgers_.faults();
  for (size_t i = 0; i < faults.size() && i < kFaultsShown; ++i) {
    std::printf("  FAULT %s\n", faults[i].c_str());
  }
  if (!phases_covered()) std::printf("  a phase was hit too seldom: this run proves nothing\n");
  const bool good = faults.empty() && phases_covered();
  std::printf("%s: %zu faults, seed %llu, %.0f s\n", good ? "ok" : "FAILED", faults.size(),
              static_cast<unsigned long long>(arguments_.seed),
              std::chrono::duration<double>(Clock::now() - began_).count());
  return good ? 0 : 1;
}

int Run::go() {
  const char* worker = std::getenv("CHAOS_WORKER");
  if (worker == nullptr || !make_programs()) {
    std::fprintf(stderr, "zsync-chaos: its own programs are not named; run it with ./dev chaos\n");
    return 2;
  }
  std::printf("chaos: %d kills, %d clients, seed %llu\n", arguments_.kills, kClients,
              static_cast<unsigned long long>(arguments_.seed));
  std::fflush(stdout);
  spawn();
  if (!daemon_.wait_ready()) {
    std::fprintf(stderr, "zsync-chaos: zsyncd does not start: %s\n", daemon_.log().c_str());
    return 2;
  }
  const TrafficOptions options{daemon_.socket(), worker, ledger_, mark_};
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back(run_traffic, client, random_(), std::cref(options), std::ref(ledgers_),
                         std::cref(stop));
  }
  std::atomic<bool> stop_sending{false};
  std::thread receiver(receive_messages, daemon_.socket(), std::ref(ledgers_));
  std::thread sender(send_messages, daemon_.socket(), std::ref(ledgers_), std::cref(stop_sending));
  for (int kill = 0; kill < arguments_.kills && ledgers_.faults().size() < kFaultsShown; ++kill) {
    kill_and_restart(kill);
  }
  ready();
  stop = stop_sending = true;
  for (std::thread& client : clients) client.join();
  sender.join();
  receiver.join();
  if (!daemon_.process().running()) {
    ledgers_.fault("zsyncd ended by itself after the last kill:\n" + log_tail());
  }
  print_table();
  std::printf("  messages %s\n", ledgers_.compare_messages().c_str());
  check_records();
  check_ledger();
  check_leftovers();
  return verdict();
}

int usage() {
  std::fprintf(stderr, "usage: zsync-chaos [--kills N] [--seed S]\n");
  return 2;
}

}  // namespace
}  // namespace zsync::chaos

int main(int argc, char** argv) {
  zsync::chaos::Arguments arguments;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) return zsync::chaos::usage();
    if (std::strcmp(argv[i], "--kills") == 0) {
      arguments.kills = std::atoi(argv[i + 1]);
    } else if (std::strcmp(argv[i], "--seed") == 0) {
      arguments.seed = std::strtoull(argv[i + 1], nullptr, 10);
    } else {
      return zsync::chaos::usage();
    }
  }
  return zsync::chaos::Run(arguments).go();
}
