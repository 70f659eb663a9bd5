# find_package(zsync) gives the targets
#   zsync::zsync    the runtime: C++20, clang 19 with libstdc++
#   zsync::client   the client of zsyncd: C++17; find_package(zsync COMPONENTS client)
# What the libraries need in turn is known to pkg-config.
find_package(PkgConfig REQUIRED)
get_filename_component(_zsync_pkgconfig "${CMAKE_CURRENT_LIST_DIR}/../../pkgconfig" ABSOLUTE)
set(_zsync_saved "$ENV{PKG_CONFIG_PATH}")
set(ENV{PKG_CONFIG_PATH} "${_zsync_pkgconfig}:${_zsync_saved}")

pkg_check_modules(zsync_runtime REQUIRED QUIET IMPORTED_TARGET GLOBAL zsync)
if(NOT TARGET zsync::zsync)
  add_library(zsync::zsync INTERFACE IMPORTED)
  set_target_properties(zsync::zsync PROPERTIES INTERFACE_LINK_LIBRARIES PkgConfig::zsync_runtime
    INTERFACE_COMPILE_FEATURES cxx_std_20)
endif()
if("client" IN_LIST zsync_FIND_COMPONENTS)
  pkg_check_modules(zsync_client REQUIRED QUIET IMPORTED_TARGET GLOBAL zsync-client)
  if(NOT TARGET zsync::client)
    add_library(zsync::client INTERFACE IMPORTED)
    set_target_properties(zsync::client PROPERTIES INTERFACE_LINK_LIBRARIES PkgConfig::zsync_client
      INTERFACE_COMPILE_FEATURES cxx_std_17)
  endif()
  set(zsync_client_FOUND TRUE)
endif()
set(ENV{PKG_CONFIG_PATH} "${_zsync_saved}")
