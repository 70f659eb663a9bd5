from typing import Any, NamedTuple

from google.protobuf.duration_pb2 import Duration as Duration
from zsync.v1.channels_pb2 import *
from zsync.v1.common_pb2 import *
from zsync.v1.daemon_pb2 import *
from zsync.v1.events_pb2 import *
from zsync.v1.tasks_pb2 import *
from zsync.v1.watch_pb2 import *

class Method(NamedTuple):
    path: str
    request: Any
    reply: Any
    client_streaming: bool
    server_streaming: bool

METHODS: dict[str, Method]
