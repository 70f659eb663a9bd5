#include "daemon/diagnostics/diagnostics_service.hpp"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/diagnostics/engine.hpp"
#include "daemon/fault/fault.hpp"
#include "daemon/rpc/bridge.hpp"
#include "zsync/v1/diagnostics.grpc.pb.h"

namespace zsync::daemon {
namespace {

constexpr size_t kPageDefault = 100;
constexpr size_t kPageMax = 1000;
constexpr size_t kMessageBytes = 1 << 20;  // of a page or batch, about: one set more fits in 4 MiB

void to_proto(const Diagnostic& diagnostic, v1::Diagnostic& proto) {
  proto.set_path(diagnostic.path);
  proto.set_line(diagnostic.line);
  proto.set_column(diagnostic.column);
  proto.set_end_line(diagnostic.end_line);
  proto.set_end_column(diagnostic.end_column);
  proto.set_severity(static_cast<v1::DiagnosticSeverity>(diagnostic.severity));
  proto.set_message(diagnostic.message);
  proto.set_code(diagnostic.code);
  proto.set_matcher(diagnostic.matcher);
  for (const RelatedPlace& place : diagnostic.related) {
    v1::RelatedPlace& related = *proto.add_related();
    related.set_path(place.path);
    related.set_line(place.line);
    related.set_column(place.column);
    related.set_message(place.message);
  }
}

void to_proto(const DiagnosticSet& set, v1::DiagnosticSet& proto) {
  proto.set_source(set.key.source);
  proto.set_path(set.key.path);
  proto.set_version(set.version);
  proto.set_task(set.task);
  proto.set_changed_unix_nano(set.changed_unix_nano);
  for (const Diagnostic& diagnostic : set.diagnostics) {
    to_proto(diagnostic, *proto.add_diagnostics());
  }
}

absl::StatusOr<DiagnosticFilter> from_proto(const v1::DiagnosticFilter& proto) {
  DiagnosticFilter filter;
  filter.source = proto.source();
  filter.path_prefix = proto.path_prefix();
  if (!filter.path_prefix.empty() && filter.path_prefix.front() != '/') {
    return fault(absl::StatusCode::kInvalidArgument,
                 absl::StrCat("filter.path_prefix: \"", filter.path_prefix, "\" is not absolute"),
                 {"filter.path_prefix", "INVALID", "", "begin it with a slash", {}});
  }
  if (proto.severity() == v1::DIAGNOSTIC_SEVERITY_UNSPECIFIED) return filter;
  if (!v1::DiagnosticSeverity_IsValid(proto.severity())) {
    return fault(
        absl::StatusCode::kInvalidArgument,
        absl::StrCat("there is no severity ", static_cast<int>(proto.severity())),
        {"filter.severity", "INVALID", "", "give error, warning or note, or leave it out", {}});
  }
  filter.at_least = static_cast<Severity>(proto.severity());
  return filter;
}

Task<absl::StatusOr<v1::ListDiagnosticsReply>> list(DiagnosticsEngine& engine,
                                                    v1::ListDiagnosticsRequest request) {
  absl::StatusOr<DiagnosticFilter> filter = from_proto(request.filter());
  if (!filter.ok()) co_return filter.status();
  if (request.page_size() > kPageMax) {
    co_return fault(absl::StatusCode::kInvalidArgument,
                    absl::StrCat("page_size: ", request.page_size(), " is over ", kPageMax),
                    {"page_size",
                     "LIMIT",
                     absl::StrCat("page_size_max = ", kPageMax),
                     "ask for less, and for the next page with next_page_token",
                     {}});
  }
  DiagnosticsEngine::List found =
      co_await engine.list(*std::move(filter), std::move(*request.mutable_page_token()),
                           request.page_size() ? request.page_size() : kPageDefault, kMessageBytes);
  v1::ListDiagnosticsReply reply;
  for (const DiagnosticSet& set : found.page.sets) to_proto(set, *reply.add_sets());
  reply.set_next_page_token(std::move(found.page.next));
  reply.set_left_out(found.left_out);
  co_return reply;
}

Task<absl::Status> subscribe(DiagnosticsEngine& engine, v1::SubscribeDiagnosticsRequest request,
                             StreamWriter<v1::DiagnosticSetBatch>& out) {
  absl::StatusOr<DiagnosticFilter> filter = from_proto(request.filter());
  if (!filter.ok()) co_return filter.status();
  DiagnosticSets::Cursor cursor;
  while (true) {
    const uint64_t seen = engine.changed().epoch();
    const DiagnosticSets::Changes changes = engine.changes(*filter, cursor, kMessageBytes);
    if (changes.reset || !changes.sets.empty()) {
      v1::DiagnosticSetBatch batch;
      batch.set_reset(changes.reset);
      batch.set_current(changes.current);
      for (const DiagnosticSet& set : changes.sets) to_proto(set, *batch.add_sets());
      if (absl::Status sent = co_await out.write(std::move(batch)); !sent.ok()) co_return sent;
    }
    if (changes.current) co_await engine.changed().changed(seen);
  }
}

class Service final : public v1::Diagnostics::CallbackService {
 public:
  Service(CallGate& gate, DiagnosticsEngine& engine) : gate_(gate), engine_(engine) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListDiagnosticsRequest* request,
                                 v1::ListDiagnosticsReply* reply) override {
    return unary_call(gate_, context, request, reply,
                      [this](CallContext, v1::ListDiagnosticsRequest asked) {
                        return list(engine_, std::move(asked));
                      });
  }
  grpc::ServerWriteReactor<v1::DiagnosticSetBatch>* Subscribe(
      grpc::CallbackServerContext* context,
      const v1::SubscribeDiagnosticsRequest* request) override {
    return stream_call<v1::SubscribeDiagnosticsRequest, v1::DiagnosticSetBatch>(
        gate_, context, request,
        [this](CallContext, v1::SubscribeDiagnosticsRequest asked,
               StreamWriter<v1::DiagnosticSetBatch>& out) {
          return subscribe(engine_, std::move(asked), out);
        });
  }

 private:
  CallGate& gate_;
  DiagnosticsEngine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_diagnostics_service(CallGate& gate, DiagnosticsEngine& engine) {
  return std::make_unique<Service>(gate, engine);
}

}  // namespace zsync::daemon
