#include "testing/sim_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "testing/sim_world.hpp"

namespace zsync::testing {
namespace {

constexpr char kRoot[] = "/";

bool is_below(const std::string& path, const std::string& directory) {
  return path.size() > directory.size() && path.rfind(directory, 0) == 0 &&
         (directory == kRoot || path[directory.size()] == '/');
}

}  // namespace

SimDiskState::SimDiskState(SimWorld& world) : world_(world) {
  auto root = std::make_shared<SimNode>();
  root->inode = next_inode_++;
  root->directory = true;
  root->mode = 0755;
  names_[kRoot] = durable_names_[kRoot] = std::move(root);
}

std::string SimDiskState::absolute(const std::string& path) {
  std::vector<std::string> parts;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else if (!part.empty() && part != ".") {
      parts.emplace_back(part);
    }
  }
  return absl::StrCat("/", absl::StrJoin(parts, "/"));
}

std::string SimDiskState::parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? kRoot : path.substr(0, slash);
}

std::shared_ptr<SimNode> SimDiskState::find(const std::string& path) const {
  const auto found = names_.find(absolute(path));
  return found == names_.end() ? nullptr : found->second;
}

uint64_t SimDiskState::bytes() const {
  uint64_t sum = 0;
  for (const auto& [path, node] : names_) sum += node->bytes.size();
  return sum;
}

bool SimDiskState::io_fails() { return world_.by_chance(options_.failing_io_percent); }

// -- names

int SimDiskState::create(const std::string& path, bool directory, mode_t mode,
                         std::shared_ptr<SimNode>& created) {
  const std::string name = absolute(path);
  if (names_.contains(name)) return EEXIST;
  const std::shared_ptr<SimNode> parent = find(parent_of(name));
  if (!parent) return ENOENT;
  if (!parent->directory) return ENOTDIR;
  created = std::make_shared<SimNode>();
  created->inode = next_inode_++;
  created->directory = directory;
  created->mode = mode & 0777;
  created->modified = world_.now();
  change({"", name, created});
  return 0;
}

int SimDiskState::rename(const std::string& old_path, const std::string& new_path) {
  const std::string from = absolute(old_path), to = absolute(new_path);
  const std::shared_ptr<SimNode> node = find(from), replaced = find(to);
  if (!node) return ENOENT;
  if (from == to) return 0;
  if (is_below(to, from)) return EINVAL;
  const std::shared_ptr<SimNode> parent = find(parent_of(to));
  if (!parent) return ENOENT;
  if (!parent->directory) return ENOTDIR;
  if (replaced && replaced->directory != node->directory) {
    return replaced->directory ? EISDIR : ENOTDIR;
  }
  const auto beside = names_.upper_bound(to);
  if (replaced && replaced->directory && beside != names_.end() && is_below(beside->first, to)) {
    return ENOTEMPTY;
  }
  change({from, to, node});
  return 0;
}

int SimDiskState::remove(const std::string& path) {
  const std::string name = absolute(path);
  const std::shared_ptr<SimNode> node = find(name);
  if (!node) return ENOENT;
  if (node->directory) return EISDIR;
  change({name, "", node});
  return 0;
}

void SimDiskState::change(NameChange change) {
  apply(change, names_);
  unsynced_names_.push_back(std::move(change));
}

// A directory takes along what is in it.
void SimDiskState::apply(const NameChange& change, Names& names) {
  std::vector<std::pair<std::string, std::shared_ptr<SimNode>>> moved;
  if (!change.from.empty()) {
    names.erase(change.from);
    for (auto entry = names.upper_bound(change.from); entry != names.end();) {
      if (!is_below(entry->first, change.from)) {
        ++entry;
        continue;
      }
      moved.emplace_back(change.to + entry->first.substr(change.from.size()), entry->second);
      entry = names.erase(entry);
    }
  }
  if (change.to.empty()) return;
  names[change.to] = change.node;
  for (auto& [path, node] : moved) names[path] = node;
}

bool SimDiskState::touches(const NameChange& change, const std::string& directory) {
  return (!change.to.empty() && parent_of(change.to) == directory) ||
         (!change.from.empty() && parent_of(change.from) == directory);
}

// -- bytes

ssize_t SimDiskState::write(SimNode& node, uint64_t offset, std::string_view bytes) {
  if (io_fails()) return -EIO;
  const uint64_t others = this->bytes() - node.bytes.size();
  const uint64_t room = options_.bytes_max > others ? options_.bytes_max - others : 0;
  const uint64_t end = std::max(room, static_cast<uint64_t>(node.bytes.size()));
  if (offset >= end && !bytes.empty()) return -ENOSPC;
  bytes = bytes.substr(0, std::min<uint64_t>(bytes.size(), end - offset));
  if (bytes.empty()) return 0;
  node.unsynced.push_back({offset, std::string(bytes), false});
  apply(node.unsynced.back(), node.bytes);
  node.modified = world_.now();
  return static_cast<ssize_t>(bytes.size());
}

int SimDiskState::resize(SimNode& node, uint64_t size) {
  if (io_fails()) return EIO;
  if (bytes() - node.bytes.size() + size > options_.bytes_max) return ENOSPC;
  node.unsynced.push_back({size, "", false});
  apply(node.unsynced.back(), node.bytes);
  node.modified = world_.now();
  return 0;
}

void SimDiskState::apply(const SimNode::Change& change, std::string& bytes) {
  if (change.bytes.empty()) return bytes.resize(change.offset);
  const uint64_t end = change.offset + change.bytes.size();
  if (bytes.size() < end) bytes.resize(end);
  bytes.replace(change.offset, change.bytes.size(), change.bytes);
}

int SimDiskState::sync(SimNode& node, const std::string& path) {
  if (world_.by_chance(options_.lying_sync_percent)) return 0;
  if (world_.by_chance(options_.failing_sync_percent)) {
    for (SimNode::Change& change : node.unsynced) change.lost = true;
    return EIO;
  }
  for (const SimNode::Change& change : node.unsynced) {
    if (!change.lost) apply(change, node.durable);
  }
  std::erase_if(node.unsynced, [](const SimNode::Change& change) { return !change.lost; });
  if (!node.directory) return 0;
  for (const NameChange& change : unsynced_names_) {
    if (touches(change, path)) apply(change, durable_names_);
  }
  std::erase_if(unsynced_names_, [&](const NameChange& change) { return touches(change, path); });
  return 0;
}

// -- a power cut

void SimDiskState::lose_power() {
  // The second time there is nothing left to be kept.
  for (const auto& [path, node] : names_) keep_by_luck(*node);
  for (const auto& [path, node] : durable_names_) keep_by_luck(*node);
  for (const NameChange& change : unsynced_names_) keep_by_luck(*change.node);
  keep_names_by_luck();
  // What stands in a directory that is not there is lost with it; parents come first.
  for (auto entry = durable_names_.begin(); entry != durable_names_.end();) {
    const bool held = entry->first == kRoot || durable_names_.contains(parent_of(entry->first));
    entry = held ? std::next(entry) : durable_names_.erase(entry);
  }
  names_ = durable_names_;
}

void SimDiskState::keep_by_luck(SimNode& node) {
  SimRandom& random = world_.random();
  const size_t kept = random.below(node.unsynced.size() + 1);
  for (size_t i = 0; i < node.unsynced.size(); ++i) {
    const SimNode::Change& change = node.unsynced[i];
    // 0: not at all, 1: whole, 2: some sectors.
    const uint64_t luck = options_.reorder_unsynced ? random.below(3)
                          : i < kept                ? 1
                          : i == kept               ? 2 * random.below(2)
                                                    : 0;
    if (luck == 1 || (luck == 2 && change.bytes.empty())) apply(change, node.durable);
    if (luck == 2 && !change.bytes.empty()) keep_sectors(change, node.durable);
  }
  node.unsynced.clear();
  node.bytes = node.durable;
}

void SimDiskState::keep_sectors(const SimNode::Change& change, std::string& bytes) {
  for (uint64_t begin = 0; begin < change.bytes.size();) {
    const uint64_t sector = (change.offset + begin) / options_.sector_bytes;
    const uint64_t end = std::min<uint64_t>(change.bytes.size(),
                                            (sector + 1) * options_.sector_bytes - change.offset);
    if (world_.random().below(2) == 0) {
      apply({change.offset + begin, change.bytes.substr(begin, end - begin), false}, bytes);
    }
    begin = end;
  }
}

// Of each directory the changes up to some moment.
void SimDiskState::keep_names_by_luck() {
  std::map<std::string, bool> ended;
  for (const NameChange& change : unsynced_names_) {
    bool kept = true;
    for (const std::string& path : {change.from, change.to}) {
      if (path.empty()) continue;
      bool& over = ended[parent_of(path)];
      over = over || world_.random().below(3) == 0;
      kept = kept && !over;
    }
    for (const std::string& path : {change.from, change.to}) {
      if (!path.empty() && !kept) ended[parent_of(path)] = true;
    }
    if (kept) apply(change, durable_names_);
  }
  unsynced_names_.clear();
}

void SimDiskState::put_durable(const std::string& path, const std::string& content) {
  const std::string name = absolute(path);
  for (size_t slash = name.find('/', 1);; slash = name.find('/', slash + 1)) {
    const std::string part = name.substr(0, slash);
    std::shared_ptr<SimNode>& node = names_[part];
    if (!node) {
      node = std::make_shared<SimNode>();
      node->inode = next_inode_++;
      node->directory = slash != std::string::npos;
      node->mode = node->directory ? 0755 : 0644;
      node->modified = world_.now();
    }
    durable_names_[part] = node;
    if (slash != std::string::npos) continue;
    node->bytes = node->durable = content;
    node->unsynced.clear();
    return;
  }
}

// -- SimDisk

SimDisk::SimDisk(std::unique_ptr<SimDiskState> state) : state_(std::move(state)) {}

SimDisk::~SimDisk() = default;

void SimDisk::set_options(const SimDiskOptions& options) { state_->options() = options; }

std::optional<std::string> SimDisk::content(const std::string& path) const {
  const std::shared_ptr<SimNode> node = state_->find(path);
  if (!node || node->directory) return std::nullopt;
  return node->bytes;
}

void SimDisk::put(const std::string& path, const std::string& content) {
  state_->put_durable(path, content);
}

std::vector<std::string> SimDisk::files() const {
  std::vector<std::string> paths;
  for (const auto& [path, node] : state_->names()) {
    if (!node->directory) paths.push_back(path);
  }
  return paths;
}

uint64_t SimDisk::bytes() const { return state_->bytes(); }

}  // namespace zsync::testing
