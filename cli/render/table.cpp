#include "cli/render/table.hpp"

#include <algorithm>

#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kLastColumnMin = 10;

std::string padded(const std::string& text, std::size_t width) {
  const std::size_t used = display_width(text);
  return used >= width ? "" : std::string(width - used, ' ');
}

}  // namespace

void Table::add(std::vector<Cell> row) {
  for (Cell& cell : row) cell.text = printable(cell.text);
  row.resize(titles_.size());
  rows_.push_back(std::move(row));
}

std::string Table::text(int width, bool color) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < titles_.size(); ++i) {
    std::size_t widest = display_width(titles_[i]);
    for (const auto& row : rows_) widest = std::max(widest, display_width(row[i].text));
    widths.push_back(widest);
  }
  if (width > 0) {
    std::size_t before = 0;
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) before += widths[i] + kGap;
    const auto columns = static_cast<std::size_t>(width);
    const std::size_t rest = columns > before ? columns - before : 0;
    widths.back() = std::min(widths.back(), std::max(rest, kLastColumnMin));
  }
  std::string result;
  const auto line = [&](const std::vector<Cell>& row) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const bool last = i + 1 == row.size();
      const std::string cell = last ? fit(row[i].text, widths[i]) : row[i].text;
      result += paint(cell, row[i].color, color);
      if (!last) result += padded(cell, widths[i]) + std::string(kGap, ' ');
    }
    while (!result.empty() && result.back() == ' ') result.pop_back();
    result += '\n';
  };
  std::vector<Cell> head;
  for (const std::string& title : titles_) head.push_back({title, Color::kBold});
  line(head);
  for (const auto& row : rows_) line(row);
  return result;
}

std::string key_values(const std::vector<std::pair<std::string, std::string>>& pairs, bool color) {
  std::size_t widest = 0;
  for (const auto& [key, value] : pairs) widest = std::max(widest, display_width(key));
  std::string result;
  for (const auto& [key, value] : pairs) {
    result += paint(key, Color::kBold, color);
    result += padded(key, widest) + std::string(kGap, ' ') + printable(value) + '\n';
  }
  return result;
}

}  // namespace zsync::cli
