#include "cli/channel_rings.hpp"

#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/channel_stream.hpp"
#include "cli/errors.hpp"
#include "cli/frames.hpp"
#include "cli/render/json.hpp"

namespace zsync::cli {
namespace {

class RingSink final : public MessageSink {
 public:
  explicit RingSink(client::RingSender& sender) : sender_(sender) {}

  bool add(std::vector<std::string> messages) override {
    const std::vector<std::string_view> views(messages.begin(), messages.end());
    if (status_.ok()) status_ = sender_.send(views);
    return status_.ok();
  }
  bool send() override { return status_.ok(); }
  bool flush() override { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  client::RingSender& sender_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<int> send_to_ring(Context& context, const std::string& name, bool frames,
                                 const std::vector<std::string>& messages) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  absl::StatusOr<client::RingSender> sender = (*client)->channels().ring_sender(name, {}, *call);
  if (!sender.ok()) return sender.status();
  RingSink sink(*sender);
  absl::Status cut;
  if (messages.empty()) {
    cut = send_stdin(context.in, frames, sink);
  } else {
    (void)sink.add(messages);
  }
  if (!sink.status().ok()) return sink.status();
  if (absl::Status kept = sender->check(); !kept.ok()) return kept;
  if (!cut.ok()) return cut;
  v1::SendReply total;
  total.set_accepted(sender->sent());
  if (context.json() || context.jsonl()) {
    context.show(total, "", [] { return std::string(); });
  } else if (context.err.is_terminal()) {
    context.note(absl::StrCat("sent ", total.accepted(), " messages"));
  }
  return static_cast<int>(kExitOk);
}

absl::StatusOr<int> receive_from_ring(Context& context, const std::string& name, bool frames,
                                      std::uint64_t count) {
  absl::StatusOr<client::Client*> client = context.client();
  if (!client.ok()) return client.status();
  const absl::StatusOr<client::CallOptions> call = context.call();
  if (!call.ok()) return call.status();
  const HangupGuard guard(context.out.fd(), [&] { context.stop.cancel(); });
  absl::StatusOr<client::RingReceiver> receiver =
      (*client)->channels().ring_receiver(name, {}, *call);
  if (!receiver.ok()) return receiver.status();
  ListPrinter printer(context);
  const bool as_json = context.json() || context.jsonl();
  const auto take = [&](const client::RingBatch& batch) {
    std::uint64_t seq = batch.first_seq;
    for (std::string_view message : batch.messages) {
      if (as_json) {
        v1::Record record;
        record.set_seq(seq++);
        record.set_data(message.data(), message.size());
        printer.add(record, "");
        continue;
      }
      if (frames) context.out.write(frame_header(message.size()));
      context.out.write(message);
      if (!frames) context.out.write("\n");
    }
    return context.out.flush();
  };
  const absl::Status status = receiver->recv(count, take);
  if (context.out.broken() || context.stop.cancelled()) return static_cast<int>(kExitPipeClosed);
  if (!status.ok()) return status;
  printer.end();
  return static_cast<int>(kExitOk);
}

}  // namespace zsync::cli
