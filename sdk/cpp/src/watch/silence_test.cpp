#include "watch/silence.hpp"

#include <gtest/gtest.h>

namespace zsync::watching {
namespace {

TEST(Silence, IsOfTheStatesThatWereNamedOnly) {
  Silence silence({"build"}, {"checkout"});
  silence.enter("other");
  EXPECT_FALSE(silence.silent());
  EXPECT_FALSE(silence.has_news());
  silence.enter("build");
  EXPECT_TRUE(silence.silent());
  EXPECT_FALSE(silence.dropping());
  silence.enter("checkout");
  EXPECT_TRUE(silence.dropping());
  silence.leave("checkout");
  EXPECT_TRUE(silence.silent());
  EXPECT_FALSE(silence.dropping());
  silence.leave("build");
  EXPECT_FALSE(silence.silent());
}

TEST(Silence, WhoWasNotToldOfTheEnteringDoesNotHearOfTheLeaving) {
  Silence silence({"build"}, {});
  silence.enter("build");
  silence.leave("build");
  EXPECT_FALSE(silence.has_news());
  silence.enter("build");
  EXPECT_EQ(silence.take_news(), (StateNews{"build", true}));
  for (int i = 0; i < 100; ++i) {
    silence.leave("build");
    silence.enter("build");
  }
  EXPECT_EQ(silence.take_news(), (StateNews{"build", false}));
  EXPECT_EQ(silence.take_news(), (StateNews{"build", true}));
  EXPECT_FALSE(silence.has_news()) << "what is owed is bounded";
}

}  // namespace
}  // namespace zsync::watching
