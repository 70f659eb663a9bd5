// `zsyncctl watch`: print changes, or run a command on them.
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"
#include "cli/watch_flags.hpp"
#include "cli/watch_run.hpp"
#include "cli/watch_state.hpp"
#include "cli/watch_triggers.hpp"

namespace zsync::cli {
namespace {

Color kind_color(v1::ChangeKind kind) {
  switch (kind) {
    case v1::CHANGE_KIND_CREATED:
      return Color::kGood;
    case v1::CHANGE_KIND_DELETED:
      return Color::kBad;
    default:
      return Color::kBusy;
  }
}

void print_batch(Context& context, const v1::WatchBatch& batch) {
  if (!batch.fallback().empty())
    context.note(absl::StrCat("polled: ", printable(batch.fallback())));
  if (!batch.gap().empty()) context.note(absl::StrCat("gap: ", printable(batch.gap())));
  if (!batch.state_entered().empty())
    context.note(absl::StrCat("state ", batch.state_entered(), " was entered"));
  if (!batch.state_left().empty())
    context.note(absl::StrCat("state ", batch.state_left(), " was left"));
  if (batch.fresh())
    context.note("earlier changes are unknown: these are the files as they are now");
  for (const v1::FileChange& change : batch.changes()) {
    if (context.names()) {
      context.out.write(exact_path(change) + "\n");
      continue;
    }
    std::string word = absl::AsciiStrToLower(
        absl::StripPrefix(v1::ChangeKind_Name(change.kind()), "CHANGE_KIND_"));
    word.resize(std::max<std::size_t>(word.size(), 8), ' ');
    std::string line = absl::StrCat(paint(word, kind_color(change.kind()), context.color()), "  ");
    if (!change.renamed_from().empty()) {
      absl::StrAppend(&line, printable(change.renamed_from()), " -> ");
    }
    absl::StrAppend(&line, printable(change.path()), change.directory() ? "/\n" : "\n");
    context.out.write(line);
  }
}

absl::StatusOr<v1::SubscribeWatchRequest> make_request(const WatchFlags& flags) {
  absl::StatusOr<std::string> root = watched_directory(flags);
  if (!root.ok()) return root.status();
  absl::StatusOr<v1::WatchFilter> filter = make_watch_filter(flags);
  if (!filter.ok()) return filter.status();
  v1::SubscribeWatchRequest request;
  request.set_path(*std::move(root));
  request.set_since(flags.since);
  *request.mutable_filter() = *std::move(filter);
  return request;
}

absl::StatusOr<int> print_changes(Context& context, const v1::SubscribeWatchRequest& request) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  ListPrinter printer(context);
  const bool structured = context.json() || context.jsonl();
  const HangupGuard guard(context.out.fd(), [&] { context.stop.cancel(); });
  const absl::Status status = (*client)->watch().subscribe(
      request,
      [&](const v1::WatchBatch& batch) {
        if (!structured || !printer.add(batch, "")) print_batch(context, batch);
        return context.out.flush();
      },
      *call);
  if (context.out.broken() || context.stop.cancelled()) return static_cast<int>(kExitPipeClosed);
  if (!status.ok()) return status;
  printer.end();
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> watch(Context& context, const WatchFlags& flags) {
  if (flags.directory.empty()) {
    return usage_error("watch needs a directory, as in `zsyncctl watch . -- make`");
  }
  const absl::StatusOr<v1::SubscribeWatchRequest> request = make_request(flags);
  if (!request.ok()) return request.status();
  if (context.command.empty()) {
    if (!flags.writes.empty()) return usage_error("--writes is of use with a command only");
    return print_changes(context, *request);
  }
  return run_on_changes(context, *request, flags.writes);
}

// The changes go to stdout and the clock to stderr; without a clock to begin at, it is the answer.
absl::StatusOr<int> since(Context& context, const WatchFlags& flags) {
  const absl::StatusOr<v1::SubscribeWatchRequest> like = make_request(flags);
  if (!like.ok()) return like.status();
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  v1::QueryWatchRequest request;
  request.set_path(like->path());
  request.set_since(like->since());
  *request.mutable_filter() = like->filter();
  const absl::StatusOr<v1::WatchBatch> batch = (*client)->watch().query(request, *call);
  if (!batch.ok()) return batch.status();
  if (context.json() || context.jsonl()) {
    context.show(*batch, "", [] { return std::string(); });
    return static_cast<int>(kExitOk);
  }
  if (request.since().empty()) {
    context.out.write(printable(batch->clock()) + "\n");
    return static_cast<int>(kExitOk);
  }
  print_batch(context, *batch);
  context.out.flush();
  context.note(absl::StrCat("clock: ", printable(batch->clock())));
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> list(Context& context) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto reply = (*client)->watch().list(*call);
  if (!reply.ok()) return reply.status();
  Table table({"SUBSCRIBERS", "DIRECTORIES", "FILES", "SOURCE", "PATH"});
  ListPrinter printer(context);
  for (const v1::WatchRoot& root : reply->roots()) {
    if (printer.add(root, root.path())) continue;
    const bool failed = !root.error().empty();
    std::string note = failed ? root.error() : root.fallback();
    for (const std::string& why : root.silent())
      absl::StrAppend(&note, note.empty() ? "" : "; ", why);
    table.add({{absl::StrCat(root.subscribers())},
               {absl::StrCat(root.directories())},
               {absl::StrCat(root.files())},
               {root.source()},
               {note.empty() ? root.path() : root.path() + " (" + note + ")",
                failed ? Color::kBad : Color::kNone}});
  }
  printer.end();
  if (!context.json() && !context.jsonl() && !context.names())
    context.show_table(table, "no watches");
  return static_cast<int>(kExitOk);
}

void add_usage(Table& table, const v1::WatchUser& user) {
  table.add({{absl::StrCat(user.watches())},
             {absl::StrCat(user.instances())},
             {absl::StrCat(user.pid())},
             {printable(user.command()) + (user.zsyncd() ? " (this daemon)" : "")}});
}

absl::StatusOr<int> usage(Context& context) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto reply = (*client)->watch().usage(*call);
  if (!reply.ok()) return reply.status();
  if (context.json() || context.jsonl()) {
    context.show(*reply, "", [] { return std::string(); });
    return static_cast<int>(kExitOk);
  }
  Table table({"WATCHES", "INSTANCES", "PID", "COMMAND"});
  for (const v1::WatchUser& user : reply->users()) {
    if (context.names()) {
      context.out.write(absl::StrCat(user.pid(), "\n"));
    } else {
      add_usage(table, user);
    }
  }
  if (context.names()) return static_cast<int>(kExitOk);
  context.show_table(table, "nobody watches anything");
  context.out.write(absl::StrCat(
      reply->watches(), " of ", reply->watches_max(), " watches in use; this daemon holds ",
      reply->held(), ", its subscribers by themselves would hold ", reply->unshared(), "\n"));
  context.out.flush();
  if (reply->hidden() > 0) {
    context.note(absl::StrCat(reply->hidden(), " processes of other users are not shown"));
  }
  if (!reply->cure().empty()) context.note(absl::StrCat("raise the limit: ", reply->cure()));
  return static_cast<int>(kExitOk);
}

void add_queries(Command& noun, Context& context) {
  auto flags = std::make_shared<WatchFlags>();
  Command* query = add_leaf(noun, context, "since", "What changed since a clock",
                            [&context, flags] { return since(context, *flags); });
  query->add_option("DIR", flags->directory, "Directory")->required();
  query->add_option("CLOCK", flags->since, "Clock of an earlier batch")->required();
  add_watch_selection(*query, *flags);
  query->footer("The clock to go on from is told on stderr, and is a field of -o json.");
  auto barrier = std::make_shared<WatchFlags>();
  Command* sync = add_leaf(noun, context, "sync",
                           "Wait until all changes up to now are known; prints the clock",
                           [&context, barrier] { return since(context, *barrier); });
  sync->add_option("DIR", barrier->directory, "Directory")->required();
  add_watch_selection(*sync, *barrier);
}

}  // namespace

void add_watch(Command& app, Context& context) {
  auto flags = std::make_shared<WatchFlags>();
  Command* noun = add_leaf(app, context, "watch", "Print file changes, or run a command on them",
                           [] { return static_cast<int>(kExitOk); });
  noun->alias("watches");
  noun->may_have_subcommand();
  // CLI11 calls the verb back before its noun.
  noun->callback([&context, flags, noun] {
    if (!noun->subcommand_named())
      context.action = [&context, flags] { return watch(context, *flags); };
  });
  noun->when_named([&context, flags, noun] {
    add_leaf(*noun, context, "list", "Directories that are being watched",
             [&context] { return list(context); });
    add_queries(*noun, context);
    add_watch_state(*noun, context);
    add_watch_triggers(*noun, context);
    add_leaf(*noun, context, "usage", "Who uses the inotify watches of this machine",
             [&context] { return usage(context); });
    noun->add_option("DIR", flags->directory, "Directory (one that is called like a verb: ./list)");
    add_watch_selection(*noun, *flags);
    add_watch_pace(*noun, *flags);
    add_watch_writes(*noun, *flags);
    noun->add_option("--since", flags->since,
                     "Clock of an earlier batch: its later changes come first")
        ->type_name("CLOCK");
    noun->footer(
        "With -- COMMAND a task runs per batch, one at a time; ZSYNC_CHANGED holds the paths.");
  });
}

}  // namespace zsync::cli
