#include "daemon/tasks/environment.hpp"

#include <algorithm>

#include "absl/hash/hash.h"

namespace zsync::daemon {

const Environment::Variables& Environment::variables() const {
  static const Variables none;
  return variables_ ? *variables_ : none;
}

void Environment::set(const std::string& name, std::string value) {
  Variables changed = variables();
  changed[name] = std::move(value);
  variables_ = std::make_shared<const Variables>(std::move(changed));
}

void EnvironmentPool::share(Environment& environment) {
  const std::shared_ptr<const Environment::Variables>& variables = environment.variables_;
  // The tasks of one call come with one object already.
  if (!variables || last_.lock() == variables) return;
  std::weak_ptr<const Environment::Variables>& slot = known_[absl::HashOf(*variables)];
  if (auto known = slot.lock()) {
    if (*known == *variables) environment.variables_ = std::move(known);
  } else {
    slot = variables;
  }
  last_ = variables;
  if (known_.size() <= sweep_at_) return;
  absl::erase_if(known_, [](const auto& entry) { return entry.second.expired(); });
  sweep_at_ = std::max(kUnsweptMin, 2 * known_.size());
}

}  // namespace zsync::daemon
