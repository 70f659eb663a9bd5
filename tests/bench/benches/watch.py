"""100,000 files in 5,000 directories: from subscribe to the settled first state, beside watchman; events; a git checkout.

Every run has new daemons on both sides and a warm page cache. `settled` ends when the daemon says the clock from which
on nothing is missed; `settled, with all files` ends when the whole list has arrived. An event's latency runs from before
the write to the arrival of its batch, settle time included. The checkout goes
between two commits of 20,000 files; what is reported is compared with `git diff`: every change once, in its last state.
"""
import queue
import statistics
import subprocess
import threading
import time
from pathlib import Path

import procfs
from report import Target
from trees import git, plain_tree, two_commits
from watchman import Watchman
from world import Build, Daemon, Sample, World

RUNS = 3
DIRECTORIES, FILES, GIT_FILES = 5_000, 100_000, 20_000
EVENTS = 30
BATCH_LIMIT = 60  # seconds
QUIET = 1.5  # seconds without a batch, more than the longest wait of one
SETTLE_MS = {"zsync": 50, "watchman": 20}
KINDS = {1: "A", 2: "M", 3: "D", 4: "R"}
UNKNOWN_CLOCK = "c:bench:0"  # of no daemon, so every file comes as it is now
FIELDS = ["name", "exists", "size", "mtime_ms", "type"]
TARGETS = {"settled: ratio to watchman": Target(2), "settled, with all files: ratio to watchman": Target(2),
           "git checkout: lost": Target(0, worst=True), "git checkout: doubled": Target(0, worst=True),
           "git checkout: not in the diff": Target(0, worst=True)}
settled: dict[str, list[float]] = {}


class Subscription:
    """A subscriber of zsyncd in a process of its own."""

    def __init__(self, world: World, daemon: Daemon, path: Path, since: str = ""):
        argv = world.client_argv("watch", daemon.socket, path, since)
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.begun = int(self.process.stdout.readline().split()[1])
        self.batches: queue.SimpleQueue = queue.SimpleQueue()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self) -> None:
        """Takes every line at once, so that a full pipe never holds the subscriber."""
        while head := self.process.stdout.readline():
            _, ns, fresh, count, clock = head.split()
            lines = [self.process.stdout.readline() for _ in range(int(count))]
            self.batches.put((int(ns), fresh == "1", lines, clock != "-"))

    def batch(self) -> tuple[int, bool, list[list[str]], bool]:
        """When it came, whether it is fresh, its changes, and whether it is whole."""
        ns, fresh, lines, whole = self.batches.get(timeout=BATCH_LIMIT)
        return ns, fresh, [line.rstrip("\n").split(" ", 4) for line in lines], whole

    def first_state(self) -> tuple[float, int]:
        """Seconds until the first clock, and how many files came with it."""
        files = 0
        while True:
            ns, _, changes, whole = self.batch()
            files += sum(change[1] == "0" for change in changes)
            if whole:
                return (ns - self.begun) / 1e9, files

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()


def first_states(world: World, build: Build, tree: Path) -> list[Sample]:
    samples = []
    for metric, since in (("settled", ""), ("settled, with all files", UNKNOWN_CLOCK)):
        with world.daemon(build) as daemon:
            subscription = Subscription(world, daemon, tree, since)
            seconds, files = subscription.first_state()
            cpu, memory = procfs.cpu_seconds(daemon.pid), procfs.memory_mib(daemon.pid)
            if not since:
                samples += events(build.name, tree, subscription)
            subscription.stop()
        if since and files != FILES:
            raise RuntimeError(f"the first state has {files} files, not {FILES}")
        settled.setdefault(f"{metric} {build.name}", []).append(seconds)
        samples += [Sample(metric, "ms", seconds * 1000, build.name), Sample(f"{metric}: cpu", "ms", cpu * 1000, build.name),
                    Sample(f"{metric}: RSS", "MiB", memory, build.name)]
    return samples


def latencies(system: str, tree: Path, wait) -> list[Sample]:
    """`wait` returns the time in ns at which the change to the file of that name had arrived."""
    took = []
    for number in range(EVENTS):
        path = tree / f"d{number % 50}" / "e7" / "f3.txt"
        begin = time.monotonic_ns()
        path.write_text(f"changed {begin}\n")
        took.append((wait(path.relative_to(tree).as_posix()) - begin) / 1e6)
        time.sleep(0.1)
    p50 = statistics.median(took)
    return [Sample("event: p50", "ms", p50, system),
            Sample("event: p50 beyond settle", "ms", p50 - SETTLE_MS[system.split("@")[0]], system)]


def events(system: str, tree: Path, subscription: Subscription) -> list[Sample]:
    def wait(name: str) -> int:
        while True:
            ns, _, changes, _ = subscription.batch()
            if any(change[4].split("\t")[0] == name for change in changes):
                return ns

    return latencies(system, tree, wait)


def checkout_changes(world: World, build: Build, repository: Path) -> tuple[list[tuple[str, str, str]], float]:
    """(kind, path, size and time) of every file change that came, renames parted in two; and seconds from git's end to
    the last batch."""
    seen = []
    with world.daemon(build) as daemon:
        subscription = Subscription(world, daemon, repository)
        subscription.first_state()
        git(repository, "checkout", "-q", "b")
        ended = last = time.monotonic_ns()
        mark = f"mark{ended}"
        time.sleep(QUIET)
        (repository / mark).write_text("")
        while True:
            ns, fresh, changes, _ = subscription.batch()
            if fresh:
                raise RuntimeError("a fresh batch: the history of the checkout was lost")
            paths = []
            for kind, directory, size, mtime, names in changes:
                path, before = names.split("\t")
                if directory == "0" and KINDS[int(kind)] == "R":
                    paths += [("D", before, ""), ("A", path, f"{size} {mtime}")]
                elif directory == "0":
                    paths.append((KINDS[int(kind)], path, f"{size} {mtime}"))
            if any(path == mark for _, path, _ in paths):
                break
            seen, last = seen + paths, max(last, ns)
        subscription.stop()
    (repository / mark).unlink()
    return seen, (last - ended) / 1e9


def checkout(world: World, build: Build, repository: Path) -> list[Sample]:
    git(repository, "checkout", "-q", "a")
    lines = git(repository, "diff", "--name-status", "--no-renames", "a", "b").splitlines()
    expected = {path: kind for kind, path in (line.split("\t") for line in lines)}
    seen, settle_seconds = checkout_changes(world, build, repository)
    kinds: dict[str, str] = {}
    states: dict[str, list[str]] = {}
    for kind, path, state in seen:
        kinds[path] = kinds.get(path, "") + kind
        states.setdefault(path, []).append(f"{'D' if kind == 'D' else 'AM'} {state}")
    lost = [path for path, kind in expected.items() if path not in kinds or (kinds[path][-1] == "D") != (kind == "D")]
    # A batch that ends while git replaces a file tells of it twice, each time in another state: that doubles nothing.
    again = [path for path in expected if len(states.get(path, [])) > 1]
    doubled = [path for path in again if any(a == b for a, b in zip(states[path], states[path][1:]))]
    other = [path for path in kinds if path not in expected]
    for label, paths in (("lost", lost), ("doubled", doubled), ("not in the diff", other)):
        if paths:
            world.note(f"git checkout, {label}: " + ", ".join(f"{path} {kinds.get(path, '-')}" for path in paths[:3]))
    system = build.name
    return [Sample("git checkout: changes", "files", len(expected), system),
            Sample("git checkout: lost", "files", len(lost), system),
            Sample("git checkout: doubled", "files", len(doubled), system),
            Sample("git checkout: seen half written", "files", len(again) - len(doubled), system),
            Sample("git checkout: not in the diff", "files", len(other), system),
            Sample("git checkout: last batch after git", "ms", settle_seconds * 1000, system)]


def measure(world: World, build: Build) -> list[Sample]:
    kept = world.scratch.parent
    tree = plain_tree(kept / "tree", DIRECTORIES, FILES)
    repository = two_commits(kept / "repository", GIT_FILES)
    world.note(f"zsync settles {SETTLE_MS['zsync']} ms, reads .gitignore; watchman settles {SETTLE_MS['watchman']} ms, "
               "answers in JSON; both by inotify, defaults elsewhere")
    return first_states(world, build, tree) + checkout(world, build, repository)


def watchman_settled(world: World, tree: Path, metric: str, ask) -> tuple[Watchman, list[Sample]]:
    peer = Watchman(world.folder("w"))
    begin = time.monotonic()
    peer.asked("watch", str(tree))
    ask(peer)
    seconds = time.monotonic() - begin
    samples = [Sample(metric, "ms", seconds * 1000, "watchman"),
               Sample(f"{metric}: cpu", "ms", procfs.cpu_seconds(peer.pid) * 1000, "watchman"),
               Sample(f"{metric}: RSS", "MiB", procfs.memory_mib(peer.pid), "watchman")]
    for key, values in settled.items():
        if key.startswith(metric + " "):
            samples.append(Sample(f"{metric}: ratio to watchman", "x", values[-1] / seconds, key[len(metric) + 1:]))
    return peer, samples


def peers(world: World) -> list[Sample]:
    if not world.has("watchman", "watchman"):
        return []
    tree = world.scratch.parent / "tree"
    sync = {"sync_timeout": 60_000}
    peer, samples = watchman_settled(world, tree, "settled", lambda w: w.asked("clock", str(tree), sync))
    peer.stop()
    peer, more = watchman_settled(world, tree, "settled, with all files",
                                  lambda w: w.ask("query", str(tree), {"fields": FIELDS, **sync}))
    try:
        clock = peer.asked("clock", str(tree))["clock"]
        peer.asked("subscribe", str(tree), "bench", {"fields": ["name"], "since": clock})

        def wait(name: str) -> int:
            while name.encode() not in peer.line():
                pass
            return time.monotonic_ns()

        return samples + more + latencies("watchman", tree, wait)
    finally:
        peer.stop()
