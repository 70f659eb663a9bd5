#include "zsync/watch/watcher.hpp"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "watch/open_source.hpp"
#include "watch/shared_root.hpp"
#include "zsync/runtime.hpp"
#include "zsync/timeout.hpp"

namespace zsync {
namespace {

std::string new_instance() {
  std::random_device device;
  return absl::StrCat(absl::Hex(device(), absl::kZeroPad8), absl::Hex(device(), absl::kZeroPad8));
}

absl::Status closed() { return absl::UnavailableError("the watcher was closed"); }

}  // namespace

struct Watcher::State {
  std::shared_ptr<watching::SharedRoot> root;
  watching::Subscription subscription;
  std::optional<TaskHandle<void>> following;
};

Watcher::Watcher(std::unique_ptr<State> state) : state_(std::move(state)) {}
Watcher::Watcher(Watcher&&) noexcept = default;
Watcher& Watcher::operator=(Watcher&&) noexcept = default;
Watcher::~Watcher() = default;

Task<absl::StatusOr<Watcher>> Watcher::open(WatchOptions options) {
  absl::StatusOr<Watcher> opened = absl::CancelledError();
  try {
    opened = co_await open_checked(std::move(options));
  } catch (const Cancelled&) {
    co_return absl::CancelledError();
  }
  co_return opened;
}

Task<absl::StatusOr<Watcher>> Watcher::open_checked(WatchOptions options) {
  absl::Status times = watching::check_times(options.settle, options.max_wait);
  if (!times.ok()) co_return times;
  absl::StatusOr<watching::GlobSet> globs = watching::GlobSet::compile(options.globs);
  if (!globs.ok()) co_return globs.status();
  watching::SourceOptions how;
  how.source = options.source;
  how.poll_interval = options.poll_interval;
  how.filter.ignore = std::move(options.ignore);
  how.filter.gitignore = options.gitignore;
  auto source =
      co_await rt::call_blocking([path = std::move(options.path), how = std::move(how)]() mutable {
        return watching::open_source(path, std::move(how));
      });
  if (!source.ok()) co_return source.status();
  auto root = std::make_shared<watching::SharedRoot>(*std::move(source), new_instance(),
                                                     std::chrono::nanoseconds(0));
  watching::SubscriberOptions subscriber;
  subscriber.globs = *std::move(globs);
  subscriber.settle = options.settle;
  subscriber.max_wait = options.max_wait;
  absl::StatusOr<watching::Subscription> subscription = root->subscribe(std::move(subscriber));
  if (!subscription.ok()) co_return subscription.status();
  SpawnOptions background;
  background.name = "watcher";
  background.background = true;
  Watcher watcher(std::unique_ptr<State>(
      new State{root, *std::move(subscription),
                spawn(std::move(background), watching::SharedRoot::run(root))}));
  absl::StatusOr<WatchBatch> begun = co_await watcher.state_->subscription.next();
  if (!begun.ok()) co_return begun.status();
  co_return watcher;
}

Task<absl::StatusOr<WatchBatch>> Watcher::next() {
  if (!state_->following) co_return closed();
  absl::StatusOr<WatchBatch> batch = absl::CancelledError();
  try {
    batch = co_await state_->subscription.next();
  } catch (const Cancelled&) {
    co_return absl::CancelledError();
  }
  if (!batch.ok() && !state_->following) co_return closed();
  co_return batch;
}

const std::string& Watcher::root() const { return state_->root->path(); }

WatchFigures Watcher::figures() const {
  watching::RootFacts facts = state_->root->facts();
  return {facts.directories, facts.files, facts.missing, facts.source, std::move(facts.fallback)};
}

Task<void> Watcher::close() {
  std::optional<TaskHandle<void>> following = std::exchange(state_->following, std::nullopt);
  if (!following) co_return;
  following->cancel();
  // It takes the cancel for its end, so this does not throw.
  co_await shield(rt::await_end(following->strand()));
}

}  // namespace zsync
