"""Who may include whom: a folder is a layer, and an include never goes up.

    core -> rt -> {sync, io} -> {net, watch, tui} -> {http, lsp, ...} ; client = rt + proto
    daemon engines use libzsync and daemon/store; only daemon/rpc, *_service, *_proto and main.cpp see gRPC and generated types
    cli uses client and what draws (tui, trace); nothing uses tests; a capability uses another one only through its engine's header, a
    translator (*_service, *_proto) also through that one's *_proto
"""
import posixpath
import re

from tree import Finding, Seed, Tree

# libzsync's modules by rank. Modules of one rank may use each other one way, never in a circle.
RANKS = {"core": 0, "rt": 1, "sync": 2, "io": 2, "net": 3, "watch": 3, "tui": 3, "testing": 3, "diagnostics": 3}
TOP_RANK = 4  # http, lsp, mesh, ... and client
WIRE_MODULES = {"client"}

# The module of each header that stands directly in zsync/. A new one is added here, with its layer in mind.
HEADERS = {
    "core": "assert status macros result types version unique_function platform id ids ulid fd time_format export",
    "rt": "backend priority periodic task spawn task_handle executor runtime run sleep time yield stop_token cancel cancelled timeout all race "
    "any select flow future promise config model execution_model blocking spawn_blocking shield group "
    "timer operation clock interval combinators scope",
    "sync": "channel broadcast oneshot semaphore mutex rw_lock rwlock notify barrier once_cell watch_value sync",
    "io": "file files process signal signals socket unix_socket tcp udp pipe tty dns tls zero_copy io stream",
    "watch": "watcher",
    "diagnostics": "diagnostics",
    "trace": "trace",
    "testing": "testing sim_runtime sim",
    "client": "client client_async async_client",
    "zsync": "zsync",
}
MODULE_OF_HEADER = {name: module for module, names in HEADERS.items() for name in names.split()}

SUPPORT = {"rpc", "store", "config", "ops", "shim", "fault"}
LOW_DAEMON = {"store", "config", "shim", "fault"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
WIRE = re.compile(r"^(grpc|grpcpp|google/protobuf|zsync/v\d+)/|\.pb\.h$")
GRPC = re.compile(r"^(grpc|grpcpp)/|\.grpc\.pb\.h$")
KERNEL_LOOPS = re.compile(r"^(uv\.h|uv/.*|liburing.*)$")
FOREIGN_TYPES = re.compile(r"\bgrpc::|\bgoogle::protobuf\b|\buv_\w+_t\b|\bio_uring_(sqe|cqe|params)\b|\bstruct io_uring\b")


def includes(tree: Tree, file: str):
    text = tree.text(file)
    code = tree.code(file)
    for match in INCLUDE.finditer(text):
        if code[match.start(1) - 1 : match.start(1)].strip() == "" and "include" in code[match.start() : match.end()]:
            yield text.count("\n", 0, match.start(1)) + 1, match.group(2), match.group(1) == '"'


def rank(module: str) -> int:
    return RANKS.get(module, 99 if module == "zsync" else TOP_RANK)


def sdk_module(path: str) -> str | None:
    """The module of a path below sdk/cpp/src/ or of an include `zsync/...`; None for an unknown top-level header."""
    first, _, rest = path.partition("/")
    if rest:
        return first
    return MODULE_OF_HEADER.get(first.removesuffix(".hpp"))


class Place:
    """Where a file or an include stands: area (sdk, daemon, cli, tests, examples, wire, other), room, public or not."""

    def __init__(self, area: str, room: str = "", name: str = "", public: bool = False):
        self.area, self.room, self.name, self.public = area, room, name, public


def place_of_file(file: str) -> Place:
    parts = file.split("/")
    if file.startswith("sdk/cpp/include/zsync/"):
        return Place("sdk", sdk_module(file.removeprefix("sdk/cpp/include/zsync/")) or "", parts[-1], True)
    if file.startswith("sdk/cpp/src/"):
        return Place("sdk", sdk_module(file.removeprefix("sdk/cpp/src/")) or "", parts[-1])
    if parts[0] in ("daemon", "cli"):
        return Place(parts[0], parts[1] if len(parts) > 2 else "", parts[-1])
    return Place(parts[0])


def place_of_include(tree: Tree, file: str, include: str, quoted: bool) -> Place:
    if WIRE.search(include):
        return Place("wire", name=include)
    if KERNEL_LOOPS.match(include):
        return Place("loops", name=include)
    if include.startswith("zsync/"):
        return Place("sdk", sdk_module(include.removeprefix("zsync/")) or "", include, True)
    if not quoted:
        return Place("other")
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(file), include))
    for path in (beside, include, "sdk/cpp/src/" + include, "sdk/cpp/include/" + include):
        if path in tree.file_set:
            return place_of_file(path)
    first = include.split("/")[0]
    if first in ("daemon", "cli", "tests"):
        return place_of_file(include)
    if first in RANKS:
        return Place("sdk", first, include)
    return Place("other")


def is_test_code(file: str) -> bool:
    """Tests, and what only they use: an area's testing/ room."""
    return re.search(r"_test\.[ch]pp$|^(cli|daemon)/testing/", file) is not None


def is_service(name: str) -> bool:
    return re.search(r"_(service|proto)(_test)?\.[ch]pp$", name) is not None


def engine_header(noun: str, name: str) -> bool:
    stem = posixpath.basename(name).removesuffix(".hpp")
    singular = noun.removesuffix("s")
    return stem in {"engine", noun, f"{noun}_engine", f"{singular}_engine", f"{singular}_log"}


def sdk_cure(here: Place, there: Place) -> str | None:
    if there.area in ("daemon", "cli"):
        return f"libzsync may not use {there.area}/; move what is needed down into a module"
    if there.area == "wire":
        if here.room not in WIRE_MODULES:
            return "only the client module may see generated types or gRPC"
        if here.public and GRPC.search(there.name):
            return "a public header shows no gRPC; keep it in the .cpp behind a pointer"
    if there.area == "loops" and here.public:
        return "a public header shows no libuv or liburing; keep it behind rt::Driver in src/"
    if there.area == "sdk":
        if here.public and not there.public:
            return "a public header includes public headers only; an outside program has no src/ folder"
        if there.room and rank(there.room) > rank(here.room):
            return f"{here.room} stands below {there.room}; turn the dependency round or move the code up"
        if there.room == "client" and here.room not in ("client", "zsync"):
            return "only programs use the client; libzsync's modules do not"
    return None


def daemon_cure(here: Place, there: Place) -> str | None:
    main = here.room == "" and here.name.startswith("main")
    service = is_service(here.name) or main
    if there.area == "cli":
        return "the daemon may not use cli/"
    if there.area == "wire" and not (service or here.room == "rpc"):
        return "only daemon/rpc, *_service and main.cpp see gRPC and generated types; give the engine plain structs"
    if there.area == "sdk" and there.room == "client":
        return "the daemon is the server; it may not use its own client"
    if there.area != "daemon" or there.room == here.room or main:
        if there.area == "daemon" and is_service(there.name) and not service:
            return "an engine may not use its service; the service calls the engine"
        return None
    if here.room in LOW_DAEMON and there.room not in LOW_DAEMON | {"ops"}:
        return f"daemon/{here.room} stands below daemon/{there.room}"
    if there.room == "rpc" and not (service or here.room in ("rpc", "ops")):
        return "an engine stands below daemon/rpc; let the service translate"
    if there.room in SUPPORT or here.room == "ops":
        return None
    if service and re.search(r"_proto\.hpp$", there.name):
        return None
    if here.room == "rpc":
        return "daemon/rpc knows no capability; main.cpp hands it the services"
    if not engine_header(there.room, there.name):
        return f"use daemon/{there.room} only through its engine's header"
    return None


def cli_cure(here: Place, there: Place) -> str | None:
    if there.area == "daemon" and posixpath.basename(there.name) != "closest.hpp":
        return "cli uses client and tui only (and daemon/config/closest.hpp)"
    if there.area == "wire" and GRPC.search(there.name):
        return "cli speaks through the client, not through gRPC stubs"
    if there.area == "sdk" and not there.public:
        if there.room == "watch" and posixpath.basename(there.name) == "trigger.hpp":
            return None  # what zsyncd decides by, too
        return "cli uses libzsync's public headers only (and watch/trigger.hpp)"
    if there.area == "sdk" and there.room not in ("client", "tui", "trace", "core", "rt", "zsync"):
        return "cli uses client and what draws (tui, trace) only"
    return None


def examples_cure(here: Place, there: Place) -> str | None:
    if there.area in ("daemon", "cli") or (there.area == "sdk" and not there.public):
        return "an example is an outside program; it includes <zsync/...> only"
    return None


CURES = {"sdk": sdk_cure, "daemon": daemon_cure, "cli": cli_cure, "examples": examples_cure}


def circles(uses: dict[str, dict[str, tuple[str, int]]]) -> list[Finding]:
    """Modules of one rank that use each other, directly or through a third."""
    found = []
    for start in sorted(uses):
        for direct, (file, line) in sorted(uses[start].items()):
            seen, queue = set(), [direct]
            while queue:
                module = queue.pop()
                if module in seen:
                    continue
                seen.add(module)
                queue += uses.get(module, {})
            if start in seen:
                found.append(Finding(file, line, "layer-circle", f"{start} and {direct} use each other; one way must go"))
    return found


def check(tree: Tree) -> list[Finding]:
    tree.file_set = set(tree.files)
    found, uses = [], {}
    for file in tree.cpp():
        here = place_of_file(file)
        is_test = is_test_code(file)
        if here.area == "sdk" and not here.room:
            found.append(Finding(file, 1, "layer-unknown", "name its module in HEADERS of tests/lint/layers.py"))
            continue
        for line, include, quoted in includes(tree, file):
            there = place_of_include(tree, file, include, quoted)
            testing = there.area == "tests" or include.startswith(("cli/testing/", "daemon/testing/"))
            if testing and here.area != "tests" and not is_test:
                found.append(Finding(file, line, "layer", "nothing uses tests/; move the code to where it is used"))
            cure = CURES.get(here.area, lambda *_: None)(here, there)
            # A libzsync test may drive its module with anything libzsync has; cli's tests serve gRPC to it.
            excused = is_test and (here.area == there.area == "sdk" or (here.area == "cli" and there.area == "wire"))
            if cure and not excused:
                found.append(Finding(file, line, "layer", f"{include}: {cure}"))
            elif here.area == there.area == "sdk" and here.room != there.room and there.room and not is_test:
                if rank(here.room) == rank(there.room):
                    uses.setdefault(here.room, {}).setdefault(there.room, (file, line))
        if here.public and here.room not in WIRE_MODULES:
            code = tree.code(file)
            for match in FOREIGN_TYPES.finditer(code):
                line = code.count("\n", 0, match.start()) + 1
                found.append(Finding(file, line, "foreign-type", f"{match.group()} in a public header; hide it in src/"))
    return found + circles(uses)


SEEDS = [
    Seed(
        "a module includes a higher one, a sibling that includes it back, a wall",
        {
            "sdk/cpp/src/rt/a.cpp": '#include "io/file.hpp"\n#include <zsync/channel.hpp>\n#include <zsync/task.hpp>\n',
            "sdk/cpp/src/io/b.cpp": "// #include <zsync/watcher.hpp>\n#include <zsync/channel.hpp>\n#include <uv.h>\n",
            "sdk/cpp/src/sync/c.cpp": "#include <zsync/file.hpp>\n",
            "sdk/cpp/src/net/d.cpp": '#include "zsync/v1/tasks.pb.h"\n#include "daemon/store/store.hpp"\n',
            "sdk/cpp/src/rt/a_test.cpp": '#include <zsync/channel.hpp>\n#include "tests/kit/daemon.hpp"\n',
        },
        [
            "sdk/cpp/src/rt/a.cpp:1: layer",
            "sdk/cpp/src/rt/a.cpp:2: layer",
            "sdk/cpp/src/io/b.cpp:2: layer-circle",
            "sdk/cpp/src/sync/c.cpp:1: layer-circle",
            "sdk/cpp/src/net/d.cpp:1: layer",
            "sdk/cpp/src/net/d.cpp:2: layer",
        ],
    ),
    Seed(
        "public headers show foreign types, inner headers, an unknown layer",
        {
            "sdk/cpp/include/zsync/task.hpp": '#include <uv.h>\n#include "rt/worker.hpp"\nuv_loop_t* loop;\n',
            "sdk/cpp/include/zsync/client.hpp": "#include <grpcpp/grpcpp.h>\n#include <zsync/v1/tasks.pb.h>\n",
            "sdk/cpp/include/zsync/backend.hpp": "enum class Backend { io_uring, libuv };  // not uv_loop_t\n",
            "sdk/cpp/include/zsync/mystery.hpp": "#pragma once\n",
            "sdk/cpp/src/rt/worker.hpp": "#pragma once\n",
        },
        [
            "sdk/cpp/include/zsync/task.hpp:1: layer",
            "sdk/cpp/include/zsync/task.hpp:2: layer",
            "sdk/cpp/include/zsync/task.hpp:3: foreign-type",
            "sdk/cpp/include/zsync/client.hpp:1: layer",
            "sdk/cpp/include/zsync/mystery.hpp:1: layer-unknown",
        ],
    ),
    Seed(
        "the daemon's engines, services and capabilities",
        {
            "daemon/main.cpp": '#include "daemon/tasks/tasks_service.hpp"\n#include <grpcpp/grpcpp.h>\n',
            "daemon/tasks/tasks_service.cpp": '#include <grpcpp/grpcpp.h>\n#include "daemon/rpc/bridge.hpp"\n',
            "daemon/tasks/engine.cpp": '#include <google/protobuf/message.h>\n#include "daemon/store/store.hpp"\n',
            "daemon/tasks/queue.cpp": '#include "daemon/rpc/bridge.hpp"\n#include "daemon/tasks/tasks_service.hpp"\n',
            "daemon/watch/engine.cpp": '#include "daemon/tasks/engine.hpp"\n#include "daemon/tasks/queue.hpp"\n',
            "daemon/watch/watch_proto.cpp": '#include "daemon/tasks/tasks_proto.hpp"\n#include "daemon/tasks/queue.hpp"\n',
            "daemon/store/store.cpp": '#include "daemon/tasks/engine.hpp"\n#include "tests/kit/x.hpp"\n',
        },
        [
            "daemon/tasks/engine.cpp:1: layer",
            "daemon/tasks/queue.cpp:1: layer",
            "daemon/tasks/queue.cpp:2: layer",
            "daemon/watch/engine.cpp:2: layer",
            "daemon/watch/watch_proto.cpp:2: layer",
            "daemon/store/store.cpp:1: layer",
            "daemon/store/store.cpp:2: layer",
        ],
    ),
    Seed(
        "cli and examples",
        {
            "cli/tasks.cpp": '#include <zsync/client.hpp>\n#include "daemon/store/store.hpp"\n#include <grpcpp/grpcpp.h>\n',
            "cli/main.cpp": '#include "daemon/config/closest.hpp"\n#include <zsync/watcher.hpp>\n',
            "cli/logs.cpp": '#include "cli/testing/fake.hpp"\n',
            "cli/watch.cpp": '#include "watch/trigger.hpp"\n#include "watch/content.hpp"\n',
            "cli/testing/fake.hpp": '#include <grpcpp/grpcpp.h>\n#include "daemon/store/store.hpp"\n',
            "examples/a.cpp": '#include <zsync/zsync.hpp>\n#include "rt/worker.hpp"\n',
            "sdk/cpp/src/rt/worker.hpp": "#pragma once\n",
            "sdk/cpp/src/watch/trigger.hpp": "#pragma once\n",
            "sdk/cpp/src/watch/content.hpp": "#pragma once\n",
        },
        ["cli/watch.cpp:2: layer", "cli/tasks.cpp:2: layer", "cli/tasks.cpp:3: layer", "cli/main.cpp:2: layer", "examples/a.cpp:2: layer"]
        + ["cli/logs.cpp:1: layer", "cli/testing/fake.hpp:2: layer"],
    ),
]
