#include "daemon/tasks/task_limits.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "daemon/fault/fault.hpp"
#include "daemon/shim/shim_protocol.hpp"
#include "daemon/tasks/cgroup.hpp"
#include "daemon/tasks/task.hpp"

namespace zsync::daemon {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// A folder that looks like a delegated cgroup; the kernel's own has no controllers everywhere.
class Limits : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "limits_XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  void TearDown() override { fs::remove_all(root_); }

  void delegate(const std::string& controllers) {
    std::ofstream(root_ / "cgroup.controllers") << controllers << "\n";
    cgroups_.use(root_.string());
  }
  shim::Spec applied(const TaskLimits& limits) {
    shim::Spec spec;
    spec.cgroup = cgroups_.create("task_1");
    const absl::Status status = apply_limits(limits, cgroups_, spec);
    EXPECT_TRUE(status.ok()) << status;
    return spec;
  }

  fs::path root_;
  TaskCgroups cgroups_;
  const TaskLimits all_ = {512 << 20, 1500, 64, 50};
};

TEST_F(Limits, AreHeldByTheTasksOwnCgroupWhereItHasTheControllers) {
  delegate("cpuset cpu io memory pids");
  const shim::Spec spec = applied(all_);
  EXPECT_EQ(limits_note(all_, cgroups_), "");
  EXPECT_EQ(text_of(spec.cgroup + "/memory.max"), "536870912");
  EXPECT_EQ(text_of(spec.cgroup + "/cpu.max"), "150000 100000");
  EXPECT_EQ(text_of(spec.cgroup + "/pids.max"), "65") << "64 and the supervisor";
  EXPECT_EQ(text_of(spec.cgroup + "/io.weight"), "50");
  EXPECT_EQ(spec.memory_bytes_max, 0u);
  EXPECT_EQ(spec.processes_max, 0u);
}

TEST_F(Limits, AControllerThatIsMissingIsReplacedAloneAndSaidSo) {
  delegate("cpu pids");
  const shim::Spec spec = applied(all_);
  EXPECT_EQ(spec.memory_bytes_max, 512u << 20);
  EXPECT_EQ(spec.processes_max, 0u);
  EXPECT_FALSE(fs::exists(spec.cgroup + "/memory.max"));
  EXPECT_EQ(text_of(spec.cgroup + "/cpu.max"), "150000 100000");
  EXPECT_EQ(limits_note(all_, cgroups_),
            "memory: the address space of each process (RLIMIT_AS); io weight: not held; because "
            "the daemon's cgroup has no such controller");
}

TEST_F(Limits, WithoutACgroupTheyAreRlimitsWithTheReason) {
  const shim::Spec spec = applied(all_);
  EXPECT_EQ(spec.memory_bytes_max, 512u << 20);
  EXPECT_EQ(spec.processes_max, 64u);
  const std::string note = limits_note(all_, cgroups_);
  EXPECT_NE(note.find("cpu: not held"), std::string::npos) << note;
  EXPECT_NE(note.find(cgroups_.explanation()), std::string::npos) << note;
}

TEST_F(Limits, NoLimitsWriteNothing) {
  delegate("memory pids");
  const shim::Spec spec = applied({});
  EXPECT_TRUE(fs::is_empty(spec.cgroup));
  EXPECT_EQ(limits_note({}, cgroups_), "");
}

TEST_F(Limits, ACgroupThatRefusesTheValueKeepsTheTaskFromStarting) {
  delegate("memory");
  shim::Spec spec;
  spec.cgroup = cgroups_.create("task_2");
  fs::create_directory(spec.cgroup + "/memory.max");
  const absl::Status status = apply_limits(all_, cgroups_, spec);
  EXPECT_NE(status.message().find("memory.max"), std::string::npos) << status;
}

TEST_F(Limits, AGroupWithABudgetHoldsItsTasksTogether) {
  delegate("cpu memory");
  GroupSettings budget;
  budget.memory_bytes_max = 1 << 30;
  budget.cpu_millis_max = 500;
  cgroups_.set_budget("ci/a", budget);
  EXPECT_EQ(cgroups_.create("1", "other"), root_ / "task-1");
  const std::string task = cgroups_.create("2", "ci/a");
  EXPECT_EQ(task, root_ / "group-ci%2Fa/task-2");
  EXPECT_EQ(text_of(root_ / "group-ci%2Fa/memory.max"), "1073741824");
  EXPECT_EQ(text_of(root_ / "group-ci%2Fa/cpu.max"), "50000 100000");
  budget.cpu_millis_max = 0;
  cgroups_.set_budget("ci/a", budget);
  EXPECT_EQ(text_of(root_ / "group-ci%2Fa/cpu.max"), "max 100000") << "what runs gets it at once";
  cgroups_.set_budget("ci/a", {});
  EXPECT_EQ(text_of(root_ / "group-ci%2Fa/memory.max"), "max");
  EXPECT_EQ(cgroups_.create("3", "ci/a"), root_ / "task-3");
  const std::string long_name(128, '/');
  cgroups_.set_budget(long_name, budget);
  EXPECT_EQ(cgroups_.create("4", long_name), root_ / "task-4") << "no directory has such a name";
  cgroups_.remove("2", "ci/a");
  cgroups_.remove("3", "ci/a");
  EXPECT_FALSE(fs::exists(task));
  EXPECT_FALSE(fs::exists(root_ / "task-3"));
}

std::string field_of(const absl::Status& status) {
  const std::optional<FaultDetail> detail = fault_detail(status);
  return detail ? detail->field : "";
}

TEST(LimitValues, OutOfRangeAreRefusedByName) {
  EXPECT_TRUE(validate(TaskLimits()).ok());
  EXPECT_EQ(field_of(validate(TaskLimits{.memory_bytes = 512})), "spec.limits.memory_bytes");
  EXPECT_EQ(field_of(validate(TaskLimits{.cpu_millis = 1})), "spec.limits.cpu_millis");
  EXPECT_EQ(field_of(validate(TaskLimits{.io_weight = 10'001})), "spec.limits.io_weight");
  EXPECT_EQ(field_of(validate(TaskPriorities{.nice = 20})), "spec.nice");
  EXPECT_EQ(field_of(validate(TaskPriorities{.nice = -21})), "spec.nice");
  EXPECT_EQ(field_of(validate(TaskPriorities{0, IoClass::kBestEffort, 8})), "spec.io_level");
  EXPECT_EQ(field_of(validate(TaskPriorities{0, IoClass::kIdle, 1})), "spec.io_level");
  EXPECT_TRUE(validate(TaskPriorities{19, IoClass::kBestEffort, 7}).ok());
}

TEST(LimitValues, AreKeptWithTheSpecification) {
  TaskSpec spec;
  spec.argv = {"true"};
  spec.priorities = {-3, IoClass::kBestEffort, 6};
  spec.limits = {1ull << 40, 250, 7, 9};
  const std::optional<TaskSpec> read = decode_task_spec(encode_task_spec(spec));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->priorities.nice, -3);
  EXPECT_EQ(read->priorities.io_class, IoClass::kBestEffort);
  EXPECT_EQ(read->priorities.io_level, 6u);
  EXPECT_EQ(read->limits.memory_bytes, 1ull << 40);
  EXPECT_EQ(read->limits.cpu_millis, 250u);
  EXPECT_EQ(read->limits.processes, 7u);
  EXPECT_EQ(read->limits.io_weight, 9u);
}

}  // namespace
}  // namespace zsync::daemon
