#include "daemon/rpc/unbuilt.hpp"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace zsync::daemon {

const std::vector<Noun>& nouns() {
  static const auto* const list = new std::vector<Noun>{
      {"tasks", "zsync.v1.Tasks", Availability::kAvailable, ""},
      {"functions", "zsync.v1.Functions", Availability::kAvailable, ""},
      {"channels", "zsync.v1.Channels", Availability::kAvailable, ""},
      {"watch", "zsync.v1.Watch", Availability::kAvailable, ""},
      {"triggers", "zsync.v1.Triggers", Availability::kAvailable, ""},
      {"services", "zsync.v1.Services", Availability::kNotBuiltYet, "services are not built yet"},
      {"lsp", "zsync.v1.Lsp", Availability::kNotBuiltYet, "language servers are not built yet"},
      {"http", "zsync.v1.Http", Availability::kNotBuiltYet, "http is not built yet"},
      {"packages", "zsync.v1.Packages", Availability::kNotBuiltYet, "packages are not built yet"},
      {"mesh", "zsync.v1.Mesh", Availability::kNotBuiltYet, "the mesh is not built yet"},
      {"registry", "zsync.v1.Registry", Availability::kNotBuiltYet,
       "the registry is not built yet"},
      {"cluster", "zsync.v1.Cluster", Availability::kNotBuiltYet, "the cluster is not built yet"},
      {"projects", "zsync.v1.Projects", Availability::kAvailable, ""},
      {"diagnostics", "zsync.v1.Diagnostics", Availability::kAvailable, ""},
      {"traces", "zsync.v1.Traces", Availability::kAvailable, ""},
      {"limits", "zsync.v1.Limits", Availability::kNotBuiltYet, "rate limits are not built yet"},
  };
  return *list;
}

grpc::ServerGenericBidiReactor* UnbuiltServices::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  class Refusal final : public grpc::ServerGenericBidiReactor {
   public:
    explicit Refusal(const std::string& reason) {
      Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, reason));
    }
    void OnDone() override { delete this; }
  };
  for (const Noun& noun : nouns()) {
    if (absl::StartsWith(context->method(), absl::StrCat("/", noun.service, "/"))) {
      return new Refusal(noun.reason.empty()
                             ? absl::StrCat("this zsyncd does not know ", context->method(),
                                            ": it is older than its client")
                             : noun.reason);
    }
  }
  return new Refusal(absl::StrCat("this zsyncd does not know ", context->method()));
}

std::unique_ptr<grpc::CallbackGenericService> make_unbuilt_services() {
  return std::make_unique<UnbuiltServices>();
}

}  // namespace zsync::daemon
