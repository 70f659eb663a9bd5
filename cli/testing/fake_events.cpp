#include <grpcpp/grpcpp.h>

#include "cli/testing/fake_server.hpp"
#include "zsync/v1/events.grpc.pb.h"

namespace zsync::cli::testing {
namespace {

class FakeEvents final : public v1::Events::Service {
 public:
  explicit FakeEvents(FakeState& state) : state_(state) {}

  grpc::Status Follow(grpc::ServerContext* context, const v1::FollowEventsRequest* request,
                      grpc::ServerWriter<v1::EventBatch>* writer) override {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      state_.event_follows.push_back(*request);
    }
    if (!state_.events) return grpc::Status::OK;
    return to_grpc(*context, state_.events(
                                 *request, [&](const auto& batch) { return writer->Write(batch); },
                                 [&] { return context->IsCancelled() || state_.stopping; }));
  }

 private:
  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_fake_events(FakeState& state) {
  return std::make_unique<FakeEvents>(state);
}

}  // namespace zsync::cli::testing
