#include "daemon/triggers/trigger.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;

TriggerSpec make_spec() {
  TriggerSpec spec;
  spec.name = "build";
  spec.watch.path = "/src";
  spec.watch.globs = {"*.c", "*.h"};
  spec.watch.ignore = {"out/"};
  spec.watch.gitignore = false;
  spec.watch.settle = std::chrono::milliseconds(70);
  spec.watch.defer = {"vcs"};
  spec.watch.drop = {"bulk"};
  spec.watch.changed_content = true;
  spec.writes = {"*.o"};
  auto task = std::make_shared<TaskSpec>();
  task->argv = {"make"};
  spec.task = task;
  return spec;
}

TriggerRecord make_record() {
  TriggerRecord record;
  record.id = "trig_1";
  record.uid = 1000;
  record.project = "shop";
  record.spec = make_spec();
  record.created_unix_nano = 5;
  record.paused = {6, 1000, 42};
  record.clock = "c:x:7";
  record.last = {3, 8, true, 2, {"a.c", "b.c"}, "task_1", TaskState::kFailed, 2, "why", 9};
  record.loop = {"a.c"};
  record.run_follows = true;
  record.refused = 1;
  record.last_refusal = "full";
  watching::Trigger::Memory memory;
  memory.seen = {{"a.c", std::string("\0mark", 5)}, {"gone", ""}};
  memory.following_runs = 2;
  memory.common = {"a.c"};
  record.memory = std::make_shared<const watching::Trigger::Memory>(memory);
  return record;
}

TEST(TriggerRecord, IsReadAsItWasWritten) {
  const TriggerRecord record = make_record();
  const std::string bytes = encode_trigger(record);
  TriggerRecord read;
  ASSERT_TRUE(decode_trigger(bytes, read));
  EXPECT_EQ(encode_trigger(read), bytes);
  read.spec.name = "build";
  read.spec.task = record.spec.task;
  EXPECT_TRUE(same(read.spec, record.spec));
  EXPECT_EQ(read.project, "shop");
  EXPECT_EQ(read.paused.pid, 42);
  EXPECT_EQ(read.clock, "c:x:7");
  EXPECT_EQ(read.last.number, 3u);
  EXPECT_TRUE(read.last.by_hand);
  EXPECT_EQ(read.last.changed, record.last.changed);
  EXPECT_EQ(read.last.state, TaskState::kFailed);
  EXPECT_EQ(read.last.ended_unix_nano, 9);
  EXPECT_TRUE(read.run_follows);
  EXPECT_EQ(read.loop, record.loop);
  EXPECT_EQ(read.last_refusal, "full");
  EXPECT_EQ(read.memory->seen, record.memory->seen);
  EXPECT_EQ(read.memory->following_runs, 2);
  EXPECT_EQ(read.memory->common, record.memory->common);
}

TEST(TriggerRecord, ThatIsCutOrOfALaterVersionIsDamaged) {
  const std::string bytes = encode_trigger(make_record());
  for (size_t size = 0; size < bytes.size(); ++size) {
    TriggerRecord read;
    EXPECT_FALSE(decode_trigger(bytes.substr(0, size), read)) << size;
  }
  std::string later = bytes;
  later[0] = 9;
  TriggerRecord read;
  EXPECT_FALSE(decode_trigger(later, read));
}

TEST(TriggerSpec, IsRefusedWithTheFieldAndTheCure) {
  const auto refused = [](auto change) {
    TriggerSpec spec = make_spec();
    change(spec);
    const absl::Status status = validate(spec);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    const std::optional<FaultDetail> detail = fault_detail(status);
    EXPECT_TRUE(detail && !detail->hint.empty()) << status;
    return detail ? detail->field : "";
  };
  const auto with_task = [](auto change) {
    return [change](TriggerSpec& spec) {
      TaskSpec task = *spec.task;
      change(task);
      spec.task = std::make_shared<const TaskSpec>(std::move(task));
    };
  };
  EXPECT_TRUE(validate(make_spec()).ok()) << validate(make_spec());
  for (const char* name : {"", ".hidden", "a b", "a/b"}) {
    EXPECT_EQ(refused([name](TriggerSpec& spec) { spec.name = name; }), "spec.name");
  }
  EXPECT_EQ(refused([](TriggerSpec& spec) { spec.name = std::string(129, 'n'); }), "spec.name");
  EXPECT_EQ(refused([](TriggerSpec& spec) { spec.writes = {"[a"}; }), "spec.writes");
  EXPECT_EQ(refused([](TriggerSpec& spec) { spec.task = nullptr; }), "spec.task");
  EXPECT_EQ(refused(with_task([](TaskSpec& task) { task.idempotency_key = "k"; })), "spec.task");
  EXPECT_EQ(refused(with_task([](TaskSpec& task) { task.argv.clear(); })), "spec.argv");
  EXPECT_EQ(refused(with_task([](TaskSpec& task) {
              for (int i = 0; i < 8; ++i) {
                task.env.set("V" + std::to_string(i), std::string(125'000, 'v'));
              }
            })),
            "spec.env")
      << "there has to be room for ZSYNC_CHANGED";
}

TEST(TriggerSpec, OfAnotherTreeSeesOtherChanges) {
  const WatchRequest one = make_spec().watch;
  WatchRequest other = one;
  other.settle *= 2;
  EXPECT_TRUE(same_watch(one, other));
  other.ignore.clear();
  EXPECT_FALSE(same_watch(one, other));
}

TEST(TriggerTask, KnowsItsTriggerItsPathsAndItsRun) {
  TriggerRecord record = make_record();
  const TaskSpec task = task_of(record);
  EXPECT_EQ(task.name, "build");
  EXPECT_EQ(task.cwd, "/src");
  EXPECT_EQ(task.labels->at("trigger"), "build");
  std::map<std::string, std::string> env(task.env.begin(), task.env.end());
  EXPECT_EQ(env.at("ZSYNC_TRIGGER"), "build");
  EXPECT_EQ(env.at("ZSYNC_CHANGED"), "a.c\nb.c");
  ++record.last.number;
  EXPECT_NE(task_of(record).idempotency_key, task.idempotency_key);
  --record.last.number;
  EXPECT_EQ(task_of(record).idempotency_key, task.idempotency_key);
  EXPECT_THAT(task.idempotency_key, HasSubstr(record.id));
}

}  // namespace
}  // namespace zsync::daemon
