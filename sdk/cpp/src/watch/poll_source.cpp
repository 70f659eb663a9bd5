#include "watch/poll_source.hpp"

#include <utility>

#include "zsync/assert.hpp"

namespace zsync::watching {

absl::StatusOr<std::unique_ptr<PollSource>> PollSource::open(std::string_view root,
                                                             FilterOptions options,
                                                             std::chrono::nanoseconds interval,
                                                             std::string why,
                                                             const Recall& recall) {
  ZS_ASSERT(interval.count() > 0, "PollSource: give an interval above 0");
  absl::StatusOr<Opening> opening = prepare(root, std::move(options), recall);
  if (!opening.ok()) return opening.status();
  std::unique_ptr<PollSource> source(new PollSource(*std::move(opening), interval));
  if (absl::Status status = source->begin(); !status.ok()) return status;
  source->set_fallback(std::move(why));
  return source;
}

std::unique_ptr<PollSource> PollSource::instead_of(std::unique_ptr<Source> failed,
                                                   std::chrono::nanoseconds interval) {
  ZS_ASSERT(!failed->status().ok(), "PollSource::instead_of: the source has not failed");
  std::string why(failed->status().message());
  std::unique_ptr<PollSource> source(new PollSource(*failed, interval));
  source->set_fallback(std::move(why));
  return source;
}

bool PollSource::watch(NodeId directory, int fd) {
  tree_.set_tag(directory, 0);
  return true;
}

}  // namespace zsync::watching
