#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/errors.hpp"
#include "cli/frames.hpp"
#include "cli/render/table.hpp"
#include "cli/render/text.hpp"
#include "cli/task_view.hpp"

namespace zsync::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Table, ColumnsAreAlignedByWhatIsSeen) {
  Table table({"A", "B"});
  table.add({{"é"}, {"x"}});
  table.add({{"long"}, {"y"}});
  EXPECT_EQ(table.text(0, false), "A     B\né     x\nlong  y\n");
}

TEST(Table, TheLastColumnIsCutToTheTerminal) {
  Table table({"A", "COMMAND"});
  table.add({{"1"}, {"abcdefghijklmnopqrstuvwxyz"}});
  EXPECT_EQ(table.text(20, false), "A  COMMAND\n1  abcdefghijklmnop…\n");
}

TEST(Table, ColourDoesNotMoveColumns) {
  Table table({"S", "N"});
  table.add({{"ok", Color::kGood}, {"x"}});
  EXPECT_EQ(table.text(0, true), "\x1b[1mS\x1b[0m   \x1b[1mN\x1b[0m\n\x1b[32mok\x1b[0m  x\n");
}

TEST(Table, EscapeSequencesInForeignTextAreShownNotObeyed) {
  Table table({"N"});
  table.add({{"a\x1b[2Jb\nc"}});
  EXPECT_EQ(table.text(0, false), "N\na\\x1b[2Jb\\nc\n");
}

TEST(Text, DurationsAndSizesAreShort) {
  using std::chrono::seconds;
  EXPECT_EQ(human_duration(std::chrono::milliseconds(12)), "12ms");
  EXPECT_EQ(human_duration(seconds(125)), "2m05s");
  EXPECT_EQ(human_duration(seconds(3 * 3600 + 600)), "3h10m");
  EXPECT_EQ(human_duration(seconds(2 * 86400)), "2d00h");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(utc_time(1'700'000'000'123'000'000), "2023-11-14T22:13:20.123Z");
}

TEST(Commands, AreShownAsTheyCouldBeTyped) {
  v1::TaskSpec spec;
  for (const char* word : {"sh", "-c", "echo 'hi'", ""}) spec.add_argv(word);
  EXPECT_EQ(command_text(spec), "sh -c 'echo '\\''hi'\\''' ''");
}

TEST(ExitCodes, AreThoseOfAShell) {
  v1::Task task;
  const auto code = [&](v1::TaskState state, const char* reason = "") {
    task.set_state(state);
    task.set_reason(reason);
    return exit_code_of(task);
  };
  EXPECT_EQ(code(v1::TASK_STATE_SUCCEEDED), 0);
  task.set_exit_code(3);
  EXPECT_EQ(code(v1::TASK_STATE_FAILED), 3);
  EXPECT_EQ(code(v1::TASK_STATE_FAILED, "exec: nope: No such file or directory"), 127);
  EXPECT_EQ(code(v1::TASK_STATE_FAILED, "exec: /etc: Permission denied"), 126);
  task.set_signal(9);
  EXPECT_EQ(code(v1::TASK_STATE_SIGNALED), 137);
  EXPECT_EQ(code(v1::TASK_STATE_TIMED_OUT), 124);
  EXPECT_EQ(code(v1::TASK_STATE_LOST), 125);
}

TEST(ExitCodes, FollowTheStatus) {
  EXPECT_EQ(exit_code_of(absl::NotFoundError("")), 3);
  EXPECT_EQ(exit_code_of(absl::UnavailableError("")), 4);
  EXPECT_EQ(exit_code_of(absl::PermissionDeniedError("")), 5);
  EXPECT_EQ(exit_code_of(absl::DeadlineExceededError("")), 6);
  EXPECT_EQ(exit_code_of(absl::AlreadyExistsError("")), 7);
  EXPECT_EQ(exit_code_of(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(exit_code_of(absl::InternalError("")), 1);
}

TEST(Closest, FindsASlipAndNothingElse) {
  EXPECT_EQ(closest("taks", {"ps", "tasks", "task"}), "tasks");
  EXPECT_EQ(closest("chanels", {"tasks", "channels"}), "channels");
  EXPECT_EQ(closest("zebra", {"tasks", "channels"}), "");
}

TEST(Frames, LinesAreMessagesAlsoWhenReadsCutThem) {
  MessageReader reader(false);
  std::vector<std::string> messages;
  ASSERT_TRUE(reader.feed("on", messages).ok());
  ASSERT_TRUE(reader.feed("e\n\ntw", messages).ok());
  ASSERT_TRUE(reader.feed("o", messages).ok());
  ASSERT_TRUE(reader.finish(messages).ok());
  EXPECT_THAT(messages, ElementsAre("one", "", "two"));
}

TEST(Frames, LengthPrefixedFramesCarryAnyBytes) {
  MessageReader reader(true);
  std::vector<std::string> messages;
  const std::string bytes = frame_header(3) + "a\nb" + frame_header(0) + frame_header(1);
  for (const char c : bytes) ASSERT_TRUE(reader.feed(std::string_view(&c, 1), messages).ok());
  EXPECT_THAT(messages, ElementsAre("a\nb", ""));
  EXPECT_THAT(std::string(reader.finish(messages).message()), HasSubstr("inside frame 3"));
}

TEST(Frames, AMessageOverTheLimitIsNamedByItsNumber) {
  MessageReader lines(false);
  std::vector<std::string> messages;
  ASSERT_TRUE(lines.feed("ok\n", messages).ok());
  const absl::Status status = lines.feed(std::string(kMessageBytesMax + 1, 'x'), messages);
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 2"));
  EXPECT_THAT(messages, ElementsAre("ok"));
  EXPECT_FALSE(MessageReader(true).feed("\xff\xff\xff\xff", messages).ok());
}

}  // namespace
}  // namespace zsync::cli
