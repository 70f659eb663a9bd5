// `zsyncctl doctor`: what the machine gives to the daemon, and the cure for each shortfall.
#include "absl/strings/str_cat.h"
#include "cli/errors.hpp"
#include "cli/nouns.hpp"
#include "cli/render/text.hpp"

namespace zsync::cli {
namespace {

std::pair<const char*, Color> level_word(v1::Finding::Level level) {
  switch (level) {
    case v1::Finding::LEVEL_OK:
      return {"ok", Color::kGood};
    case v1::Finding::LEVEL_NOTE:
      return {"note", Color::kDim};
    case v1::Finding::LEVEL_WARNING:
      return {"warning", Color::kBusy};
    case v1::Finding::LEVEL_ERROR:
      return {"error", Color::kBad};
    default:
      return {"?", Color::kNone};
  }
}

std::string findings_text(const v1::DoctorReply& reply, bool color) {
  std::string text;
  for (const v1::Finding& finding : reply.findings()) {
    const auto [word, paint_as] = level_word(finding.level());
    const std::string padding(8 - std::string(word).size(), ' ');
    absl::StrAppend(&text, paint(word, paint_as, color), padding,
                    paint(printable(finding.topic()), Color::kBold, color), ": ",
                    printable(finding.text()), "\n");
    if (!finding.cure().empty()) {
      absl::StrAppend(&text, "        cure: ", printable(finding.cure()), "\n");
    }
  }
  return text;
}

absl::StatusOr<int> doctor(Context& context) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const auto reply = (*client)->daemon().doctor(*call);
  if (!reply.ok()) return reply.status();
  int code = kExitOk;
  std::string bad_topics;
  for (const v1::Finding& finding : reply->findings()) {
    if (finding.level() != v1::Finding::LEVEL_ERROR) continue;
    code = kExitFailed;
    absl::StrAppend(&bad_topics, bad_topics.empty() ? "" : "\n", finding.topic());
  }
  context.show(*reply, bad_topics, [&] { return findings_text(*reply, context.color()); });
  return code;
}

}  // namespace

void add_doctor(Command& app, Context& context) {
  add_leaf(app, context, "doctor", "What is wrong or missing on this machine, with the cure",
           [&context] { return doctor(context); });
}

}  // namespace zsync::cli
