// `zsyncctl events`.
#include <map>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

struct EventFlags {
  std::uint64_t from = 0;
  std::vector<std::string> types;
};

std::string event_line(const v1::Event& event, bool color) {
  std::string line = absl::StrCat(
      paint(utc_time(event.time_unix_nano()), Color::kDim, color), " ", event.seq(), " ",
      paint(printable(event.type()), Color::kBold, color), " ", printable(event.subject()));
  // In one order: protobuf's maps have another one in each process.
  const std::map<std::string, std::string> attributes(event.attributes().begin(),
                                                      event.attributes().end());
  for (const auto& [key, value] : attributes) {
    absl::StrAppend(&line, " ", printable(key), "=", printable(value));
  }
  return line + "\n";
}

absl::StatusOr<int> read_events(Context& context, const EventFlags& flags, bool follow) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  v1::FollowEventsRequest request;
  request.set_from_seq(!follow && flags.from == 0 ? 1 : flags.from);
  request.set_follow(follow);
  for (const std::string& type : flags.types) request.add_types(type);
  ListPrinter printer(context);
  bool any = false;
  const HangupGuard guard(context.out.fd(), [&] { context.stop.cancel(); });
  const absl::Status status = (*client)->events().follow(
      request,
      [&](const v1::EventBatch& batch) {
        if (batch.has_gap()) {
          context.note(absl::StrCat("events ", batch.gap().from(), " to ", batch.gap().to(),
                                    " are missing (", printable(batch.gap().reason()), ")"));
        }
        for (const v1::Event& event : batch.events()) {
          any = true;
          if (!printer.add(event, absl::StrCat(event.seq()))) {
            context.out.write(event_line(event, context.color()));
          }
        }
        return context.out.flush();
      },
      *call);
  if (context.out.broken() || context.stop.cancelled()) return static_cast<int>(kExitPipeClosed);
  if (!status.ok()) return status;
  printer.end();
  if (!any && !follow && !context.globals.quiet) context.err.write("no events\n");
  return static_cast<int>(kExitOk);
}

void add_verb(Command& events, Context& context, const char* name, const char* help, bool follow) {
  auto flags = std::make_shared<EventFlags>();
  Command* leaf = add_leaf(events, context, name, help, [&context, flags, follow] {
    return read_events(context, *flags, follow);
  });
  leaf->add_option("--from", flags->from,
                   follow ? "First event wanted (default: what comes from now on)"
                          : "First event wanted (default: the oldest kept)")
      ->type_name("SEQ");
  leaf->add_option("--type", flags->types,
                   "Only types that begin so, as in task. ; may be repeated")
      ->allow_extra_args(false)
      ->type_name("PREFIX");
}

}  // namespace

void add_events(Command& app, Context& context) {
  add_noun(app, "events", "event", "The daemon's log of what happened",
           [&context](Command& events) {
             add_verb(events, context, "follow", "What happens, as it happens", true);
             add_verb(events, context, "list", "What has happened", false);
           });
}

}  // namespace zsync::cli
