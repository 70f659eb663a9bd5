// The forms of a NamedChannel that are no queue.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/channels/named_channel.hpp"
#include "daemon/fault/fault.hpp"

namespace zsync::daemon {
namespace {

const char* use_of(ChannelForm form) {
  switch (form) {
    case ChannelForm::kQueue:
      return "send to it, and receive or follow; requests need a channel of the form request";
    case ChannelForm::kLatest:
    case ChannelForm::kBroadcast:
      return "send to it, and follow it; what each receiver takes away needs the form queue";
    case ChannelForm::kRequest:
      return "request from it, and reply; messages need another form";
    case ChannelForm::kRing:
      return "both its ends use shared memory: `zsyncctl channels send` and `recv` with "
             "--shared-memory, ring_sender() and ring_receiver() of the C++ client";
  }
  return "";
}

}  // namespace

const char* form_word(ChannelForm form) {
  switch (form) {
    case ChannelForm::kQueue:
      return "queue";
    case ChannelForm::kLatest:
      return "latest";
    case ChannelForm::kBroadcast:
      return "broadcast";
    case ChannelForm::kRequest:
      return "request";
    case ChannelForm::kRing:
      return "ring";
  }
  return "";
}

absl::Status NamedChannel::check_form(std::initializer_list<ChannelForm> forms) const {
  if (std::find(forms.begin(), forms.end(), spec_.form) != forms.end()) return absl::OkStatus();
  return fault(absl::StatusCode::kFailedPrecondition,
               absl::StrCat("channel \"", spec_.name, "\" is of the form ", form_word(spec_.form)),
               {"channel", "WRONG_FORM", "", use_of(spec_.form), {}});
}

std::optional<uint64_t> NamedChannel::push_form(Message message) {
  if (!latest_) {
    // Nobody takes anything away: a message is history at once, and history has its limits.
    const uint64_t seq = queue_.push(std::move(message));
    queue_.settle_before(seq + 1);
    return seq;
  }
  const std::string_view key =
      message.extra ? std::string_view(message.extra->key) : std::string_view();
  while (!latest_->fits(key, message.data.size())) {
    if (spec_.overflow != Overflow::kDropOldest || !latest_->drop_oldest()) return std::nullopt;
  }
  return latest_->push(std::move(message));
}

void NamedChannel::look_at_latest(uint64_t& seq, Delivery& delivery, size_t max) {
  seq = std::max<uint64_t>(seq, 1);
  delivery.messages = latest_->look(seq, max, kDeliveryBytesMax);
  if (!delivery.messages.empty()) seq = delivery.messages.back().seq + 1;
  delivery.closed = closed_ && (delivery.messages.empty() || seq >= latest_->next_seq());
}

void NamedChannel::fill_form(ChannelInfo& info) {
  if (latest_) {
    info.depth = latest_->size();
    info.bytes = latest_->bytes();
    info.next_seq = latest_->next_seq();
    info.first_seq = latest_->first_seq();
    info.dropped = latest_->dropped();
  }
  if (ring_) {
    const RingFigures figures = ring_->figures();
    info.sent = figures.sent;
    info.received = std::min(figures.received, figures.sent);
    info.depth = info.sent - info.received;
    info.bytes = figures.bytes;
    info.next_seq = info.sent + 1;
    info.first_seq = info.received + 1;
    info.ring = {figures.pids[0], figures.pids[1], figures.since[0], figures.since[1]};
  }
  if (!exchange_) return;
  const ExchangeCounts counts = exchange_->counts();
  info.requests = counts;
  info.depth = counts.waiting + counts.in_hand;
  info.sent = counts.sent;
  info.received = counts.answered;
}

}  // namespace zsync::daemon
