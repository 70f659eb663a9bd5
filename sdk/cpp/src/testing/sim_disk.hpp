// The simulated disk: what programs see, what outlives a power cut, and the luck between the two.
//
//   1. names_ and Node::bytes are what a program sees: the page cache and the cache of directories.
//   2. durable_names_ and Node::durable are what a power cut leaves for certain.
//   3. Between them stand changes in the order of their making: of a node its unsynced writes, of a
//      directory its unsynced names. A sync moves them over; a power cut keeps some.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "zsync/testing/sim_host.hpp"

namespace zsync::testing {

class SimWorld;

// A file or directory, whatever its names are.
struct SimNode {
  struct Change {
    uint64_t offset;    // of a write; of a cut the new size
    std::string bytes;  // empty: a cut
    bool lost;          // a sync of it has failed: no later one writes it
  };

  uint64_t inode;
  bool directory;
  mode_t mode;
  rt::TimePoint modified;
  std::string bytes;
  std::string durable;
  std::vector<Change> unsynced;
};

class SimDiskState {
 public:
  explicit SimDiskState(SimWorld& world);

  SimWorld& world() { return world_; }
  SimDiskOptions& options() { return options_; }
  const SimDiskOptions& options() const { return options_; }

  // "/a/b" for "a//b/./": relative paths begin at the root.
  static std::string absolute(const std::string& path);
  static std::string parent_of(const std::string& path);

  // nullptr: there is none.
  std::shared_ptr<SimNode> find(const std::string& path) const;
  // 0 or the errno.
  int create(const std::string& path, bool directory, mode_t mode,
             std::shared_ptr<SimNode>& created);
  int rename(const std::string& from, const std::string& to);
  int remove(const std::string& path);
  // -> bytes written, or the errno negated: a full disk takes a part.
  ssize_t write(SimNode& node, uint64_t offset, std::string_view bytes);
  int resize(SimNode& node, uint64_t size);
  int sync(SimNode& node, const std::string& path);
  void lose_power();
  void put_durable(const std::string& path, const std::string& content);

  // Everything that is there, by path.
  const std::map<std::string, std::shared_ptr<SimNode>>& names() const { return names_; }
  uint64_t bytes() const;
  bool io_fails();

 private:
  using Names = std::map<std::string, std::shared_ptr<SimNode>>;
  // Another name for a node, or none.
  struct NameChange {
    std::string from;               // taken away; empty: nothing is
    std::string to;                 // given; empty: none
    std::shared_ptr<SimNode> node;  // that has it
  };

  void change(NameChange change);
  static void apply(const NameChange& change, Names& names);
  static bool touches(const NameChange& change, const std::string& directory);
  static void apply(const SimNode::Change& change, std::string& bytes);
  void keep_by_luck(SimNode& node);
  void keep_sectors(const SimNode::Change& change, std::string& bytes);
  void keep_names_by_luck();

  SimWorld& world_;
  SimDiskOptions options_;
  uint64_t next_inode_ = 1;
  Names names_;
  Names durable_names_;
  std::vector<NameChange> unsynced_names_;
};

}  // namespace zsync::testing
