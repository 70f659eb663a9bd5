#include "daemon/tasks/worker_pool.hpp"

#include <algorithm>

namespace zsync::daemon {
namespace {

constexpr Lane kLanes[] = {Lane::kTask, Lane::kDirect};

size_t index(Lane lane) { return static_cast<size_t>(lane); }

}  // namespace

uint32_t WorkerPool::Worker::places(Lane lane) const {
  const Side& side = sides[index(lane)];
  return draining ? side.held : window - side.given_up;
}

uint32_t WorkerPool::Worker::free(Lane lane) const {
  const Side& side = sides[index(lane)];
  return draining ? 0 : window - side.held - side.given_up;
}

template <typename Change>
void WorkerPool::update(uint64_t id, Worker& worker, const Change& change) {
  Function& function = functions_[worker.function];
  for (Lane lane : kLanes) {
    function.free[index(lane)].erase({worker.free(lane), id});
    function.places[index(lane)] -= worker.places(lane);
    function.held -= worker.sides[index(lane)].held;
  }
  change();
  for (Lane lane : kLanes) {
    function.free[index(lane)].insert({worker.free(lane), id});
    function.places[index(lane)] += worker.places(lane);
    function.held += worker.sides[index(lane)].held;
  }
}

uint64_t WorkerPool::join(const std::string& name, uint32_t window, int64_t silence_ns,
                          int64_t now) {
  const uint64_t id = next_worker_++;
  Worker& worker = workers_[id];
  worker.function = name;
  worker.silence = silence_ns;
  Function& function = functions_[name];
  ++function.workers;
  worker.window = 0;
  for (Lane lane : kLanes) function.free[index(lane)].insert({0, id});
  update(id, worker, [&] { worker.window = window; });
  heard(id, now);
  return id;
}

std::vector<WorkerPool::Call> WorkerPool::leave(uint64_t id) {
  auto found = workers_.find(id);
  if (found == workers_.end()) return {};
  Worker& worker = found->second;
  std::vector<Call> held;
  for (uint64_t call : worker.calls) {
    Held& one = calls_.at(call);
    forget_time(call, one);
    if (!one.given_up) held.push_back({call, one.lane, one.subject});
    calls_.erase(call);
  }
  std::sort(held.begin(), held.end(), [](const Call& a, const Call& b) { return a.call < b.call; });
  Function& function = functions_[worker.function];
  update(id, worker, [&] {
    worker.draining = false;
    worker.window = 0;
    worker.sides[0] = worker.sides[1] = Side();
  });
  for (Lane lane : kLanes) function.free[index(lane)].erase({0, id});
  if (--function.workers == 0) functions_.erase(worker.function);
  if (worker.due != 0) silences_.erase({worker.due, id});
  workers_.erase(found);
  return held;
}

void WorkerPool::drain(uint64_t id) {
  auto found = workers_.find(id);
  if (found == workers_.end()) return;
  update(id, found->second, [&] { found->second.draining = true; });
}

void WorkerPool::heard(uint64_t id, int64_t now) {
  auto found = workers_.find(id);
  if (found == workers_.end() || found->second.silence == 0) return;
  Worker& worker = found->second;
  if (worker.due != 0) silences_.erase({worker.due, id});
  worker.due = now + worker.silence;
  silences_.insert({worker.due, id});
}

std::optional<WorkerPool::Handed> WorkerPool::hand(const std::string& name, Lane lane,
                                                   uint64_t subject, int64_t until) {
  auto found = functions_.find(name);
  if (found == functions_.end() || found->second.free[index(lane)].empty()) return std::nullopt;
  const auto [free, id] = *found->second.free[index(lane)].rbegin();
  if (free == 0) return std::nullopt;
  Worker& worker = workers_.at(id);
  const uint64_t call = next_call_++;
  update(id, worker, [&] { ++worker.sides[index(lane)].held; });
  worker.calls.insert(call);
  calls_[call] = {id, lane, subject, until, false};
  if (until != 0) times_.insert({until, call});
  return Handed{id, call};
}

std::optional<WorkerPool::Call> WorkerPool::answered(uint64_t id, uint64_t call) {
  auto found = calls_.find(call);
  if (found == calls_.end() || found->second.worker != id) return std::nullopt;
  Held held = found->second;
  forget_time(call, held);
  calls_.erase(found);
  Worker& worker = workers_.at(id);
  worker.calls.erase(call);
  update(id, worker, [&] {
    Side& side = worker.sides[index(held.lane)];
    --(held.given_up ? side.given_up : side.held);
  });
  if (held.given_up) return std::nullopt;
  return Call{call, held.lane, held.subject};
}

std::optional<uint64_t> WorkerPool::give_up(uint64_t call) {
  auto found = calls_.find(call);
  if (found == calls_.end() || found->second.given_up) return std::nullopt;
  Held& held = found->second;
  forget_time(call, held);
  held.given_up = true;
  Worker& worker = workers_.at(held.worker);
  update(held.worker, worker, [&] {
    Side& side = worker.sides[index(held.lane)];
    --side.held;
    ++side.given_up;
  });
  return held.worker;
}

std::optional<uint64_t> WorkerPool::holder(uint64_t call) const {
  auto found = calls_.find(call);
  if (found == calls_.end() || found->second.given_up) return std::nullopt;
  return found->second.worker;
}

void WorkerPool::limit(uint64_t call, int64_t until) {
  auto found = calls_.find(call);
  if (found == calls_.end() || found->second.given_up) return;
  Held& held = found->second;
  if (held.until != 0 && held.until <= until) return;
  forget_time(call, held);
  held.until = until;
  times_.insert({until, call});
}

void WorkerPool::forget_time(uint64_t call, Held& held) {
  if (held.until != 0) times_.erase({held.until, call});
  held.until = 0;
}

std::vector<WorkerPool::Call> WorkerPool::expired(int64_t now) {
  std::vector<Call> over;
  while (!times_.empty() && times_.begin()->first <= now) {
    const uint64_t call = times_.begin()->second;
    Held& held = calls_.at(call);
    forget_time(call, held);
    over.push_back({call, held.lane, held.subject});
  }
  return over;
}

std::vector<uint64_t> WorkerPool::silent(int64_t now) {
  std::vector<uint64_t> gone;
  for (const auto& [due, worker] : silences_) {
    if (due > now) break;
    gone.push_back(worker);
  }
  return gone;
}

std::optional<int64_t> WorkerPool::wake_at() const {
  std::optional<int64_t> at;
  if (!times_.empty()) at = times_.begin()->first;
  if (!silences_.empty()) at = std::min(at.value_or(INT64_MAX), silences_.begin()->first);
  return at;
}

uint32_t WorkerPool::places(const std::string& name, Lane lane) const {
  auto found = functions_.find(name);
  return found == functions_.end() ? 0 : found->second.places[index(lane)];
}

WorkerPool::Counts WorkerPool::counts(const std::string& name) const {
  auto found = functions_.find(name);
  if (found == functions_.end()) return {};
  const Function& function = found->second;
  return {function.workers, function.places[index(Lane::kTask)], function.held};
}

}  // namespace zsync::daemon
