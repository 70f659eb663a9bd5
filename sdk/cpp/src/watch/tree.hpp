// The in-memory snapshot of a watched root, with a clock: what is there, and what changed since a
// moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "watch/change.hpp"

namespace zsync::watching {

inline constexpr size_t kTombstonesMax = 65'536;  // deletions and renames remembered for `since`

enum class EntryKind : uint8_t { file, directory, symlink, other };

// What is known of one entry: enough to see by one stat call whether it is still the same.
struct EntryState {
  uint64_t size = 0;  // bytes
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  uint64_t inode = 0;
  EntryKind kind = EntryKind::file;

  friend bool operator==(const EntryState&, const EntryState&) = default;
};

using NodeId = uint32_t;
inline constexpr NodeId kNoNode = UINT32_MAX;

// A node that may meanwhile be gone, and its id in use for another one.
struct NodeRef {
  NodeId id = kNoNode;
  uint32_t generation = 0;

  friend bool operator==(const NodeRef&, const NodeRef&) = default;
};

// The root is a directory that is always there and never reported. Each reported change takes the
// next tick of the clock. Mutating members append what they report to `out` unless it is null; the
// clock runs either way.
//
// Threads:  one at a time.
// Cost:     about 150 bytes an entry; every operation on one entry is O(1), a subtree costs its
// entries.
class Tree {
 public:
  using Changes = std::vector<Change>;
  // Called for each entry that is about to vanish, a directory after its entries.
  using OnDrop = absl::FunctionRef<void(NodeId)>;

  explicit Tree(size_t tombstones_max = kTombstonesMax);
  // What is moved from can only be destroyed.
  Tree(Tree&&) noexcept = default;
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  static constexpr NodeId kRoot = 0;

  [[nodiscard]] NodeId find(NodeId directory, std::string_view name) const;
  [[nodiscard]] NodeId find_path(std::string_view path) const;
  [[nodiscard]] std::string path(NodeId id) const;
  [[nodiscard]] std::string_view name(NodeId id) const;
  [[nodiscard]] NodeId parent(NodeId id) const { return node(id).parent; }
  [[nodiscard]] EntryState state(NodeId id) const;
  [[nodiscard]] bool is_directory(NodeId id) const { return node(id).kind == EntryKind::directory; }
  [[nodiscard]] uint64_t changed_at(NodeId id) const { return node(id).clock; }
  // Is `id` equal to `directory` or somewhere below it?
  [[nodiscard]] bool within(NodeId id, NodeId directory) const;
  [[nodiscard]] std::vector<NodeId> children(NodeId directory) const;
  [[nodiscard]] NodeRef ref(NodeId id) const { return {id, node(id).generation}; }
  [[nodiscard]] bool alive(NodeRef ref) const;

  // Two numbers that the owner may keep with an entry; 0 and -1 at first.
  [[nodiscard]] uint32_t mark(NodeId id) const { return node(id).mark; }
  void set_mark(NodeId id, uint32_t mark) { node(id).mark = mark; }
  [[nodiscard]] int32_t tag(NodeId id) const { return node(id).tag; }
  void set_tag(NodeId id, int32_t tag) { node(id).tag = tag; }

  // `name` must not be there yet.
  NodeId add(NodeId directory, std::string_view name, const EntryState& state, Changes* out);
  // Takes the new state; reports `modified` if it differs or `touched`, for directories never. The
  // kind stays.
  void update(NodeId id, const EntryState& state, bool touched, Changes* out);
  // Removes the entry and all below it. Of the root: all below it.
  void remove(NodeId id, Changes* out, OnDrop on_drop);
  // As remove, but as if the entries had never been seen: nothing is reported, not by `since`
  // either.
  void forget(NodeId id, OnDrop on_drop);
  // Moves the entry and all below it. The new name must be free and not below the entry.
  void rename(NodeId id, NodeId directory, std::string_view name, Changes* out);

  // The clock of the latest change; 0 before the first.
  [[nodiscard]] uint64_t clock() const { return clock_; }

  struct Since {
    bool fresh = false;  // the answer is every entry, as created
    Changes changes;     // in path order
  };
  // What differs between the moment `clock` and now. Fresh when `clock` is older than the oldest
  // tombstone or unknown.
  [[nodiscard]] Since since(uint64_t clock) const;
  [[nodiscard]] Changes everything() const;

  // All of it as bytes, but for marks and tags; and back. Nullopt: these are not the bytes of a
  // Tree.
  void save(std::string& out) const;
  [[nodiscard]] static std::optional<Tree> load(std::string_view bytes);
  // From now on every mutation is appended to `record`, until another one (or null) is named.
  void record_to(std::string* record) { record_ = record; }
  // Does again what was recorded. False: it does not fit, and the Tree is of no use any more.
  bool replay(std::string_view operations);

  [[nodiscard]] size_t entries() const { return entries_; }
  [[nodiscard]] size_t directories() const { return directories_; }  // with the root

 private:
  struct Node {
    std::unique_ptr<char[]> name;
    uint64_t size = 0;
    int64_t mtime_ns = 0;
    int64_t ctime_ns = 0;
    uint64_t inode = 0;
    uint64_t clock = 0;   // last change
    uint64_t placed = 0;  // since when it has its path
    NodeId parent = kNoNode;
    NodeId first_child = kNoNode;
    NodeId next_sibling = kNoNode;
    NodeId previous_sibling = kNoNode;
    NodeId next_in_bucket = kNoNode;
    NodeId older = kNoNode;
    NodeId newer = kNoNode;
    uint32_t generation = 0;
    uint32_t mark = 0;
    int32_t tag = -1;
    uint8_t name_size = 0;
    EntryKind kind = EntryKind::file;
    bool used = false;
  };
  struct Tombstone {
    uint64_t clock = 0;
    uint64_t placed = 0;  // since when the path had been there
    NodeRef moved_to;     // of a rename
    bool is_directory = false;
    uint64_t size = 0;
    int64_t mtime_ns = 0;
    std::string path;
  };
  static constexpr size_t kChunk = 1024;

  [[nodiscard]] Node& node(NodeId id) { return chunks_[id / kChunk][id % kChunk]; }
  [[nodiscard]] const Node& node(NodeId id) const { return chunks_[id / kChunk][id % kChunk]; }
  [[nodiscard]] size_t bucket(NodeId directory, std::string_view name) const;
  void index(NodeId id);
  void unindex(NodeId id);
  void split_bucket();
  NodeId allocate();
  void release(NodeId id);
  static void set_name(Node& n, std::string_view name);
  void store(Node& n, const EntryState& state);
  void link_child(NodeId id, NodeId directory);
  void unlink_child(NodeId id);
  void link_newest(NodeId id);
  void unlink_age(NodeId id);
  void tick(NodeId id);
  void bury(NodeId id, std::string path, NodeRef moved_to);
  [[nodiscard]] std::vector<NodeId> subtree(NodeId id) const;
  [[nodiscard]] Change describe(NodeId id, ChangeKind kind) const;
  void record_state(bool added, NodeId id);
  void record_end(bool forgotten, NodeId id);
  void record_rename(NodeId id, NodeId directory, std::string_view name);

  const size_t tombstones_max_;
  std::vector<std::unique_ptr<Node[]>> chunks_;
  std::vector<NodeId> free_;
  NodeId allocated_ = 0;
  size_t directories_ = 1;
  // Names by (directory, name), hashed linearly: the table grows by one bucket an entry, so that no
  // insertion ever waits for the whole to be moved. buckets_.size() is between low_buckets_ and
  // twice that.
  std::vector<NodeId> buckets_{kNoNode};
  size_t low_buckets_ = 1;
  size_t entries_ = 0;
  // Every entry but the root, linked by `older` and `newer` in the order of Node::clock.
  NodeId newest_ = kNoNode;
  uint64_t clock_ = 0;
  std::deque<Tombstone> tombstones_;  // in the order of their clocks
  uint64_t forgotten_ = 0;            // clock of the newest tombstone that was dropped
  std::string* record_ = nullptr;
};

}  // namespace zsync::watching
