#include "daemon/shim/attempt.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

namespace zsync::daemon::shim {
namespace {

namespace fs = std::filesystem;

class Attempt : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "attempt_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    dir_ = root_ + "/1";
  }
  void TearDown() override { fs::remove_all(root_); }
  static Spec spec_of(std::vector<std::string> argv) {
    Spec spec;
    spec.argv = std::move(argv);
    return spec;
  }
  std::string root_;
  std::string dir_;
};

TEST_F(Attempt, IsCreatedOnceWithSpecStdinAndRoomForTheExit) {
  Spec spec = spec_of({"true"});
  spec.stdin_mode = StdinMode::kFile;
  ASSERT_TRUE(create_attempt(dir_, spec, "input", true).ok());
  EXPECT_EQ(read_spec(dir_)->argv, spec.argv);
  EXPECT_EQ(fs::file_size(dir_ + "/stdin"), 5u);
  EXPECT_EQ(fs::file_size(dir_ + "/exit"), kExitFileBytes);
  EXPECT_FALSE(read_exit(dir_)->has_value());
  EXPECT_FALSE(read_claim(dir_)->has_value());
  EXPECT_EQ(create_attempt(dir_, spec).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(Attempt, RefusesABadSpecAndLeavesNothing) {
  EXPECT_EQ(create_attempt(dir_, Spec()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(create_attempt(dir_, spec_of({"x", std::string(kSpecBytesMax, 'x')})).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(fs::exists(dir_));
  EXPECT_EQ(create_attempt(root_ + "/no/such", spec_of({"x"})).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(read_spec(dir_).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(connect_shim(dir_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(Attempt, ARevokedClaimStaysRevokedAndNobodyTakesIt) {
  ASSERT_TRUE(create_attempt(dir_, spec_of({"true"})).ok());
  EXPECT_EQ(revoke_claim(dir_)->kind, ClaimKind::kRevoked);
  EXPECT_EQ(revoke_claim(dir_)->kind, ClaimKind::kRevoked);
  EXPECT_FALSE(*take_claim(dir_));
  EXPECT_EQ(connect_shim(dir_).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(shim_alive(dir_));
}

TEST_F(Attempt, ATakenClaimCannotBeRevoked) {
  ASSERT_TRUE(create_attempt(dir_, spec_of({"true"})).ok());
  EXPECT_TRUE(*take_claim(dir_));
  const absl::StatusOr<Claim> claim = revoke_claim(dir_);
  EXPECT_EQ(claim->kind, ClaimKind::kShim);
  EXPECT_EQ(claim->pid, ::getpid());
  EXPECT_TRUE(shim_alive(dir_));
}

TEST_F(Attempt, OfManyWhoWantTheClaimExactlyOneGetsIt) {
  for (int round = 0; round < 100; ++round) {
    const std::string dir = root_ + "/" + std::to_string(round + 2);
    ASSERT_TRUE(create_attempt(dir, spec_of({"true"})).ok());
    std::atomic<int> winners = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { winners += *take_claim(dir) ? 1 : 0; });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(std::distance(fs::directory_iterator(dir), {}), 3);  // spec, exit, claim
  }
}

TEST_F(Attempt, AliveMeansTheSameProcessOfTheSameBoot) {
  const Claim self = *claim_of_self(ClaimKind::kShim);
  EXPECT_TRUE(shim_alive(self));
  Claim reused = self;
  reused.start_ticks -= 1;
  EXPECT_FALSE(shim_alive(reused));
  Claim rebooted = self;
  rebooted.boot_id = "another";
  EXPECT_FALSE(shim_alive(rebooted));
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string bytes = encode_claim(*claim_of_self(ClaimKind::kShim));
    (void)!::write(fds[1], bytes.data(), bytes.size());
    ::_exit(0);
  }
  ::close(fds[1]);
  std::string bytes(4096, '\0');
  bytes.resize(
      static_cast<size_t>(std::max<ssize_t>(0, ::read(fds[0], bytes.data(), bytes.size()))));
  ::close(fds[0]);
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(shim_alive(*decode_claim(bytes)));  // a zombie
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(shim_alive(*decode_claim(bytes)));
}

TEST_F(Attempt, ADamagedClaimOrSpecIsSaidSo) {
  ASSERT_TRUE(create_attempt(dir_, spec_of({"true"})).ok());
  std::ofstream(dir_ + "/claim") << "";
  std::ofstream(dir_ + "/spec") << "nonsense";
  EXPECT_EQ(read_claim(dir_).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(read_spec(dir_).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(shim_alive(dir_));
}

}  // namespace
}  // namespace zsync::daemon::shim
