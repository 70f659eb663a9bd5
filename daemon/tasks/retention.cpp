#include "daemon/tasks/retention.hpp"

namespace zsync::daemon {

void Retention::ended(int64_t finished_unix_nano, const std::string& id, uint64_t output_bytes) {
  if (!by_age_.emplace(finished_unix_nano, id).second || output_bytes == 0) return;
  with_output_[{finished_unix_nano, id}] = output_bytes;
  output_bytes_ += output_bytes;
}

void Retention::forget(int64_t finished_unix_nano, const std::string& id) {
  const Key key{finished_unix_nano, id};
  by_age_.erase(key);
  if (auto found = with_output_.find(key); found != with_output_.end()) {
    output_bytes_ -= found->second;
    with_output_.erase(found);
  }
}

std::vector<std::string> Retention::due(
    int64_t now_unix_nano, const std::function<bool(const std::string& id)>& pinned) const {
  std::vector<std::string> ids;
  uint64_t bytes = output_bytes_;
  const int64_t oldest = now_unix_nano - age_max_nano_;
  for (const Key& key : by_age_) {
    if (key.first >= oldest) break;
    if (pinned(key.second)) continue;
    ids.push_back(key.second);
    if (auto found = with_output_.find(key); found != with_output_.end()) bytes -= found->second;
  }
  for (const auto& [key, size] : with_output_) {
    if (bytes <= output_bytes_max_) break;
    if (key.first < oldest || pinned(key.second)) continue;
    ids.push_back(key.second);
    bytes -= size;
  }
  return ids;
}

}  // namespace zsync::daemon
