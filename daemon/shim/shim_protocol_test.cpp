#include "daemon/shim/shim_protocol.hpp"

#include <gtest/gtest.h>

namespace zsync::daemon::shim {
namespace {

Spec sample_spec() {
  Spec spec;
  spec.task_id = "task_01";
  spec.attempt = 3;
  spec.argv = {"sh", "-c", "echo \"a b\"\n", ""};
  spec.env = {"PATH=/bin", "EMPTY="};
  spec.cwd = "/tmp";
  spec.stdin_mode = StdinMode::kStream;
  spec.cgroup = "/sys/fs/cgroup/x";
  spec.timeout_ms = 5;
  spec.kill_grace_ms = 6;
  spec.output_bytes_max = 7;
  spec.output_head_bytes = 8;
  spec.segment_bytes = 9;
  spec.keep_children = true;
  spec.open_files_soft = 10;
  spec.held = true;
  return spec;
}

TEST(ShimProtocol, ASpecComesBackAsItWasWritten) {
  const Spec spec = sample_spec();
  const std::optional<Spec> back = decode_spec(encode_spec(spec));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->task_id, spec.task_id);
  EXPECT_EQ(back->attempt, 3u);
  EXPECT_EQ(back->argv, spec.argv);
  EXPECT_EQ(back->env, spec.env);
  EXPECT_EQ(back->cwd, spec.cwd);
  EXPECT_EQ(back->stdin_mode, StdinMode::kStream);
  EXPECT_EQ(back->cgroup, spec.cgroup);
  EXPECT_EQ(back->timeout_ms, 5u);
  EXPECT_EQ(back->kill_grace_ms, 6u);
  EXPECT_EQ(back->output_bytes_max, 7u);
  EXPECT_EQ(back->output_head_bytes, 8u);
  EXPECT_EQ(back->segment_bytes, 9u);
  EXPECT_TRUE(back->keep_children);
  EXPECT_EQ(back->open_files_soft, 10u);
  EXPECT_TRUE(back->held);
}

TEST(ShimProtocol, AFileCutOrFlippedAnywhereIsRefused) {
  const std::string bytes = encode_spec(sample_spec());
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    EXPECT_FALSE(decode_spec(bytes.substr(0, cut)).has_value()) << cut;
  }
  for (size_t at = 20; at < bytes.size(); ++at) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 4);
    EXPECT_FALSE(decode_spec(flipped).has_value()) << at;
  }
  EXPECT_FALSE(decode_claim(bytes).has_value());
  EXPECT_FALSE(decode_exit(std::string(kExitFileBytes, '\0')).has_value());
}

TEST(ShimProtocol, AnExitRecordHasOneSizeAndKeepsItsFields) {
  ExitRecord record;
  record.kind = ExitKind::kExecFailed;
  record.code = 127;
  record.signal = 9;
  record.error = 2;
  record.text = std::string(2000, 'x');
  record.started_unix_nano = -5;
  record.last_seq = 1ull << 60;
  const std::string bytes = encode_exit(record);
  EXPECT_EQ(bytes.size(), kExitFileBytes);
  const std::optional<ExitRecord> back = decode_exit(bytes);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->kind, ExitKind::kExecFailed);
  EXPECT_EQ(back->code, 127);
  EXPECT_EQ(back->signal, 9);
  EXPECT_EQ(back->text.size(), kExitTextBytesMax);
  EXPECT_EQ(back->started_unix_nano, -5);
  EXPECT_EQ(back->last_seq, 1ull << 60);
}

TEST(ShimProtocol, FramesAreFoundInAStreamCutAtEveryByte) {
  const std::string data(70'000, 'd');
  const std::string stream = encode_frame(Cancel{250}) + encode_frame(FrameType::kStdinEof) +
                             encode_frame(StdinData{77, data}) + encode_frame(Signal{-15});
  FrameReader reader;
  std::vector<Frame> frames;
  for (const char byte : stream) {
    reader.push({&byte, 1});
    while (std::optional<Frame> frame = reader.next()) frames.push_back(*frame);
  }
  ASSERT_EQ(frames.size(), 4u);
  EXPECT_EQ(decode_cancel(frames[0]).grace_ms, 250u);
  EXPECT_EQ(frames[1].type, FrameType::kStdinEof);
  EXPECT_EQ(decode_stdin_data(frames[2]).offset, 77u);
  EXPECT_EQ(decode_stdin_data(frames[2]).data, data);
  EXPECT_EQ(decode_signal(frames[3]).number, -15);
}

TEST(ShimProtocol, FieldsOfALaterReleaseAreSkippedAndMissingOnesAreDefault) {
  Frame frame;
  frame.type = FrameType::kStarted;
  frame.fields = std::string("\x63\x00\x03\x00\x00\x00new", 9) +
                 std::string("\x01\x00\x08\x00\x00\x00\x2a\0\0\0\0\0\0\0", 14);
  const Started started = decode_started(frame);
  EXPECT_EQ(started.pid, 42);
  EXPECT_EQ(started.started_unix_nano, 0);
  EXPECT_EQ(decode_hello(Frame{}).version, kProtocolVersion);
}

TEST(ShimProtocol, ADamagedOrHugeFrameBreaksTheConnection) {
  std::string frame = encode_frame(Hello{});
  frame[frame.size() - 1] = static_cast<char>(frame.back() ^ 1);
  FrameReader damaged;
  damaged.push(frame);
  EXPECT_FALSE(damaged.next().has_value());
  EXPECT_TRUE(damaged.broken());
  FrameReader huge;
  huge.push(std::string("\xff\xff\xff\x7f\0\0\0\0", 8));
  EXPECT_FALSE(huge.next().has_value());
  EXPECT_TRUE(huge.broken());
}

}  // namespace
}  // namespace zsync::daemon::shim
