#include "daemon/store/database.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace zsync::daemon {
namespace {

std::unique_ptr<Database> in_memory() {
  auto database = Database::open(":memory:", Database::Mode::create);
  EXPECT_TRUE(database.ok()) << database.status();
  return *std::move(database);
}

TEST(Database, EveryTypeComesBackAsItWasBound) {
  auto db = in_memory();
  ASSERT_TRUE(db->run("CREATE TABLE t(a, b, c, d, e)").ok());
  const std::array<std::byte, 3> blob = {std::byte{0}, std::byte{255}, std::byte{7}};
  const std::string text("a\0b", 3);
  ASSERT_TRUE(db->run("INSERT INTO t VALUES(?,?,?,?,?)", int64_t{-5}, 2.5, text, BlobView(blob),
                      std::optional<int64_t>())
                  .ok());
  EXPECT_EQ(db->changes(), 1);
  auto rows = db->query("SELECT * FROM t");
  ASSERT_TRUE(rows.ok());
  ASSERT_TRUE(*rows->step());
  EXPECT_EQ(rows->column_count(), 5);
  EXPECT_EQ(rows->int_at(0), -5);
  EXPECT_EQ(rows->real_at(1), 2.5);
  EXPECT_EQ(rows->text_at(2), text);
  EXPECT_THAT(rows->blob_at(3), ::testing::ElementsAreArray(blob));
  EXPECT_TRUE(rows->is_null(4));
  EXPECT_FALSE(*rows->step());
}

TEST(Database, AnEmptyTextAndAnEmptyBlobAreNotNull) {
  auto db = in_memory();
  ASSERT_TRUE(db->run("CREATE TABLE t(a, b)").ok());
  ASSERT_TRUE(db->run("INSERT INTO t VALUES(?,?)", std::string_view(), BlobView()).ok());
  EXPECT_EQ(*db->query_int("SELECT count(*) FROM t WHERE a IS NOT NULL AND b IS NOT NULL"), 1);
}

TEST(Database, AStatementIsPreparedOnceAndASecondLoanAtOnceIsItsOwn) {
  auto db = in_memory();
  ASSERT_TRUE(db->execute_script("CREATE TABLE t(a); INSERT INTO t VALUES(1),(2)").ok());
  auto outer = db->query("SELECT a FROM t ORDER BY a");
  ASSERT_TRUE(*outer->step());
  auto inner = db->query("SELECT a FROM t ORDER BY a");
  ASSERT_TRUE(*inner->step());
  ASSERT_TRUE(*inner->step());
  EXPECT_EQ(inner->int_at(0), 2);
  EXPECT_EQ(outer->int_at(0), 1);
}

TEST(Database, TheStatementCacheIsBounded) {
  auto db = in_memory();
  for (size_t i = 0; i < 3 * Database::kStatementCacheMax; ++i) {
    ASSERT_EQ(*db->query_int("SELECT " + std::to_string(i)), static_cast<int64_t>(i));
  }
  std::vector<Statement> lent;
  for (size_t i = 0; i < Database::kStatementCacheMax + 5; ++i) {
    lent.push_back(*db->query("SELECT ? + " + std::to_string(i), 1));
    ASSERT_TRUE(*lent.back().step());
  }
}

TEST(Database, ConstraintsHaveTheirOwnCodes) {
  auto db = in_memory();
  ASSERT_TRUE(db->run("CREATE TABLE t(a TEXT PRIMARY KEY, b NOT NULL)").ok());
  ASSERT_TRUE(db->run("INSERT INTO t VALUES('x', 1)").ok());
  EXPECT_EQ(db->run("INSERT INTO t VALUES('x', 1)").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(db->run("INSERT INTO t VALUES('y', NULL)").code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(Database, MistakesInSqlAreInternalErrorsThatShowTheText) {
  auto db = in_memory();
  EXPECT_EQ(db->run("SELEKT 1").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(db->run("SELECT 1; SELECT 2").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(db->run("").code(), absl::StatusCode::kInternal);
  const absl::Status unbound = db->run("SELECT 1", 5);
  EXPECT_EQ(unbound.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(unbound.message()), ::testing::HasSubstr("SELECT 1"));
  EXPECT_EQ(db->query_int("SELECT 1 WHERE 0").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace zsync::daemon
