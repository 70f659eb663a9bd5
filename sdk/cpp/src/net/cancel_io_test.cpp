// Descriptors, processes, signals and files in the table of rt/cancel_test.hpp.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/net_test.hpp"
#include "rt/cancel_test.hpp"
#include "zsync/file.hpp"
#include "zsync/files.hpp"
#include "zsync/pipe.hpp"
#include "zsync/process.hpp"
#include "zsync/signal.hpp"
#include "zsync/tcp.hpp"
#include "zsync/udp.hpp"
#include "zsync/unix_socket.hpp"

namespace zsync {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kText = "12345";
std::string y_bytes() { return std::string(64 * 1024, 'y'); }

// -- two ends of a connection, whatever it is

struct UnixEnds {
  using Stream = UnixStream;
  Task<void> connect() {
    std::tie(here, there) = UnixStream::pair().value();
    co_return;
  }
  UnixStream here, there;
};
struct TcpEnds {
  using Stream = TcpStream;
  Task<void> connect() {
    TcpListener listener = TcpListener::bind(any_port()).value();
    here = (co_await TcpStream::connect(*listener.local_address())).value();
    there = (co_await listener.accept()).value();
  }
  TcpStream here, there;
};
struct PipeEnds {
  Task<void> connect() {
    std::tie(here, there) = make_pipe().value();
    co_return;
  }
  PipeReader here;
  PipeWriter there;
};
struct PipeEndsTurned {
  Task<void> connect() {
    std::tie(there, here) = make_pipe().value();
    co_return;
  }
  PipeWriter here;
  PipeReader there;
};

template <typename Ends>
struct OfEnds : Subject {
  Task<void> prepare() override { co_await ends.connect(); }
  // Reads until `count` bytes are in `got`, or the end.
  template <typename From>
  Task<void> read_up_to(From& from, size_t count) {
    std::array<std::byte, 4096> buffer;
    while (got.size() < count) {
      const size_t most = std::min(buffer.size(), count - got.size());
      const absl::StatusOr<size_t> read =
          co_await timeout(from.read_some(std::span(buffer).first(most)), 20s);
      if (!read.ok() || *read == 0) co_return;
      got.append(reinterpret_cast<const char*>(buffer.data()), *read);
    }
  }
  Ends ends;
  std::string got;
};

template <typename Ends>
struct ReadSome final : OfEnds<Ends> {
  Task<bool> operate() override {
    std::array<std::byte, 16> buffer;
    const absl::StatusOr<size_t> read = co_await this->ends.here.read_some(buffer);
    if (!read.ok()) co_return false;
    this->got.append(reinterpret_cast<const char*>(buffer.data()), *read);
    co_return true;
  }
  Task<void> complete() override { (void)co_await this->ends.there.write_all(kText); }
  Task<std::string> wrong(bool happened) override {
    if (happened == this->got.empty()) co_return "the result says something else";
    co_await this->read_up_to(this->ends.here, kText.size());
    co_return this->got == kText ? "" : "a byte was lost: " + this->got;
  }
};
template <typename Ends>
struct ReadExact final : OfEnds<Ends> {
  Task<bool> operate() override {
    std::array<std::byte, kText.size()> buffer;
    if (!(co_await this->ends.here.read_exact(buffer)).ok()) co_return false;
    this->got.assign(reinterpret_cast<const char*>(buffer.data()), buffer.size());
    co_return true;
  }
  Task<void> complete() override { (void)co_await this->ends.there.write_all(kText); }
  Task<std::string> wrong(bool happened) override {
    if (happened) co_return this->got == kText ? "" : "it read something else";
    co_await this->read_up_to(this->ends.here, kText.size());
    co_return this->got == kText ? "" : "one write was read in part";
  }
};
template <typename Ends>
struct WriteAll : OfEnds<Ends> {
  Task<void> prepare() override {
    co_await this->ends.connect();
    const std::string block(4096, 'x');
    for (ssize_t put; (put = ::write(this->ends.here.get(), block.data(), block.size())) > 0;) {
      filled += static_cast<size_t>(put);
    }
  }
  Task<bool> operate() override { co_return (co_await this->ends.here.write_all(text)).ok(); }
  Task<void> complete() override { co_await this->read_up_to(this->ends.there, filled); }
  Task<std::string> wrong(bool happened) override {
    this->ends.here.close();
    co_await this->read_up_to(this->ends.there, filled + text.size() + 1);
    const size_t written = this->got.size() - filled;
    if (this->got != std::string(filled, 'x') + std::string(written, 'y')) co_return "other bytes";
    if (happened) co_return written == text.size() ? "" : "a byte was lost";
    co_return written <= text.size() ? "" : "a byte was written twice";
  }
  const std::string text = y_bytes();
  size_t filled = 0;
};
struct WritePieces final : WriteAll<TcpEnds> {
  Task<bool> operate() override {
    const auto bytes = std::as_bytes(std::span(text));
    const std::array pieces{bytes.first(100), bytes.subspan(100)};
    co_return (co_await ends.here.write_pieces(pieces)).ok();
  }
};
template <typename Ends>
struct Hangup final : OfEnds<Ends> {
  Task<bool> operate() override { co_return (co_await this->ends.here.hangup()).ok(); }
  Task<void> complete() override {
    this->ends.there.close();
    co_return;
  }
  Task<std::string> wrong(bool) override {
    co_return co_await operate() ? "" : "it is not told again";
  }
};
struct ReadToEnd final : OfEnds<PipeEnds> {
  Task<bool> operate() override {
    const absl::StatusOr<std::string> all = co_await ends.here.read_to_end(100);
    if (all.ok()) got = *all;
    co_return all.ok();
  }
  Task<void> complete() override {
    (void)co_await ends.there.write_all(kText);
    ends.there.close();
  }
  Task<std::string> wrong(bool happened) override {
    co_return !happened || got == kText ? "" : "it read something else";
  }
};

struct RecvFds final : OfEnds<UnixEnds> {
  Task<bool> operate() override {
    std::array<std::byte, 16> buffer;
    absl::StatusOr<ReceivedFds> read = co_await ends.here.recv_fds(buffer);
    if (!read.ok()) co_return false;
    bytes += read->bytes;
    fds += read->fds.size();
    co_return true;
  }
  Task<void> complete() override {
    const std::array sent{STDERR_FILENO, STDERR_FILENO};
    (void)co_await ends.there.send_fds(bytes_of(kText), sent);
  }
  Task<std::string> wrong(bool happened) override {
    if (!happened && !co_await operate()) co_return "nothing is left";
    co_return bytes == kText.size() && fds == 2 ? "" : "a byte or a descriptor was lost";
  }
  size_t bytes = 0, fds = 0;
};
struct SendFds final : OfEnds<UnixEnds> {
  Task<bool> operate() override {
    const std::array sent{STDERR_FILENO};
    co_return (co_await ends.here.send_fds(bytes_of(kText), sent)).ok();
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool happened) override {
    char byte;
    const bool came = ::recv(ends.there.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
    co_return came == happened ? "" : "the result says something else";
  }
};

// -- connections that are made

template <typename Stream, typename Listener>
struct Making : Subject {
  static std::string path_in(const ScratchDir& dir) { return dir / "socket"; }
  Task<absl::StatusOr<Stream>> connect() {
    if constexpr (std::is_same_v<Stream, TcpStream>) {
      return TcpStream::connect(*listener.local_address());
    } else {
      return UnixStream::connect(path_in(dir));
    }
  }
  Task<void> prepare() override {
    if constexpr (std::is_same_v<Stream, TcpStream>) {
      listener = TcpListener::bind(any_port()).value();
    } else {
      listener = UnixListener::bind(path_in(dir)).value();
    }
    co_return;
  }
  ScratchDir dir;
  Listener listener;
  Stream near, far;
};
template <typename Stream, typename Listener>
struct Accept final : Making<Stream, Listener> {
  Task<bool> operate() override {
    absl::StatusOr<Stream> stream = co_await this->listener.accept();
    if (stream.ok()) this->near = std::move(*stream);
    co_return stream.ok();
  }
  Task<void> complete() override {
    if (absl::StatusOr<Stream> stream = co_await this->connect(); stream.ok()) {
      this->far = std::move(*stream);
    }
  }
  Task<std::string> wrong(bool happened) override {
    if (!happened && !co_await operate()) co_return "the connection was lost";
    co_return this->near&& this->far ? "" : "there is no connection";
  }
};
template <typename Stream, typename Listener>
struct Connect final : Making<Stream, Listener> {
  Task<bool> operate() override {
    absl::StatusOr<Stream> stream = co_await this->connect();
    if (stream.ok()) this->near = std::move(*stream);
    co_return stream.ok();
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool happened) override {
    co_return happened == static_cast<bool>(this->near) ? "" : "the result says something else";
  }
};

// -- datagrams

struct OfUdp : Subject {
  Task<void> prepare() override {
    here = UdpSocket::bind(any_port()).value();
    there = UdpSocket::bind(any_port()).value();
    to = *here.local_address();
    EXPECT_TRUE(there.connect(to).ok());
    co_return;
  }
  Task<void> complete() override { (void)co_await there.send(bytes_of(kText)); }
  bool something_came() {
    char byte;
    return ::recv(here.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) >= 0;
  }
  UdpSocket here, there;
  SocketAddress to;
  std::array<std::byte, 64> buffer;
};
struct RecvFrom final : OfUdp {
  Task<bool> operate() override {
    const auto got = co_await here.recv_from(buffer);
    co_return got.ok() && got->bytes == kText.size();
  }
  Task<std::string> wrong(bool happened) override {
    co_return something_came() != happened ? "" : "the datagram was lost";
  }
};
struct UdpRecvMany final : OfUdp {
  Task<bool> operate() override {
    std::array<DatagramSlot, 2> slots{DatagramSlot{.buffer = buffer}, DatagramSlot{}};
    const auto got = co_await here.recv_many(std::span(slots).first(1));
    co_return got.ok() && *got == 1;
  }
  Task<std::string> wrong(bool happened) override {
    co_return something_came() != happened ? "" : "the datagram was lost";
  }
};
enum class How { send, send_to, many, segmented };
template <How kHow>
struct UdpSend final : OfUdp {
  Task<bool> operate() override {
    if constexpr (kHow == How::send) co_return (co_await there.send(bytes_of(kText))).ok();
    if constexpr (kHow == How::send_to) {
      UdpSocket other = UdpSocket::bind(any_port()).value();
      co_return (co_await other.send_to(bytes_of(kText), to)).ok();
    }
    if constexpr (kHow == How::many) {
      UdpSocket other = UdpSocket::bind(any_port()).value();
      const std::array sent{OutgoingDatagram{bytes_of(kText), to},
                            OutgoingDatagram{bytes_of(kText), to}};
      const auto count = co_await other.send_many(sent);
      co_return count.ok() && *count == 2;
    }
    UdpSocket other = UdpSocket::bind(any_port()).value();
    co_return (co_await other.send_segmented(bytes_of(kText), 2, to)).ok();
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool happened) override {
    co_return something_came() == happened ? "" : "the result says something else";
  }
};

// -- processes and signals

struct Wait final : Subject {
  Task<void> prepare() override {
    child.emplace(Process::spawn({.argv = {"cat"}, .stdin_from = Stdio::pipe()}).value());
    co_return;
  }
  Task<bool> operate() override {
    const auto ended = co_await child->wait();
    co_return ended.ok() && ended->success();
  }
  Task<void> complete() override {
    child->stdin_pipe().close();
    co_return;
  }
  Task<std::string> wrong(bool) override { co_return co_await operate() ? "" : "its end was lost"; }
  std::optional<Process> child;
};
struct Output final : Subject {
  Task<bool> operate() override {
    const auto output = co_await Process::output(
        {.argv = {"cat"}, .stdin_from = Stdio::pipe(), .stdout_to = Stdio::pipe()}, "x");
    co_return output.ok() && output->stdout_bytes == "x";
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool) override { co_return co_await operate() ? "" : "it does not work"; }
};
struct NextSignal final : Subject {
  Task<void> prepare() override {
    signals.emplace(Signals::open({SIGUSR1}).value());
    co_return;
  }
  Task<bool> operate() override { co_return co_await signals->next() == SIGUSR1; }
  Task<void> complete() override {
    ::kill(::getpid(), SIGUSR1);
    co_return;
  }
  Task<std::string> wrong(bool happened) override {
    if (happened) co_return "";
    co_return (co_await timeout(operate(), 20s)).ok() ? "" : "the signal was lost";
  }
  std::optional<Signals> signals;
};

// -- files: on the blocking threads, so what has begun runs to its end

struct OfFile : Subject {
  Task<void> prepare() override {
    file = (co_await File::open(path, {.write = true, .create = FileCreate::if_missing})).value();
    EXPECT_TRUE((co_await file.append(kText)).ok());
  }
  Task<void> complete() override { co_return; }
  Task<std::string> wrong(bool) override {
    const absl::StatusOr<std::string> all = co_await read_file(path);
    co_return all.ok() && all->starts_with(kText) ? "" : "the file is another one";
  }
  ScratchDir dir;
  const std::string path = dir / "file";
  File file;
  std::array<std::byte, 8> buffer;
};
template <Task<bool> (*kOperation)(OfFile&)>
struct FileRow final : OfFile {
  Task<bool> operate() override { return kOperation(*this); }
};
Task<bool> open_it(OfFile& f) { co_return (co_await File::open(f.path)).ok(); }
Task<bool> read_at(OfFile& f) { co_return (co_await f.file.read_at(0, f.buffer)).ok(); }
Task<bool> write_at(OfFile& f) { co_return (co_await f.file.write_at(5, bytes_of("6"))).ok(); }
Task<bool> append_to(OfFile& f) { co_return (co_await f.file.append("6")).ok(); }
Task<bool> sync_it(OfFile& f) { co_return (co_await f.file.sync()).ok(); }
Task<bool> size_of(OfFile& f) { co_return (co_await f.file.size()).ok(); }
Task<bool> truncate_it(OfFile& f) { co_return (co_await f.file.truncate(5)).ok(); }
Task<bool> metadata_of(OfFile& f) { co_return (co_await f.file.metadata()).ok(); }
Task<bool> close_it(OfFile& f) { co_return (co_await f.file.close()).ok(); }
Task<bool> read_whole(OfFile& f) { co_return (co_await read_file(f.path)).ok(); }
Task<bool> write_whole(OfFile& f) {
  co_return (co_await write_file_atomic(f.path, std::string(kText))).ok();
}
Task<bool> rename_it(OfFile& f) { co_return (co_await rename_file(f.path, f.path)).ok(); }
Task<bool> remove_other(OfFile& f) { co_return (co_await remove_file(f.dir / "none")).ok(); }
Task<bool> create_folders(OfFile& f) {
  co_return (co_await create_directories(f.dir / "a/b")).ok();
}
Task<bool> list_folder(OfFile& f) { co_return (co_await list_directory(f.dir / "")).ok(); }
Task<bool> metadata_by_name(OfFile& f) { co_return (co_await file_metadata(f.path)).ok(); }

using TcpAccept = Accept<TcpStream, TcpListener>;
using UnixAccept = Accept<UnixStream, UnixListener>;
using TcpConnect = Connect<TcpStream, TcpListener>;
using UnixConnect = Connect<UnixStream, UnixListener>;

INSTANTIATE_TEST_SUITE_P(
    Io, CancelAtEveryMoment,
    ::testing::Values(
        cancel_row<ReadSome<PipeEnds>>("pipe.hpp read_some"),
        cancel_row<ReadToEnd>("pipe.hpp read_to_end"),
        cancel_row<WriteAll<PipeEndsTurned>>("pipe.hpp write_all"),
        cancel_row<ReadSome<UnixEnds>>("unix_socket.hpp read_some"),
        cancel_row<ReadExact<UnixEnds>>("unix_socket.hpp read_exact"),
        cancel_row<WriteAll<UnixEnds>>("unix_socket.hpp write_all"),
        cancel_row<Hangup<UnixEnds>>("unix_socket.hpp hangup"),
        cancel_row<RecvFds>("unix_socket.hpp recv_fds"),
        cancel_row<SendFds>("unix_socket.hpp send_fds", /*waits=*/false),
        cancel_row<UnixAccept>("unix_socket.hpp accept"),
        cancel_row<UnixConnect>("unix_socket.hpp connect", /*waits=*/false),
        cancel_row<ReadSome<TcpEnds>>("tcp.hpp read_some"),
        cancel_row<ReadExact<TcpEnds>>("tcp.hpp read_exact"),
        cancel_row<WriteAll<TcpEnds>>("tcp.hpp write_all"),
        cancel_row<WritePieces>("tcp.hpp write_pieces"),
        cancel_row<Hangup<TcpEnds>>("tcp.hpp hangup"), cancel_row<TcpAccept>("tcp.hpp accept"),
        cancel_row<TcpConnect>("tcp.hpp connect", /*waits=*/false),
        cancel_row<RecvFrom>("udp.hpp recv_from"), cancel_row<UdpRecvMany>("udp.hpp recv_many"),
        cancel_row<UdpSend<How::send>>("udp.hpp send", /*waits=*/false),
        cancel_row<UdpSend<How::send_to>>("udp.hpp send_to", /*waits=*/false),
        cancel_row<UdpSend<How::many>>("udp.hpp send_many", /*waits=*/false),
        cancel_row<UdpSend<How::segmented>>("udp.hpp send_segmented", /*waits=*/false),
        cancel_row<Wait>("process.hpp wait"),
        cancel_row<Output>("process.hpp output", /*waits=*/false),
        cancel_row<NextSignal>("signal.hpp next")),
    name_of_row);

INSTANTIATE_TEST_SUITE_P(
    Files, CancelAtEveryMoment,
    ::testing::Values(cancel_row<FileRow<open_it>>("file.hpp open", false),
                      cancel_row<FileRow<read_at>>("file.hpp read_at", false),
                      cancel_row<FileRow<write_at>>("file.hpp write_at", false),
                      cancel_row<FileRow<append_to>>("file.hpp append", false),
                      cancel_row<FileRow<sync_it>>("file.hpp sync", false),
                      cancel_row<FileRow<size_of>>("file.hpp size", false),
                      cancel_row<FileRow<truncate_it>>("file.hpp truncate", false),
                      cancel_row<FileRow<metadata_of>>("file.hpp metadata", false),
                      cancel_row<FileRow<close_it>>("file.hpp close", false),
                      cancel_row<FileRow<read_whole>>("files.hpp read_file", false),
                      cancel_row<FileRow<write_whole>>("files.hpp write_file_atomic", false),
                      cancel_row<FileRow<rename_it>>("files.hpp rename_file", false),
                      cancel_row<FileRow<remove_other>>("files.hpp remove_file", false),
                      cancel_row<FileRow<create_folders>>("files.hpp create_directories", false),
                      cancel_row<FileRow<list_folder>>("files.hpp list_directory", false),
                      cancel_row<FileRow<metadata_by_name>>("files.hpp file_metadata", false)),
    name_of_row);

}  // namespace
}  // namespace zsync
