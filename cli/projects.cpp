#include "cli/projects.hpp"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/environment.hpp"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"
#include "cli/signals.hpp"
#include "cli/task_stream.hpp"
#include "cli/watch_triggers.hpp"
#include "cli/words.hpp"

extern char** environ;

namespace zsync::cli {
namespace {

constexpr char kFileName[] = "zsync.yaml";
constexpr std::size_t kFileBytesMax = (256 << 10) + 1;  // one more than the daemon takes
constexpr std::size_t kTailBytes = 4096;                // of a failed unit's output

struct UpFlags {
  std::string file;
  std::string name;
  std::vector<std::string> units;
  bool detach = false;
};

struct Nearby {
  std::string root;
  std::string file;
};

std::string state_text(v1::UnitState state) {
  const std::string name = v1::UnitState_Name(state);
  return absl::AsciiStrToLower(name.substr(std::string("UNIT_STATE_").size()));
}

Color color_of(v1::UnitState state) {
  switch (state) {
    case v1::UNIT_STATE_READY:
    case v1::UNIT_STATE_DONE:
      return Color::kGood;
    case v1::UNIT_STATE_FAILED:
      return Color::kBad;
    case v1::UNIT_STATE_STOPPED:
      return Color::kDim;
    default:
      return Color::kBusy;
  }
}

absl::StatusOr<Nearby> file_of(const std::string& given) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (given.empty()) {
    const std::string root = project_near("");
    if (!root.empty()) return Nearby{root, kFileName};
    return absl::NotFoundError(absl::StrCat("no ", kFileName,
                                            " here or in a directory above: "
                                            "write one, or name one with -f"));
  }
  fs::path path = fs::absolute(given, error).lexically_normal();
  if (fs::is_directory(path, error)) path /= kFileName;
  if (!fs::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat("there is no file ", path.string()));
  }
  const std::string root = fs::canonical(path.parent_path(), error).string();
  return Nearby{root, path.filename().string()};
}

absl::StatusOr<std::string> read_file(const Nearby& nearby) {
  const std::string path = nearby.root + "/" + nearby.file;
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::PermissionDeniedError(absl::StrCat(path, " cannot be read"));
  std::string text(kFileBytesMax, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (!is_utf8(text)) return usage_error(absl::StrCat(path, " is no UTF-8 text"));
  return text;
}

// Prints each problem of the file on a line of its own; true: there is none.
bool tell_problems(Context& context, const std::string& file, const v1::CheckProjectReply& reply) {
  for (const v1::ProjectProblem& problem : reply.problems()) {
    context.err.write(absl::StrCat(printable(file), ":", problem.line(), ":", problem.column(),
                                   ": ", printable(problem.text()), "\n"));
  }
  context.err.flush();
  return reply.problems_size() == 0;
}

std::string where(const v1::ProjectUnit& unit) {
  return unit.port() == 0 ? "" : absl::StrCat(" on port ", unit.port());
}

// The end of what its task has printed.
void tell_tail(Context& context, client::Client& client, const v1::ProjectUnit& unit) {
  if (unit.task().empty()) return;
  std::string tail;
  const absl::Status status =
      client.tasks().output(unit.task(), 1, false, [&](const v1::TaskOutputBatch& batch) {
        for (const v1::Record& record : batch.records()) tail += record.data();
        if (tail.size() > 2 * kTailBytes) tail.erase(0, tail.size() - kTailBytes);
        return true;
      });
  if (!status.ok() || tail.empty()) return;
  if (tail.size() > kTailBytes) {
    tail.erase(0, tail.find('\n', tail.size() - kTailBytes) + 1);
  }
  context.err.write(absl::StrCat("--- ", unit.name(), " (", unit.task(), ") printed:\n"));
  context.err.write(tail);
  if (tail.back() != '\n') context.err.write("\n");
  context.err.flush();
}

// One line for each unit whose state or reason changed.
class StateTeller {
 public:
  explicit StateTeller(Context& context) : context_(context) {}

  void tell(const v1::Project& project) {
    for (const v1::ProjectUnit& unit : project.units()) {
      std::string& told = told_[unit.name()];
      // The time until the next start is in the reason: it is told once.
      const bool again = unit.state() == v1::UNIT_STATE_RESTARTING;
      const std::string now = absl::StrCat(unit.state(), again ? "" : unit.reason());
      const bool quiet = unit.state() == v1::UNIT_STATE_STOPPED && unit.reason().empty();
      if (told == now || (quiet && told.empty())) continue;
      told = now;
      std::string line =
          absl::StrCat(unit.name(), ": ",
                       paint(state_text(unit.state()), color_of(unit.state()), context_.color()));
      if (unit.state() == v1::UNIT_STATE_READY) absl::StrAppend(&line, where(unit));
      if (!unit.reason().empty()) absl::StrAppend(&line, ": ", printable(unit.reason()));
      context_.out.write(line + "\n");
    }
    context_.out.flush();
  }

 private:
  Context& context_;
  std::map<std::string, std::string> told_;
};

// Follows until nothing changes any more -> the exit code.
absl::StatusOr<int> watch_up(Context& context, client::Client& client, const std::string& root,
                             const client::CallOptions& call) {
  StateTeller teller(context);
  const bool human = !context.json() && !context.jsonl() && !context.names();
  std::optional<v1::Project> last;
  const absl::Status status = client.projects().follow(
      root,
      [&](const v1::Project& project) {
        last = project;
        if (human) teller.tell(project);
        return !project.settled() && !context.out.broken();
      },
      call);
  if (!status.ok()) return status;
  if (!last.has_value()) return absl::NotFoundError("the project was removed meanwhile");
  if (!human) context.show(*last, last->name(), [] { return ""; });
  context.out.flush();
  if (last->healthy()) return static_cast<int>(kExitOk);
  for (const v1::ProjectUnit& unit : last->units()) {
    const bool bad = unit.state() == v1::UNIT_STATE_FAILED ||
                     (unit.state() == v1::UNIT_STATE_STOPPED && !unit.reason().empty());
    if (bad) tell_tail(context, client, unit);
  }
  return static_cast<int>(kExitFailed);
}

absl::StatusOr<int> up(Context& context, const UpFlags& flags) {
  const absl::StatusOr<Nearby> nearby = file_of(flags.file);
  if (!nearby.ok()) return nearby.status();
  absl::StatusOr<std::string> text = read_file(*nearby);
  if (!text.ok()) return text.status();
  auto environment = capture_environment(environ, {});
  if (!environment.ok()) return environment.status();
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto checked = (*client)->projects().check(*text, *call);
  if (!checked.ok()) return checked.status();
  if (!tell_problems(context, nearby->file, *checked)) return static_cast<int>(kExitUsage);
  v1::UpProjectRequest request;
  request.set_root(nearby->root);
  request.set_file(nearby->file);
  request.set_text(*std::move(text));
  request.set_name(flags.name);
  for (const std::string& unit : flags.units) request.add_units(unit);
  for (const auto& [name, value] : *environment) (*request.mutable_env())[name] = value;
  const auto project = (*client)->projects().up(request, *call);
  if (!project.ok()) return project.status();
  if (flags.detach) {
    context.show(*project, project->name(), [&] {
      return absl::StrCat("project ", project->name(), " is on its way: `zsyncctl ps --project`\n");
    });
    return static_cast<int>(kExitOk);
  }
  // Ctrl-C ends the waiting, not the project.
  const SignalGuard guard([&](int) { context.stop.cancel(); });
  absl::StatusOr<int> code = watch_up(context, **client, nearby->root, *call);
  if (!context.stop.cancelled()) return code;
  context.note("the project goes on; `zsyncctl down` stops it");
  return static_cast<int>(kExitInterrupted);
}

// One call about the project that is named, or nearby.
absl::StatusOr<v1::Project> call_project(
    Context& context, const std::string& given,
    const std::function<absl::StatusOr<v1::Project>(client::Projects, const std::string&,
                                                    const client::CallOptions&)>& each) {
  const std::string project = project_near(given);
  if (project.empty()) {
    return absl::NotFoundError(absl::StrCat("no ", kFileName,
                                            " here or in a directory above: name "
                                            "a project with --project"));
  }
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  return each((*client)->projects(), project, *call);
}

std::string table_of(Context& context, const v1::Project& project) {
  Table table({"NAME", "KIND", "STATE", "PORT", "SINCE", "RESTARTS", "TASK", "REASON"});
  for (const v1::ProjectUnit& unit : project.units()) {
    const auto age = std::chrono::nanoseconds(now_unix_nano() - unit.since_unix_nano());
    table.add({{unit.name()},
               {unit.service() ? "service" : "step"},
               {state_text(unit.state()), color_of(unit.state())},
               {unit.port() == 0 ? "-" : absl::StrCat(unit.port())},
               {unit.since_unix_nano() == 0 ? "-" : human_duration(age)},
               {absl::StrCat(unit.restarts())},
               {unit.task().empty() ? "-" : unit.task()},
               {unit.reason().empty() ? "-" : printable(unit.reason())}});
  }
  return table.empty() ? "no steps and services\n"
                       : table.text(context.out.width(), context.color());
}

// Below its steps and services; nothing where it has none.
void show_triggers(Context& context, const std::string& project) {
  absl::StatusOr<client::Client*> client = context.client();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!client.ok() || !call.ok()) return;
  const auto reply = (*client)->triggers().list(project, *call);
  if (!reply.ok() || reply->triggers_size() == 0) return;
  Table table({"TRIGGER", "STATE", "RUNS", "LAST RUN"});
  for (const v1::Trigger& trigger : reply->triggers()) {
    table.add({{trigger.spec().name()},
               {trigger_state_text(trigger.state())},
               {absl::StrCat(trigger.runs())},
               {printable(trigger_last_text(trigger))}});
  }
  context.out.write("\n" + table.text(context.out.width(), context.color()));
  context.out.flush();
}

absl::StatusOr<int> shown(Context& context, const absl::StatusOr<v1::Project>& project) {
  if (!project.ok()) return project.status();
  context.show(*project, project->name(), [&] { return table_of(context, *project); });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> check(Context& context, const std::string& given) {
  const absl::StatusOr<Nearby> nearby = file_of(given);
  if (!nearby.ok()) return nearby.status();
  const absl::StatusOr<std::string> text = read_file(*nearby);
  if (!text.ok()) return text.status();
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto reply = (*client)->projects().check(*text, *call);
  if (!reply.ok()) return reply.status();
  if (!tell_problems(context, nearby->file, *reply)) return static_cast<int>(kExitUsage);
  context.show(*reply, reply->name(), [&] {
    return absl::StrCat(nearby->file, " is sound: ", reply->units_size(), " steps and services\n");
  });
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> list(Context& context) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto projects = (*client)->projects().list(*call);
  if (!projects.ok()) return projects.status();
  Table table({"NAME", "STATE", "UNITS", "DIRECTORY"});
  ListPrinter printer(context);
  for (const v1::Project& project : *projects) {
    if (printer.add(project, project.name())) continue;
    int up = 0;
    for (const v1::ProjectUnit& unit : project.units()) {
      up += unit.state() != v1::UNIT_STATE_STOPPED ? 1 : 0;
    }
    const std::string state = up == 0              ? "down"
                              : !project.settled() ? "changing"
                              : project.healthy()  ? "healthy"
                                                   : "failed";
    table.add({{project.name()},
               {state, state == "healthy" ? Color::kGood : Color::kNone},
               {absl::StrCat(up, "/", project.units_size())},
               {project.root()}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names()) {
    context.show_table(table, "no projects");
  }
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> remove(Context& context, const std::string& given) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  if (absl::Status status = (*client)->projects().remove(given, *call); !status.ok()) return status;
  context.note(absl::StrCat("project ", given, " is forgotten; its tasks stay"));
  return static_cast<int>(kExitOk);
}

void add_up(Command& app, Context& context) {
  auto flags = std::make_shared<UpFlags>();
  Command* leaf = add_leaf(app, context, "up", "Bring the project of a zsync.yaml up",
                           [&context, flags] { return up(context, *flags); });
  leaf->add_option("UNIT", flags->units, "Only these steps and services, and what they wait for");
  leaf->add_option("-f,--file", flags->file,
                   "The file, or its directory (default: the nearest zsync.yaml)")
      ->type_name("PATH");
  leaf->add_option("--name", flags->name, "The project's name, instead of the file's")
      ->type_name("NAME");
  leaf->add_flag("-d,--detach", flags->detach, "Do not wait until it is ready");
  leaf->footer(
      "It returns once everything is ready (0) or something has failed (1). What runs and "
      "is not changed in the file goes on.");
}

void add_down(Command& app, Context& context) {
  auto flags = std::make_shared<std::pair<std::string, std::vector<std::string>>>();
  Command* leaf = add_leaf(
      app, context, "down", "Stop a project, or some of it and what waits for that",
      [&context, flags]() -> absl::StatusOr<int> {
        const absl::StatusOr<v1::Project> project =
            call_project(context, flags->first,
                         [&](client::Projects projects, const std::string& name,
                             const client::CallOptions& call) {
                           return projects.down(name, flags->second, true, call);
                         });
        if (!project.ok()) return project.status();
        context.show(*project, project->name(), [&] {
          return flags->second.empty() ? absl::StrCat("project ", project->name(), " is down\n")
                                       : table_of(context, *project);
        });
        if (flags->second.empty() && project->channels_size() > 0) {
          context.note(absl::StrCat("its channels stay, with what they hold: ",
                                    absl::StrJoin(project->channels(), ", ")));
        }
        return static_cast<int>(kExitOk);
      });
  leaf->add_option("UNIT", flags->second, "Only these, and what waits for them");
  leaf->add_option("--project", flags->first, "Its name (default: that of the nearest zsync.yaml)")
      ->type_name("NAME");
}

void add_restart(Command& app, Context& context) {
  auto flags = std::make_shared<std::pair<std::string, std::string>>();
  Command* leaf = add_leaf(app, context, "restart", "Start a step or service of a project anew",
                           [&context, flags]() -> absl::StatusOr<int> {
                             const auto project = call_project(
                                 context, flags->first,
                                 [&](client::Projects projects, const std::string& name,
                                     const client::CallOptions& call) {
                                   return projects.restart(name, flags->second, call);
                                 });
                             if (!project.ok()) return project.status();
                             absl::StatusOr<client::Client*> client = context.client();
                             const absl::StatusOr<client::CallOptions> call = context.call();
                             if (!call.ok()) return call.status();
                             return watch_up(context, **client, project->root(), *call);
                           });
  leaf->add_option("UNIT", flags->second, "Step or service")->required();
  leaf->add_option("--project", flags->first, "Its name (default: that of the nearest zsync.yaml)")
      ->type_name("NAME");
}

}  // namespace

std::string project_near(const std::string& given) {
  namespace fs = std::filesystem;
  if (!given.empty()) return given;
  std::error_code error;
  for (fs::path at = fs::current_path(error); !error && !at.empty(); at = at.parent_path()) {
    if (fs::is_regular_file(at / kFileName, error)) return at.string();
    error.clear();
    if (at == at.root_path()) break;
  }
  return "";
}

absl::StatusOr<int> show_project(Context& context, const std::string& project) {
  const auto found =
      call_project(context, project,
                   [](client::Projects projects, const std::string& name,
                      const client::CallOptions& call) { return projects.get(name, call); });
  const absl::StatusOr<int> code = shown(context, found);
  if (found.ok() && !context.json() && !context.jsonl() && !context.names()) {
    show_triggers(context, found->name());
  }
  return code;
}

std::optional<v1::ProjectUnit> unit_nearby(Context& context, const std::string& name) {
  const std::string root = project_near("");
  if (root.empty()) return std::nullopt;
  const auto project = call_project(
      context, root,
      [](client::Projects projects, const std::string& project_root,
         const client::CallOptions& call) { return projects.get(project_root, call); });
  if (!project.ok()) return std::nullopt;
  for (const v1::ProjectUnit& unit : project->units()) {
    if (unit.name() == name) return unit;
  }
  return std::nullopt;
}

absl::StatusOr<int> why_unit(Context& context, const v1::ProjectUnit& unit) {
  context.show(unit, unit.name(), [&] {
    std::string text =
        absl::StrCat(unit.service() ? "service " : "step ", unit.name(), " ",
                     paint(state_text(unit.state()), color_of(unit.state()), context.color()),
                     where(unit), "\n");
    if (!unit.reason().empty()) absl::StrAppend(&text, "  ", printable(unit.reason()), "\n");
    if (!unit.task().empty()) {
      absl::StrAppend(&text, "  task ", unit.task(), ": `zsyncctl why ", unit.task(), "`\n");
    }
    return text;
  });
  return static_cast<int>(kExitOk);
}

void add_projects(Command& app, Context& context) {
  add_up(app, context);
  add_down(app, context);
  add_restart(app, context);
  add_noun(
      app, "projects", "project", "Steps and services of a zsync.yaml", [&context](Command& noun) {
        add_leaf(noun, context, "list", "Projects, and whether they are up",
                 [&context] { return list(context); });
        auto named = std::make_shared<std::string>();
        Command* get = add_leaf(noun, context, "get", "Steps and services of one, and their states",
                                [&context, named] { return show_project(context, *named); });
        get->add_option("PROJECT", *named, "Its name (default: that of the nearest zsync.yaml)");
        get->alias("ps");
        auto file = std::make_shared<std::string>();
        Command* checked = add_leaf(noun, context, "check", "Say what is wrong with a zsync.yaml",
                                    [&context, file] { return check(context, *file); });
        checked->add_option("PATH", *file,
                            "The file, or its directory (default: the nearest zsync.yaml)");
        auto logged = std::make_shared<std::pair<std::string, std::vector<std::string>>>();
        auto follow = std::make_shared<bool>(false);
        Command* logs =
            add_leaf(noun, context, "logs", "Output of steps and services, by their names",
                     [&context, logged, follow] {
                       return project_logs(context, logged->first, logged->second, *follow);
                     });
        logs->add_option("UNIT", logged->second, "Only these");
        logs->add_option("--project", logged->first,
                         "Its name (default: that of the nearest zsync.yaml)")
            ->type_name("NAME");
        logs->add_flag("-f,--follow", *follow, "Stay, also through restarts, until Ctrl-C");
        auto removed = std::make_shared<std::string>();
        Command* rm = add_leaf(noun, context, "rm", "Forget a project that is down; its tasks stay",
                               [&context, removed] { return remove(context, *removed); });
        rm->alias("remove");
        rm->add_option("PROJECT", *removed, "Its name, or the path of its directory")->required();
      });
}

}  // namespace zsync::cli
