"""Reads weights out of a pickle without running it: nested dicts of float arrays, nothing else.

`serl.data.plain_pickle` analyses the file; here is what weights may be made of. NumPy alone is
needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.plain_pickle import (
    DAMAGED,
    NUMPY,
    Array,
    Names,
    Refused,
    empty_array,
    name_of,
    read_pickle,
    short,
)
from serl.errors import UserError

FLOATS = ("f2", "f4", "f8")
LARGEST = 1 << 28
"""Elements of all arrays: more are no weights of ours."""
MOST = 4096
"""Dicts and arrays; a ResNet-18 has about 130."""
DEEPEST = 16
"""Dicts within dicts; a ResNet has 3."""


def read_arrays(data: bytes, source: str) -> dict[str, NDArray[Any]]:
    """Arrays by path, names joined with '/', of a pickle of nested dicts of float arrays.

    Raises:
        UserError: it holds, or asks for, anything else; one line that names it.
    """
    try:
        return _Leaves().of(read_pickle(BytesIO(data), GLOBALS))
    except Refused as error:
        raise UserError(f"{source} is refused, and nothing in it was run: {error}.") from error
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{source} is no pickle of plain arrays, or it is damaged ({reason}); fetch it again."
        ) from error


class _Leaves:
    """Collects the arrays of nested dicts. A pickle may refer to what it holds any number of times,
    even from within: each dict and array is met once, or the file is refused."""

    def __init__(self) -> None:
        self._met: set[int] = set()
        self._elements = 0
        self._found: dict[str, NDArray[Any]] = {}

    def of(self, value: Any) -> dict[str, NDArray[Any]]:
        self._visit(value, "", 0)
        return self._found

    def _visit(self, value: Any, path: str, depth: int) -> None:
        where = short(path) or "the file"
        if not isinstance(value, dict | Array):
            raise Refused(f"{where} holds {name_of(value)}, not an array")
        if id(value) in self._met:
            raise Refused(f"{where} is also elsewhere in it")
        self._met.add(id(value))
        if depth > DEEPEST or len(self._met) > MOST:
            raise Refused(f"it holds more than {MOST} arrays, or nests deeper than {DEEPEST}")
        if isinstance(value, Array):
            self._found[path] = array = _floats(value)
            self._elements += array.size
            if self._elements > LARGEST:
                raise Refused(f"its arrays have more than {LARGEST} elements")
            return
        for key, child in value.items():
            if not key or "/" in key:
                raise Refused(f"{short(key)!r} below {short(path) or 'the top'} is no plain name")
            self._visit(child, f"{path}/{key}" if path else key, depth + 1)


def _floats(array: Array) -> NDArray[Any]:
    """The array itself, as float32."""
    if array.data is None or array.dtype.code not in FLOATS:
        raise Refused(f"an array of {short(array.dtype.code)}; weights are f4")
    return np.ascontiguousarray(array.array(), np.float32)


def _jax_array(function: Any, arguments: Any, state: Any, aval: Any) -> Array:
    """jax's _reconstruct_array(fun, args, array state, aval state): `aval` adds nothing."""
    if function is not empty_array or not isinstance(aval, Mapping):
        raise Refused("a jax.Array that is not made of a NumPy array")
    array = empty_array()
    array.build(state)
    return array


GLOBALS: Names = {("jax._src.array", "_reconstruct_array"): _jax_array, **NUMPY}
"""Every name that a file may mention, and what stands for it here."""
