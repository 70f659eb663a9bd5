// The keys of zsync.yaml, and the JSON Schema that is made of them.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "daemon/projects/project_file.hpp"

namespace zsync::daemon {
namespace {

using S = FileSection;
using V = FileValue;

constexpr FileKey kKeys[] = {
    {S::kTop, "version", V::kCount, "Of the format: 1."},
    {S::kTop, "project", V::kText, "Its name; the directory's own where it is left out."},
    {S::kTop, "steps", V::kUnits, "Commands that run to their end, by name."},
    {S::kTop, "services", V::kUnits, "Commands that are kept running, by name."},
    {S::kTop, "triggers", V::kUnits, "Commands that changed files start, by name."},
    {S::kTop, "channels", V::kUnits, "Channels that it makes where they are missing, by name."},
    {S::kTop, "place", V::kUnbuilt, "running steps on other machines"},

    {S::kStep, "run", V::kWords, "The command, as a list: no shell reads it."},
    {S::kStep, "shell", V::kText, "Instead of run: a line for /bin/sh."},
    {S::kStep, "after", V::kNames,
     "Steps and services that have to be done or ready before it starts."},
    {S::kStep, "env", V::kPairs, "Set over the variables of who brings it up."},
    {S::kStep, "cwd", V::kText, "Where it runs, from the project's directory on."},
    {S::kStep, "lock", V::kNames, "At most one task at a time holds a lock."},
    {S::kStep, "locks", V::kNames, "The same."},
    {S::kStep, "timeout", V::kDuration, "Of its run."},
    {S::kStep, "deadline", V::kDuration, "Of its run, and of the wait in its queue before."},
    {S::kStep, "in", V::kNames,
     "Globs of the files that it reads: while they are as they were it is not run again."},
    {S::kStep, "out", V::kNames,
     "Globs of the files that it makes: where one is missing it is run."},
    {S::kStep, "on", V::kNames,
     "save: it is run again when files of its in, or of a step that it waits for, were saved."},
    {S::kStep, "matcher", V::kNames,
     "Tools whose output becomes diagnostics: gcc, clang, tsc, pytest, cargo-json, go."},
    {S::kStep, "needs", V::kUnbuilt, "installing what a step needs"},

    {S::kService, "run", V::kWords, "The command, as a list: no shell reads it."},
    {S::kService, "shell", V::kText, "Instead of run: a line for /bin/sh."},
    {S::kService, "after", V::kNames,
     "Steps and services that have to be done or ready before it starts."},
    {S::kService, "env", V::kPairs, "Set over the variables of who brings it up."},
    {S::kService, "cwd", V::kText, "Where it runs, from the project's directory on."},
    {S::kService, "lock", V::kNames, "At most one task at a time holds a lock."},
    {S::kService, "locks", V::kNames, "The same."},
    {S::kService, "port", V::kPort, "Handed to it as $PORT: a free one (auto), or this one."},
    {S::kService, "ready", V::kReady, "When it counts as ready; without it: once it runs."},
    {S::kService, "restart", V::kRestart, "Whether it is started again after it has ended."},
    {S::kService, "restart_on", V::kNames, "Steps: each time that one succeeds it is restarted."},
    {S::kService, "url", V::kUnbuilt, "names of services in URLs"},
    {S::kService, "live_reload", V::kUnbuilt, "reloading pages in browsers"},

    {S::kTrigger, "watch", V::kNames, "Globs: a change of a path that matches one starts it."},
    {S::kTrigger, "run", V::kWords, "The command, as a list: no shell reads it."},
    {S::kTrigger, "shell", V::kText, "Instead of run: a line for /bin/sh."},
    {S::kTrigger, "dir", V::kText, "What is watched, from the project's directory on."},
    {S::kTrigger, "ignore", V::kNames, "Paths that are not watched, in .gitignore syntax."},
    {S::kTrigger, "writes", V::kNames, "Globs of what the command writes: never starts it."},
    {S::kTrigger, "settle", V::kDuration, "Quiet time before it starts (50ms)."},
    {S::kTrigger, "env", V::kPairs, "Set over the variables of who brings it up."},
    {S::kTrigger, "cwd", V::kText, "Where it runs, from the project's directory on."},
    {S::kTrigger, "lock", V::kNames, "At most one task at a time holds a lock."},
    {S::kTrigger, "locks", V::kNames, "The same."},
    {S::kTrigger, "timeout", V::kDuration, "Of a run."},
    {S::kTrigger, "deadline", V::kDuration, "Of a run, and of the wait in its queue before."},
    {S::kTrigger, "matcher", V::kNames,
     "Tools whose output becomes diagnostics: gcc, clang, tsc, pytest, cargo-json, go."},

    {S::kChannel, "class", V::kChoice, "durable: accepted means on disk; memory is the default.",
     "memory|durable"},
    {S::kChannel, "form", V::kChoice,
     "Who gets a message: one receiver (queue, the default), or as docs/guide/channels.md says.",
     "queue|latest|broadcast|request|ring"},
    {S::kChannel, "capacity", V::kCapacity, "Messages that it holds, or unbounded (1024)."},
    {S::kChannel, "overflow", V::kChoice,
     "When it is full: the sender waits (block, the default), is refused, or the oldest goes.",
     "block|error|drop_oldest"},
    {S::kChannel, "retain", V::kDuration, "How long a durable one keeps what was received (7d)."},

    {S::kReady, "log", V::kText, "A line of its output holds this text."},
    {S::kReady, "tcp", V::kPort, "This port takes a connection; auto: its own."},
    {S::kReady, "http", V::kText, "GET of this path on its port is answered with 200 to 399."},
    {S::kReady, "exec", V::kCommand, "This command succeeds."},
    {S::kReady, "port", V::kPort, "Of http, where it is not the service's own."},
    {S::kReady, "timeout", V::kDuration, "It has failed when it is not ready by then (60s)."},
    {S::kReady, "interval", V::kDuration, "Between two tries (200ms; 1s with exec)."},

    {S::kRestart, "when", V::kText, "no, on-failure or always."},
    {S::kRestart, "backoff", V::kDuration,
     "Before the first restart (1s); doubled after each failure in a row."},
    {S::kRestart, "backoff_max", V::kDuration, "What it grows to (60s)."},
    {S::kRestart, "max", V::kCount, "Restarts in a row before it is given up (10)."},
};

FileSection section_of(const FileKey& units) {
  if (units.name == "steps") return S::kStep;
  if (units.name == "channels") return S::kChannel;
  return units.name == "services" ? S::kService : S::kTrigger;
}

std::string object_of(FileSection section, const std::string& indent);

std::string schema_of(const FileKey& key, const std::string& indent) {
  const std::string doc = absl::StrCat(
      "\"description\": \"", absl::StrReplaceAll(std::string(key.doc), {{"\"", "\\\""}}), "\"");
  const char text_list[] = "\"type\": \"array\", \"items\": {\"type\": \"string\"}";
  const char duration[] = "\"pattern\": \"^([0-9]+(ms|s|m|h|d))+$\"";
  switch (key.value) {
    case V::kText:
      if (key.section == S::kRestart) {
        return absl::StrCat("{", doc, ", \"enum\": [\"no\", \"on-failure\", \"always\"]}");
      }
      return absl::StrCat("{", doc, ", \"type\": \"string\"}");
    case V::kWords:
      return absl::StrCat("{", doc, ", ", text_list, ", \"minItems\": 1}");
    case V::kNames:
    case V::kCommand:
      return absl::StrCat("{", doc, ", \"oneOf\": [{\"type\": \"string\"}, {", text_list, "}]}");
    case V::kPairs:
      return absl::StrCat("{", doc,
                          ", \"type\": \"object\", \"additionalProperties\": {\"type\": "
                          "[\"string\", \"number\", \"boolean\"]}}");
    case V::kDuration:
      return absl::StrCat("{", doc, ", \"type\": \"string\", ", duration, "}");
    case V::kCount:
      if (key.section == S::kTop) return absl::StrCat("{", doc, ", \"const\": 1}");
      return absl::StrCat("{", doc, ", \"type\": \"integer\", \"minimum\": 1}");
    case V::kPort:
      return absl::StrCat("{", doc,
                          ", \"oneOf\": [{\"const\": \"auto\"}, {\"type\": \"integer\", "
                          "\"minimum\": 1, \"maximum\": 65535}]}");
    case V::kUnits:
      return absl::StrCat("{", doc, ", \"type\": \"object\", \"additionalProperties\": ",
                          object_of(section_of(key), indent), "}");
    case V::kChoice:
      return absl::StrCat("{", doc, ", \"enum\": [\"",
                          absl::StrReplaceAll(std::string(key.choices), {{"|", "\", \""}}), "\"]}");
    case V::kCapacity:
      return absl::StrCat("{", doc,
                          ", \"oneOf\": [{\"const\": \"unbounded\"}, {\"type\": \"integer\", "
                          "\"minimum\": 1, \"maximum\": ",
                          kCapacityMax, "}]}");
    case V::kReady:
      return absl::StrCat("{", doc, ", \"allOf\": [", object_of(S::kReady, indent), "]}");
    case V::kRestart:
      return absl::StrCat("{", doc,
                          ", \"oneOf\": [{\"enum\": [\"no\", \"on-failure\", \"always\"]}, ",
                          object_of(S::kRestart, indent), "]}");
    case V::kUnbuilt:
      return absl::StrCat("{\"not\": {}, \"description\": \"Not built yet: ", std::string(key.doc),
                          ".\"}");
  }
  return "{}";
}

std::string object_of(FileSection section, const std::string& indent) {
  const std::string inner = indent + "  ";
  std::string out = "{\n" + inner + "\"type\": \"object\", \"additionalProperties\": false,\n";
  if (section == S::kTop) absl::StrAppend(&out, inner, "\"required\": [\"version\"],\n");
  if (section == S::kRestart) absl::StrAppend(&out, inner, "\"required\": [\"when\"],\n");
  if (section == S::kStep || section == S::kService || section == S::kTrigger) {
    absl::StrAppend(&out, inner,
                    "\"oneOf\": [{\"required\": [\"run\"]}, {\"required\": [\"shell\"]}],\n");
  }
  if (section == S::kReady) {
    absl::StrAppend(&out, inner,
                    "\"oneOf\": [{\"required\": [\"log\"]}, {\"required\": [\"tcp\"]}, "
                    "{\"required\": [\"http\"]}, {\"required\": [\"exec\"]}],\n");
  }
  absl::StrAppend(&out, inner, "\"properties\": {");
  const char* between = "\n";
  for (const FileKey& key : kKeys) {
    if (key.section != section) continue;
    absl::StrAppend(&out, between, inner, "  \"", std::string(key.name),
                    "\": ", schema_of(key, inner + "  "));
    between = ",\n";
  }
  absl::StrAppend(&out, "\n", inner, "}\n", indent, "}");
  return out;
}

}  // namespace

std::span<const FileKey> project_keys() { return kKeys; }

std::string project_schema() {
  std::string schema = object_of(S::kTop, "");
  const std::string head =
      "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
      "  \"title\": \"zsync.yaml\",\n";
  return head + schema.substr(2) + "\n";
}

}  // namespace zsync::daemon
