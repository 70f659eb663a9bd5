// Aligned columns, fitted to the terminal.
#pragma once

#include <string>
#include <vector>

#include "cli/render/color.hpp"

namespace zsync::cli {

struct Cell {
  std::string text;
  Color color = Color::kNone;
};

// The last column takes what the width leaves and is cut there; a width of 0 cuts nothing.
class Table {
 public:
  explicit Table(std::vector<std::string> titles) : titles_(std::move(titles)) {}

  void add(std::vector<Cell> row);
  bool empty() const { return rows_.empty(); }
  std::string text(int width, bool color) const;

 private:
  std::vector<std::string> titles_;
  std::vector<std::vector<Cell>> rows_;
};

// "key   value" lines, as `daemon info` shows one thing.
std::string key_values(const std::vector<std::pair<std::string, std::string>>& pairs, bool color);

}  // namespace zsync::cli
