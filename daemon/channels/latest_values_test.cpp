#include "daemon/channels/latest_values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;

Message message(const std::string& key, std::string data, int64_t time = 0) {
  return {0, time, "", std::move(data),
          std::make_shared<const MessageExtra>(MessageExtra{key, "", std::nullopt})};
}
std::vector<std::string> data_of(const std::vector<Message>& messages) {
  std::vector<std::string> data;
  for (const Message& one : messages) data.push_back(one.data);
  return data;
}

TEST(LatestValues, OnlyTheNewestOfEachKeyIsThereInTheOrderOfTheirChanges) {
  LatestValues values(10, 10'000);
  for (const char* data : {"a1", "b1", "a2", "c1", "b2"}) {
    values.push(message(std::string(1, data[0]), data));
  }
  EXPECT_THAT(data_of(values.look(1, 9, 1000)), ElementsAre("a2", "c1", "b2"));
  EXPECT_THAT(data_of(values.look(4, 9, 1000)), ElementsAre("c1", "b2"));
  EXPECT_THAT(data_of(values.look(6, 9, 1000)), ElementsAre());
  EXPECT_THAT(data_of(values.look(1, 2, 1000)), ElementsAre("a2", "c1"));
  EXPECT_THAT(data_of(values.look(1, 9, 2)), ElementsAre("a2"));
  EXPECT_EQ(values.next_seq(), 6u);
  EXPECT_EQ(values.first_seq(), 3u);
  EXPECT_EQ(values.dropped(), 2u);
}

TEST(LatestValues, AKnownKeyHasItsPlaceAndANewOneNeedsOne) {
  LatestValues values(2, 1000);
  EXPECT_TRUE(values.fits("a", 900));
  EXPECT_TRUE(values.fits("a", 5000)) << "one always fits, whatever its size";
  values.push(message("a", std::string(400, 'a')));
  EXPECT_FALSE(values.fits("b", 900));
  EXPECT_TRUE(values.fits("a", 900)) << "it takes the place of the one before";
  values.push(message("b", "b"));
  EXPECT_FALSE(values.fits("c", 1));
  EXPECT_TRUE(values.drop_oldest());
  EXPECT_TRUE(values.fits("c", 1));
  EXPECT_THAT(data_of(values.look(1, 9, 1000)), ElementsAre("b"));
}

TEST(LatestValues, ItIsWhatAMapWouldBeWhateverIsSent) {
  std::mt19937 random(1);
  LatestValues values(1000, 1 << 20);
  std::map<std::string, std::string> model;
  uint64_t bytes = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string key = std::to_string(random() % 50);
    const std::string data(random() % 40, static_cast<char>('a' + i % 26));
    values.push(message(key, data, i));
    model[key] = data;
  }
  const std::vector<Message> all = values.look(1, 1000, 1 << 20);
  ASSERT_EQ(all.size(), model.size());
  for (const Message& one : all) {
    EXPECT_EQ(model[one.extra->key], one.data);
    bytes += one.data.size() + kMessageOverheadBytes;
  }
  EXPECT_EQ(values.bytes(), bytes);
  EXPECT_EQ(values.seq_at_time(all[3].time_unix_nano), all[3].seq);
}

}  // namespace
}  // namespace zsync::daemon
