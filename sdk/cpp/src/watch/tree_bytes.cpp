// The Tree as bytes: all of it at once, and one mutation after the other.
#include <algorithm>
#include <utility>

#include "watch/bytes.hpp"
#include "watch/tree.hpp"

namespace zsync::watching {
namespace {

enum class Operation : uint8_t { add, update, remove, forget, rename };

void put_state(std::string& out, const EntryState& state) {
  put_number(out, state.size);
  put_number(out, state.mtime_ns);
  put_number(out, state.ctime_ns);
  put_number(out, state.inode);
  put_number(out, static_cast<uint8_t>(state.kind));
}

EntryState take_state(ByteReader& in) {
  EntryState state;
  state.size = in.number<uint64_t>();
  state.mtime_ns = in.number<int64_t>();
  state.ctime_ns = in.number<int64_t>();
  state.inode = in.number<uint64_t>();
  state.kind = static_cast<EntryKind>(in.number<uint8_t>() & 3);
  return state;
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() < 256 && name.find('/') == std::string_view::npos;
}

std::pair<std::string_view, std::string_view> split(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {{}, path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

void Tree::record_state(bool added, NodeId id) {
  if (record_ == nullptr) return;
  put_number(*record_, static_cast<uint8_t>(added ? Operation::add : Operation::update));
  put_text(*record_, path(id));
  put_state(*record_, state(id));
}

void Tree::record_end(bool forgotten, NodeId id) {
  if (record_ == nullptr) return;
  put_number(*record_, static_cast<uint8_t>(forgotten ? Operation::forget : Operation::remove));
  put_text(*record_, path(id));
}

void Tree::record_rename(NodeId id, NodeId directory, std::string_view name) {
  if (record_ == nullptr) return;
  put_number(*record_, static_cast<uint8_t>(Operation::rename));
  put_text(*record_, path(id));
  put_text(*record_, path(directory));
  put_text(*record_, name);
}

bool Tree::replay(std::string_view operations) {
  ByteReader in(operations);
  const auto ignore = [](NodeId) {};
  while (!in.empty()) {
    const auto operation = static_cast<Operation>(in.number<uint8_t>());
    const std::string_view at = in.text();
    const bool adds = operation == Operation::add;
    const auto [parent, added] = split(at);
    const NodeId id = find_path(adds ? parent : at);
    if (!in.ok() || id == kNoNode) return false;
    if (adds || operation == Operation::update) {
      const EntryState state = take_state(in);
      if (!in.ok()) return false;
      if (!adds) {
        update(id, state, true, nullptr);
      } else {
        if (!is_name(added) || !is_directory(id) || find(id, added) != kNoNode) return false;
        add(id, added, state, nullptr);
      }
    } else if (operation == Operation::rename) {
      const NodeId directory = find_path(in.text());
      const std::string_view name = in.text();
      if (!in.ok() || directory == kNoNode || !is_name(name) || !is_directory(directory) ||
          within(directory, id) || find(directory, name) != kNoNode)
        return false;
      rename(id, directory, name, nullptr);
    } else if (operation == Operation::remove) {
      remove(id, nullptr, ignore);
    } else if (operation == Operation::forget) {
      forget(id, ignore);
    } else {
      return false;
    }
  }
  return true;
}

void Tree::save(std::string& out) const {
  const std::vector<NodeId> ids = subtree(kRoot);
  std::vector<uint32_t> places(allocated_, UINT32_MAX);
  put_number(out, clock_);
  put_number(out, forgotten_);
  put_number(out, static_cast<uint32_t>(ids.size()));
  put_state(out, state(kRoot));
  places[kRoot] = 0;
  for (uint32_t i = 1; i < ids.size(); ++i) {
    const Node& n = node(ids[i]);
    places[ids[i]] = i;
    put_number(out, places[n.parent]);
    put_text(out, name(ids[i]));
    put_state(out, state(ids[i]));
    put_number(out, n.clock);
    put_number(out, n.placed);
  }
  put_number(out, static_cast<uint32_t>(tombstones_.size()));
  for (const Tombstone& t : tombstones_) {
    put_number(out, t.clock);
    put_number(out, t.placed);
    put_number(out, alive(t.moved_to) ? places[t.moved_to.id] : UINT32_MAX);
    put_number(out, static_cast<uint8_t>(t.is_directory ? 1 : 0));
    put_number(out, t.size);
    put_number(out, t.mtime_ns);
    put_text(out, t.path);
  }
}

std::optional<Tree> Tree::load(std::string_view bytes) {
  ByteReader in(bytes);
  std::optional<Tree> tree(std::in_place);
  tree->clock_ = in.number<uint64_t>();
  tree->forgotten_ = in.number<uint64_t>();
  const auto count = in.number<uint32_t>();
  tree->store(tree->node(kRoot), take_state(in));
  std::vector<NodeId> ids{kRoot};
  for (uint32_t i = 1; i < count; ++i) {
    const auto parent = in.number<uint32_t>();
    const std::string_view name = in.text();
    const EntryState state = take_state(in);
    const auto clock = in.number<uint64_t>();
    const auto placed = in.number<uint64_t>();
    if (!in.ok() || parent >= i || !is_name(name) || !tree->is_directory(ids[parent]))
      return std::nullopt;
    const NodeId id = tree->allocate();
    Node& n = tree->node(id);
    set_name(n, name);
    tree->store(n, state);
    n.kind = state.kind;
    n.clock = clock;
    n.placed = placed;
    tree->link_child(id, ids[parent]);
    tree->index(id);
    if (n.kind == EntryKind::directory) ++tree->directories_;
    ids.push_back(id);
  }
  const auto buried = in.number<uint32_t>();
  for (uint32_t i = 0; i < buried && in.ok(); ++i) {
    Tombstone t;
    t.clock = in.number<uint64_t>();
    t.placed = in.number<uint64_t>();
    const auto moved_to = in.number<uint32_t>();
    // One that has gone since is another tombstone; its reference was not alive and is not now.
    if (moved_to < ids.size()) t.moved_to = tree->ref(ids[moved_to]);
    t.is_directory = in.number<uint8_t>() != 0;
    t.size = in.number<uint64_t>();
    t.mtime_ns = in.number<int64_t>();
    t.path = std::string(in.text());
    tree->tombstones_.push_back(std::move(t));
  }
  if (!in.ok() || !in.empty()) return std::nullopt;
  std::sort(ids.begin() + 1, ids.end(),
            [&](NodeId a, NodeId b) { return tree->node(a).clock < tree->node(b).clock; });
  std::for_each(ids.begin() + 1, ids.end(), [&](NodeId id) { tree->link_newest(id); });
  return tree;
}

}  // namespace zsync::watching
