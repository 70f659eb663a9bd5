#include "daemon/rpc/status.hpp"

#include <string>

#include "daemon/fault/fault.hpp"
#include "zsync/v1/common.pb.h"

namespace zsync::daemon {

grpc::Status to_grpc(const absl::Status& status, grpc::ServerContextBase& context) {
  if (status.ok()) return grpc::Status::OK;
  if (std::optional<FaultDetail> detail = fault_detail(status)) {
    v1::ErrorDetail proto;
    proto.set_field(detail->field);
    proto.set_reason(detail->reason);
    proto.set_limit(detail->limit);
    proto.set_hint(detail->hint);
    for (const std::string& name : detail->closest) proto.add_closest(name);
    context.AddTrailingMetadata("zsync-error-bin", proto.SerializeAsString());
  }
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

}  // namespace zsync::daemon
