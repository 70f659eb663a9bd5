#include "daemon/tasks/array.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TaskSpec command(std::vector<std::string> argv) {
  TaskSpec spec;
  spec.argv = std::move(argv);
  return spec;
}

TEST(Array, IndexesAreNumbersRangesAndSteps) {
  EXPECT_THAT(*parse_indexes("0-3"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(*parse_indexes("7,1,3-4"), ElementsAre(7, 1, 3, 4)) << "in the order of the text";
  EXPECT_THAT(*parse_indexes("0-10/5"), ElementsAre(0, 5, 10));
  EXPECT_THAT(*parse_indexes("4"), ElementsAre(4));
  for (const char* text : {"", "a", "3-1", "1-2-3", "1/0", "-1", "1,,2", "1-3,2", "0-9999999999",
                           "0-10000", "+1", "1-"}) {
    EXPECT_FALSE(parse_indexes(text).ok()) << text;
  }
  EXPECT_EQ(parse_indexes("0-9999")->size(), kSubmitBatchMax);
}

TEST(Array, EachIndexIsATaskOfItsOwn) {
  TaskSpec spec = command({"resize", "photo-{index}.jpg", "{other}", "{", "{{index}}"});
  spec.name = "resize {index}";
  spec.idempotency_key = "k";
  const auto tasks = expand(spec, {"3,5", {}}, "array_1");
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  ASSERT_EQ(tasks->size(), 2u);
  const TaskSpec& second = (*tasks)[1];
  EXPECT_THAT(second.argv, ElementsAre("resize", "photo-5.jpg", "{other}", "{", "{5}"));
  EXPECT_EQ(second.name, "resize 5");
  EXPECT_EQ(second.idempotency_key, "k#5");
  EXPECT_EQ(second.array->id, "array_1");
  EXPECT_EQ(second.array->index, 5);
  EXPECT_EQ(second.array->size, 2u);
}

TEST(Array, AMatrixHasEveryCombinationAndItsLastAxisChangesFastest) {
  const auto tasks =
      expand(command({"test", "{os}-{v}"}), {"", {{"os", {"a", "{v}"}}, {"v", {"1", "2"}}}}, "i");
  ASSERT_TRUE(tasks.ok()) << tasks.status();
  std::vector<std::string> words;
  for (const TaskSpec& task : *tasks) words.push_back(task.argv[1]);
  EXPECT_THAT(words, ElementsAre("a-1", "a-2", "{v}-1", "{v}-2"))
      << "values are not looked at again";
  EXPECT_EQ((*tasks)[2].array->index, 2);
  EXPECT_EQ((*tasks)[2].array->values.at("v"), "1");
}

TEST(Array, AMemberIsStoredAsWhatItIs) {
  const auto tasks = expand(command({"x"}), {"", {{"os", {"a"}}}}, "array_1");
  const std::optional<TaskSpec> decoded = decode_task_spec(encode_task_spec((*tasks)[0]));
  ASSERT_TRUE(decoded && decoded->array);
  EXPECT_EQ(decoded->array->id, "array_1");
  EXPECT_EQ(decoded->array->size, 1u);
  EXPECT_EQ(decoded->array->values.at("os"), "a");
}

TEST(Array, AMistakeIsToldWithItsField) {
  auto field = [](const ArraySpec& array) {
    return fault_detail(expand(command({"x"}), array, "i").status())->field;
  };
  EXPECT_EQ(field({"", {}}), "spec.array");
  EXPECT_EQ(field({"0-1", {{"os", {"a"}}}}), "spec.array");
  EXPECT_EQ(field({"x", {}}), "spec.array.indexes");
  EXPECT_EQ(field({"", {{"os", {}}}}), "spec.array.matrix");
  EXPECT_EQ(field({"", {{"o s", {"a"}}}}), "spec.array.matrix");
  EXPECT_EQ(field({"", {{"index", {"a"}}}}), "spec.array.matrix");
  EXPECT_EQ(field({"", {{"OS", {"a"}}, {"os", {"b"}}}}), "spec.array.matrix")
      << "both would be ZSYNC_MATRIX_OS";
  const std::vector<std::string> many(101, "v");
  EXPECT_EQ(field({"", {{"a", many}, {"b", many}}}), "spec.array");
}

}  // namespace
}  // namespace zsync::daemon
