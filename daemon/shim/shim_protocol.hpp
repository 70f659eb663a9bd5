// What zsyncd and zsync-shim say to each other: the files of an attempt directory and the frames of
// its socket.
//
//   spec, claim, exit   a sealed message: magic[8] version:u32 length:u32 crc:u32 fields
//   frame               length:u32 crc:u32 type:u8 fields            length counts type and fields
//   field               tag:u16 size:u32 bytes                       numbers are u64, all little
//   endian
//
// A reader skips fields and frame types that it does not know and takes the default for those that
// are missing; so both sides may be two releases apart. A tag is never used again for something
// else.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zsync::daemon::shim {

inline constexpr uint32_t kProtocolVersion = 3;
inline constexpr uint32_t kPauseVersion = 2;              // the first that knows kPause and kResume
inline constexpr uint32_t kLeavesVersion = 3;             // the first that waits for no kAckExit
inline constexpr size_t kFrameBytesMax = 1u << 20;        // one frame
inline constexpr size_t kStdinFrameBytesMax = 64u << 10;  // data of one stdin frame
inline constexpr uint64_t kStdinWindowBytes = 1u << 20;   // stdin sent and not yet acknowledged
inline constexpr size_t kExitFileBytes = 1024;            // preallocated
inline constexpr size_t kExitTextBytesMax = 512;
inline constexpr size_t kSpecBytesMax = 8u << 20;

// Files of an attempt directory.
inline constexpr char kSpecFile[] = "spec";
inline constexpr char kClaimFile[] = "claim";
inline constexpr char kExitFile[] = "exit";
inline constexpr char kStdinFile[] = "stdin";
inline constexpr char kLogDir[] = "out.log";
// While no daemon is connected the shim listens at this prefix + its pid.
inline constexpr char kSocketPrefix[] = "sock.";

enum class StdinMode : uint8_t {
  kNothing = 0,  // /dev/null
  kFile = 1,     // the file `stdin` of the attempt directory
  kStream = 2,   // frames from the daemon
};

struct TerminalSize {
  uint16_t rows = 0;
  uint16_t columns = 0;
};

struct Spec {
  std::string task_id;
  uint32_t attempt = 1;
  std::vector<std::string> argv;  // argv[0] is searched in the PATH of `env`
  std::vector<std::string> env;   // NAME=VALUE; complete, the shim adds nothing
  std::string cwd;                // absolute
  StdinMode stdin_mode = StdinMode::kNothing;
  std::string cgroup;                      // directory of the task's own cgroup, or empty
  uint64_t timeout_ms = 0;                 // of the run, without its pauses; 0: none
  uint64_t deadline_ms = 0;                // from the start on, with its pauses; 0: none
  uint64_t kill_grace_ms = 10'000;         // between SIGTERM and SIGKILL
  uint64_t output_bytes_max = 4ull << 30;  // then the head and a rolling tail stay
  uint64_t output_head_bytes = 64ull << 20;
  uint64_t segment_bytes = 64ull << 20;  // of out.log
  bool keep_children = false;            // leave what the main process left behind
  uint64_t open_files_soft = 0;          // RLIMIT_NOFILE of the command; 0: the shim's own
  int32_t nice = 0;                      // added to the shim's own; -20..19
  uint8_t io_class = 0;                  // of ioprio_set: 0 the shim's own, 2 best effort, 3 idle
  uint8_t io_level = 0;                  // 0 first .. 7 last, of class 2
  uint64_t memory_bytes_max = 0;         // RLIMIT_AS of the command; 0: the shim's own
  uint64_t processes_max = 0;            // RLIMIT_NPROC of the command; 0: the shim's own
  TerminalSize terminal;                 // 0 rows: pipes instead of a terminal
  bool held = false;                     // nothing is executed before kGo
};

// What the command and all its descendants that are gone have used.
struct Usage {
  uint64_t cpu_user_us = 0;
  uint64_t cpu_system_us = 0;
  uint64_t memory_peak_bytes = 0;  // of the cgroup, else of the largest process
  uint64_t io_read_bytes = 0;      // from and to storage
  uint64_t io_written_bytes = 0;
  bool memory_is_tree = false;  // memory_peak_bytes is that of all processes together
};

enum class ClaimKind : uint8_t { kShim = 1, kRevoked = 2 };

// Who may execute this attempt. Written whole by whoever comes first, and never again.
struct Claim {
  ClaimKind kind = ClaimKind::kShim;
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
  std::string boot_id;
};

enum class ExitKind : uint8_t {
  kExited = 1,
  kSignaled = 2,
  kExecFailed = 3,  // `text` says why; code is 127 where the program does not exist, else 126
  kTimedOut = 4,    // code or signal say how the main process ended
  kCanceled = 5,    // the same
  kNotStarted = 6,  // it was held, and nobody came to say kGo: nothing ran
};

struct ExitRecord {
  ExitKind kind = ExitKind::kExited;
  int32_t code = 0;
  int32_t signal = 0;
  int32_t error = 0;  // errno of kExecFailed
  std::string text;   // one line; cut at kExitTextBytesMax
  int64_t started_unix_nano = 0;
  int64_t finished_unix_nano = 0;
  uint64_t last_seq = 0;      // of out.log
  uint64_t output_bytes = 0;  // read from the command
  uint64_t lost_bytes = 0;    // of them not in out.log (disk full, output limit)
  Usage usage;
  bool by_deadline = false;  // of kTimedOut: deadline_ms was over, not timeout_ms
};

std::string encode_spec(const Spec& spec);
std::string encode_claim(const Claim& claim);
std::string encode_exit(const ExitRecord& record);  // exactly kExitFileBytes

// nullopt: not whole, damaged, or of another kind.
std::optional<Spec> decode_spec(std::string_view bytes);
std::optional<Claim> decode_claim(std::string_view bytes);
std::optional<ExitRecord> decode_exit(std::string_view bytes);

enum class FrameType : uint8_t {
  // shim to daemon
  kHello = 1,     // first on every connection: Hello
  kStarted = 2,   // Started
  kOutput = 3,    // Output; the next one only after kAckOutput
  kExited = 4,    // ExitRecord; the exit file is written, the shim goes
  kStdinAck = 5,  // StdinAck
  kRefused = 6,   // the shim ends without having executed anything; text says why
  kPaused = 7,    // Paused; whenever it changes
  // daemon to shim
  kCancel = 16,     // Cancel
  kSignal = 17,     // Signal
  kStdinData = 18,  // StdinData
  kStdinEof = 19,   // no fields
  kAckExit = 20,    // no fields: the shim may go (before kLeavesVersion)
  kAckOutput = 21,  // no fields
  kPause = 22,      // no fields: stop every process of the tree
  kResume = 23,     // no fields
  kResize = 24,     // TerminalSize
  kGo = 25,         // no fields; of a held attempt, before anything else
};

// The whole present state.
struct Hello {
  uint32_t version = kProtocolVersion;
  pid_t shim_pid = 0;
  pid_t pid = 0;  // of the command; 0: not started
  int64_t started_unix_nano = 0;
  uint64_t last_seq = 0;
  uint64_t output_bytes = 0;
  uint64_t stdin_received = 0;  // send stdin from this byte on
  bool canceling = false;
  bool exited = false;           // an Exited frame follows
  int64_t paused_unix_nano = 0;  // since when its processes are stopped; 0: they are not
};
struct Started {
  pid_t pid = 0;
  int64_t started_unix_nano = 0;
  std::string cgroup_error;  // empty: joined, or none named
};
struct Output {
  uint64_t last_seq = 0;
  uint64_t bytes = 0;  // read from the command so far
};
struct StdinAck {
  uint64_t written = 0;  // bytes handed to the command so far
  bool closed = false;   // the command reads no more; what comes is thrown away
};
struct Paused {
  int64_t since_unix_nano = 0;  // 0: it goes on
};
struct Cancel {
  uint64_t grace_ms = 0;
};
struct Signal {
  int32_t number = 0;
};
struct StdinData {
  uint64_t offset =
      0;  // of the first byte in the whole stream; what was received before is skipped
  std::string_view data;
};

std::string encode_frame(const Hello& hello);
std::string encode_frame(const Started& started);
std::string encode_frame(const Output& output);
std::string encode_frame(const StdinAck& ack);
std::string encode_frame(const Paused& paused);
std::string encode_frame(const Cancel& cancel);
std::string encode_frame(const TerminalSize& size);
std::string encode_frame(const Signal& signal);
std::string encode_frame(const StdinData& data);
std::string encode_frame(const ExitRecord& record);
std::string encode_refused(std::string_view text);
std::string encode_frame(FrameType type);  // of the types without fields

struct Frame {
  FrameType type{};
  std::string fields;
};
Hello decode_hello(const Frame& frame);
Started decode_started(const Frame& frame);
Output decode_output(const Frame& frame);
StdinAck decode_stdin_ack(const Frame& frame);
Paused decode_paused(const Frame& frame);
Cancel decode_cancel(const Frame& frame);
TerminalSize decode_resize(const Frame& frame);
Signal decode_signal(const Frame& frame);
StdinData decode_stdin_data(const Frame& frame);  // data points into the frame
ExitRecord decode_exited(const Frame& frame);
std::string decode_refused(const Frame& frame);

// Cuts a byte stream into frames.
class FrameReader {
 public:
  void push(std::string_view bytes) { bytes_.append(bytes); }
  // The next whole frame; nullopt: push more, or broken().
  std::optional<Frame> next();
  // A frame was damaged or too long: close the connection.
  bool broken() const { return broken_; }

 private:
  std::string bytes_;
  size_t used_ = 0;
  bool broken_ = false;
};

}  // namespace zsync::daemon::shim
