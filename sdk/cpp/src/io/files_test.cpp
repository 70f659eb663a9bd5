#include "zsync/files.hpp"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "io/io_test.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

class FilesOnEveryModel : public EveryModel {};
ZS_FOR_EVERY_MODEL(FilesOnEveryModel);

Task<std::vector<std::string>> names_in(std::string path) {
  std::vector<std::string> names;
  const auto entries = co_await list_directory(std::move(path));
  for (const DirectoryEntry& entry : *entries) names.push_back(entry.name);
  co_return names;
}

TEST_P(FilesOnEveryModel, AFileIsReadWholeWithinItsLimit) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    for (const size_t size : {0, 1, 65535, 65536, 65537, 1'000'000}) {
      const std::string content(size, 'c');
      dir.write("f", content);
      EXPECT_TRUE(*co_await read_file(dir / "f") == content) << size;
      EXPECT_TRUE((co_await read_file(dir / "f", size)).ok()) << size;
      if (size == 0) continue;
      EXPECT_EQ((co_await read_file(dir / "f", size - 1)).status().message(),
                "read \"" + (dir / "f") + "\": it has more than " + std::to_string(size - 1) +
                    " bytes; raise the limit");
    }
    // One whose size is not known before.
    EXPECT_NE((co_await read_file("/proc/self/status"))->find("VmRSS"), std::string::npos);
    EXPECT_EQ((co_await read_file(dir / "none")).status(),
              absl::NotFoundError("read \"" + (dir / "none") + "\": No such file or directory"));
    EXPECT_FALSE((co_await read_file(dir.path())).ok());
  }());
}

TEST_P(FilesOnEveryModel, AReplacedFileIsOldOrNewAndKeepsItsPermissions) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    EXPECT_TRUE((co_await write_file_atomic(dir / "f", "first", 0600)).ok());
    EXPECT_EQ(dir.read("f"), "first");
    EXPECT_EQ((*co_await file_metadata(dir / "f")).mode, 0600u);
    EXPECT_EQ(::chmod((dir / "f").c_str(), 0660), 0);
    const std::string first(300'000, '1'), second(300'000, '2');
    EXPECT_TRUE((co_await write_file_atomic(dir / "f", first)).ok());
    EXPECT_EQ((*co_await file_metadata(dir / "f")).mode, 0660u);
    auto writing = spawn(
        [](std::string path, std::string one, std::string other) -> Task<void> {
          for (int i = 0; i < 20; ++i) {
            EXPECT_TRUE((co_await write_file_atomic(path, i % 2 ? one : other)).ok());
          }
        },
        dir / "f", first, second);
    while (!writing.done()) {
      const std::string seen = *co_await read_file(dir / "f");
      EXPECT_TRUE(seen == first || seen == second);
    }
    EXPECT_EQ(co_await names_in(dir.path()), (std::vector<std::string>{"f"}));
  }());
}

TEST_P(FilesOnEveryModel, AFailedReplacementLeavesTheOldFileAndNothingAside) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    dir.write("f", "old");
    EXPECT_EQ((co_await write_file_atomic(dir / "no/f", "x")).code(), absl::StatusCode::kNotFound);
    EXPECT_FALSE((co_await write_file_atomic("", "x")).ok());
    EXPECT_FALSE((co_await write_file_atomic(dir.path(), "x")).ok());
    EXPECT_FALSE((co_await write_file_atomic(std::string("a\0b", 3), "x")).ok());
    // A file that cannot get that large, as on a full disk.
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit small{.rlim_cur = 1000, .rlim_max = limit.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    EXPECT_FALSE((co_await write_file_atomic(dir / "f", std::string(5000, 'x'))).ok());
    ::setrlimit(RLIMIT_FSIZE, &limit);
    ::signal(SIGXFSZ, SIG_DFL);
    EXPECT_EQ(dir.read("f"), "old");
    EXPECT_EQ(co_await names_in(dir.path()), (std::vector<std::string>{"f"}));
  }());
}

TEST_P(FilesOnEveryModel, NamesAreChangedRemovedAndListed) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    dir.write("b", "");
    dir.write("a", "");
    EXPECT_EQ(::symlink("nowhere", (dir / "link").c_str()), 0);
    EXPECT_TRUE((co_await create_directories(dir / "x//y/z/")).ok());
    EXPECT_TRUE((co_await create_directories(dir / "x/y")).ok());
    EXPECT_EQ((co_await create_directories(dir / "a/y")).message(),
              "create \"" + (dir / "a") + "\": File exists");
    EXPECT_FALSE((co_await create_directories("")).ok());
    const std::vector<DirectoryEntry> entries = *co_await list_directory(dir.path());
    EXPECT_EQ(entries.size(), 4u);
    EXPECT_EQ(entries[0].name, "a");
    EXPECT_EQ(entries[0].kind, FileKind::regular);
    EXPECT_EQ(entries[2].kind, FileKind::symlink);
    EXPECT_EQ(entries[3].kind, FileKind::directory);
    EXPECT_EQ((co_await list_directory(dir.path(), 3)).status().message(),
              "list \"" + dir.path() + "\": it has more than 3 names; raise the limit");
    EXPECT_TRUE((co_await list_directory(dir.path(), 4)).ok());
    EXPECT_EQ((co_await list_directory(dir / "none")).status().code(), absl::StatusCode::kNotFound);
    EXPECT_TRUE((co_await rename_file(dir / "a", dir / "b")).ok());
    EXPECT_TRUE((co_await remove_file(dir / "link")).ok());
    EXPECT_EQ(co_await names_in(dir.path()), (std::vector<std::string>{"b", "x"}));
    EXPECT_EQ(
        (co_await rename_file(dir / "a", dir / "c")).message(),
        "rename \"" + (dir / "a") + "\" to \"" + (dir / "c") + "\": No such file or directory");
    EXPECT_EQ((co_await remove_file(dir / "x")).code(), absl::StatusCode::kFailedPrecondition);
  }());
}

TEST_P(FilesOnEveryModel, ACancelAtAnyMomentLeavesTheOldFileOrTheNewOne) {
  run_here([]() -> Task<void> {
    ScratchDir dir;
    std::string present = "0";
    dir.write("f", present);
    for (int round = 1; round < 60; ++round) {
      const std::string next = std::to_string(round);
      auto writing = spawn(write_file_atomic(dir / "f", next));
      for (int i = 0; i < round % 5; ++i) co_await yield_now();
      writing.cancel();
      const absl::Status status = co_await writing;
      EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
      if (status.ok()) present = next;
      EXPECT_EQ(dir.read("f"), present);
      auto reading = spawn(read_file(dir / "f"));
      if (round % 2) co_await yield_now();
      reading.cancel();
      const absl::StatusOr<std::string> read = co_await reading;
      EXPECT_TRUE(absl::IsCancelled(read.status()) || *read == present);
    }
    EXPECT_EQ(co_await names_in(dir.path()), (std::vector<std::string>{"f"}));
  }());
}

}  // namespace
}  // namespace zsync
