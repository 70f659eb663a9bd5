#include "watch/file_system.hpp"

#include <sys/vfs.h>

#include <utility>

namespace zsync::watching {
namespace {

constexpr std::pair<uint32_t, std::string_view> kRemoteFileSystems[] = {
    {0x6969, "NFS"},        {0x517B, "SMB"},
    {0xFE534D42, "SMB"},    {0xFF534D42, "CIFS"},
    {0x01021997, "9P"},     {0x65735546, "FUSE"},
    {0x00C36400, "Ceph"},   {0x5346414F, "AFS"},
    {0x6B414653, "AFS"},    {0x73757245, "Coda"},
    {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"},
    {0x01161970, "GFS2"},   {0x7461636F, "OCFS2"},
    {0x19830326, "BeeGFS"}, {0x786F4256, "VirtualBox"},
    {0xBACBACBC, "VMware"}};

}  // namespace

std::optional<std::string_view> remote_file_system(uint64_t type) {
  // Where f_type is a signed 32-bit number, a large one comes with its sign spread.
  const auto magic = static_cast<uint32_t>(type);
  for (const auto& [known, name] : kRemoteFileSystems) {
    if (known == magic) return name;
  }
  return std::nullopt;
}

std::optional<std::string_view> remote_file_system_of(const std::string& path) {
  struct statfs fs = {};
  if (::statfs(path.c_str(), &fs) != 0) return std::nullopt;
  return remote_file_system(static_cast<uint64_t>(fs.f_type));
}

}  // namespace zsync::watching
