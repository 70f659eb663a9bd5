#include "daemon/tasks/task.hpp"

#include <gtest/gtest.h>

#include "daemon/fault/fault.hpp"
#include "daemon/tasks/task_cycle.hpp"

namespace zsync::daemon {
namespace {

TaskSpec good() {
  TaskSpec spec;
  spec.argv = {"true"};
  return spec;
}

std::string field_of(const TaskSpec& spec) {
  const absl::Status status = validate(spec);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  const std::optional<FaultDetail> detail = fault_detail(status);
  EXPECT_TRUE(detail && !detail->hint.empty());
  return detail ? detail->field : "";
}

TEST(TaskSpec, AnOrdinaryCommandIsFine) { EXPECT_TRUE(validate(good()).ok()); }

TEST(TaskSpec, WhatATaskWaitsForSurvivesItsStoredForm) {
  TaskSpec spec = good();
  spec.after = {{"task_1", DependencyCondition::kOk}, {"task_2", DependencyCondition::kAny}};
  spec.delay_ms = 5;
  spec.start_at_unix_nano = 77;
  spec.locks = {"x", "y"};
  EXPECT_TRUE(validate(spec).ok());
  const std::optional<TaskSpec> read = decode_task_spec(encode_task_spec(spec));
  ASSERT_TRUE(read && read->after.size() == 2);
  EXPECT_EQ(read->after[1].task, "task_2");
  EXPECT_EQ(read->after[1].condition, DependencyCondition::kAny);
  EXPECT_EQ(read->after[0].condition, DependencyCondition::kOk);
  EXPECT_EQ(read->delay_ms, 5u);
  EXPECT_EQ(read->start_at_unix_nano, 77);
  EXPECT_EQ(read->locks, spec.locks);
}

TEST(TaskSpec, LocksAndTasksThatItWaitsForAreBounded) {
  TaskSpec spec = good();
  spec.locks = {"x", "x"};
  EXPECT_EQ(field_of(spec), "spec.locks");
  spec.locks = {"a/b"};
  EXPECT_EQ(field_of(spec), "spec.locks");
  spec.locks.edit().assign(kLocksMax + 1, "x");
  EXPECT_EQ(field_of(spec), "spec.locks");
  spec.locks.clear();
  spec.after.edit().resize(kAfterMax + 1);
  EXPECT_EQ(field_of(spec), "spec.after");
}

TEST(TaskCycle, ACycleIsNamedInTheOrderOfItsEdges) {
  EXPECT_TRUE(find_cycle({{1, 2}, {2}, {}}).empty());
  EXPECT_EQ(find_cycle({{1}, {2}, {1}}), (std::vector<size_t>{1, 2, 1}));
  EXPECT_EQ(find_cycle({{}, {1}}), (std::vector<size_t>{1, 1}));
  std::vector<std::vector<size_t>> chain(100'000);
  for (size_t i = 1; i < chain.size(); ++i) chain[i] = {i - 1};
  EXPECT_TRUE(find_cycle(chain).empty());
  chain[0] = {chain.size() - 1};
  EXPECT_EQ(find_cycle(chain).size(), chain.size() + 1);
}

TEST(TaskSpec, TheCommandIsArgvOrAShellLineNeverBothOrNeither) {
  TaskSpec none;
  EXPECT_EQ(field_of(none), "spec.argv");
  TaskSpec both = good();
  both.shell = "true";
  EXPECT_EQ(field_of(both), "spec.argv");
  TaskSpec empty_name;
  empty_name.argv = {""};
  EXPECT_EQ(field_of(empty_name), "spec.argv");
}

TEST(TaskSpec, NulBytesAreRefusedWhereTheSystemWouldCutThem) {
  TaskSpec spec = good();
  spec.argv.push_back(std::string("a\0b", 3));
  EXPECT_EQ(field_of(spec), "spec.argv");
  spec = good();
  spec.env.set("A", std::string("\0", 1));
  EXPECT_EQ(field_of(spec), "spec.env");
}

TEST(TaskSpec, TheEnvironmentHasALimitInAllAndPerString) {
  TaskSpec spec = good();
  for (int i = 0; i < 20; ++i) spec.env.set("V" + std::to_string(i), std::string(100 << 10, 'x'));
  EXPECT_EQ(fault_detail(validate(spec))->limit, "environment_bytes_max = 1048576");
  spec = good();
  spec.env.set("V", std::string(kEnvironmentStringBytesMax, 'x'));
  EXPECT_EQ(fault_detail(validate(spec))->limit, "environment_string_bytes_max = 131072");
}

TEST(TaskSpec, NamesWithSlashesOrControlCharactersAreRefused) {
  for (const char* name : {"a/b", "a\nb", "a\x7f"}) {
    TaskSpec spec = good();
    spec.name = name;
    EXPECT_EQ(field_of(spec), "spec.name");
    spec = good();
    spec.group = name;
    EXPECT_EQ(field_of(spec), "spec.group");
  }
  TaskSpec spec = good();
  spec.name = std::string(kNameBytesMax + 1, 'a');
  EXPECT_EQ(field_of(spec), "spec.name");
}

TEST(TaskSpec, TheDirectoryHasToBeThere) {
  TaskSpec spec = good();
  spec.cwd = "/no/such/directory";
  EXPECT_EQ(field_of(spec), "spec.cwd");
  spec.cwd = "relative";
  EXPECT_EQ(field_of(spec), "spec.cwd");
  spec.cwd = "/etc/passwd";
  EXPECT_EQ(field_of(spec), "spec.cwd");
  spec.cwd = "/";
  EXPECT_TRUE(validate(spec).ok());
}

TEST(TaskSpec, NumbersOutOfRangeAreRefusedWithTheirLimit) {
  TaskSpec spec = good();
  spec.priority = kPriorityMax + 1;
  EXPECT_EQ(field_of(spec), "spec.priority");
  spec = good();
  spec.retries = kRetriesMax + 1;
  EXPECT_EQ(field_of(spec), "spec.retries");
  spec = good();
  spec.timeout_ms = kTimeoutMsMax + 1;
  EXPECT_EQ(field_of(spec), "spec.timeout");
  spec = good();
  spec.stdin_bytes = std::string(kStdinBytesMax + 1, 'x');
  EXPECT_EQ(field_of(spec), "spec.stdin");
  spec = good();
  spec.stdin_bytes = "x";
  spec.stdin_stream = true;
  EXPECT_EQ(field_of(spec), "spec.stdin");
}

TEST(TaskSpec, TheStoredFormGivesEveryFieldBack) {
  TaskSpec spec;
  spec.argv = {"a", "", "c d"};
  spec.cwd = "/tmp";
  spec.env = {{"A", "1"}, {"B", ""}};
  spec.replace_env = true;
  spec.stdin_bytes = std::string("\0\1\2", 3);
  spec.name = "n";
  spec.labels = {{"k", "v"}};
  spec.group = "g";
  spec.priority = -7;
  spec.timeout_ms = 1234;
  spec.kill_grace_ms = 0;
  spec.retries = 3;
  spec.idempotency_key = "key";
  spec.keep_children = true;
  spec.traceparent = "00-x";
  spec.resources = {{"gpu", 2}, {"license", 1}};
  spec.start_deadline_ms = 5;
  spec.start_deadline_unix_nano = 6;
  spec.deadline_ms = 7;
  spec.deadline_unix_nano = 8;
  const std::optional<TaskSpec> back = decode_task_spec(encode_task_spec(spec));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->argv, spec.argv);
  EXPECT_EQ(back->cwd, spec.cwd);
  EXPECT_EQ(back->env, spec.env);
  EXPECT_TRUE(back->replace_env);
  EXPECT_EQ(back->stdin_bytes, spec.stdin_bytes);
  EXPECT_EQ(back->name, spec.name);
  EXPECT_EQ(back->labels, spec.labels);
  EXPECT_EQ(back->group, spec.group);
  EXPECT_EQ(back->priority, spec.priority);
  EXPECT_EQ(back->timeout_ms, spec.timeout_ms);
  EXPECT_EQ(back->kill_grace_ms, spec.kill_grace_ms);
  EXPECT_EQ(back->retries, spec.retries);
  EXPECT_EQ(back->idempotency_key, spec.idempotency_key);
  EXPECT_TRUE(back->keep_children);
  EXPECT_EQ(back->traceparent, spec.traceparent);
  ASSERT_EQ(back->resources.size(), 2u);
  EXPECT_EQ(back->resources[0].name, "gpu");
  EXPECT_EQ(back->resources[0].amount, 2u);
  EXPECT_EQ(back->resources[1].name, "license");
  EXPECT_EQ(back->start_deadline_ms, 5u);
  EXPECT_EQ(back->start_deadline_unix_nano, 6);
  EXPECT_EQ(back->deadline_ms, 7u);
  EXPECT_EQ(back->deadline_unix_nano, 8);
}

TEST(TaskSpec, ResourcesHaveANameAndAnAmountEachOnce) {
  auto refused = [](std::vector<ResourceNeed> resources) {
    TaskSpec spec = good();
    spec.resources = std::move(resources);
    const absl::Status status = validate(spec);
    return status.ok() ? "" : fault_detail(status)->field;
  };
  EXPECT_EQ(refused({{"gpu", 1}, {"license", 1'000'000}}), "");
  EXPECT_EQ(refused({{"gpu", 0}}), "spec.resources");
  EXPECT_EQ(refused({{"gpu", 1'000'001}}), "spec.resources");
  EXPECT_EQ(refused({{"", 1}}), "spec.resources");
  EXPECT_EQ(refused({{"gpu", 1}, {"gpu", 2}}), "spec.resources");
  EXPECT_EQ(refused(std::vector<ResourceNeed>(17, {"gpu", 1})), "spec.resources");
}

TEST(TaskSpec, ADamagedStoredFormIsNoticedAtEveryLength) {
  TaskSpec spec = good();
  spec.name = "name";
  const std::string bytes = encode_task_spec(spec);
  EXPECT_FALSE(decode_task_spec(""));
  EXPECT_FALSE(decode_task_spec("\x02"));
  size_t refused = 0;
  for (size_t size = 2; size < bytes.size(); ++size) {
    if (!decode_task_spec(bytes.substr(0, size))) ++refused;
  }
  EXPECT_EQ(refused, bytes.size() - 3) << "all but the cut between two whole fields";
}

TEST(TaskSpec, FieldsOfANewerDaemonAreSkipped) {
  std::string bytes = encode_task_spec(good());
  bytes += std::string("\xf0\x03\0\0\0abc", 8);
  ASSERT_TRUE(decode_task_spec(bytes));
  EXPECT_EQ(decode_task_spec(bytes)->argv, good().argv);
}

TEST(TaskSpec, ItsCommandIsShownAsOneTextCutBetweenCharacters) {
  TaskSpec spec;
  spec.argv = {"make", "-j2", "all"};
  EXPECT_EQ(command_text(spec, 80), "make -j2 all");
  EXPECT_EQ(command_text(spec, 6), "make -…");
  spec.argv = {"echo", "\xc3\xa4\xc3\xb6"};
  EXPECT_EQ(command_text(spec, 6), "echo …");  // not half of the letter
  spec.argv.clear();
  spec.shell = "a | b";
  EXPECT_EQ(command_text(spec, 80), "a | b");
}

}  // namespace
}  // namespace zsync::daemon
