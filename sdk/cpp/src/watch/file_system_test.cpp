#include "watch/file_system.hpp"

#include <gtest/gtest.h>
#include <linux/magic.h>

namespace zsync::watching {
namespace {

TEST(FileSystem, WhatOtherMachinesChangeIsNamed) {
  EXPECT_EQ(remote_file_system(NFS_SUPER_MAGIC), "NFS");
  EXPECT_EQ(remote_file_system(SMB_SUPER_MAGIC), "SMB");
  EXPECT_EQ(remote_file_system(SMB2_SUPER_MAGIC), "SMB");
  EXPECT_EQ(remote_file_system(CIFS_SUPER_MAGIC), "CIFS");
  EXPECT_EQ(remote_file_system(V9FS_MAGIC), "9P");
  EXPECT_EQ(remote_file_system(FUSE_SUPER_MAGIC), "FUSE");
  EXPECT_EQ(remote_file_system(CEPH_SUPER_MAGIC), "Ceph");
  EXPECT_EQ(remote_file_system(AFS_SUPER_MAGIC), "AFS");
  EXPECT_EQ(remote_file_system(AFS_FS_MAGIC), "AFS");
  EXPECT_EQ(remote_file_system(CODA_SUPER_MAGIC), "Coda");
  EXPECT_EQ(remote_file_system(OCFS2_SUPER_MAGIC), "OCFS2");
}

TEST(FileSystem, ATypeWhoseSignWasSpreadIsTheSame) {
  EXPECT_EQ(remote_file_system(0xFFFFFFFF00000000 | CIFS_SUPER_MAGIC), "CIFS");
}

TEST(FileSystem, WhatIsLocalIsNot) {
  for (const uint64_t type : {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC,
                              static_cast<int>(BTRFS_SUPER_MAGIC), 0}) {
    EXPECT_EQ(remote_file_system(type), std::nullopt) << type;
  }
  EXPECT_EQ(remote_file_system_of("/proc"), std::nullopt);
  EXPECT_EQ(remote_file_system_of("/nonexistent"), std::nullopt);
}

}  // namespace
}  // namespace zsync::watching
