#!/usr/bin/env python3
"""The Debian package in a fresh minbase chroot: install, run a task, upgrade under a running task, remove.

    deb_test.py [--bin build/bin] [--base minbase.tar] [--keep-base FILE]

Needs root, mmdebstrap and a Debian mirror; where one is absent it says so in one line, with the exit code 77 of a skipped test. --base takes a root
file system that was made before, --keep-base leaves the one made here.
"""
import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MIRROR = "http://deb.debian.org/debian"
USER, UID = "tester", 1000
COMMAND_SECONDS_MAX = 300
TASK_SECONDS_MAX = 30
# What apt, dpkg and the user's own work write anywhere.
NOT_THE_PACKAGES = ("/proc", "/dev", "/sys", "/tmp", "/run", "/home", "/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log")


def check(condition: bool, text: str) -> None:
    if not condition:
        raise AssertionError(text)


def host(*command: object, **options) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False, **options)
    check(done.returncode == 0, f"{shlex.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Chroot:
    """A root file system with processes of its own: they end with it, whatever they do."""

    def __init__(self, folder: Path):
        self.folder = folder
        # The holder is the first process of a new pid name space; killing it kills everything in there.
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={folder}/proc", "sh", "-c", "echo up; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        check(self.holder.stdout.readline() == "up\n", "unshare: no name spaces here")
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        self.inner = children[0]

    def stop(self) -> None:
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.wait(timeout=30)

    def run(self, script: str, user: str | None = None, code: int = 0) -> str:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        enter = ["nsenter", "-t", self.inner, "-m", "-p", "chroot", str(self.folder)]
        if user:
            environment |= {"HOME": f"/home/{user}", "USER": user, "XDG_RUNTIME_DIR": f"/run/user/{UID}"}
            enter += ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        # Files, not pipes: a daemon that the command starts must not hold the reader.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [*enter, "sh", "-c", f"cd; {script}" if user else script], env=environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=COMMAND_SECONDS_MAX, check=False,
            )  # fmt: skip
            output.seek(0)
            text = output.read()
        check(done.returncode == code, f"in the chroot: {script}\nexit code {done.returncode}, wanted {code}:\n{text}")
        return text

    def files(self) -> set[str]:
        found = set()
        for folder, folders, names in os.walk(self.folder):
            inside = "/" + os.path.relpath(folder, self.folder).removeprefix(".").lstrip("/")
            if inside.startswith(NOT_THE_PACKAGES):
                folders.clear()
                continue
            found |= {f"{inside.rstrip('/')}/{name}" for name in names + folders}
        return {name for name in found if not name.startswith(NOT_THE_PACKAGES)}


def build(binaries: Path, out: Path, version: str) -> Path:
    script = ROOT / "packaging/deb/build.sh"
    return Path(host(script, "--bin", binaries, "--out", out, "--version", version).strip())


def make_base(base: Path, package: Path) -> None:
    depends = host("dpkg-deb", "-f", package, "Depends")
    names = ",".join(re.sub(r"\s*\(.*?\)", "", one).strip() for one in depends.split(","))
    host("mmdebstrap", "--variant=minbase", f"--include={names}", "bookworm", base, MIRROR)


class Story:
    """The cases, in order: each goes on where the one before it stopped."""

    def __init__(self, chroot: Chroot, binaries: Path, first: Path, second: Path):
        self.chroot, self.binaries, self.first, self.second = chroot, binaries, first, second
        self.before: set[str] = set()
        self.task = ""

    def ctl(self, words: str, code: int = 0) -> str:
        return self.chroot.run(f"zsyncctl --no-autostart {words}", USER, code)

    def wait_for_state(self, state: str) -> None:
        give_up = time.monotonic() + TASK_SECONDS_MAX
        while f'"state":"{state}"' not in (got := re.sub(r"\s", "", self.ctl(f"tasks get -o json {self.task}"))):
            check(time.monotonic() < give_up, f"the task does not become {state}: {got}")
            time.sleep(0.05)

    def a_rebuild_gives_the_same_bytes(self) -> None:
        again = build(self.binaries, self.first.parent / "again", "0.1.0")
        check(again.read_bytes() == self.first.read_bytes(), "two builds of the same tree differ")

    def it_installs_with_its_dependencies_only(self) -> None:
        self.before = self.chroot.files()
        self.chroot.run("dpkg -i /tmp/first.deb && dpkg --audit && dpkg -V zsync")
        for file in ("/usr/bin/zsyncd", "/usr/libexec/zsync/zsync-shim", "/usr/lib/systemd/user/zsyncd.socket"):
            check((self.chroot.folder / file[1:]).is_file(), f"there is no {file}")
        self.chroot.run("zsyncctl completion bash | cmp - /usr/share/bash-completion/completions/zsyncctl")

    def a_user_runs_a_task_and_the_daemon_starts_for_it(self) -> None:
        answer = self.chroot.run("zsyncctl run -- sh -c 'echo installed; exit 4'", USER, code=4)
        check("installed\n" in answer, f"run: {answer}")
        check(self.ctl("daemon info").count("available") >= 1, "the daemon does not say what it can do")

    def an_upgrade_keeps_a_running_task(self) -> None:
        command = "sh -c 'echo before; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 5'"
        self.task = self.ctl(f"tasks submit -q -- {command}").strip()
        self.wait_for_state("TASK_STATE_RUNNING")
        pid = self.daemon_pid()
        self.chroot.run("dpkg -i /tmp/second.deb && dpkg --audit")
        version = self.chroot.run("dpkg-query -W -f '${Version}' zsync")
        check(version == "1:0.1.1", f"after the upgrade the version is {version}")
        check(self.daemon_pid() == pid, "the upgrade restarted the daemon by itself")
        self.chroot.run("zsyncctl daemon restart", USER)
        check(self.daemon_pid() != pid, "`daemon restart` left the old daemon")
        self.wait_for_state("TASK_STATE_RUNNING")
        self.chroot.run("touch /tmp/go")
        self.ctl(f"tasks wait {self.task}", code=1)
        self.wait_for_state("TASK_STATE_FAILED")
        record = re.sub(r"\s", "", self.ctl(f"tasks get -o json {self.task}"))
        check('"exitCode":5' in record and '"attempt":1' in record, f"the task ended as {record}")
        check(self.ctl(f"logs {self.task}") == "before\nafter\n", "output was lost")

    def a_removal_leaves_state_and_nothing_else(self) -> None:
        self.chroot.run("dpkg -r zsync")
        check(not self.processes("zsyncd"), "the daemon outlived its package")
        self.chroot.run("dpkg -P zsync && ! dpkg -s zsync 2>/dev/null")
        left = self.chroot.files() - self.before
        check(not left, f"left behind: {sorted(left)}")
        state = self.chroot.folder / f"home/{USER}/.local/state/zsync"
        check((state / "store.db").is_file(), "the user's state was removed")

    def daemon_pid(self) -> str:
        match = re.search(r"pid\s+(\d+)", self.ctl("daemon info"))
        check(match is not None, "the daemon does not tell its pid")
        return match.group(1)

    def processes(self, name: str) -> list[str]:
        # Nobody reaps in there, so that what has ended stays as a zombie.
        script = f"grep -lsx 'Name:.{name}' /proc/[0-9]*/status | xargs -r grep -Ls '^State:.Z' || :"
        return self.chroot.run(script).split()


def prepare(chroot: Chroot, first: Path, second: Path) -> None:
    for source, name in ((first, "first.deb"), (second, "second.deb")):
        shutil.copy(source, chroot.folder / "tmp" / name)
    chroot.run(f"useradd -m -u {UID} -s /bin/sh {USER} && install -d -m 700 -o {USER} -g {USER} /run/user/{UID}")


def reason_to_skip(base: str | None) -> str | None:
    if os.geteuid() != 0:
        return "this needs root"
    for tool in ("dpkg-deb", "dpkg-shlibdeps", "unshare", "nsenter"):
        if not shutil.which(tool):
            return f"there is no {tool} here"
    if base:
        return None
    if not shutil.which("mmdebstrap"):
        return "there is no mmdebstrap here"
    try:
        urllib.request.urlopen(f"{MIRROR}/dists/bookworm/Release", timeout=10).close()
    except (urllib.error.URLError, OSError):
        return f"{MIRROR} does not answer"
    return None


def tell(binaries: Path, base: str | None, keep: str | None) -> int:
    with tempfile.TemporaryDirectory(prefix="zdeb", dir="/tmp") as short:
        folder = Path(short)
        first, second = build(binaries, folder / "v1", "0.1.0"), build(binaries, folder / "v2", "0.1.1")
        archive = Path(base) if base else folder / "base.tar"
        if not base:
            make_base(archive, first)
        if keep:
            shutil.copy(archive, keep)
        (folder / "root").mkdir()
        host("tar", "-xf", archive, "-C", folder / "root", "--numeric-owner", "--exclude=./proc/*")
        chroot = Chroot(folder / "root")
        try:
            prepare(chroot, first, second)
            story = Story(chroot, binaries, first, second)
            for case in (
                story.a_rebuild_gives_the_same_bytes,
                story.it_installs_with_its_dependencies_only,
                story.a_user_runs_a_task_and_the_daemon_starts_for_it,
                story.an_upgrade_keeps_a_running_task,
                story.a_removal_leaves_state_and_nothing_else,
            ):
                try:
                    case()
                    print(f"passed: {case.__name__}", flush=True)
                except (AssertionError, OSError, subprocess.SubprocessError) as problem:
                    print(f"failed: {case.__name__}: {problem}", flush=True)
                    return 1
        finally:
            chroot.stop()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", default=str(ROOT / "build/bin"), help="folder of zsyncd, zsyncctl and zsync-shim")
    parser.add_argument("--base", help="tar of a minbase root file system with the package's dependencies")
    parser.add_argument("--keep-base", help="where to leave the one that was made")
    options = parser.parse_args()
    reason = reason_to_skip(options.base)
    if reason:
        print(f"skipped: the Debian package in a chroot: {reason}")
        return 77
    return tell(Path(options.bin).resolve(), options.base, options.keep_base)


if __name__ == "__main__":
    sys.exit(main())
