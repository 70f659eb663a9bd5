#!/usr/bin/env bash
# Builds zsync_VERSION_ARCH.deb from finished binaries: no compiler, no root, same input gives the same bytes.
#
#   packaging/deb/build.sh [--bin build/bin] [--out build/deb] [--version 0.1.0]
#
# Needs dpkg-deb and dpkg-shlibdeps (dpkg-dev), and the libraries that the binaries are linked with. Prints the package's path.
set -euo pipefail

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../.." && pwd)
bin=$root/build/bin
out=$root/build/deb
version=$(sed -n "s/^ *version: '\(.*\)',.*/\1/p" "$root/meson.build" | head -n 1)
# Debian has another program of this name (a file transfer tool, 0.6): without an epoch apt would take that for an upgrade.
epoch=1

die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }
while [ $# -gt 0 ]; do
  case $1 in
    --bin) bin=${2:?--bin needs a folder}; shift 2 ;;
    --out) out=${2:?--out needs a folder}; shift 2 ;;
    --version) version=${2:?--version needs one}; shift 2 ;;
    *) die "no option '$1'; there are: --bin --out --version" ;;
  esac
done
for tool in dpkg-deb dpkg-shlibdeps; do
  command -v "$tool" >/dev/null || die "$tool is missing: apt-get install dpkg-dev"
done
for program in zsyncd zsyncctl zsync-shim; do
  [ -x "$bin/$program" ] || die "no $program in $bin: run ./dev build, or give --bin"
done
[[ $version =~ ^[0-9][0-9A-Za-z.+~-]*$ ]] || die "version '$version' is not one that dpkg takes"

# The time of every file: of the last change, so that a rebuild gives the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

arch=$(dpkg --print-architecture)
work=$(mktemp -d /tmp/zsync-deb.XXXXXX)
trap 'rm -rf "$work"' EXIT
tree=$work/tree
umask 022

# ---- files -----------------------------------------------------------------------------------------------------------

put() { install -D -m "$1" -- "$2" "$tree/$3"; }
put_packed() { mkdir -p "$(dirname "$tree/$2")" && gzip -9n <"$1" >"$tree/$2"; }

put 755 "$bin/zsyncd" usr/bin/zsyncd
put 755 "$bin/zsyncctl" usr/bin/zsyncctl
put 755 "$bin/zsync-shim" usr/libexec/zsync/zsync-shim
if command -v strip >/dev/null; then
  strip --strip-unneeded -- "$tree/usr/bin/zsyncd" "$tree/usr/bin/zsyncctl" "$tree/usr/libexec/zsync/zsync-shim"
fi
put 644 "$root/systemd/zsyncd.service" usr/lib/systemd/user/zsyncd.service
put 644 "$root/systemd/zsyncd.socket" usr/lib/systemd/user/zsyncd.socket

completion() {
  mkdir -p "$(dirname "$tree/$2")"
  "$bin/zsyncctl" completion "$1" >"$tree/$2"
}
completion bash usr/share/bash-completion/completions/zsyncctl
completion zsh usr/share/zsh/vendor-completions/_zsyncctl
completion fish usr/share/fish/vendor_completions.d/zsyncctl.fish

for page in zsyncctl.1 zsyncd.8; do
  sed "s/@VERSION@/$version/" "$root/packaging/man/$page" >"$work/$page"
  put_packed "$work/$page" "usr/share/man/man${page##*.}/$page.gz"
done

doc=usr/share/doc/zsync
put 644 "$root/packaging/deb/copyright" "$doc/copyright"
put 644 "$root/README.md" "$doc/README.md"
put_packed "$root/CHANGELOG.md" "$doc/changelog.gz"

# ---- control ---------------------------------------------------------------------------------------------------------

# dpkg-shlibdeps wants to see a source package.
mkdir -p "$work/debian" "$tree/DEBIAN"
printf 'Source: zsync\n\nPackage: zsync\nArchitecture: any\n' >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O tree/usr/bin/zsyncd tree/usr/bin/zsyncctl 2>"$work/shlibdeps.log") ||
  die "dpkg-shlibdeps: $(cat "$work/shlibdeps.log")"
depends=${depends#shlibs:Depends=}

cat >"$tree/DEBIAN/control" <<CONTROL
Package: zsync
Version: $epoch:$version
Architecture: $arch
Maintainer: The zsync authors <zsync@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$tree" | cut -f 1)
Depends: $depends
Recommends: systemd
Description: daemon that runs, watches and connects the work of a user
 zsyncd keeps commands running whatever happens to terminals and to itself,
 remembers their output and exit codes, and connects processes by named
 channels. zsyncctl talks to it over a Unix socket and starts it on demand.
 .
 It is not the file transfer tool of the same name.
CONTROL
for script in postinst prerm; do
  install -m 755 "$root/packaging/deb/$script" "$tree/DEBIAN/$script"
done
(cd "$tree" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"

# ---- package ---------------------------------------------------------------------------------------------------------

find "$tree" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$out"
package=$out/zsync_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$tree" "$package" >/dev/null
printf '%s\n' "$package"
