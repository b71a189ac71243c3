"""TFRecord files of tf.train.Example messages, without TensorFlow.

A record is its length (u64), the masked CRC-32C of that (u32), the message, its masked CRC-32C.
Source: TensorFlow's documentation, "TFRecord and tf.train.Example".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO, Any

from serl.data.formats.base import need

LARGEST = 1 << 31
"""Bytes of a message: Protobuf's own limit."""


def read_examples(path: Path) -> Iterator[Any]:
    """The Example messages of a file. Raises ValueError for one that its checksum denies."""
    with path.open("rb") as file:
        while head := file.read(12):
            (length,), checksum = struct.unpack("<Q", head[:8]), head[8:]
            _check(head[:8], checksum, "length")
            if length > LARGEST:
                raise ValueError(f"a record of {length} B")
            data = file.read(length)
            _check(data, file.read(4), "record")
            yield example_class().FromString(data)


def write_example(file: IO[bytes], example: Any) -> int:
    """Append one message; how many bytes it has."""
    data = example.SerializeToString()
    head = struct.pack("<Q", len(data))
    file.write(head + struct.pack("<I", _masked(head)) + data + struct.pack("<I", _masked(data)))
    return len(data)


@cache
def example_class() -> Any:
    """The message class tensorflow.Example, made from its description."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="serl_example.proto", package="serl_example")
    file.syntax = "proto3"

    def add(
        message: Any, name: str, number: int, kind: int, of: str = "", many: bool = False
    ) -> Any:
        label = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
        made = message.field.add(name=name, number=number, type=kind, label=label)
        if of:
            made.type_name = f".serl_example.{of}"
        return made

    lists = {"BytesList": field.TYPE_BYTES, "FloatList": field.TYPE_FLOAT}
    lists |= {"Int64List": field.TYPE_INT64}
    for name, kind in lists.items():
        add(file.message_type.add(name=name), "value", 1, kind, many=True)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), 1):
        of = list(lists)[number - 1]
        add(feature, name, number, field.TYPE_MESSAGE, of).oneof_index = 0
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    add(entry, "key", 1, field.TYPE_STRING)
    add(entry, "value", 2, field.TYPE_MESSAGE, "Feature")
    add(features, "feature", 1, field.TYPE_MESSAGE, "Features.FeatureEntry", many=True)
    add(file.message_type.add(name="Example"), "features", 1, field.TYPE_MESSAGE, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("serl_example.Example"))


def _check(data: bytes, checksum: bytes, what: str) -> None:
    if len(checksum) != 4 or struct.unpack("<I", checksum)[0] != _masked(data):
        raise ValueError(f"the checksum of a {what} is wrong, or the file is cut")


def _masked(data: bytes) -> int:
    crc = need("google_crc32c", "rlds").value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
