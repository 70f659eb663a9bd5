// What a damaged attempt directory or a broken shim may hand to zsyncd: files and frames.
#include <algorithm>

#include "daemon/shim/shim_protocol.hpp"
#include "tests/fuzz/input.hpp"

namespace shim = zsync::daemon::shim;

namespace {

void decode(const shim::Frame& frame) {
  (void)shim::decode_hello(frame);
  (void)shim::decode_started(frame);
  (void)shim::decode_output(frame);
  (void)shim::decode_stdin_ack(frame);
  (void)shim::decode_cancel(frame);
  (void)shim::decode_signal(frame);
  (void)shim::decode_stdin_data(frame);
  (void)shim::decode_exited(frame);
  (void)shim::decode_refused(frame);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zsync::fuzz::Input input(data, size);
  (void)shim::decode_spec(input.rest());
  (void)shim::decode_claim(input.rest());
  (void)shim::decode_exit(input.rest());
  // The checksum keeps random bytes out of the decoders, so that they also get fields directly.
  decode({static_cast<shim::FrameType>(input.byte()), std::string(input.rest())});
  shim::FrameReader frames;
  while (!input.empty() && !frames.broken()) {
    frames.push(input.take(1 + input.byte()));
    while (std::optional<shim::Frame> frame = frames.next()) decode(*frame);
  }
  return 0;
}
