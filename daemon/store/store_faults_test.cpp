#include <absl/strings/str_cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <set>

#include "daemon/store/store.hpp"
#include "daemon/store/store_test_support.hpp"

namespace {
std::atomic<int> syncs{0};
std::atomic<bool> syncs_fail{false};
}  // namespace

// Stands before libc's for the whole test program: counts SQLite's syncs, and makes them fail when
// asked.
extern "C" int fdatasync(int fd) {
  syncs.fetch_add(1);
  if (!syncs_fail) return static_cast<int>(::syscall(SYS_fdatasync, fd));
  errno = EIO;
  return -1;
}

namespace zsync::daemon {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string open_error(StoreOptions options, absl::StatusCode code) {
  absl::StatusOr<std::unique_ptr<Store>> store = Store::open(std::move(options));
  EXPECT_EQ(store.status().code(), code) << store.status();
  std::string text(store.status().message());
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  return text;
}

void make_store(const std::string& path, int items) {
  auto store = open_or_die(options_for(path));
  for (int id = 0; id < items; ++id) {
    ASSERT_TRUE(commit_and_wait(*store, insert(id, std::string(1000, 'i'))).ok());
  }
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// A small file system of the test's own; needs root.
class Tmpfs {
 public:
  Tmpfs(std::string path, const char* settings) : path_(std::move(path)) {
    std::filesystem::create_directory(path_);
    mounted_ = ::mount("tmpfs", path_.c_str(), "tmpfs", 0, settings) == 0;
  }
  ~Tmpfs() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  bool make_read_only() {
    return ::mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }

 private:
  std::string path_;
  bool mounted_ = false;
};

TEST(StoreFaults, EveryCommitIsSyncedBeforeItsAnswer) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  for (int id = 0; id < 20; ++id) {
    const int before = syncs;
    ASSERT_TRUE(commit_and_wait(*store, insert(id)).ok());
    EXPECT_GE(syncs - before, 1) << id;
  }
}

TEST(StoreFaults, ThousandQueuedRequestsNeedAHandfulOfSyncs) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  ASSERT_TRUE(commit_and_wait(*store, insert(5000)).ok());
  const int before = syncs;
  {
    HeldWriter held(*store);
    for (int id = 0; id < 1000; ++id) store->commit(insert(id), nullptr);
    held.release();
  }
  ASSERT_TRUE(commit_and_wait(*store, insert(5001)).ok());
  EXPECT_EQ(count_items(*store), 1002);
  EXPECT_LE(syncs - before, 4);
}

TEST(StoreFaults, AFailedSyncFailsTheWholeCommitAndTheNextOneWorks) {
  ScratchDirectory dir;
  auto store = open_or_die(options_for(dir.file("store.db")));
  ASSERT_TRUE(commit_and_wait(*store, insert(1)).ok());
  std::vector<absl::Status> results;
  {
    HeldWriter held(*store);
    for (int id = 10; id < 15; ++id) {
      store->commit(insert(id),
                    [&results](absl::Status status) { results.push_back(std::move(status)); });
    }
    syncs_fail = true;
    held.release();
  }
  const absl::Status alone = commit_and_wait(*store, insert(20));
  syncs_fail = false;
  EXPECT_EQ(alone.code(), absl::StatusCode::kUnavailable);
  ASSERT_EQ(results.size(), 5u);
  for (const absl::Status& status : results) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(dir.file("store.db")), HasSubstr("check the disk")));
  }
  EXPECT_GE(store->stats().commits_failed, 1u);
  EXPECT_EQ(count_items(*store), 1);
  ASSERT_TRUE(commit_and_wait(*store, insert(2)).ok());
  store->close();
  EXPECT_EQ(count_items(*open_or_die(options_for(dir.file("store.db")))), 2);
}

TEST(StoreFaults, AFullDiskRefusesAndTheStoreGoesOnWhenSpaceReturns) {
  ScratchDirectory dir;
  Tmpfs disk(dir.file("disk"), "size=2m");
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a tmpfs: needs root";
  const std::string path = dir.file("disk/store.db");
  auto store = open_or_die(options_for(path));
  for (int id = 0; id < 20; ++id) ASSERT_TRUE(commit_and_wait(*store, insert(id)).ok());
  write_bytes(dir.file("disk/filler"), std::string(4 << 20, 'f'));

  const std::string body(200'000, 'b');
  for (int id = 100; id < 105; ++id) {
    const absl::Status full = commit_and_wait(*store, insert(id, body));
    ASSERT_EQ(full.code(), absl::StatusCode::kResourceExhausted) << full;
    EXPECT_THAT(std::string(full.message()), AllOf(HasSubstr(path), HasSubstr("nothing was saved"),
                                                   HasSubstr("free some space")));
  }
  EXPECT_EQ(count_items(*store), 20);

  std::filesystem::remove(dir.file("disk/filler"));
  ASSERT_TRUE(commit_and_wait(*store, insert(200, body)).ok());
  EXPECT_EQ(count_items(*store), 21);
  store.reset();
  EXPECT_EQ(count_items(*open_or_die(options_for(path)), 100), 1);
}

// The child reports each id once the store has answered; the parent kills it in the middle of that.
[[noreturn]] void commit_and_report_for_ever(const std::string& path, int64_t first_id, int out) {
  absl::StatusOr<std::unique_ptr<Store>> store = Store::open(options_for(path));
  if (!store.ok()) ::_exit(3);
  std::atomic<int64_t> next{first_id};
  std::function<void()> submit = [&] {
    const int64_t id = next.fetch_add(1);
    (*store)->commit(insert(id), [&, id](absl::Status status) {
      if (!status.ok() || ::write(out, &id, sizeof(id)) != sizeof(id)) ::_exit(4);
      submit();
    });
  };
  for (int i = 0; i < 16; ++i) submit();
  for (;;) ::pause();
}

TEST(StoreFaults, WhatWasAnsweredSurvivesKillMinusNine) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  std::set<int64_t> answered;
  for (int round = 0; round < 8; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) commit_and_report_for_ever(path, round * 1'000'000, pipe[1]);
    ::close(pipe[1]);
    int64_t id = 0;
    const size_t enough = answered.size() + 100 + static_cast<size_t>(round) * 37;
    while (::read(pipe[0], &id, sizeof(id)) == sizeof(id)) {
      answered.insert(id);
      if (answered.size() == enough) ::kill(child, SIGKILL);
    }
    ::close(pipe[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child left by itself: " << WEXITSTATUS(status);
  }
  auto store = open_or_die(options_for(path));
  std::set<int64_t> found;
  ASSERT_TRUE(store
                  ->read([&](Database& db) {
                    auto rows = db.query("SELECT id FROM item");
                    while (*rows->step()) found.insert(rows->int_at(0));
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_TRUE(std::includes(found.begin(), found.end(), answered.begin(), answered.end()));
  EXPECT_GE(answered.size(), 800u);
}

TEST(StoreFaults, ATruncatedFileIsRefusedAndLeftAlone) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  make_store(path, 100);
  const std::string whole = bytes_of(path);
  for (const size_t kept : {whole.size() / 2, size_t{4096}, size_t{50}, size_t{0}}) {
    write_bytes(path, whole.substr(0, kept));
    const std::string error = open_error(options_for(path), absl::StatusCode::kDataLoss);
    EXPECT_THAT(error, AllOf(HasSubstr(path), HasSubstr("damaged"), HasSubstr("backup")));
    EXPECT_EQ(bytes_of(path).size(), kept);
  }
  write_bytes(path, whole);
  EXPECT_EQ(count_items(*open_or_die(options_for(path))), 100);
}

TEST(StoreFaults, DamagedPagesAreFoundOnOpening) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  make_store(path, 100);
  std::string bytes = bytes_of(path);
  for (size_t at = 4096; at < bytes.size(); at += 16) bytes[at] = static_cast<char>(at * 7 + 1);
  write_bytes(path, bytes);
  EXPECT_THAT(open_error(options_for(path), absl::StatusCode::kDataLoss), HasSubstr("damaged"));
}

TEST(StoreFaults, AFileThatIsNoStoreIsRefusedAndLeftAlone) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  const std::string garbage(5000, 'g');
  write_bytes(path, garbage);
  EXPECT_THAT(open_error(options_for(path), absl::StatusCode::kDataLoss),
              AllOf(HasSubstr("not a store of zsyncd"), HasSubstr("move it away")));
  EXPECT_EQ(bytes_of(path), garbage);

  std::filesystem::remove(path);
  auto other = Database::open(path, Database::Mode::create);
  ASSERT_TRUE((*other)->run("CREATE TABLE bookmarks(a)").ok());
  other->reset();
  EXPECT_THAT(open_error(options_for(path), absl::StatusCode::kDataLoss),
              HasSubstr("another program"));
}

TEST(StoreFaults, ALogLeftBehindByAStoreThatWasMovedAwayIsNotReplayed) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  make_store(path, 3);
  std::filesystem::remove(path);
  write_bytes(path + "-wal", std::string(5000, 'w'));
  EXPECT_EQ(count_items(*open_or_die(options_for(path))), 0);
  EXPECT_EQ(bytes_of(path + "-wal.orphan"), std::string(5000, 'w'));
}

StoreOptions with_schema(const std::string& path, int version) {
  StoreOptions options = options_for(path);
  for (int next = 2; next <= version; ++next) {
    options.migrations.push_back({next, absl::StrCat("CREATE TABLE table", next, "(a)")});
  }
  return options;
}

TEST(StoreFaults, ANewerSchemaIsRefusedWithBothNumbers) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  open_or_die(with_schema(path, 7));
  EXPECT_EQ(
      open_error(with_schema(path, 5), absl::StatusCode::kFailedPrecondition),
      "store " + path +
          " has schema 7, this zsyncd knows up to 5: install a newer zsyncd, or move the file "
          "away to start empty");
  EXPECT_FALSE(std::filesystem::exists(path + ".v7.bak"));
}

TEST(StoreFaults, AMigrationKeepsABackupOfTheOldSchema) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  make_store(path, 10);
  {
    auto store = open_or_die(with_schema(path, 3));
    EXPECT_EQ(count_items(*store), 10);
    EXPECT_TRUE(commit_and_wait(*store, [](Database& db) {
                  return db.run("INSERT INTO table3 VALUES(1)");
                }).ok());
  }
  ASSERT_TRUE(std::filesystem::exists(path + ".v1.bak"));
  EXPECT_FALSE(std::filesystem::exists(path + ".v1.bak.tmp"));
  EXPECT_FALSE(std::filesystem::exists(path + ".v2.bak"));
  std::filesystem::rename(path + ".v1.bak", path);
  EXPECT_EQ(count_items(*open_or_die(options_for(path))), 10);
}

TEST(StoreFaults, AMigrationIsUndoneForAProgramThatKnowsTheOldSchemaOnly) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  make_store(path, 10);
  const std::vector<Migration> old = options_for(path).migrations;
  absl::StatusOr<bool> undone = undo_migration(path, old);
  ASSERT_TRUE(undone.ok()) << undone.status();
  EXPECT_FALSE(*undone) << "its schema is the one that is known";
  open_or_die(with_schema(path, 3));
  undone = undo_migration(path, old);
  ASSERT_TRUE(undone.ok()) << undone.status();
  EXPECT_TRUE(*undone);
  EXPECT_EQ(count_items(*open_or_die(options_for(path))), 10);
  open_or_die(with_schema(path, 3));
  std::filesystem::remove(path + ".v1.bak");
  undone = undo_migration(path, old);
  EXPECT_TRUE(absl::IsNotFound(undone.status())) << undone.status();
  EXPECT_EQ(count_items(*open_or_die(with_schema(path, 3))), 10) << "and nothing was changed";
}

TEST(StoreFaults, AFailingMigrationChangesNothing) {
  ScratchDirectory dir;
  const std::string path = dir.file("store.db");
  make_store(path, 10);
  StoreOptions options = with_schema(path, 2);
  options.migrations.push_back({3, "DELETE FROM item; INSERT INTO no_such_table VALUES(1)"});
  EXPECT_THAT(open_error(options, absl::StatusCode::kInternal),
              AllOf(HasSubstr("schema 3"), HasSubstr("no_such_table")));
  EXPECT_EQ(count_items(*open_or_die(options_for(path))), 10);
}

TEST(StoreFaults, MigrationsOutOfOrderAreRefused) {
  ScratchDirectory dir;
  StoreOptions options = options_for(dir.file("store.db"));
  options.migrations.push_back({3, "SELECT 1"});
  EXPECT_THAT(open_error(options, absl::StatusCode::kInvalidArgument), HasSubstr("migration 3"));
  EXPECT_FALSE(std::filesystem::exists(dir.file("store.db")));
}

TEST(StoreFaults, ASecondOpenerIsRefusedUntilTheFirstOneIsGone) {
  ScratchDirectory dir;
  auto first = open_or_die(options_for(dir.file("store.db")));
  EXPECT_THAT(open_error(options_for(dir.file("store.db")), absl::StatusCode::kFailedPrecondition),
              HasSubstr("in use by another zsyncd"));
  EXPECT_TRUE(commit_and_wait(*first, insert(1)).ok());
  first.reset();
  EXPECT_EQ(count_items(*open_or_die(options_for(dir.file("store.db")))), 1);
}

TEST(StoreFaults, AReadOnlyDirectoryIsRefused) {
  ScratchDirectory dir;
  const std::string path = dir.file("disk/store.db");
  if (::geteuid() == 0) {
    Tmpfs disk(dir.file("disk"), "size=2m");
    if (!disk.mounted()) GTEST_SKIP() << "cannot mount a tmpfs";
    open_or_die(options_for(path));
    ASSERT_TRUE(disk.make_read_only());
    EXPECT_THAT(open_error(options_for(path), absl::StatusCode::kUnavailable),
                AllOf(HasSubstr(path), HasSubstr("set another state_dir")));
    return;
  }
  std::filesystem::create_directory(dir.file("disk"));
  ::chmod(dir.file("disk").c_str(), 0500);
  EXPECT_THAT(open_error(options_for(path), absl::StatusCode::kPermissionDenied),
              AllOf(HasSubstr(path), HasSubstr("set another state_dir")));
  ::chmod(dir.file("disk").c_str(), 0700);
}

TEST(StoreFaults, ADirectoryOfAnotherUserIsRefused) {
  if (::geteuid() != 0) {
    EXPECT_THAT(open_error(options_for("/usr/lib/store.db"), absl::StatusCode::kFailedPrecondition),
                HasSubstr("belongs to uid 0"));
    return;
  }
  ScratchDirectory dir;
  ASSERT_EQ(::chown(dir.path().c_str(), 65534, 65534), 0);
  EXPECT_THAT(open_error(options_for(dir.file("store.db")), absl::StatusCode::kFailedPrecondition),
              AllOf(HasSubstr("belongs to uid 65534"), HasSubstr("runs as uid 0")));
}

TEST(StoreFaults, AFileInPlaceOfTheDirectoryIsRefused) {
  ScratchDirectory dir;
  write_bytes(dir.file("state"), "x");
  open_error(options_for(dir.file("state/store.db")), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace zsync::daemon
