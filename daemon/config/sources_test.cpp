#include "daemon/config/sources.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace zsync::daemon {
namespace {

using ::testing::HasSubstr;

class ConfigSourcesTest : public ::testing::Test {
 protected:
  ConfigSourcesTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "zsync-config-XXXXXX").string();
    dir_ = ::mkdtemp(pattern.data());
  }
  ~ConfigSourcesTest() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& content) {
    const std::filesystem::path path = std::filesystem::path(dir_) / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << content;
    return path.string();
  }

  std::string dir_;
};

TEST_F(ConfigSourcesTest, TheDefaultFileFollowsXdgConfigHomeThenHome) {
  EXPECT_EQ(default_config_path({{"HOME", "/h"}}), "/h/.config/zsync/zsyncd.yaml");
  EXPECT_EQ(default_config_path({{"HOME", "/h"}, {"XDG_CONFIG_HOME", "/x"}}),
            "/x/zsync/zsyncd.yaml");
  EXPECT_EQ(default_config_path({{"HOME", "/h"}, {"XDG_CONFIG_HOME", "x"}}),
            "/h/.config/zsync/zsyncd.yaml");
  EXPECT_EQ(default_config_path({}), "");
}

TEST_F(ConfigSourcesTest, TheDefaultFileMayBeAbsentAndIsReadWhenPresent) {
  auto absent = read_config_file(std::nullopt, {{"HOME", dir_}});
  ASSERT_TRUE(absent.ok());
  EXPECT_FALSE(absent->has_value());
  EXPECT_FALSE((*read_config_file(std::nullopt, {})).has_value());
  const std::string path = write(".config/zsync/zsyncd.yaml", "version: 1\n");
  auto present = read_config_file(std::nullopt, {{"HOME", dir_}});
  ASSERT_TRUE(present.ok() && present->has_value());
  EXPECT_EQ((*present)->path, path);
  EXPECT_EQ((*present)->content, "version: 1\n");
}

TEST_F(ConfigSourcesTest, ANamedFileMustExist) {
  const absl::Status status = read_config_file(dir_ + "/none.yaml", {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(dir_ + "/none.yaml"));
}

TEST_F(ConfigSourcesTest, DirectoriesGiantsAndFifosAreRefusedOrEmpty) {
  EXPECT_EQ(read_config_file(dir_, {}).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string giant = write("giant.yaml", std::string(kConfigFileBytesMax + 1, '#'));
  EXPECT_EQ(read_config_file(giant, {}).status().code(), absl::StatusCode::kInvalidArgument);
  const std::string fifo = dir_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ((*read_config_file(fifo, {}))->content, "");
}

TEST_F(ConfigSourcesTest, TheEnvironmentBecomesAMap) {
  const char* const block[] = {"A=1", "B=x=y", "A=2", "broken", "C=", nullptr};
  const std::map<std::string, std::string> expected = {{"A", "1"}, {"B", "x=y"}, {"C", ""}};
  EXPECT_EQ(environment_map(block), expected);
  EXPECT_TRUE(environment_map(nullptr).empty());
}

TEST_F(ConfigSourcesTest, GatheredSourcesLoad) {
  const std::string path = write("z.yaml", "version: 1\nworkers: 3\n");
  auto sources = gather_config_sources(path, {{"--state-dir", "state_dir", "here"}});
  ASSERT_TRUE(sources.ok()) << sources.status();
  EXPECT_FALSE(sources->environment.at("HOME").empty());
  auto loaded = load_config(*sources);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->config.workers, 3);
  EXPECT_EQ(loaded->config.state_dir, (std::filesystem::current_path() / "here").string());
}

}  // namespace
}  // namespace zsync::daemon
