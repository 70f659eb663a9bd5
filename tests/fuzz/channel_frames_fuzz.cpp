// What is piped into `zsyncctl channels send`: however it is cut, the same messages come out.
#include <cstdlib>

#include "cli/frames.hpp"
#include "tests/fuzz/input.hpp"

namespace {

struct Result {
  std::vector<std::string> messages;
  bool good = true;
};

Result read(std::string_view bytes, bool frames, size_t step) {
  Result result;
  zsync::cli::MessageReader reader(frames);
  zsync::fuzz::Input input(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  while (!input.empty() && result.good) {
    result.good = reader.feed(input.take(step), result.messages).ok();
  }
  result.good = result.good && reader.finish(result.messages).ok();
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  zsync::fuzz::Input input(data, size);
  const size_t step = 1 + input.byte();
  for (const bool frames : {false, true}) {
    const Result whole = read(input.rest(), frames, input.rest().size() + 1);
    const Result parts = read(input.rest(), frames, step);
    if (whole.good != parts.good || (whole.good && whole.messages != parts.messages)) std::abort();
  }
  return 0;
}
