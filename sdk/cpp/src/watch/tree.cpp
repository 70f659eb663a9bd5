#include "watch/tree.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/hash/hash.h"

namespace zsync::watching {

Tree::Tree(size_t tombstones_max) : tombstones_max_(tombstones_max) {
  Node& root = node(allocate());
  root.kind = EntryKind::directory;
}

size_t Tree::bucket(NodeId directory, std::string_view name) const {
  const size_t hash = absl::Hash<std::pair<NodeId, std::string_view>>()({directory, name});
  const size_t wide = hash & (low_buckets_ * 2 - 1);
  return wide < buckets_.size() ? wide : hash & (low_buckets_ - 1);
}

void Tree::index(NodeId id) {
  NodeId& first = buckets_[bucket(node(id).parent, name(id))];
  node(id).next_in_bucket = first;
  first = id;
  if (++entries_ > buckets_.size()) split_bucket();
}

void Tree::unindex(NodeId id) {
  NodeId* at = &buckets_[bucket(node(id).parent, name(id))];
  while (*at != id) at = &node(*at).next_in_bucket;
  *at = node(id).next_in_bucket;
  --entries_;
}

void Tree::split_bucket() {
  const size_t from = buckets_.size() - low_buckets_;
  NodeId chain = std::exchange(buckets_[from], kNoNode);
  buckets_.push_back(kNoNode);
  while (chain != kNoNode) {
    const NodeId id = chain;
    chain = node(id).next_in_bucket;
    NodeId& first = buckets_[bucket(node(id).parent, name(id))];
    node(id).next_in_bucket = first;
    first = id;
  }
  if (buckets_.size() == low_buckets_ * 2) low_buckets_ *= 2;
}

NodeId Tree::find(NodeId directory, std::string_view name) const {
  NodeId at = buckets_[bucket(directory, name)];
  while (at != kNoNode && (node(at).parent != directory || this->name(at) != name))
    at = node(at).next_in_bucket;
  return at;
}

NodeId Tree::find_path(std::string_view path) const {
  NodeId at = kRoot;
  while (!path.empty() && at != kNoNode) {
    const size_t slash = path.find('/');
    at = find(at, path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return at;
}

std::string_view Tree::name(NodeId id) const { return {node(id).name.get(), node(id).name_size}; }

std::string Tree::path(NodeId id) const {
  size_t size = 0;
  for (NodeId at = id; at != kRoot; at = node(at).parent) size += node(at).name_size + size_t{1};
  if (size == 0) return {};
  std::string out(size - 1, '/');
  size_t end = out.size();
  for (NodeId at = id; at != kRoot; at = node(at).parent) {
    const Node& n = node(at);
    std::memcpy(out.data() + end - n.name_size, n.name.get(), n.name_size);
    end -= n.name_size + (end > n.name_size ? size_t{1} : size_t{0});
  }
  return out;
}

EntryState Tree::state(NodeId id) const {
  const Node& n = node(id);
  return {n.size, n.mtime_ns, n.ctime_ns, n.inode, n.kind};
}

bool Tree::within(NodeId id, NodeId directory) const {
  for (NodeId at = id; at != kNoNode; at = node(at).parent) {
    if (at == directory) return true;
  }
  return false;
}

std::vector<NodeId> Tree::children(NodeId directory) const {
  std::vector<NodeId> out;
  for (NodeId at = node(directory).first_child; at != kNoNode; at = node(at).next_sibling)
    out.push_back(at);
  return out;
}

bool Tree::alive(NodeRef ref) const {
  return ref.id < allocated_ && node(ref.id).used && node(ref.id).generation == ref.generation;
}

NodeId Tree::allocate() {
  NodeId id = allocated_;
  if (!free_.empty()) {
    id = free_.back();
    free_.pop_back();
  } else {
    if (allocated_ % kChunk == 0) chunks_.push_back(std::make_unique<Node[]>(kChunk));
    ++allocated_;
  }
  node(id).used = true;
  return id;
}

void Tree::release(NodeId id) {
  const uint32_t generation = node(id).generation + 1;
  node(id) = Node{};
  node(id).generation = generation;
  free_.push_back(id);
}

void Tree::set_name(Node& n, std::string_view name) {
  n.name.reset(new char[name.size()]);
  std::memcpy(n.name.get(), name.data(), name.size());
  n.name_size = static_cast<uint8_t>(name.size());
}

void Tree::store(Node& n, const EntryState& state) {
  n.size = state.size;
  n.mtime_ns = state.mtime_ns;
  n.ctime_ns = state.ctime_ns;
  n.inode = state.inode;
}

void Tree::link_child(NodeId id, NodeId directory) {
  Node& n = node(id);
  Node& d = node(directory);
  n.parent = directory;
  n.previous_sibling = kNoNode;
  n.next_sibling = d.first_child;
  if (d.first_child != kNoNode) node(d.first_child).previous_sibling = id;
  d.first_child = id;
}

void Tree::unlink_child(NodeId id) {
  const Node& n = node(id);
  if (n.previous_sibling != kNoNode) {
    node(n.previous_sibling).next_sibling = n.next_sibling;
  } else {
    node(n.parent).first_child = n.next_sibling;
  }
  if (n.next_sibling != kNoNode) node(n.next_sibling).previous_sibling = n.previous_sibling;
}

void Tree::link_newest(NodeId id) {
  Node& n = node(id);
  n.older = newest_;
  n.newer = kNoNode;
  if (newest_ != kNoNode) node(newest_).newer = id;
  newest_ = id;
}

void Tree::unlink_age(NodeId id) {
  const Node& n = node(id);
  if (n.older != kNoNode) node(n.older).newer = n.newer;
  if (n.newer != kNoNode) {
    node(n.newer).older = n.older;
  } else {
    newest_ = n.older;
  }
}

void Tree::tick(NodeId id) {
  unlink_age(id);
  node(id).clock = ++clock_;
  link_newest(id);
}

void Tree::bury(NodeId id, std::string path, NodeRef moved_to) {
  const Node& n = node(id);
  tombstones_.push_back({clock_, n.placed, moved_to, n.kind == EntryKind::directory, n.size,
                         n.mtime_ns, std::move(path)});
  while (tombstones_.size() > tombstones_max_) {
    forgotten_ = tombstones_.front().clock;
    tombstones_.pop_front();
  }
}

// Each directory before its entries.
std::vector<NodeId> Tree::subtree(NodeId id) const {
  std::vector<NodeId> out{id};
  for (size_t i = 0; i < out.size(); ++i) {
    for (NodeId at = node(out[i]).first_child; at != kNoNode; at = node(at).next_sibling)
      out.push_back(at);
  }
  return out;
}

Change Tree::describe(NodeId id, ChangeKind kind) const {
  const Node& n = node(id);
  return {path(id), kind, {}, n.kind == EntryKind::directory, n.size, n.mtime_ns};
}

NodeId Tree::add(NodeId directory, std::string_view name, const EntryState& state, Changes* out) {
  const NodeId id = allocate();
  Node& n = node(id);
  set_name(n, name);
  store(n, state);
  n.kind = state.kind;
  n.clock = n.placed = ++clock_;
  link_child(id, directory);
  link_newest(id);
  index(id);
  if (n.kind == EntryKind::directory) ++directories_;
  record_state(true, id);
  if (out != nullptr) out->push_back(describe(id, ChangeKind::created));
  return id;
}

void Tree::update(NodeId id, const EntryState& state, bool touched, Changes* out) {
  Node& n = node(id);
  const bool report = n.kind != EntryKind::directory && (touched || !(this->state(id) == state));
  const bool another = n.kind == EntryKind::directory && n.inode != state.inode;
  store(n, state);
  if (report || another) record_state(false, id);
  if (!report) return;
  tick(id);
  if (out != nullptr) out->push_back(describe(id, ChangeKind::modified));
}

void Tree::remove(NodeId id, Changes* out, OnDrop on_drop) {
  record_end(false, id);
  const std::vector<NodeId> doomed = subtree(id);
  for (auto at = doomed.rbegin(); at != doomed.rend(); ++at) {
    if (*at == kRoot) continue;
    Change change = describe(*at, ChangeKind::deleted);
    ++clock_;
    bury(*at, change.path, {});
    if (out != nullptr) out->push_back(std::move(change));
    on_drop(*at);
    if (is_directory(*at)) --directories_;
    unindex(*at);
    unlink_child(*at);
    unlink_age(*at);
    release(*at);
  }
}

void Tree::forget(NodeId id, OnDrop on_drop) {
  record_end(true, id);
  const std::vector<NodeId> doomed = subtree(id);
  for (auto at = doomed.rbegin(); at != doomed.rend(); ++at) {
    if (*at == kRoot) continue;
    on_drop(*at);
    if (is_directory(*at)) --directories_;
    unindex(*at);
    unlink_child(*at);
    unlink_age(*at);
    release(*at);
  }
}

void Tree::rename(NodeId id, NodeId directory, std::string_view name, Changes* out) {
  record_rename(id, directory, name);
  const std::vector<NodeId> moved = subtree(id);
  std::vector<std::string> old_paths;
  old_paths.reserve(moved.size());
  for (const NodeId at : moved) old_paths.push_back(path(at));
  unindex(id);
  unlink_child(id);
  const std::string copy(name);
  set_name(node(id), copy);
  link_child(id, directory);
  index(id);
  for (size_t i = 0; i < moved.size(); ++i) {
    tick(moved[i]);
    bury(moved[i], old_paths[i], ref(moved[i]));
    node(moved[i]).placed = clock_;
    if (out == nullptr) continue;
    Change change = describe(moved[i], ChangeKind::renamed);
    change.renamed_from = std::move(old_paths[i]);
    out->push_back(std::move(change));
  }
}

Tree::Since Tree::since(uint64_t clock) const {
  if (clock < forgotten_ || clock > clock_) return {true, everything()};
  Since answer;
  absl::flat_hash_map<NodeId, const Tombstone*> moved;
  absl::flat_hash_map<absl::string_view, const Tombstone*> gone;
  for (auto t = tombstones_.rbegin(); t != tombstones_.rend() && t->clock > clock; ++t) {
    if (t->placed > clock) continue;
    if (alive(t->moved_to)) {
      moved[t->moved_to.id] = &*t;
    } else {
      gone[t->path] = &*t;
    }
  }
  for (NodeId id = newest_; id != kNoNode && node(id).clock > clock; id = node(id).older) {
    Change change = describe(id, ChangeKind::modified);
    const bool was_there = gone.erase(change.path) > 0;
    if (const auto from = moved.find(id); from != moved.end()) {
      if (from->second->path != change.path) {
        change.kind = ChangeKind::renamed;
        change.renamed_from = from->second->path;
      }
    } else if (node(id).placed > clock && !was_there) {
      change.kind = ChangeKind::created;
    }
    answer.changes.push_back(std::move(change));
  }
  for (const auto& [path, t] : gone) {
    answer.changes.push_back(
        {std::string(path), ChangeKind::deleted, {}, t->is_directory, t->size, t->mtime_ns});
  }
  std::sort(answer.changes.begin(), answer.changes.end(),
            [](const Change& a, const Change& b) { return a.path < b.path; });
  return answer;
}

Tree::Changes Tree::everything() const {
  Changes out;
  out.reserve(entries_);
  for (NodeId id = newest_; id != kNoNode; id = node(id).older)
    out.push_back(describe(id, ChangeKind::created));
  std::sort(out.begin(), out.end(),
            [](const Change& a, const Change& b) { return a.path < b.path; });
  return out;
}

}  // namespace zsync::watching
