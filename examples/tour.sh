#!/usr/bin/env bash
# A tour of zsyncd in about 20 seconds, on files of this checkout. `./dev run` starts it beside a private daemon; by hand,
# put zsyncctl in PATH. Every step shows the zsyncctl line that it runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d /tmp/zsync-tour.XXXXXX)
watcher=
clean_up() {
  [ -z "$watcher" ] || { kill -TERM "$watcher" 2>/dev/null || true; wait "$watcher" 2>/dev/null || true; }
  rm -rf "$work"
}
trap clean_up EXIT

step() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$(printf '%q ' "$@")"; "$@"; }

step "1. A task: compile an example of this checkout under the daemon; its output and exit code come back"
show zsyncctl run -- clang++-19 -std=c++20 -fsyntax-only -I sdk/cpp/include examples/channels.cpp
echo "exit code $?"

step "2. The same in the background: submit, wait, read the output from the record"
# shellcheck disable=SC2016  # shown, not expanded
printf '$ id=$(zsyncctl tasks submit -q -- wc -l proto/zsync/v1/*.proto)\n'
id=$(zsyncctl tasks submit -q -- wc -l proto/zsync/v1/*.proto)
show zsyncctl tasks wait "$id"
show zsyncctl logs "$id"

step "3. A channel between two processes: one sends the names of the protos, the other counts them"
show zsyncctl channels create tour
printf '$ zsyncctl channels recv tour | wc -l &\n'
zsyncctl channels recv tour | wc -l >"$work/received" &
receiver=$!
printf '$ ls proto/zsync/v1 | zsyncctl channels send tour\n'
find proto/zsync/v1 -type f -printf '%f\n' | zsyncctl channels send tour
show zsyncctl channels close tour
wait "$receiver"
echo "received $(cat "$work/received") messages of $(find proto/zsync/v1 -type f | wc -l)"

step "4. A watch: every change of a header runs a command (on a copy, so that your files stay as they are)"
cp -r sdk/cpp/include/zsync "$work/headers"
printf '$ zsyncctl watch %s -g "*.hpp" -- wc -l %s &\n' "$work/headers" "$work/headers/stop_token.hpp"
zsyncctl watch "$work/headers" -g '*.hpp' -- wc -l "$work/headers/stop_token.hpp" >"$work/fired" 2>&1 &
watcher=$!
# The watch begins a moment after its process does: edit until it fires.
for edit in $(seq 20); do
  echo "// edit $edit" >>"$work/headers/stop_token.hpp"
  for _ in 1 2 3 4 5; do
    ! grep -q 'stop_token.hpp' "$work/fired" || break 2
    sleep 0.1
  done
done
grep -m 1 'stop_token.hpp' "$work/fired" || { cat "$work/fired" >&2; echo "tour: the watch did not fire" >&2; exit 1; }

step "What the daemon remembers of it"
show zsyncctl tasks list
printf '\nNext: docs/guide/tasks.md, or a daemon of your own: build/bin/zsyncctl starts one when it is first needed.\n'
