#include "daemon/fault/fault.hpp"

#include <gtest/gtest.h>

namespace zsync::daemon {
namespace {

TEST(Fault, EveryFieldComesBackFromTheStatus) {
  const absl::Status status =
      fault(absl::StatusCode::kNotFound, "no task \"x\"",
            {"id", "NOT_FOUND", "", "zsyncctl tasks list shows what there is", {"a", "b"}});
  const std::optional<FaultDetail> detail = fault_detail(status);
  ASSERT_TRUE(detail);
  EXPECT_EQ(detail->field, "id");
  EXPECT_EQ(detail->reason, "NOT_FOUND");
  EXPECT_EQ(detail->limit, "");
  EXPECT_EQ(detail->hint, "zsyncctl tasks list shows what there is");
  EXPECT_EQ(detail->closest, (std::vector<std::string>{"a", "b"}));
}

TEST(Fault, APlainStatusHasNoDetail) { EXPECT_FALSE(fault_detail(absl::NotFoundError("nothing"))); }

}  // namespace
}  // namespace zsync::daemon
