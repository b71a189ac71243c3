"""A trunk's file as bytes: which trunk it holds, and written whole or not at all. No JAX.

safetensors, whose header names the trunk; the arrays' meaning is `serl.trunk`'s.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.channel.codec import unpack_params
from serl.data.journal import sync_folder
from serl.errors import CorruptFile, UserError


def weights_id(name: str, leaves: Mapping[str, NDArray[Any]], precision: str) -> str:
    """First 16 hex digits of the SHA-256 of name and weights, '-', precision.

    Args:
        leaves: float32 arrays by path, names joined with '/'.
    """
    digest = hashlib.sha256(name.encode())
    for path in sorted(leaves):
        digest.update(path.encode())
        digest.update(leaves[path].tobytes())
    return f"{digest.hexdigest()[:16]}-{precision}"


def file_id(data: bytes, precision: str) -> str:
    """`weights_id` of what a file holds. Raises CorruptFile where it is none, or damaged."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        name = str(json.loads(data[8 : 8 + length])["__metadata__"]["trunk"])
        leaves = {p: np.asarray(leaf, np.float32) for p, leaf in _flat(unpack_params(data), "")}
    except (UserError, ValueError, KeyError, TypeError, OverflowError, struct.error) as error:
        raise CorruptFile(f"no whole file of a trunk ({' '.join(str(error).split())})") from error
    return weights_id(name, leaves, precision)


def write_whole(path: Path, data: bytes) -> None:
    """On the disk under its name when this returns, or, whatever happens, as before. OSError."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with fresh.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


def _flat(tree: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}/")
        else:
            yield above + name, value
