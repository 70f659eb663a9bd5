// Answers calls to services that this daemon does not have: which noun, and why.
#pragma once

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

namespace zsync::daemon {

enum class Availability { kAvailable, kNotBuiltYet, kNeedsPrivilege };

struct Noun {
  std::string name;     // "lsp"
  std::string service;  // "zsync.v1.Lsp"
  Availability availability;
  std::string reason;  // one line; empty when available
};

// The nouns of zsyncd.
const std::vector<Noun>& nouns();

class UnbuiltServices final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;
};

std::unique_ptr<grpc::CallbackGenericService> make_unbuilt_services();

}  // namespace zsync::daemon
