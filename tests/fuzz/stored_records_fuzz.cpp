// Blobs of the store and of the event log, as a damaged disk may hand them out. What is read is
// written again and must read the same.
#include <cstdlib>

#include "daemon/events/event_log.hpp"
#include "daemon/tasks/task.hpp"
#include "tests/fuzz/input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto spec = zsync::daemon::decode_task_spec(bytes)) {
    (void)zsync::daemon::validate(*spec);
    const std::string again = zsync::daemon::encode_task_spec(*spec);
    const auto back = zsync::daemon::decode_task_spec(again);
    if (!back || zsync::daemon::encode_task_spec(*back) != again) std::abort();
  }
  zsync::daemon::segment_log::Record record;
  record.payload = bytes;
  if (const auto event = zsync::daemon::decode_event(record)) {
    const std::string again = zsync::daemon::encode_event(*event);
    record.payload = again;
    const auto back = zsync::daemon::decode_event(record);
    if (!back || zsync::daemon::encode_event(*back) != again) std::abort();
  }
  return 0;
}
