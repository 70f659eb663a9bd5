#include "daemon/projects/project_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace zsync::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ProjectSpec good(const std::string& text) {
  ParsedProject parsed = parse_project(text);
  if (const auto* problems = std::get_if<1>(&parsed)) {
    for (const ProjectProblem& problem : *problems) ADD_FAILURE() << problem_line("f", problem);
    return {};
  }
  return std::get<0>(std::move(parsed));
}

std::vector<std::string> problems(const std::string& text) {
  std::vector<std::string> lines;
  ParsedProject parsed = parse_project(text);
  if (const auto* found = std::get_if<1>(&parsed)) {
    for (const ProjectProblem& problem : *found) lines.push_back(problem_line("f", problem));
  }
  return lines;
}

std::vector<std::string> names(const ProjectSpec& project) {
  std::vector<std::string> names;
  for (const UnitSpec& unit : project.units) names.push_back(unit.name);
  return names;
}

TEST(ProjectFile, StepsAndServicesAreReadAndWhatOthersWaitForComesFirst) {
  const ProjectSpec shop = good(R"(
version: 1
project: shop
services:
  api:
    run: [target/api, --fast]
    after: [build, db]
    port: auto
    ready: {http: /healthz, timeout: 5s}
    restart: {when: on-failure, backoff: 200ms, max: 3}
    restart_on: build
    env: {MODE: dev, LEVEL: 3}
  db: {shell: "postgres -D .pg", ready: {log: ready to accept}, restart: always, port: 5433}
steps:
  build: {run: [make], lock: target, cwd: src, timeout: 2m, deadline: 1h, matcher: [gcc, go]}
)");
  EXPECT_EQ(shop.name, "shop");
  ASSERT_THAT(names(shop), ElementsAre("db", "build", "api"));
  const UnitSpec& db = shop.units[0];
  EXPECT_EQ(db.command.shell, "postgres -D .pg");
  EXPECT_EQ(db.ready.kind, ReadyKind::kLog);
  EXPECT_EQ(db.ready.text, "ready to accept");
  EXPECT_EQ(db.restart.when, RestartWhen::kAlways);
  EXPECT_EQ(db.port, 5433);
  const UnitSpec& build = shop.units[1];
  EXPECT_FALSE(build.service);
  EXPECT_THAT(build.locks, ElementsAre("target"));
  EXPECT_EQ(build.timeout_ms, 120'000u);
  EXPECT_THAT(build.matchers, ElementsAre("gcc", "go"));
  EXPECT_EQ(build.deadline_ms, 3'600'000u);
  const UnitSpec& api = shop.units[2];
  EXPECT_THAT(api.command.run, ElementsAre("target/api", "--fast"));
  EXPECT_EQ(api.port_kind, PortKind::kAuto);
  EXPECT_EQ(api.ready.timeout_ms, 5000u);
  EXPECT_EQ(api.restart.backoff_ms, 200u);
  EXPECT_EQ(api.restart.max, 3u);
  EXPECT_THAT(api.restart_on, ElementsAre("build"));
  EXPECT_EQ(api.env.at("LEVEL"), "3");
}

TEST(ProjectFile, EveryProblemIsToldAtOnceWithItsLineAndColumn) {
  EXPECT_THAT(problems(R"(version: 1
services:
  api:
    run: [api]
    redy: {tcp: auto}
    restart: sometimes
  db:
    run: [db]
    run: [db2]
    after: [dbb]
  api: {run: [again]}
)"),
              ElementsAre("f:5:5: unknown key \"redy\" in services.api: did you mean \"ready\"?",
                          "f:6:14: restart: \"sometimes\" is not known: write no, on-failure or "
                          "always",
                          "f:9:5: key \"run\" in services.db is there twice, first in line 8: keep "
                          "one",
                          "f:10:13: \"dbb\" is no step or service: did you mean \"db\"?",
                          "f:11:3: \"api\" is there twice, first in line 3: steps and services "
                          "need names of their own"));
}

TEST(ProjectFile, TriggersAreReadWithWhatTheyWatch) {
  const ProjectSpec shop = good(R"(
version: 1
triggers:
  migrate:
    watch: ["*.sql", "migrations/**"]
    dir: db
    run: [make, migrate]
    writes: "*.log"
    ignore: [tmp/]
    settle: 200ms
    lock: db
    timeout: 2m
    matcher: gcc
    env: {MODE: dev}
  any: {shell: "make all"}
)");
  ASSERT_EQ(shop.triggers.size(), 2u);
  const TriggerEntry& migrate = shop.triggers[0];
  EXPECT_EQ(migrate.name, "migrate");
  EXPECT_THAT(migrate.globs, ElementsAre("*.sql", "migrations/**"));
  EXPECT_THAT(migrate.writes, ElementsAre("*.log"));
  EXPECT_THAT(migrate.ignore, ElementsAre("tmp/"));
  EXPECT_EQ(migrate.dir, "db");
  EXPECT_EQ(migrate.settle_ms, 200u);
  EXPECT_THAT(migrate.locks, ElementsAre("db"));
  EXPECT_EQ(migrate.timeout_ms, 120'000u);
  EXPECT_THAT(migrate.matchers, ElementsAre("gcc"));
  EXPECT_EQ(migrate.env.at("MODE"), "dev");
  EXPECT_THAT(migrate.command.run, ElementsAre("make", "migrate"));
  EXPECT_EQ(shop.triggers[1].command.shell, "make all");
  EXPECT_TRUE(shop.triggers[1].globs.empty());
}

TEST(ProjectFile, WhatIsWrongWithATriggerIsToldWithItsPlace) {
  const std::vector<std::string> found = problems(
      "version: 1\ntriggers:\n  a: {watch: '[x', run: [b]}\n  c: {watch: '*.c'}\n"
      "  d: {runn: [b]}\n  e: 1\n");
  EXPECT_THAT(found, ::testing::Contains(::testing::StartsWith("f:3:14: watch: ")));
  EXPECT_THAT(found, ::testing::Contains(::testing::StartsWith(
                         "f:4:3: triggers.c has no command: give it run: [make, all]")));
  EXPECT_THAT(found, ::testing::Contains(::testing::HasSubstr("did you mean \"run\"?")));
  EXPECT_THAT(found, ::testing::Contains(::testing::StartsWith("f:6:3: triggers.e needs keys")));
}

TEST(ProjectFile, WhatIsNotBuiltYetIsRefusedByNameAndLine) {
  EXPECT_THAT(problems("version: 1\nplace: {}\nsteps:\n  s: {run: [a], needs: [b]}\n"),
              ElementsAre("f:2:1: key \"place\": running steps on other machines is not built yet: "
                          "remove the key",
                          "f:4:17: key \"needs\" in steps.s: installing what a step needs is not "
                          "built yet: remove the key"));
}

TEST(ProjectFile, StepsSayWhatTheyReadAndMakeAndWhatStartsThem) {
  const ProjectSpec shop = good(
      "version: 1\nsteps:\n"
      "  build: {run: [make], in: [src/**, Makefile], out: app}\n"
      "  test: {run: [check], after: build, on: [save]}\n");
  EXPECT_THAT(shop.units[0].inputs, ElementsAre("src/**", "Makefile"));
  EXPECT_THAT(shop.units[0].outputs, ElementsAre("app"));
  EXPECT_FALSE(shop.units[0].on_save);
  EXPECT_TRUE(shop.units[1].on_save);
  EXPECT_THAT(problems("version: 1\nsteps:\n"
                       "  a: {run: [x], in: 'src/[', out: '../y'}\n"
                       "  b: {run: [x], on: [safe]}\n"
                       "  c: {run: [x], on: save}\n"
                       "  e: {run: [x], out: ''}\n"
                       "services:\n  d: {run: [x], on: save}\n"),
              ElementsAre(HasSubstr("f:3:21: in: "), HasSubstr("f:3:35: out: "),
                          "f:4:22: on: \"safe\" is not known: write save",
                          "f:5:21: on: which saved files start \"c\"? Name them with in: "
                          "[\"src/**\"], here or in a step that it waits for",
                          "f:6:22: out: a glob is empty: name files, or take the key away",
                          HasSubstr("f:8:17: unknown key \"on\" in services.d")));
}

TEST(ProjectFile, UnitsThatWaitForEachOtherAreNamedInTheirOrder) {
  EXPECT_THAT(problems("version: 1\nsteps:\n  a: {run: [x], after: b}\n  b: {run: [x], after: c}\n"
                       "  c: {run: [x], after: a}\n  d: {run: [x], after: a}\n"),
              ElementsAre("f:3:1: these wait for each other: a -> b -> c -> a: take one \"after\" "
                          "away"));
  EXPECT_THAT(problems("version: 1\nsteps: {a: {run: [x], after: a}}\n"),
              ElementsAre("f:2:30: \"a\" waits for itself"));
}

TEST(ProjectFile, ACommandIsNeededOnce) {
  EXPECT_THAT(problems("version: 1\nsteps:\n  a: {cwd: x}\n  b: {run: [x], shell: y}\n"),
              ElementsAre(HasSubstr("f:3:3: steps.a has no command"),
                          HasSubstr("f:4:3: steps.b has both run and shell")));
  EXPECT_THAT(problems("version: 1\nsteps:\n  a: {run: make all}\n"),
              ElementsAre("f:3:12: run: a list like [make, all] is needed; a line for the shell "
                          "stands in \"shell\""));
}

TEST(ProjectFile, ReadinessNeedsOneWayAndAPortToAsk) {
  const auto ready = [](const std::string& text) {
    return problems("version: 1\nservices:\n  a: {run: [x], ready: " + text + "}\n");
  };
  EXPECT_THAT(ready("{tcp: auto}"), ElementsAre(HasSubstr("asks the service's port")));
  EXPECT_THAT(ready("{http: /x}"), ElementsAre(HasSubstr("asks the service's port")));
  EXPECT_THAT(ready("{tcp: 80, log: x}"), ElementsAre(HasSubstr("exactly one of")));
  EXPECT_THAT(ready("{http: x, port: 80}"), ElementsAre(HasSubstr("is no path")));
  EXPECT_THAT(ready("soon"), ElementsAre(HasSubstr("one of {log: TEXT}")));
  EXPECT_THAT(ready("{tcp: 80, timeout: 5}"), ElementsAre(HasSubstr("has no unit")));
  EXPECT_THAT(ready("{tcp: 99999}"), ElementsAre(HasSubstr("is no port")));
  EXPECT_THAT(ready("{http: /x, port: 80}"), ElementsAre());
  EXPECT_THAT(ready("{exec: [pg_isready, -q]}"), ElementsAre());
}

TEST(ProjectFile, WhatIsNoFileOfThisKindIsRefusedInOneLine) {
  EXPECT_THAT(problems(""), ElementsAre(HasSubstr("f:1:1: the file must hold keys")));
  EXPECT_THAT(problems("- a\n"), ElementsAre(HasSubstr("the file must hold keys")));
  EXPECT_THAT(problems("steps: {}\n"), ElementsAre(HasSubstr("key \"version\" is missing")));
  EXPECT_THAT(problems("version: 2\n"), ElementsAre(HasSubstr("not known to this zsyncd")));
  EXPECT_THAT(problems("version: 1\n\tsteps:\n"), ElementsAre(HasSubstr("f:2:1: the file is "
                                                                        "indented with a tab")));
  EXPECT_THAT(problems(std::string(kProjectFileBytesMax + 1, '#')),
              ElementsAre(HasSubstr("are read")));
  EXPECT_THAT(problems("version: 1\nsteps:\n  \"a b\": {run: [x]}\n"),
              ElementsAre(HasSubstr("f:3:3: \"a b\" is no name")));
}

TEST(ProjectFile, ProblemsOfAHostileFileAreBounded) {
  std::string text = "version: 1\n";
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&text, "k", i, ": 1\n");
  EXPECT_EQ(problems(text).size(), kProjectProblemsMax);
  text = "version: 1\nsteps:\n";
  for (size_t i = 0; i <= kProjectUnitsMax; ++i) absl::StrAppend(&text, "  s", i, ": {run: [x]}\n");
  EXPECT_THAT(problems(text), ElementsAre(HasSubstr("more than 256 steps and services")));
}

// A value that the key takes.
std::string value_for(const FileKey& key) {
  switch (key.value) {
    case FileValue::kDuration:
      return "5s";
    case FileValue::kWords:
      return "[x]";
    case FileValue::kPairs:
      return "{A: b}";
    case FileValue::kCount:
      return "1";
    case FileValue::kPort:
      return "80";
    case FileValue::kUnits:
      if (key.name == "channels") return "{c: {class: durable}}";
      return key.name == "steps" ? "{s: {run: [x]}}" : "{v: {run: [x]}}";
    case FileValue::kChoice:
      return std::string(key.choices.substr(0, key.choices.find('|')));
    case FileValue::kCapacity:
      return "unbounded";
    case FileValue::kReady:
      return "{log: x}";
    case FileValue::kRestart:
      return "always";
    default:
      return key.section == FileSection::kRestart ? "always"
             : key.name == "http"                 ? "/x"
             : key.name == "restart_on"           ? "other"
             : key.name == "after"                ? "other"
             : key.name == "matcher"              ? "gcc"
             : key.name == "on"                   ? "save, in: src"
                                                  : "text";
  }
}

TEST(ProjectFile, EachKeyOfTheTableIsTaken) {
  for (const FileKey& key : project_keys()) {
    const std::string pair = absl::StrCat(std::string(key.name), ": ", value_for(key));
    const std::string command = key.name == "run" || key.name == "shell" ? "" : "run: [x], ";
    std::string text = "version: 1\nsteps: {other: {run: [x]}";
    switch (key.section) {
      case FileSection::kTop:
        text = key.name == "version" ? pair + "\n" : "version: 1\n" + pair + "\n";
        break;
      case FileSection::kStep:
        text += ", u: {" + command + pair + "}}\n";
        break;
      case FileSection::kService:
        text += "}\nservices: {u: {" + command + pair + "}}\n";
        break;
      case FileSection::kTrigger:
        text += "}\ntriggers: {t: {" + command + pair + "}}\n";
        break;
      case FileSection::kChannel:
        text += "}\nchannels: {c: {" + std::string(key.name == "retain" ? "class: durable, " : "") +
                pair + "}}\n";
        break;
      case FileSection::kReady: {
        const bool way =
            key.name == "log" || key.name == "tcp" || key.name == "http" || key.name == "exec";
        text += "}\nservices: {u: {run: [x], port: 80, ready: {" +
                std::string(way ? "" : "log: x, ") + pair + "}}}\n";
        break;
      }
      case FileSection::kRestart:
        text += "}\nservices: {u: {run: [x], restart: {" +
                std::string(key.name == "when" ? "" : "when: always, ") + pair + "}}}\n";
        break;
    }
    if (key.value == FileValue::kUnbuilt) {
      EXPECT_THAT(problems(text), ElementsAre(HasSubstr("is not built yet"))) << text;
    } else {
      EXPECT_THAT(problems(text), ElementsAre()) << text;
    }
  }
}

TEST(ProjectFile, ChannelsAreReadWithWhatIsSaidOfThem) {
  const ProjectSpec shop = good(
      "version: 1\nchannels:\n"
      "  orders: {class: durable, form: queue, capacity: 10000, overflow: block, retain: 7d}\n"
      "  prices: {form: latest, capacity: unbounded}\n"
      "  plain: {}\n");
  ASSERT_THAT(channel_names(shop), ElementsAre("orders", "prices", "plain"));
  const ChannelEntry& orders = shop.channels[0];
  EXPECT_EQ(orders.kind, ChannelClass::kDurable);
  EXPECT_EQ(orders.form, ChannelForm::kQueue);
  EXPECT_EQ(orders.capacity, 10'000u);
  EXPECT_EQ(orders.overflow, Overflow::kBlock);
  EXPECT_EQ(orders.retention_age_ns, 7 * 24 * 3600 * kSecondNs);
  EXPECT_EQ(orders.line, 3);
  EXPECT_EQ(shop.channels[1].form, ChannelForm::kLatest);
  EXPECT_EQ(shop.channels[1].capacity, 0u) << "unbounded";
  EXPECT_FALSE(shop.channels[2].kind || shop.channels[2].capacity || shop.channels[2].overflow);
}

TEST(ProjectFile, WhatNoChannelCanBeIsToldAtItsPlace) {
  EXPECT_THAT(
      problems("version: 1\nchannels:\n"
               "  a: {clas: durable}\n"
               "  b: {class: durible, capacity: 0}\n"
               "  c: {retain: 7d}\n"
               "  d: {class: durable, form: latest}\n"
               "  'e f': {}\n"
               "  g: durable\n"
               "  h: {class: durable, retain: 1ms}\n"),
      ElementsAre(
          "f:3:7: unknown key \"clas\" in channels.a: did you mean \"class\"?",
          "f:4:14: class: \"durible\" is not known: did you mean durable?",
          "f:4:33: capacity: write 1 to 16777216 messages, or unbounded",
          "f:5:7: channels.c: a channel in memory keeps nothing: take retain away, or write "
          "class: durable",
          "f:6:23: channels.d: a durable channel is a queue: take form away, or write "
          "class: memory",
          HasSubstr("f:7:3: channels: "),
          "f:8:3: channels.g needs keys, like {class: durable, capacity: 1000}",
          "f:9:31: retain: 1s to 3650d are allowed"));
}

// ZSYNC_WRITE_SCHEMA=1 writes it anew.
TEST(ProjectFile, ThePublishedSchemaIsMadeOfTheSameKeys) {
  const std::string path = ZSYNC_PROJECT_SCHEMA;
  if (std::getenv("ZSYNC_WRITE_SCHEMA") != nullptr) std::ofstream(path) << project_schema();
  std::ifstream file(path);
  const std::string published{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(published, project_schema()) << "run this test with ZSYNC_WRITE_SCHEMA=1 once";
}

TEST(ProjectFile, UnitsThatRunTheSameReadTheSame) {
  const auto text_of = [](const std::string& unit) {
    return normalized(good("version: 1\nservices: {u: " + unit + "}\n").units.at(0));
  };
  const std::string base = text_of("{run: [a, b], env: {A: x}}");
  EXPECT_EQ(text_of("{env: {A: x}, run: [a, b], restart: always}"), base);
  EXPECT_NE(text_of("{run: [ab], env: {A: x}}"), base);
  EXPECT_NE(text_of("{run: [a, b], env: {A: y}}"), base);
  EXPECT_NE(text_of("{run: [a, b], env: {A: x}, port: auto}"), base);
  EXPECT_EQ(port_variable("api-2.x"), "API_2_X_PORT");
}

}  // namespace
}  // namespace zsync::daemon
