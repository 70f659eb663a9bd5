#include "tests/chaos/autopsy.hpp"

#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "daemon/shim/attempt.hpp"
#include "daemon/store/database.hpp"
#include "daemon/tasks/task_store.hpp"

namespace zsync::chaos {
namespace {

namespace fs = std::filesystem;

void note_running(const std::string& dir, int kill, Ledgers& ledgers) {
  const auto claim = daemon::shim::read_claim(dir);
  if (!claim.ok() || !claim->has_value()) return ledgers.hit(kBeforeClaim, kill);
  const auto exit = daemon::shim::read_exit(dir);
  if (exit.ok() && exit->has_value()) return ledgers.hit(kDuringCommit, kill);
  if ((*claim)->kind == daemon::shim::ClaimKind::kShim) ledgers.hit(kAfterExec, kill);
}

}  // namespace

absl::Status examine(const std::string& state_dir, const std::string& scratch_dir, int kill,
                     Ledgers& ledgers) {
  std::error_code error;
  fs::create_directories(scratch_dir, error);
  for (const char* name : {"store.db", "store.db-wal", "store.db-shm"}) {
    fs::remove(scratch_dir + "/" + name, error);
  }
  if (!fs::exists(state_dir + "/store.db", error)) return absl::OkStatus();
  for (const char* name : {"store.db", "store.db-wal"}) {
    fs::copy_file(state_dir + "/" + name, scratch_dir + "/" + name, error);
  }
  auto store =
      daemon::Database::open(scratch_dir + "/store.db", daemon::Database::Mode::read_write);
  if (!store.ok()) return store.status();
  std::set<std::string> names;
  std::map<std::string, bool> final_on_disk;
  daemon::EnvironmentPool environments;
  absl::Status loaded = daemon::load_tasks(**store, environments, [&](daemon::StoredTask task) {
    names.insert(task.record.spec->name);
    final_on_disk[task.record.id] = daemon::is_final(task.record.state);
    if (task.record.state == daemon::TaskState::kQueued && ledgers.acknowledged(task.record.id)) {
      ledgers.hit(kQueued, kill);
    }
    if (task.record.state == daemon::TaskState::kRunning) {
      note_running(absl::StrCat(state_dir, "/tasks/", task.record.id, "/", task.record.attempt),
                   kill, ledgers);
    }
  });
  // A daemon that was killed while it made its store has promised nothing yet.
  if (!loaded.ok() && !ledgers.promises().empty()) return loaded;
  ledgers.look_at_submits(kill, names);
  ledgers.compare_with_disk(kill, final_on_disk);
  return absl::OkStatus();
}

}  // namespace zsync::chaos
