#include "daemon/rpc/stranger.hpp"

#include "daemon/rpc/identity.hpp"
#include "daemon/rpc/status.hpp"

namespace zsync::daemon {
namespace {

class StrangerService final : public grpc::CallbackGenericService {
 public:
  explicit StrangerService(uid_t daemon_uid) : daemon_uid_(daemon_uid) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    class Refusal final : public grpc::ServerGenericBidiReactor {
     public:
      explicit Refusal(grpc::Status status) { Finish(std::move(status)); }
      void OnDone() override { delete this; }
    };
    const absl::StatusOr<Peer> peer = peer_of_call(context->peer());
    absl::Status status = peer.ok() ? may_call(*peer, daemon_uid_) : peer.status();
    // The number was taken by somebody else meanwhile: this call still is a stranger's.
    if (status.ok()) status = absl::PermissionDeniedError("this connection is not served");
    return new Refusal(to_grpc(status, *context));
  }

 private:
  const uid_t daemon_uid_;
};

}  // namespace

std::unique_ptr<grpc::CallbackGenericService> make_stranger_service(uid_t daemon_uid) {
  return std::make_unique<StrangerService>(daemon_uid);
}

}  // namespace zsync::daemon
