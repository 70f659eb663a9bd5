#include "zsync/client.hpp"

#include <utility>

#include "connection.hpp"

namespace zsync::client {

Client::Client(std::unique_ptr<internal::Connection> connection)
    : connection_(std::move(connection)) {}

Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::connect(Options options) {
  auto connection = internal::Connection::open(std::move(options));
  if (!connection.ok()) return connection.status();
  return std::unique_ptr<Client>(new Client(*std::move(connection)));
}

const std::string& Client::socket() const { return connection_->options().socket; }

}  // namespace zsync::client
