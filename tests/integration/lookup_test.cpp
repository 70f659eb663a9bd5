// Naming tasks: ids, prefixes, names, lists, and words that nothing fits.
#include <set>

#include "tests/integration/daemon_test.hpp"

namespace zsync::integration {
namespace {

class Lookup : public DaemonTest {};

TEST_F(Lookup, ATaskIsFoundByItsIdByItsBeginningAndByItsName) {
  const std::string id = submit({"--name", "only", "--", "true"});
  wait(id);
  EXPECT_EQ(get(id.substr(0, id.size() - 2)).id(), id);
  EXPECT_EQ(get(id.substr(5)).id(), id);
  EXPECT_EQ(get("only").id(), id);
}

TEST_F(Lookup, AnAmbiguousWordIsRefusedWithTheCandidates) {
  const std::string first = submit({"--name", "same", "--", "true"});
  const std::string second = submit({"--name", "same", "--", "true"});
  const kit::Ran ran = ctl({"tasks", "get", "same"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("several tasks"));
  EXPECT_THAT(ran.err, HasSubstr(first));
  EXPECT_THAT(ran.err, HasSubstr(second));
}

TEST_F(Lookup, AnUnknownWordIsNotFoundAndTheClosestIsNamed) {
  const std::string id = submit({"--name", "compile", "--", "true"});
  const kit::Ran ran = ctl({"tasks", "get", "compule"});
  EXPECT_EQ(ran.code, 3);
  EXPECT_THAT(ran.err, HasSubstr("no task \"compule\""));
  EXPECT_THAT(ran.err, HasSubstr("compile"));
}

TEST_F(Lookup, ListsArePagedWithoutHoleOrRepeat) {
  v1::SubmitTasksRequest request;
  for (int i = 0; i < 25; ++i) {
    v1::TaskSpec* spec = request.add_specs();
    spec->add_argv("true");
    spec->set_name("n" + std::to_string(i));
  }
  ASSERT_TRUE(tasks().submit(request).ok());
  for (const bool oldest : {false, true}) {
    std::vector<std::string> names;
    v1::ListTasksRequest page;
    page.set_page_size(10);
    page.set_oldest_first(oldest);
    do {
      const auto reply = tasks().list(page);
      ASSERT_TRUE(reply.ok());
      for (const v1::Task& task : reply->tasks()) names.push_back(task.spec().name());
      page.set_page_token(reply->next_page_token());
    } while (!page.page_token().empty());
    ASSERT_EQ(names.size(), 25u);
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 25u);
    EXPECT_EQ(names.front(), oldest ? "n0" : "n24");
  }
}

TEST_F(Lookup, ListsAreFilteredByStateLabelAndGroup) {
  const std::string good = submit({"-l", "a=1", "--", "true"});
  const std::string bad = submit({"-g", "other", "--", "false"});
  wait(good);
  wait(bad);
  EXPECT_EQ(ctl({"-o", "name", "tasks", "list", "-l", "a=1"}).out, good + "\n");
  EXPECT_EQ(ctl({"-o", "name", "tasks", "list", "-g", "other"}).out, bad + "\n");
  EXPECT_EQ(ctl({"-o", "name", "tasks", "list", "-s", "failed"}).out, bad + "\n");
}

}  // namespace
}  // namespace zsync::integration
