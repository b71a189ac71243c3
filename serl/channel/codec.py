"""What travels: records in slots, parameters as safetensors, reports as JSON. Never pickle.

A slot is the CRC-32 of a record (u4), then the record's bytes as in `serl.types.record_dtype`.
NumPy only; no JAX.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.types import Spec, record_dtype

PROTOCOL = 3
"""Version of channel.proto's meaning; both ends must have the same."""
SESSION_KEY = "serl-session"
"""Metadata key of the session that Hello gave."""
MAX_REPORT_BYTES = 64 << 10
MAX_TRUNK_BYTES = 256 << 20
"""Largest file of a frozen trunk; ResNet-18 in float32 takes 45 MB."""
TRUNK_ID = re.compile(r"[0-9a-f]{16}-[a-z0-9]{1,16}")
"""`serl.trunk.FrozenTrunk.id`, which also names a file."""

Key = tuple[int, int]
"""(episode, index) of a record, unique within its actor and ascending."""

DTYPES = {
    "float32": "F32",
    "float64": "F64",
    "float16": "F16",
    "bfloat16": "BF16",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
}
"""NumPy names of the element types that parameters may have, and safetensors' names for them."""


class Malformed(ValueError):
    """A message that is refused; the text is the reason sent back."""


class SlotReader:
    """Checks a batch of slots and reads the records in it. Their values are the replay's to check.

    Args:
        spec: gives the record's structure.
        max_bytes: the largest batch taken.
    """

    def __init__(self, spec: Spec, max_bytes: int) -> None:
        self.record = record_dtype(spec)
        self.max_bytes = max_bytes
        self._slot = np.dtype([("crc", "<u4"), ("record", self.record)])
        self.slot_bytes = self._slot.itemsize

    def read(self, slots: bytes, after: Key | None) -> NDArray[np.void]:
        """The records, as a view of `slots` (n,). Raises Malformed.

        Args:
            after: key of the record before the first one; None where any episode's start may come.
        """
        size = self.slot_bytes
        if len(slots) > self.max_bytes:
            raise Malformed(f"a batch of {len(slots)} bytes; at most {self.max_bytes} are taken")
        if not slots or len(slots) % size:
            raise Malformed(
                f"a batch of {len(slots)} bytes is not a whole number of records; one takes {size}"
            )
        array = np.frombuffer(slots, self._slot)
        view = memoryview(slots)
        for i, crc in enumerate(array["crc"].tolist()):
            if zlib.crc32(view[i * size + 4 : (i + 1) * size]) != crc:
                raise Malformed(f"record {i} of the batch does not match its checksum")
        records = array["record"]
        _check_keys(records, after)
        return records


class FiniteCheck:
    """Looks for NaN and infinity in a record's floating-point fields."""

    def __init__(self, record: np.dtype) -> None:
        fields = record.fields or {}
        floats = (np.float16, np.float32, np.float64)
        self._names = [n for n, f in fields.items() if f[0].base.type in floats]

    def first_bad(self, records: NDArray[np.void] | np.void) -> str | None:
        """Name of the first field with a number that is not finite, or None."""
        for name in self._names:
            if not np.isfinite(records[name]).all():
                return name
        return None


def _check_keys(records: NDArray[np.void], after: Key | None) -> None:
    """Each record follows the one before: the next index, or index 0 of a later episode."""
    episode = records["episode"].astype(np.int64)
    index = records["index"].astype(np.int64)
    if after is not None:
        episode, index = np.r_[after[0], episode], np.r_[after[1], index]
    elif index[0]:
        raise Malformed(f"the first record is ({episode[0]}, {index[0]}); an episode starts at 0")
    step, same = np.diff(index), np.diff(episode)
    good = ((same == 0) & (step == 1)) | ((same > 0) & (index[1:] == 0))
    if not good.all():
        i = int(np.argmin(good))
        raise Malformed(
            f"record ({episode[i + 1]}, {index[i + 1]}) follows ({episode[i]}, {index[i]}); the "
            "next is the same episode's next index or a later episode's index 0"
        )


def pack_params(params: Mapping[str, Any]) -> bytes:
    """A nested dict of arrays as safetensors; names joined with '/'. Empty dicts are left out.

    Layout: u8 length of the header; JSON header {name: {dtype, shape, data_offsets}}, padded with
    spaces to 8; the arrays, little-endian, in order.
    Source: format description of the safetensors library (README of huggingface/safetensors).
    """
    arrays: dict[str, NDArray[Any]] = {}

    def visit(node: Any, path: str) -> None:
        if not isinstance(node, Mapping):
            arrays[path] = np.asarray(node)
            return
        for key, child in node.items():
            if not isinstance(key, str) or "/" in key or not key:
                raise ValueError(f"parameter name {key!r} below {path!r} is not a plain string")
            visit(child, f"{path}/{key}" if path else key)

    visit(params, "")
    header, start = {}, 0
    for path, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise ValueError(f"parameter {path} is {array.dtype}; allowed: {', '.join(DTYPES)}")
        span = [start, start + array.nbytes]
        header[path] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": span,
        }
        start = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = [a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes() for a in arrays.values()]
    return b"".join([struct.pack("<Q", len(text)), text, *body])


def unpack_params(data: bytes) -> dict[str, Any]:
    """Inverse of `pack_params`: nested dicts of arrays that own their memory. Raises UserError."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(bytes(data[8 : 8 + length]))
        body = memoryview(data)[8 + length :]
        tree: dict[str, Any] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            flat = np.frombuffer(body[start:end], _dtype(entry["dtype"]))
            *parents, leaf = name.split("/")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = flat.reshape(entry["shape"]).copy()
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise UserError(
            f"parameters of {len(data)} bytes are damaged ({error}); both sides need the same "
            "version."
        ) from error
    return tree


def _dtype(name: str) -> np.dtype:
    """NumPy's little-endian type for a safetensors name; bfloat16 is the one that JAX brings."""
    if name == "BF16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    here = {there: here for here, there in DTYPES.items()}[name]
    return np.dtype(here).newbyteorder("<")


def pack_report(data: Mapping[str, Any]) -> str:
    """A JSON object; NumPy values become plain ones, and what is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if isinstance(value, Mapping):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value

    return json.dumps(plain(data), allow_nan=False, separators=(",", ":"))


def unpack_report(text: str) -> dict[str, Any]:
    """Inverse of `pack_report`. Raises Malformed."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"a report is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Malformed(f"a report is a JSON {type(data).__name__}; an object is expected")
    return data
