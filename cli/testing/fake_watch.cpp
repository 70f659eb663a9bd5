#include <grpcpp/grpcpp.h>

#include "cli/testing/cli_run.hpp"
#include "cli/testing/fake_server.hpp"
#include "zsync/v1/watch.grpc.pb.h"

namespace zsync::cli::testing {
namespace {

class FakeWatch final : public v1::Watch::Service {
 public:
  explicit FakeWatch(FakeState& state) : state_(state) {}

  grpc::Status Subscribe(grpc::ServerContext* context, const v1::SubscribeWatchRequest* request,
                         grpc::ServerWriter<v1::WatchBatch>* writer) override {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      state_.subscribes.push_back(*request);
    }
    if (!state_.subscribe) return grpc::Status::OK;
    return to_grpc(*context, state_.subscribe(
                                 *request, [&](const auto& batch) { return writer->Write(batch); },
                                 [&] { return context->IsCancelled() || state_.stopping; }));
  }
  grpc::Status Query(grpc::ServerContext* context, const v1::QueryWatchRequest* request,
                     grpc::ServerWriter<v1::WatchBatch>* writer) override {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      state_.queries.push_back(*request);
    }
    if (!state_.query) return grpc::Status::OK;
    return to_grpc(*context, state_.query(
                                 *request, [&](const auto& batch) { return writer->Write(batch); },
                                 [&] { return context->IsCancelled() || state_.stopping; }));
  }
  grpc::Status HoldState(grpc::ServerContext* context, const v1::HoldStateRequest* request,
                         grpc::ServerWriter<v1::HoldStateReply>* writer) override {
    {
      const std::lock_guard<std::mutex> lock(state_.mutex);
      state_.holds.push_back(*request);
    }
    if (request->name() == "refused") return {grpc::StatusCode::RESOURCE_EXHAUSTED, "too many"};
    v1::HoldStateReply reply;
    reply.set_silent(2);
    writer->Write(reply);
    (void)eventually([&] { return context->IsCancelled() || state_.stopping; });
    const std::lock_guard<std::mutex> lock(state_.mutex);
    ++state_.holds_ended;
    return grpc::Status::OK;
  }
  grpc::Status Usage(grpc::ServerContext*, const v1::WatchUsageRequest*,
                     v1::WatchUsageReply* reply) override {
    v1::WatchUser* user = reply->add_users();
    user->set_pid(7);
    user->set_command("code");
    user->set_instances(2);
    user->set_watches(90);
    reply->set_watches(90);
    reply->set_watches_max(100);
    reply->set_held(10);
    reply->set_unshared(40);
    reply->set_cure("sudo sysctl -w x=1");
    return grpc::Status::OK;
  }
  grpc::Status List(grpc::ServerContext*, const v1::ListWatchesRequest*,
                    v1::ListWatchesReply* reply) override {
    v1::WatchRoot* root = reply->add_roots();
    root->set_path("/srv/tree");
    root->add_silent("state build is held: 1 subscriber will be told when it is left");
    v1::HeldState* state = reply->add_states();
    state->set_path("/srv/tree");
    state->set_name("build");
    state->set_holders(2);
    state->set_pid(4711);
    return grpc::Status::OK;
  }

 private:
  FakeState& state_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_fake_watch(FakeState& state) {
  return std::make_unique<FakeWatch>(state);
}

}  // namespace zsync::cli::testing
