#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/watch/engine.hpp"
#include "zsync/runtime.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kReadSlice{20};  // on a thread that may block

// Calls `step(item)` for each of them, where blocking is allowed, a slice at a time.
template <typename Items, typename Step>
Task<void> for_each_blocking(Items& items, Step step) {
  size_t at = 0;
  while (at < items.size()) {
    co_await rt::call_blocking([&] {
      const auto end = steady_clock::now() + kReadSlice;
      do {
        step(items[at]);
      } while (++at < items.size() && steady_clock::now() < end);
    });
  }
}

}  // namespace

Task<absl::StatusOr<WatchFeed>> WatchFeed::open(WatchEngine& engine, WatchRequest request) {
  const bool changed_content = request.changed_content;
  absl::StatusOr<watching::Subscription> subscription =
      co_await engine.subscribe(std::move(request));
  if (!subscription.ok()) co_return subscription.status();
  const std::string root = subscription->root();
  WatchFeed feed(*std::move(subscription));
  if (changed_content) {
    feed.content_ = std::make_unique<watching::ContentFilter>([root](const std::string& path) {
      return watching::read_content(absl::StrCat(root, "/", path));
    });
  }
  co_return feed;
}

Task<absl::StatusOr<watching::Told>> WatchFeed::next() {
  while (true) {
    taken_->store(false);
    absl::StatusOr<watching::Told> told = co_await subscription_.next_told();
    if (!told.ok() || told->state) co_return told;
    taken_->store(true);
    WatchBatch& batch = told->batch;
    const bool first = !std::exchange(begun_, true);
    if (content_) co_await (first ? learn() : leave_out(batch));
    const bool says = !batch.changes.empty() || batch.fresh || batch.gap != WatchGap::none;
    if (first || says) co_return told;
  }
}

// What changed since the tree was looked at is not remembered, and told when its batch comes.
Task<void> WatchFeed::learn() {
  watching::Listing listing = subscription_.take_listing();
  co_await for_each_blocking(
      listing.files, [&](const FileChange& file) { content_->learn(file, listing.looked_ns); });
}

Task<void> WatchFeed::leave_out(WatchBatch& batch) {
  std::vector<FileChange> kept;
  co_await for_each_blocking(batch.changes, [&](FileChange& change) {
    if (content_->tells(change)) kept.push_back(std::move(change));
  });
  batch.changes = std::move(kept);
}

}  // namespace zsync::daemon
