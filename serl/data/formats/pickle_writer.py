"""Writes a pickle of plain values: numbers, texts, dicts and arrays, for who reads nothing else.

Protocol 4, instruction by instruction: Python's own pickler, with all it can name, is not needed.
Arrays are written in the one way that every NumPy reads. Source: pickletools' opcode docs.
"""

from __future__ import annotations

import struct
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray


class PickleWriter:
    """A pickle of one list, item by item: `begin`, `item` each, `end`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def begin(self) -> None:
        self.file.write(b"\x80\x04]")  # PROTO 4, EMPTY_LIST

    def item(self, value: Any) -> None:
        self._put(value)
        self.file.write(b"a")  # APPEND

    def end(self) -> None:
        self.file.write(b".")

    def _put(self, value: Any) -> None:
        if isinstance(value, dict):
            self.file.write(b"}(")  # EMPTY_DICT, MARK
            for key, child in value.items():
                self.file.write(_text(key))
                self._put(child)
            self.file.write(b"u")  # SETITEMS
        elif isinstance(value, bool):
            self.file.write(b"\x88" if value else b"\x89")
        elif isinstance(value, float):
            self.file.write(b"G" + struct.pack(">d", value))
        elif isinstance(value, np.ndarray):
            self.file.write(_array(value))
        else:
            raise TypeError(f"no way to write {type(value).__name__}")


def _array(value: NDArray[Any]) -> bytes:
    """numpy's _reconstruct(ndarray, (0,), b"b"), then its state (1, shape, dtype, False, bytes)."""
    shape = b"(" + b"".join(_integer(n) for n in value.shape) + b"t"
    data = value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
    empty = _name("numpy.core.multiarray", "_reconstruct") + _name("numpy", "ndarray")
    empty += b"K\x00\x85C\x01b\x87R"  # 0, as a tuple; b"b"; a tuple of three; REDUCE
    state = b"(K\x01" + shape + _dtype(value.dtype) + b"\x89"
    return empty + state + b"B" + struct.pack("<I", len(data)) + data + b"tb"


def _dtype(dtype: np.dtype) -> bytes:
    """numpy's dtype(code, False, True), then its state with the byte order."""
    order = "|" if dtype.itemsize == 1 else "<"
    state = b"(K\x03" + _text(order) + b"NNN" + _integer(-1) + _integer(-1) + b"K\x00tb"
    return _name("numpy", "dtype") + _text(dtype.str[1:]) + b"\x89\x88\x87R" + state


def _name(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"  # STACK_GLOBAL


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data  # BINUNICODE


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)  # BININT
