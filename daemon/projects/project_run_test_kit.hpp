// A project whose tasks are the test's, for tests of ProjectRun.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/projects/project_file.hpp"
#include "daemon/projects/project_run.hpp"

namespace zsync::daemon {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

inline constexpr int64_t kSecond = 1'000'000'000;

// A project whose tasks are the test's: it says when they start, become ready and end.
class ProjectRunTest : public ::testing::Test {
 protected:
  void file(const std::string& units) {
    ParsedProject parsed = parse_project("version: 1\n" + units);
    ASSERT_EQ(parsed.index(), 0u) << problem_line("f", std::get<1>(parsed)[0]);
    run_.set_spec(std::get<0>(parsed));
  }
  void up(const std::string& units, const std::vector<std::string>& names = {}) {
    file(units);
    run_.want(names, now_);
  }
  // What step() asks for; what it starts is launched at once.
  std::vector<std::string> step() {
    std::vector<std::string> said;
    for (const ProjectAction& action : run_.step(now_)) {
      const char* verbs[] = {"start ", "stop ", "probe ", "look "};
      said.push_back(verbs[static_cast<int>(action.kind)] + action.unit);
      if (action.kind != ProjectAction::Kind::kStart) continue;
      run_.launched(action.unit, action.generation,
                    absl::StrCat(action.unit, "#", action.generation), now_);
    }
    return said;
  }
  uint64_t generation(const std::string& unit) { return run_.row_of(unit)->generation; }
  void ready(const std::string& unit) { run_.became_ready(unit, generation(unit), now_); }
  void ends(const std::string& unit, bool ok, const std::string& reason = "exit code 3") {
    run_.ended(unit, generation(unit), {ok, false, reason}, now_);
  }
  std::string state(const std::string& unit) {
    for (const UnitView& view : run_.views(now_)) {
      if (view.name != unit) continue;
      return absl::StrCat(unit_state_name(view.state), view.reason.empty() ? "" : ": ",
                          view.reason);
    }
    return "none";
  }

  ProjectRun run_;
  int64_t now_ = 1000 * kSecond;
};

}  // namespace zsync::daemon
