"""The messages, enum values and methods of zsync.v1, as the .proto files in proto/zsync/v1 define and explain them."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.internal import enum_type_wrapper


class Method(NamedTuple):
    """One method of the wire contract."""

    path: str
    request: Any
    reply: Any
    client_streaming: bool
    server_streaming: bool


#: Every method by "Service.Method".
METHODS: dict[str, Method] = {}

Duration = duration_pb2.Duration


def _message_classes(pool: descriptor_pool.DescriptorPool) -> Callable[[Any], Any]:
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass
    return message_factory.MessageFactory(pool).GetPrototype  # one for all: each makes classes of its own


def _load(path: Path) -> None:
    if not path.exists():
        raise ImportError(f"{path} is missing: install the package with pip, or make a tree with sdk/python/generate.py")
    files = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    pool = descriptor_pool.Default()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    names, message_class = globals(), _message_classes(pool)
    for file in files.file:
        descriptor = pool.FindFileByName(file.name)
        for name, message in descriptor.message_types_by_name.items():
            names[name] = message_class(message)
        for name, enum in descriptor.enum_types_by_name.items():
            names[name] = enum_type_wrapper.EnumTypeWrapper(enum)
            names.update({value.name: value.number for value in enum.values})
    for file in files.file:
        for service in file.service:
            for method in service.method:
                path_on_wire = f"/{file.package}.{service.name}/{method.name}"
                METHODS[f"{service.name}.{method.name}"] = Method(
                    path_on_wire, names[method.input_type.rpartition(".")[2]],
                    names[method.output_type.rpartition(".")[2]], method.client_streaming, method.server_streaming,
                )  # fmt: skip


_load(Path(__file__).with_name("descriptors.binpb"))
