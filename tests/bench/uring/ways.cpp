// Ways of io_uring beside the one of the driver (sdk/cpp/src/rt/uring_driver.cpp), without a
// runtime around them: CPU time of the process for each trip, connection or wake. One call measures
// each way once, in turns.
//
// Ping-pong: 64 bytes forth and back over loopback TCP, both ends in one thread. A lone connection
// sends at once, twenty send through the ring, as the driver does. The ways differ in how bytes
// arrive:
//   polls               a multishot poll tells, the reader calls recv() (the driver)
//   requests            a recv request for each message, into the reader's memory
//   requests in time    the same, each with a linked timeout that does not fire
//   provided buffers    a multishot recv takes a buffer out of a ring of them, which is copied
//   direct descriptors  the same, with descriptors registered in the ring, also for the sends
//
// Accept: 2,000 connections made, taken and closed on both sides, 50 at a time.
//   polls               a multishot poll tells, accept4() until there is none (the driver's poll)
//   multishot           multishot accept
//   direct descriptors  multishot accept into the ring's table, closed through the ring
//
// Wake: a thread that waits in its ring is woken by another one, which it then wakes.
//   eventfd             write() to an eventfd that a multishot poll watches (the driver)
//   MSG_RING            a completion posted into the other ring
//
// Cannot be optimised away: the kernel moves the bytes, the messages are looked at, the connections
// counted.
#include <poll.h>
#include <sys/eventfd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <tuple>

#include "tests/bench/uring/ring.hpp"

namespace zsync::bench {
namespace {

constexpr size_t kTrips = 20'000;  // of all connections together
constexpr size_t kBytes = 64;
constexpr size_t kAccepts = 2000;
constexpr size_t kAcceptsAtOnce = 50;
constexpr size_t kWakes = 5000;
constexpr unsigned kBuffers = 64;  // a power of two, more than connection ends
constexpr uint16_t kGroup = 1;

enum class Way { kPolls, kRequests, kTimed, kProvided, kDirect };
enum Tag : uint64_t { kArrived = 1, kSent = 2, kTimer = 3 };

// The buffers that a multishot recv takes from.
class Buffers {
 public:
  explicit Buffers(Ring& ring) : ring_(ring) {
    const size_t bytes = kBuffers * sizeof(io_uring_buf);
    expect(posix_memalign(reinterpret_cast<void**>(&shared_), 4096, bytes) == 0, "memory");
    std::memset(static_cast<void*>(shared_), 0, bytes);
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<uintptr_t>(shared_);
    registration.ring_entries = kBuffers;
    registration.bgid = kGroup;
    expect_ok(io_uring_register_buf_ring(ring.get(), &registration, 0), "buffer ring");
    for (uint16_t i = 0; i < kBuffers; ++i) give_back(i);
  }
  ~Buffers() {
    io_uring_unregister_buf_ring(ring_.get(), kGroup);
    free(shared_);
  }
  Buffers(const Buffers&) = delete;

  const char* at(uint16_t id) const { return memory_[id].data(); }
  void give_back(uint16_t id) {
    io_uring_buf_ring_add(shared_, memory_[id].data(), kBytes, id, kBuffers - 1, 0);
    io_uring_buf_ring_advance(shared_, 1);
  }

 private:
  Ring& ring_;
  io_uring_buf_ring* shared_ = nullptr;
  std::array<std::array<char, kBytes>, kBuffers> memory_;
};

// One end of a connection: the even ones begin, the odd ones answer.
struct End {
  int descriptor = -1;
  size_t got = 0;  // bytes of the message that arrives
  size_t trips_left = 0;
  std::array<char, kBytes> message{};
  std::array<char, kBytes> arriving{};
};

class PingPong {
 public:
  PingPong(Way way, size_t connections) : way_(way), ends_(connections * 2), left_(connections) {
    std::vector<int> descriptors;
    for (size_t i = 0; i < connections; ++i) {
      std::tie(ends_[2 * i].descriptor, ends_[2 * i + 1].descriptor) = listener_.connection();
      ends_[2 * i].trips_left = kTrips / connections;
    }
    for (const End& end : ends_) descriptors.push_back(end.descriptor);
    if (selects()) buffers_ = std::make_unique<Buffers>(ring_);
    if (way == Way::kDirect) {
      const auto count = static_cast<unsigned>(descriptors.size());
      expect_ok(io_uring_register_files(ring_.get(), descriptors.data(), count), "files");
    }
  }
  ~PingPong() {
    for (const End& end : ends_) ::close(end.descriptor);
  }
  PingPong(const PingPong&) = delete;

  double cpu_ns_each() {
    for (uint64_t i = 0; i < ends_.size(); ++i) arm(i);
    const double before = cpu_ns();
    for (uint64_t i = 0; i < ends_.size(); i += 2) send(i);
    while (left_ > 0) {
      ring_.turn([this](const io_uring_cqe& completion) { take(completion); });
    }
    return (cpu_ns() - before) / kTrips;
  }

 private:
  static uint64_t data_of(uint64_t end, Tag tag) { return end << 2 | tag; }

  bool selects() const { return way_ == Way::kProvided || way_ == Way::kDirect; }

  void arm(uint64_t index) {
    io_uring_sqe* entry = ring_.entry();
    const int descriptor = descriptor_of(index);
    if (way_ == Way::kPolls) {
      io_uring_prep_poll_multishot(entry, descriptor, POLLIN | POLLRDHUP);
    } else if (selects()) {
      io_uring_prep_recv_multishot(entry, descriptor, nullptr, 0, 0);
      entry->flags |= IOSQE_BUFFER_SELECT;
      entry->buf_group = kGroup;
    } else {
      io_uring_prep_recv(entry, descriptor, ends_[index].arriving.data(), kBytes, 0);
    }
    if (way_ == Way::kDirect) entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, data_of(index, kArrived));
    if (way_ == Way::kTimed) limit(*entry);
  }

  void limit(io_uring_sqe& request) {
    request.flags |= IOSQE_IO_LINK;
    io_uring_sqe* timer = ring_.entry();
    io_uring_prep_link_timeout(timer, &hour_, 0);
    io_uring_sqe_set_data64(timer, kTimer);
  }

  int descriptor_of(uint64_t index) const {
    return way_ == Way::kDirect ? static_cast<int>(index) : ends_[index].descriptor;
  }

  // As the driver: at once where one connection alone is at work, else with the others.
  void send(uint64_t index) {
    End& end = ends_[index];
    end.message.fill(static_cast<char>(end.trips_left));
    if (ends_.size() == 2) {
      const ssize_t sent =
          ::send(end.descriptor, end.message.data(), kBytes, MSG_DONTWAIT | MSG_NOSIGNAL);
      return expect(sent == kBytes, "send");
    }
    io_uring_sqe* entry = ring_.entry();
    io_uring_prep_send(entry, descriptor_of(index), end.message.data(), kBytes,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
    if (way_ == Way::kDirect) entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, data_of(index, kSent));
  }

  void take(const io_uring_cqe& completion) {
    const uint64_t index = completion.user_data >> 2;
    if ((completion.user_data & 3) == kTimer) return expect(completion.res < 0, "in time");
    if ((completion.user_data & 3) == kSent) return expect(completion.res == kBytes, "sent");
    expect_ok(completion.res, "arrived");
    if (way_ == Way::kPolls) {
      read(index);
    } else if (!selects()) {
      add(index, ends_[index].arriving.data(), static_cast<size_t>(completion.res));
    } else {
      const auto buffer = static_cast<uint16_t>(completion.flags >> IORING_CQE_BUFFER_SHIFT);
      add(index, buffers_->at(buffer), static_cast<size_t>(completion.res));
      buffers_->give_back(buffer);
    }
    if (!(completion.flags & IORING_CQE_F_MORE)) arm(index);
  }

  // One call a message: FdState of the driver's side knows too when a second one would be in vain.
  void read(uint64_t index) {
    char bytes[kBytes];
    const ssize_t count = ::recv(ends_[index].descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0) return add(index, bytes, static_cast<size_t>(count));
    expect(count < 0 && errno == EAGAIN, "recv");
  }

  void add(uint64_t index, const char* bytes, size_t count) {
    End& end = ends_[index];
    expect(end.got + count <= kBytes, "one message at a time");
    std::memcpy(end.message.data() + end.got, bytes, count);
    end.got += count;
    if (end.got < kBytes) return;
    end.got = 0;
    if (index % 2 == 1) {
      end.trips_left = static_cast<unsigned char>(end.message[0]);
      return send(index);
    }
    expect(end.message[0] == static_cast<char>(end.trips_left), "echo");
    if (--end.trips_left > 0) return send(index);
    --left_;
  }

  const Way way_;
  __kernel_timespec hour_{3600, 0};
  Listener listener_;
  std::vector<End> ends_;
  size_t left_;  // connections
  Ring ring_;
  std::unique_ptr<Buffers> buffers_;
};

class Accepting {
 public:
  explicit Accepting(Way way) : way_(way) {
    if (way == Way::kDirect) {
      expect_ok(io_uring_register_files_sparse(ring_.get(), kAcceptsAtOnce * 2), "files");
    }
  }

  double cpu_us_each() {
    arm();
    const double before = cpu_ns();
    for (size_t made = 0; made < kAccepts; made += kAcceptsAtOnce) {
      std::array<int, kAcceptsAtOnce> clients;
      for (int& client : clients) client = listener_.connect();
      while (accepted_ < made + kAcceptsAtOnce || closing_ > 0) {
        ring_.turn([this](const io_uring_cqe& completion) { take(completion); });
      }
      for (const int client : clients) ::close(client);
    }
    return (cpu_ns() - before) / kAccepts / 1000;
  }

 private:
  enum { kAccepted = 1, kClosed = 2 };

  void arm() {
    io_uring_sqe* entry = ring_.entry();
    if (way_ == Way::kPolls) {
      io_uring_prep_poll_multishot(entry, listener_.descriptor(), POLLIN);
    } else if (way_ == Way::kProvided) {
      io_uring_prep_multishot_accept(entry, listener_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC);
    } else {
      io_uring_prep_multishot_accept_direct(entry, listener_.descriptor(), nullptr, nullptr, 0);
    }
    io_uring_sqe_set_data64(entry, kAccepted);
  }

  void take(const io_uring_cqe& completion) {
    if (completion.user_data == kClosed) {
      expect_ok(completion.res, "close");
      --closing_;
      return;
    }
    expect_ok(completion.res, "accept");
    if (way_ == Way::kPolls) {
      int server;
      while ((server = ::accept4(listener_.descriptor(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0) {
        done(server);
      }
    } else {
      done(completion.res);
    }
    if (!(completion.flags & IORING_CQE_F_MORE)) arm();
  }

  void done(int server) {
    ++accepted_;
    if (way_ != Way::kDirect) {
      ::close(server);
      return;
    }
    io_uring_sqe* entry = ring_.entry();
    io_uring_prep_close_direct(entry, static_cast<unsigned>(server));
    io_uring_sqe_set_data64(entry, kClosed);
    ++closing_;
  }

  const Way way_;
  Listener listener_;
  size_t accepted_ = 0;
  size_t closing_ = 0;
  Ring ring_;
};

// A ring, and what wakes whoever waits in it.
class Sleeper {
 public:
  explicit Sleeper(bool by_message) : by_message_(by_message) {
    if (!by_message) arm();
  }
  ~Sleeper() { ::close(event_); }
  Sleeper(const Sleeper&) = delete;

  void wait() {
    bool woken = false;
    while (!woken) {
      ring_.turn([&](const io_uring_cqe& completion) {
        expect_ok(completion.res, "wake");
        if (completion.user_data != kWoken) return;
        woken = true;
        if (!by_message_ && !(completion.flags & IORING_CQE_F_MORE)) arm();
      });
    }
  }

  // Called in the thread of this ring.
  void wake(Sleeper& other) {
    if (!by_message_) {
      const uint64_t one = 1;
      return expect(::write(other.event_, &one, sizeof one) == sizeof one, "write");
    }
    io_uring_sqe* entry = ring_.entry();
    io_uring_prep_msg_ring(entry, other.ring_.descriptor(), 0, kWoken, 0);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(entry, kNobody);  // leaves with the next wait
  }
  void submit() { expect_ok(io_uring_submit(ring_.get()), "io_uring_enter"); }

 private:
  enum : uint64_t { kNobody = 1, kWoken = 2 };
  void arm() {
    io_uring_sqe* entry = ring_.entry();
    io_uring_prep_poll_multishot(entry, event_, POLLIN);
    io_uring_sqe_set_data64(entry, kWoken);
  }

  const bool by_message_;
  const int event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  Ring ring_;
};

double wake_cpu_us_each(bool by_message) {
  std::atomic<Sleeper*> answering = nullptr;
  std::atomic<Sleeper*> asking = nullptr;
  const double before = cpu_ns();
  std::jthread thread([&] {
    Sleeper mine(by_message);  // the ring belongs to the thread that made it
    answering.store(&mine);
    answering.notify_one();
    asking.wait(nullptr);
    for (size_t i = 0; i < kWakes; ++i) {
      mine.wait();
      mine.wake(*asking.load());
    }
    mine.submit();
  });
  Sleeper mine(by_message);
  answering.wait(nullptr);
  asking.store(&mine);
  asking.notify_one();
  for (size_t i = 0; i < kWakes; ++i) {
    mine.wake(*answering.load());
    mine.wait();
  }
  thread.join();
  return (cpu_ns() - before) / (2 * kWakes) / 1000;
}

constexpr std::pair<Way, const char*> kPingWays[] = {{Way::kPolls, "polls"},
                                                     {Way::kRequests, "requests"},
                                                     {Way::kTimed, "requests in time"},
                                                     {Way::kProvided, "provided buffers"},
                                                     {Way::kDirect, "direct descriptors"}};
constexpr std::pair<Way, const char*> kAcceptWays[] = {
    {Way::kPolls, "polls"}, {Way::kProvided, "multishot"}, {Way::kDirect, "direct descriptors"}};

// benches/uring.py tells the way from the metric by the word between them.
void row(const std::string& what, const char* way, const char* unit, double value) {
  report((what + " by " + way).c_str(), unit, value);
}

void ping_rows() {
  for (const size_t connections : {1, 20}) {
    for (const auto& [way, name] : kPingWays) {
      row("ping-pong, " + std::to_string(connections) +
              (connections == 1 ? " connection" : " connections"),
          name, "ns cpu/trip", PingPong(way, connections).cpu_ns_each());
    }
  }
}

void accept_rows() {
  for (const auto& [way, name] : kAcceptWays) {
    row("connect, accept, close", name, "us cpu/connection", Accepting(way).cpu_us_each());
  }
}

void wake_rows() {
  row("wake of a ring", "eventfd", "us cpu/wake", wake_cpu_us_each(false));
  row("wake of a ring", "MSG_RING", "us cpu/wake", wake_cpu_us_each(true));
}

}  // namespace
}  // namespace zsync::bench

int main() {
  zsync::bench::ping_rows();
  zsync::bench::accept_rows();
  zsync::bench::wake_rows();
}
