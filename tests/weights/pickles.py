"""Writes pickles of the form that SERL's weight file has, without JAX and without the classes.

Protocol 4; each leaf is a jax.Array of early 2023, reduced through
jax._src.array._reconstruct_array over a NumPy float32 array, with its named_shape entry.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray


def dumps(tree: dict[str, Any], multiarray: str = "numpy.core.multiarray") -> bytes:
    """A pickle of nested dicts of float arrays, keys sorted."""
    return b"\x80\x04" + _dict(tree, multiarray) + b"."


def call(module: str, name: str, *arguments: str) -> bytes:
    """A pickle that calls module.name with texts."""
    packed = b"(" + b"".join(_text(a) for a in arguments) + b"t"
    return b"\x80\x04" + _global(module, name) + packed + b"R."


def text(value: str) -> bytes:
    return _text(value)


def _dict(tree: dict[str, Any], multiarray: str) -> bytes:
    items = b""
    for key in sorted(tree):
        value = tree[key]
        body = _dict(value, multiarray) if isinstance(value, dict) else _array(value, multiarray)
        items += _text(key) + body
    return b"}\x94(" + items + b"u"


def _array(value: NDArray[Any], multiarray: str) -> bytes:
    """_reconstruct_array(_reconstruct, (ndarray, (0,), b'b'), state, aval state)."""
    reconstruct = _global(multiarray, "_reconstruct")
    empty = _global("numpy", "ndarray") + b"K\x00\x85" + b"C\x01b" + b"\x87"
    aval = b"}(" + _text("weak_type") + b"\x89" + _text("named_shape") + b"}u"
    arguments = b"(" + reconstruct + empty + _state(value) + aval + b"t"
    return _global("jax._src.array", "_reconstruct_array") + arguments + b"R\x94"


def _state(value: NDArray[Any]) -> bytes:
    """(1, shape, dtype, False, bytes)."""
    shape = b"(" + b"".join(_int(n) for n in value.shape) + b"t"
    data = np.ascontiguousarray(value).tobytes()
    return b"(K\x01" + shape + _dtype(value.dtype) + b"\x89" + _bytes(data) + b"t"


def _dtype(dtype: np.dtype) -> bytes:
    new = _global("numpy", "dtype") + _text(dtype.str[1:]) + b"\x89\x88\x87R\x94"
    state = b"(K\x03" + _text("<") + b"NNN" + _int(-1) + _int(-1) + b"K\x00t"
    return new + state + b"b"


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93\x94"


def _text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def _bytes(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)
