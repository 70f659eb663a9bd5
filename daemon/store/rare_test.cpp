#include "daemon/store/rare.hpp"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace zsync::daemon {
namespace {

TEST(Rare, TakesTheSpaceOfAPointer) {
  EXPECT_EQ(sizeof(Rare<std::map<std::string, std::string>>), sizeof(void*));
}

TEST(Rare, IsReadAsWhatItStandsFor) {
  const Rare<std::vector<int>> none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.begin(), none.end());
  EXPECT_EQ(none, std::vector<int>());
  const Rare<std::vector<int>> some = {1, 2, 3};
  EXPECT_EQ(some.size(), 3u);
  EXPECT_EQ(some[1], 2);
  EXPECT_EQ(some.front() + some.back(), 4);
  const std::vector<int>& as_vector = some;
  EXPECT_EQ(as_vector, (std::vector<int>{1, 2, 3}));
}

TEST(Rare, IsWrittenAsWhatItStandsFor) {
  Rare<std::string> text;
  text = std::string_view("view");
  EXPECT_EQ(*text, "view");
  text.edit() += "s";
  EXPECT_EQ(text->size(), 5u);
  text = "";
  EXPECT_TRUE(text.empty());
  Rare<std::vector<std::string>> list;
  list.push_back("a");
  EXPECT_EQ(list, (std::vector<std::string>{"a"}));
  list = {"b", "c"};
  EXPECT_EQ(list.size(), 2u);
  list.clear();
  EXPECT_TRUE(list.empty());
}

TEST(Rare, ACopyIsOneOfItsOwn) {
  Rare<std::map<std::string, int>> first;
  first.edit()["a"] = 1;
  Rare<std::map<std::string, int>> second = first;
  second.edit()["a"] = 2;
  EXPECT_EQ(first->at("a"), 1);
  first = second;
  EXPECT_EQ(first, second);
  Rare<std::map<std::string, int>> moved = std::move(second);
  EXPECT_EQ(moved->at("a"), 2);
}

}  // namespace
}  // namespace zsync::daemon
