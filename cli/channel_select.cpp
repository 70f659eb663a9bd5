#include "cli/channel_select.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

struct SelectFlags {
  std::vector<std::string> names, follows;
  std::uint64_t count = 0;
  bool no_ack = false;
};

// NAME, or NAME/GROUP: no name has a slash.
absl::StatusOr<v1::RecvSource> source_of(const std::string& word) {
  const std::vector<std::string> parts = absl::StrSplit(word, '/');
  if (parts.size() > 2 || parts.back().empty()) {
    return usage_error(absl::StrCat("\"", word, "\" is no channel: give NAME or NAME/GROUP"));
  }
  v1::RecvSource source;
  source.set_channel(parts[0]);
  if (parts.size() == 2) source.set_group(parts[1]);
  return source;
}

absl::StatusOr<std::vector<v1::RecvSource>> sources_of(const SelectFlags& flags) {
  std::vector<v1::RecvSource> sources;
  for (const std::string& word : flags.names) {
    absl::StatusOr<v1::RecvSource> source = source_of(word);
    if (!source.ok()) return source.status();
    sources.push_back(std::move(*source));
  }
  for (const std::string& name : flags.follows) {
    sources.emplace_back().set_channel(name);
    sources.back().set_follow(true);
  }
  if (sources.empty()) return usage_error("give the NAME of a channel, or --follow NAME");
  return sources;
}

// One message a line, behind the name of its channel; in JSON a batch of one message.
class Printer {
 public:
  explicit Printer(Context& context) : context_(context), list_(context) {}

  void gap(const v1::RecvBatch& batch) {
    context_.out.flush();
    context_.note(absl::StrCat("messages ", batch.gap().from(), " to ", batch.gap().to(),
                               " of channel \"", batch.channel(), "\" are missing (",
                               printable(batch.gap().reason()), ")"));
  }
  void record(const v1::RecvBatch& batch, const v1::Record& record) {
    if (context_.json() || context_.jsonl()) {
      v1::RecvBatch one;
      one.set_channel(batch.channel());
      one.set_source(batch.source());
      *one.add_records() = record;
      list_.add(one, "");
      return;
    }
    context_.out.write(absl::StrCat(batch.channel(), " "));
    context_.out.write(record.data());
    context_.out.write("\n");
  }
  void closed(const v1::RecvBatch& batch) {
    context_.out.flush();
    context_.note(absl::StrCat("channel \"", batch.channel(), "\" is closed and drained; ",
                               batch.sources_left(), " left"));
  }
  void end() { list_.end(); }

 private:
  Context& context_;
  ListPrinter list_;
};

absl::StatusOr<int> select(Context& context, const SelectFlags& flags) {
  const absl::StatusOr<std::vector<v1::RecvSource>> sources = sources_of(flags);
  if (!sources.ok()) return sources.status();
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  Printer printer(context);
  const HangupGuard guard(context.out.fd(), [&] { context.stop.cancel(); });
  const absl::Status status = (*client)->channels().select(
      *sources, flags.count, flags.no_ack ? client::Acks::kByHand : client::Acks::kOnReturn,
      [&](const v1::RecvBatch& batch) {
        if (batch.has_gap()) printer.gap(batch);
        for (const v1::Record& record : batch.records()) printer.record(batch, record);
        if (batch.closed()) printer.closed(batch);
        return context.out.flush();
      },
      *call);
  if (context.out.broken() || context.stop.cancelled()) return static_cast<int>(kExitPipeClosed);
  if (!status.ok()) return status;
  printer.end();
  return static_cast<int>(kExitOk);
}

}  // namespace

void add_channel_select(Command& channels, Context& context) {
  auto flags = std::make_shared<SelectFlags>();
  Command* leaf = add_leaf(channels, context, "select",
                           "Take messages of several channels, whichever comes first, until all "
                           "are closed: a line each, NAME MESSAGE",
                           [&context, flags] { return select(context, *flags); });
  leaf->add_option("NAME", flags->names, "Channels; NAME/GROUP: as a consumer of that group");
  leaf->add_option("--follow", flags->follows,
                   "A channel that is observed: takes nothing away; may be repeated")
      ->allow_extra_args(false)
      ->type_name("NAME");
  leaf->add_option("-n,--count", flags->count, "End after this many messages in all")
      ->type_name("COUNT");
  leaf->add_flag("--no-ack", flags->no_ack,
                 "Acknowledge nothing of groups: `channels ack` does, as long as this runs");
}

}  // namespace zsync::cli
