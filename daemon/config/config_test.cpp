#include "daemon/config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemon/config/keys.hpp"
#include "daemon/config/yaml_tree.hpp"

namespace zsync::daemon {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

ConfigSources plain() {
  ConfigSources sources;
  sources.environment = {{"HOME", "/home/ann"}, {"XDG_RUNTIME_DIR", "/run/user/1000"}};
  sources.working_directory = "/work";
  return sources;
}

ConfigSources with_file(const std::string& content) {
  ConfigSources sources = plain();
  sources.file = ConfigFile{"/etc/z.yaml", content};
  return sources;
}

LoadedConfig load_or_die(const ConfigSources& sources) {
  absl::StatusOr<LoadedConfig> loaded = load_config(sources);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? *std::move(loaded) : LoadedConfig{};
}

std::string error_of(const ConfigSources& sources) {
  const absl::Status status = load_config(sources).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  std::string text(status.message());
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  return text;
}

std::string file_error(const std::string& content) {
  return error_of(with_file("version: 1\n" + content));
}

ConfigValue value_of(const LoadedConfig& loaded, const std::string& key) {
  for (const ConfigValue& value : loaded.values) {
    if (value.key == key) return value;
  }
  ADD_FAILURE() << key;
  return {};
}

TEST(Config, DefaultsAreTheDocumentedOnes) {
  const LoadedConfig loaded = load_or_die(plain());
  const Config& config = loaded.config;
  EXPECT_EQ(config.socket, "/run/user/1000/zsync/zsyncd.sock");
  EXPECT_EQ(config.state_dir, "/home/ann/.local/state/zsync");
  EXPECT_EQ(config.idle_exit, milliseconds(0));
  EXPECT_EQ(config.workers, 0);
  EXPECT_EQ(config.log.format, LogFormat::text);
  EXPECT_EQ(config.log.level, LogLevel::info);
  EXPECT_EQ(config.drain_timeout, milliseconds(10'000));
  EXPECT_EQ(config.grpc_linger, milliseconds(5'000));
  EXPECT_EQ(config.connections_max, 1024);
  EXPECT_EQ(config.connections_per_uid_max, 256);
  EXPECT_EQ(config.calls_per_uid_max, 4096);
  EXPECT_EQ(config.tasks.kill_grace, milliseconds(10'000));
  EXPECT_THAT(config.tasks.env_pass, ElementsAre("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG",
                                                 "LC_*", "TZ", "TMPDIR", "TERM", "XDG_*"));
  EXPECT_EQ(config.tasks.groups, (TaskGroups{{"default", {}}}));
  EXPECT_EQ(config.tasks.output_bytes_max, int64_t{4} << 30);
  EXPECT_EQ(config.tasks.output_retention_bytes_max, int64_t{1} << 30);
  EXPECT_EQ(config.tasks.retention_age, std::chrono::hours(7 * 24));
  EXPECT_EQ(config.tasks.queued_max, 1'000'000);
  EXPECT_EQ(config.channels.capacity_default, 1024);
  EXPECT_EQ(config.channels.bytes_max, 256 << 20);
  EXPECT_EQ(config.channels.message_bytes_max, 1 << 20);
  EXPECT_EQ(config.channels.disk_bytes_max, 1 << 30);
  EXPECT_EQ(config.channels.max, 10'000);
  EXPECT_EQ(config.watch.settle, milliseconds(50));
  EXPECT_EQ(config.watch.max_wait, milliseconds(1000));
  EXPECT_EQ(config.watch.roots_max, 256);
  EXPECT_EQ(config.events.retention_bytes_max, 256 << 20);
  EXPECT_EQ(loaded.values.size(), config_keys().size());
  for (const ConfigValue& value : loaded.values) EXPECT_EQ(value.origin, "default") << value.key;
  EXPECT_THAT(loaded.warnings, IsEmpty());
}

TEST(Config, FileThenEnvironmentThenFlagsWinAndEachValueKnowsItsOrigin) {
  ConfigSources sources = with_file(
      "version: 1\n"
      "idle_exit: 30m\n"
      "tasks:\n"
      "  kill_grace: 5s\n"
      "  queued_max: 7\n"
      "log: {format: json, level: debug}\n");
  sources.environment["ZSYNC_TASKS_KILL_GRACE"] = "6s";
  sources.environment["ZSYNC_LOG_LEVEL"] = "error";
  sources.environment["ZSYNC_WORKERS"] = "";
  sources.flags = {{"--log-level", "log.level", "warning"}, {"--socket", "socket", "run/z.sock"}};
  const LoadedConfig loaded = load_or_die(sources);
  EXPECT_EQ(loaded.config.idle_exit, std::chrono::minutes(30));
  EXPECT_EQ(loaded.config.tasks.kill_grace, milliseconds(6000));
  EXPECT_EQ(loaded.config.log.level, LogLevel::warning);
  EXPECT_EQ(loaded.config.log.format, LogFormat::json);
  EXPECT_EQ(loaded.config.socket, "/work/run/z.sock");
  EXPECT_EQ(value_of(loaded, "idle_exit").origin, "/etc/z.yaml:2");
  EXPECT_EQ(value_of(loaded, "idle_exit").value, "30m");
  EXPECT_EQ(value_of(loaded, "tasks.kill_grace").origin, "ZSYNC_TASKS_KILL_GRACE");
  EXPECT_EQ(value_of(loaded, "tasks.queued_max").origin, "/etc/z.yaml:5");
  EXPECT_EQ(value_of(loaded, "log.level").origin, "--log-level");
  EXPECT_EQ(value_of(loaded, "log.format").origin, "/etc/z.yaml:6");
  EXPECT_EQ(value_of(loaded, "socket").origin, "--socket");
  EXPECT_EQ(value_of(loaded, "workers").origin, "default");
}

TEST(Config, EveryValueIsReadBackFromItsOwnText) {
  const LoadedConfig first = load_or_die(
      with_file("version: 1\ntasks:\n  groups: {default: {parallel: 3}, slow: {parallel: cpus}}\n"
                "  resources: {gpu: 2}\n  env_pass: [A, B_*]\nlog: {level: warning}\n"));
  ConfigSources sources = plain();
  for (const ConfigValue& value : first.values) {
    sources.environment[environment_name(value.key)] = value.value;
  }
  const LoadedConfig second = load_or_die(sources);
  EXPECT_EQ(second.config, first.config);
  for (const ConfigValue& value : second.values) {
    EXPECT_EQ(value.origin, environment_name(value.key));
  }
}

TEST(Config, AnUnknownKeyNamesFileLineAndTheClosestKey) {
  EXPECT_EQ(
      file_error("tasks:\n  kil_grace: 5s\n"),
      "/etc/z.yaml:3: key \"tasks.kil_grace\" is unknown; did you mean \"tasks.kill_grace\"?");
  EXPECT_EQ(file_error("taks: {}\n"),
            "/etc/z.yaml:2: key \"taks\" is unknown; did you mean \"tasks\"?");
  EXPECT_EQ(file_error("settle: 5ms\n"),
            "/etc/z.yaml:2: key \"settle\" is unknown; did you mean \"watch.settle\"?");
  EXPECT_EQ(file_error("database_url: x\n"), "/etc/z.yaml:2: key \"database_url\" is unknown");
  EXPECT_THAT(file_error("tasks.kill_grace: 5s\n"), HasSubstr("is written with a dot"));
}

TEST(Config, ALineThatBelongsToNoValueIsAnErrorAndNotTheEndOfAllMemory) {
  const absl::Status comma = parse_yaml("z.yaml", ",x\n").status();
  EXPECT_EQ(comma.message(),
            "z.yaml:1: the file is no valid YAML: something here belongs to no value");
  EXPECT_THAT(file_error("]\n"), HasSubstr("is no valid YAML"));
  EXPECT_THAT(file_error("workers: 1\n}\n"), HasSubstr("/etc/z.yaml:"));
  EXPECT_THAT(file_error("workers: 1\n---\nworkers: 2\n"), HasSubstr("a second document here"));
}

TEST(Config, AnErrorIsOneLineWhateverTheFileHolds) {
  EXPECT_THAT(file_error("\"a\\nb\": 1\n"), HasSubstr("\"a\\x0ab\" is unknown"));
}

TEST(Config, ADuplicateKeyIsAnError) {
  EXPECT_EQ(file_error("workers: 1\nworkers: 2\n"),
            "/etc/z.yaml:3: key \"workers\" is there twice, first in line 2: keep one");
  EXPECT_THAT(file_error("log: {level: info, level: debug}\n"), HasSubstr("log.level"));
  EXPECT_THAT(file_error("log: {level: info}\nlog: {format: json}\n"), HasSubstr("is there twice"));
  EXPECT_THAT(error_of(with_file("version: 1\nversion: 1\n")), HasSubstr("is there twice"));
}

TEST(Config, WrongTypesAndRangesSayWhatWouldBeRight) {
  EXPECT_EQ(file_error("idle_exit: 10\n"),
            "/etc/z.yaml:2: idle_exit: \"10\" has no unit: write it like 50ms, 10s, 5m, 2h or 7d");
  EXPECT_EQ(file_error("workers: 5000\n"),
            "/etc/z.yaml:2: workers: \"5000\" is out of range: 0 to 1024");
  EXPECT_EQ(file_error("workers: [1]\n"),
            "/etc/z.yaml:2: workers: a number such as \"0\" is needed, not a list");
  EXPECT_THAT(file_error("workers: many\n"), HasSubstr("\"many\" is no whole number"));
  EXPECT_THAT(file_error("workers: -1\n"), HasSubstr("out of range"));
  EXPECT_THAT(file_error("workers:\n"), HasSubstr("has no value"));
  EXPECT_THAT(file_error("log: {level: loud}\n"),
              HasSubstr("log.level: \"loud\" is none of debug, info, warning, error"));
  EXPECT_THAT(file_error("log: info\n"), HasSubstr("key \"log\" is a section"));
  EXPECT_THAT(file_error("channels: {message_bytes_max: 4MiB}\n"), HasSubstr("out of range"));
  EXPECT_THAT(file_error("tasks: {env_pass: [A, {b: c}]}\n"), HasSubstr("a name is needed"));
  EXPECT_THAT(file_error("tasks: {env_pass: [\"A=B\"]}\n"), HasSubstr("\"A=B\" is no variable"));
}

TEST(Config, ValuesThatContradictEachOtherAreRefused) {
  EXPECT_EQ(
      file_error("watch: {settle: 2s}\n"),
      "/etc/z.yaml:2: watch.settle (2s, /etc/z.yaml:2) must not pass watch.max_wait (1s, default)");
  EXPECT_THAT(file_error("channels:\n  bytes_max: 1MiB\n  message_bytes_max: 2MiB\n"),
              StartsWith("/etc/z.yaml:4: channels.message_bytes_max"));
}

TEST(Config, GroupsAreReadFromAllForms) {
  const TaskGroups expected = {{"default", {}}, {"serial", {.parallel = 1}}};
  EXPECT_EQ(
      load_or_die(with_file("version: 1\ntasks:\n  groups:\n    serial:\n      parallel: 1\n"))
          .config.tasks.groups,
      expected);
  ConfigSources sources = plain();
  sources.environment["ZSYNC_TASKS_GROUPS"] = "default=cpus,serial=1";
  EXPECT_EQ(load_or_die(sources).config.tasks.groups, expected);
  for (const char* groups :
       {"{a: {parallel: 0}}", "{a: {parallel: all}}", "{a: {}}", "{a: 4}",
        "{\"a b\": {parallel: 1}}", "{a: {parallel: 1, size: 2}}",
        "{a: {parallel: 1}, a: {parallel: 2}}", "[a]", "\"a\"", "{a: {parallel: 1, order: fifo}}",
        "{a: {parallel: 1, parallel: 2}}", "{a: {parallel: 1, overload: shed}}",
        "{a: {parallel: 1, queued_max: -1}}", "{a: {parallel: 1, memory: much}}",
        "{a: {parallel: 1, memory: 5}}", "{a: {parallel: 1, cpus: -1}}",
        "{a: {parallel: 1, cpus: nan}}"}) {
    EXPECT_THAT(file_error(std::string("tasks:\n  groups: ") + groups + "\n"),
                StartsWith("/etc/z.yaml:3: "))
        << groups;
  }
}

TEST(Config, AGroupHasAnOrderAPolicyAndABoundInEveryForm) {
  const TaskGroups expected = {{"ci", {4, GroupOrder::deadline, GroupOverload::shed, 100}},
                               {"default", {}},
                               {"q", {.queued_max = 9}}};
  const LoadedConfig loaded = load_or_die(
      with_file("version: 1\ntasks:\n  groups:\n"
                "    ci: {parallel: 4, order: deadline, overload: shed, queued_max: 100}\n"
                "    q: {parallel: cpus, queued_max: 9}\n"));
  EXPECT_EQ(loaded.config.tasks.groups, expected);
  ConfigSources sources = plain();
  sources.environment["ZSYNC_TASKS_GROUPS"] =
      "ci=4:order=deadline:overload=shed:queued_max=100,q=cpus:queued_max=9";
  EXPECT_EQ(load_or_die(sources).config.tasks.groups, expected);
  for (const ConfigValue& value : loaded.values) {
    if (value.key != "tasks.groups") continue;
    EXPECT_EQ(value.value,
              "ci=4:order=deadline:overload=shed:queued_max=100,default=cpus,q=cpus:queued_max=9");
  }
}

TEST(Config, AGroupHasABudgetOfMemoryAndOfCpus) {
  const TaskGroups expected = {{"ci",
                                {.parallel = 4,
                                 .order = GroupOrder::rate,
                                 .memory_bytes_max = 8ll << 30,
                                 .cpu_millis_max = 2500}},
                               {"default", {}}};
  const LoadedConfig loaded =
      load_or_die(with_file("version: 1\ntasks:\n  groups:\n"
                            "    ci: {parallel: 4, order: rate, memory: 8GiB, cpus: 2.5}\n"));
  EXPECT_EQ(loaded.config.tasks.groups, expected);
  ConfigSources sources = plain();
  sources.environment["ZSYNC_TASKS_GROUPS"] = "ci=4:order=rate:memory=8GiB:cpus=2.5";
  EXPECT_EQ(load_or_die(sources).config.tasks.groups, expected);
  for (const ConfigValue& value : loaded.values) {
    if (value.key == "tasks.groups") {
      EXPECT_EQ(value.value, "ci=4:order=rate:memory=8GiB:cpus=2.5,default=cpus");
    }
  }
}

TEST(Config, CapacitiesOfResourcesAreReadFromAllForms) {
  const TaskResources expected = {{"gpu", 2}, {"license", 0}};
  EXPECT_EQ(load_or_die(with_file("version: 1\ntasks:\n  resources: {gpu: 2, license: 0}\n"))
                .config.tasks.resources,
            expected);
  ConfigSources sources = plain();
  sources.environment["ZSYNC_TASKS_RESOURCES"] = "gpu=2,license=0";
  EXPECT_EQ(load_or_die(sources).config.tasks.resources, expected);
  for (const char* resources : {"{gpu: -1}", "{gpu: many}", "{gpu: {a: 1}}", "{\"a b\": 1}",
                                "{gpu: 1, gpu: 2}", "{gpu: 1000001}"}) {
    EXPECT_THAT(file_error(std::string("tasks:\n  resources: ") + resources + "\n"),
                StartsWith("/etc/z.yaml:3: "))
        << resources;
  }
}

TEST(Config, BrokenYamlIsOneLineWithItsPlace) {
  EXPECT_EQ(file_error("tasks:\n\tkill_grace: 5s\n"),
            "/etc/z.yaml:3: the file is indented with a tab here: use spaces");
  EXPECT_THAT(file_error("tasks: {\n"), HasSubstr("is no valid YAML"));
  EXPECT_THAT(file_error("---\nworkers: 1\n"), HasSubstr("second document"));
  EXPECT_THAT(file_error("? [a]\n: 1\n"), HasSubstr("no plain word"));
  EXPECT_THAT(error_of(with_file("- a\n")), HasSubstr("keys and values"));
  EXPECT_THAT(error_of(with_file("just words")), HasSubstr("keys and values"));
  EXPECT_THAT(error_of(with_file(std::string("\xff\xfe\x00\x01", 4))), StartsWith("/etc/z.yaml"));
  EXPECT_THAT(error_of(with_file("a: " + std::string(5000, '['))), StartsWith("/etc/z.yaml:1: "));
  EXPECT_THAT(error_of(with_file(std::string(kConfigFileBytesMax + 1, '#'))),
              HasSubstr("at most 1048576"));
  std::string bomb = "version: 1\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int n = 0; n < 9; ++n) bomb += ", " + last;
    bomb += "]\n";
  }
  EXPECT_THAT(error_of(with_file(bomb)), HasSubstr("too many values"));
}

TEST(Config, TheVersionIsRequiredAndMustBeKnown) {
  EXPECT_EQ(error_of(with_file("workers: 1\n")),
            "/etc/z.yaml:1: key \"version\" is missing: begin the file with \"version: 1\"");
  EXPECT_THAT(error_of(with_file("version: 2\n")), HasSubstr("\"2\" is not known"));
  EXPECT_THAT(error_of(with_file("version: [1]\n")), HasSubstr("is not known"));
  load_or_die(with_file(""));
  load_or_die(with_file("# nothing but a comment\n"));
  load_or_die(with_file("version: 1\ntasks:\nlog: {}\n"));
}

TEST(Config, PathsAreExpandedAndMadeAbsolute) {
  ConfigSources sources =
      with_file("version: 1\nsocket: ${XDG_RUNTIME_DIR}/a//b/../z.sock\nstate_dir: ~/state/\n");
  Config config = load_or_die(sources).config;
  EXPECT_EQ(config.socket, "/run/user/1000/a/z.sock");
  EXPECT_EQ(config.state_dir, "/home/ann/state");
  EXPECT_EQ(
      file_error("socket: ${NO_SUCH}/z.sock\n"),
      "/etc/z.yaml:2: socket: \"${NO_SUCH}/z.sock\" needs the variable NO_SUCH, which is not set");
  EXPECT_THAT(file_error("socket: ${HOME\n"), HasSubstr("no closing }"));
  EXPECT_THAT(file_error("socket: run/z.sock\n"), HasSubstr("is relative"));
  EXPECT_THAT(file_error("socket: \"\"\n"), HasSubstr("is empty"));
  EXPECT_THAT(file_error("socket: \"/a\\nb\"\n"), HasSubstr("newline"));
}

TEST(Config, DefaultPathsFollowTheXdgVariables) {
  ConfigSources sources = plain();
  sources.environment = {{"HOME", "/home/ann"}};
  EXPECT_EQ(load_or_die(sources).config.socket, "/home/ann/.local/state/zsync/zsyncd.sock");
  sources.environment["XDG_STATE_HOME"] = "/var/ann";
  EXPECT_EQ(load_or_die(sources).config.state_dir, "/var/ann/zsync");
  EXPECT_EQ(load_or_die(sources).config.socket, "/var/ann/zsync/zsyncd.sock");
  sources.environment["XDG_STATE_HOME"] = "not/absolute";
  sources.environment["XDG_RUNTIME_DIR"] = "not/absolute";
  EXPECT_EQ(load_or_die(sources).config.socket, "/home/ann/.local/state/zsync/zsyncd.sock");
  sources.environment = {};
  EXPECT_THAT(error_of(sources), HasSubstr("neither HOME nor XDG_STATE_HOME"));
  sources.environment = {{"ZSYNC_STATE_DIR", "/s"}};
  EXPECT_EQ(load_or_die(sources).config.socket, "/s/zsyncd.sock");
}

TEST(Config, ASocketPathThatTheSystemCannotHoldIsRefused) {
  ConfigSources sources = plain();
  const std::string longest = "/" + std::string(106, 's');
  sources.flags = {{"--socket", "socket", longest}};
  EXPECT_EQ(load_or_die(sources).config.socket, longest);
  sources.flags = {{"--socket", "socket", longest + "s"}};
  EXPECT_EQ(error_of(sources),
            "--socket: socket: \"" + longest +
                "s\" is 108 bytes long and at most 107 are possible: set a shorter "
                "one, for example with ZSYNC_SOCKET");
  sources.flags.clear();
  sources.environment["XDG_RUNTIME_DIR"] = longest;
  EXPECT_THAT(error_of(sources), StartsWith("default: socket: "));
}

TEST(Config, ErrorsInEnvironmentAndFlagsNameTheirOrigin) {
  ConfigSources sources = plain();
  sources.environment["ZSYNC_IDLE_EXIT"] = "soon";
  EXPECT_THAT(error_of(sources), StartsWith("ZSYNC_IDLE_EXIT: idle_exit: \"soon\" is no duration"));
  sources = plain();
  sources.flags = {{"--workers", "workers", "x"}};
  EXPECT_THAT(error_of(sources), StartsWith("--workers: workers: \"x\""));
  sources.flags = {{"--nonsense", "nonsense", "x"}};
  EXPECT_EQ(load_config(sources).status().code(), absl::StatusCode::kInternal);
}

TEST(Config, OnlyANearlyRightVariableIsWarnedAbout) {
  ConfigSources sources = plain();
  sources.environment["ZSYNC_TASKS_KIL_GRACE"] = "5s";
  sources.environment["ZSYNC_TASK_ID"] = "task_1";
  sources.environment["ZSYNC_BIN"] = "/x";
  EXPECT_THAT(load_or_die(sources).warnings,
              ElementsAre("variable ZSYNC_TASKS_KIL_GRACE is not known; did you mean "
                          "ZSYNC_TASKS_KILL_GRACE?"));
}

TEST(Config, TheReferenceHasALineForEachKey) {
  const std::string reference = describe_config();
  for (const Key& key : config_keys()) {
    EXPECT_THAT(reference, HasSubstr("| `" + std::string(key.path) + "` |"));
    EXPECT_FALSE(key.doc.empty());
  }
  EXPECT_THAT(
      reference,
      HasSubstr("| `tasks.kill_grace` | duration | `10s` | 0 to 1h | `ZSYNC_TASKS_KILL_GRACE` |"));
}

TEST(Config, RenderedValuesAreAlignedAndShowTheirOriginOnRequest) {
  const std::vector<ConfigValue> values = {{"a", "1", "default"}, {"bcd", "22", "ZSYNC_BCD"}};
  EXPECT_EQ(render_config(values, false), "a    1\nbcd  22\n");
  EXPECT_EQ(render_config(values, true), "a    1   default\nbcd  22  ZSYNC_BCD\n");
}

}  // namespace
}  // namespace zsync::daemon
