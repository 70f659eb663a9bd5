// ProjectRun decides what a project's units do next. It is told what happens and the time, and says
// what is to be started, stopped and probed: no clock, task or thread, so plain tests drive it.
//
//   1. A unit has one process at most: it is started only while none is known of.
//   2. What others wait for is started before them and stopped after them.
//   3. A unit that is started anew is stopped only once what it waits for is done and ready, so a
//      step that fails leaves the running service alone.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemon/projects/project.hpp"

namespace zsync::daemon {

inline constexpr int64_t kHealthyNs = 10'000'000'000;  // ready so long: failures count anew

// What of a unit is durable.
struct UnitRow {
  std::string unit;
  bool wanted = false;      // it is to run, or to be done
  uint64_t generation = 0;  // of its process: grows with each start
  bool live = false;        // that process was asked for and has not ended yet
  bool ready = false;       // that service is ready, that step was done
  std::string started_as;   // normalized(); empty: it has to be started anew
  uint16_t port = 0;        // handed out; 0: none yet
  uint32_t failures = 0;    // in a row
  uint64_t restarts = 0;    // since it was last asked for
  std::string failed;       // why it was given up
  std::string halted;       // why it has ended and stays so
  std::string inputs;       // of a step that was started: what its files were; empty: not known
  bool again = false;       // it is to be done once more when it has ended

  bool operator==(const UnitRow&) const = default;
};

enum class UnitState : uint8_t {
  kStopped = 1,
  kWaiting = 2,     // for other units
  kStarting = 3,    // it runs and is not ready
  kRunning = 4,     // a step
  kReady = 5,       // a service
  kDone = 6,        // a step
  kRestarting = 7,  // it waits for its next start after a failure
  kStopping = 8,
  kFailed = 9,
};
const char* unit_state_name(UnitState state);

struct UnitView {
  std::string name;
  bool service = false;
  UnitState state = UnitState::kStopped;
  std::string reason;  // what it waits for, why it failed
  std::string task;    // the newest
  uint16_t port = 0;
  uint64_t restarts = 0;
  int64_t since_unix_nano = 0;  // of the state; 0: it was never started
  std::vector<std::string> after;
};

struct ProjectAction {
  // kLook: whether its inputs are as they were.
  enum class Kind : uint8_t { kStart, kStop, kProbe, kLook };
  Kind kind = Kind::kStart;
  std::string unit;
  uint64_t generation = 0;
  std::string cause = "";  // kStart: the traceparent of what made it start; empty: nobody's
};

// How a process has ended.
struct UnitEnd {
  bool ok = false;
  bool canceled = false;  // by somebody else than us
  std::string reason;     // "exit code 3"
};

class ProjectRun {
 public:
  // Takes the place of the specification before. Units that it no longer has are stopped and
  // forgotten.
  void set_spec(const ProjectSpec& spec);
  // What an earlier daemon knew, after set_spec().
  void restore(const UnitRow& row);
  // Of a restored row that is live: its task goes on. Without, it is to be submitted again.
  void adopt(const std::string& unit, const std::string& task);
  // The newest task of a restored unit, and since when it is as it is.
  void show_task(const std::string& unit, const std::string& task, int64_t since);

  // These units and all that they wait for are to run; empty: all. Failures are forgotten.
  void want(const std::vector<std::string>& units, int64_t now);
  // Empty: all; else these and all that waits for them.
  void unwant(const std::vector<std::string>& units, int64_t now);
  void start_anew(const std::string& unit, int64_t now);

  // What happened to the process of that generation; of another one it is ignored.
  void launched(const std::string& unit, uint64_t generation, const std::string& task, int64_t now);
  void launch_failed(const std::string& unit, uint64_t generation, const std::string& reason,
                     int64_t now);
  void became_ready(const std::string& unit, uint64_t generation, int64_t now);
  // It did not become ready in time: it is stopped, and that counts as a failure.
  void not_ready(const std::string& unit, uint64_t generation, const std::string& reason,
                 int64_t now);
  void ended(const std::string& unit, uint64_t generation, const UnitEnd& end, int64_t now);
  void set_port(const std::string& unit, uint16_t port);
  // The answer to kLook: what stands for the step's inputs, and whether all it makes is there.
  // Where both are as after its last run it is done. `print` empty: it could not be told, and it
  // runs.
  void looked(const std::string& unit, const std::string& print, bool outputs_there, int64_t now);
  // Files were saved that are inputs of these steps: those that saves start are started again, and
  // what they wait for before; what runs is let run to its end first.
  // `cause`: the traceparent of the save.
  void inputs_changed(const std::set<std::string>& steps, const std::string& cause, int64_t now);
  // The same where nobody knows whether they were: what was halted stays so.
  void inputs_unsure(const std::set<std::string>& steps, int64_t now);

  // What is to be done now; each thing is said once.
  std::vector<ProjectAction> step(int64_t now);
  // When step() is to be called although nothing happens.
  std::optional<int64_t> wakeup() const;

  std::vector<UnitView> views(int64_t now) const;
  const UnitSpec* spec_of(const std::string& unit) const;
  const UnitRow* row_of(const std::string& unit) const;
  std::vector<UnitRow> rows() const;
  std::string task_of(const std::string& unit) const;
  // NAME_PORT of each service that the unit waits for, directly or not.
  std::vector<std::pair<std::string, uint16_t>> ports_for(const std::string& unit) const;

  // A step that saved files start is wanted.
  bool starts_on_save() const;
  // Whether saves are heard of, or never will be. Before that no inputs of such a project are
  // looked at: what is saved between a look and the begin of the watch would be missed.
  void hears_saves(bool hears) { hears_saves_ = hears; }

  // Nothing changes any more until somebody or something outside acts.
  bool settled() const;
  // Everything that is wanted is ready or done.
  bool healthy() const;
  // Something has a process, or will have one.
  bool active() const;

 private:
  enum class Phase : uint8_t { kIdle, kLooking, kLaunching, kRunning, kStopping };
  struct Unit {
    UnitSpec spec;
    std::string wanted_as;  // normalized(spec)
    UnitRow row;
    bool removed = false;  // the file has it no more
    Phase phase = Phase::kIdle;
    bool submit_again = false;  // restored: its task is not known to exist
    bool probed = false;
    std::optional<std::string> print;  // of its inputs, as looked at for the start to come
    bool changed = false;              // they were saved while they are looked at
    bool relooked = false;             // because of that, the last time
    std::string failed_before;         // what it says again where they are as when it failed
    bool unchanged = false;            // done without a run
    std::string cause;                 // of the start to come: ProjectAction::cause
    std::string run_cause;             // of the run that goes on, or was the last
    std::string task;
    std::string unready;  // why it is being stopped, where that is its own failure
    std::string last_end;
    int64_t ready_since = 0;
    int64_t not_before = 0;
    int64_t since = 0;
  };

  Unit* find(const std::string& name);
  const Unit* find(const std::string& name) const;
  Unit* process(const std::string& unit, uint64_t generation);
  static bool fresh(const Unit& unit);
  bool satisfied(const std::string& name) const;
  bool may_start(const Unit& unit) const;
  bool may_stop(const Unit& unit) const;
  std::set<std::string> blocked() const;
  UnitState state_of(const Unit& unit) const;
  std::string waits_for(const Unit& unit) const;
  std::string reason_of(const Unit& unit, UnitState state, int64_t now) const;
  void fail_or_again(Unit& unit, bool ok, const std::string& reason, int64_t now);
  void settle_end(Unit& unit, bool asked, const UnitEnd& end, int64_t now);
  void restart_dependents(const Unit& step, int64_t now);
  static void renew(Unit& unit, const std::string& cause, int64_t now);
  std::set<std::string> started_by_saves() const;
  std::set<std::string> before(const Unit& unit) const;

  std::vector<Unit> units_;  // what others wait for comes first
  bool hears_saves_ = false;
};

}  // namespace zsync::daemon
