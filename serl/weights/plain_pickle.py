"""Reads arrays out of a pickle without running it: a pickle is a program, this is its analyst.

Python's unpickler is not used. `pickletools` splits the file into instructions, and the few below
are carried out on plain values; a name in the file is looked up in GLOBALS and nowhere else, so
nothing is imported and nothing is called but the four functions there. NumPy alone is needed.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError

FLOATS = {"f2": np.float16, "f4": np.float32, "f8": np.float64}
LARGEST = 1 << 28
"""Elements of all arrays: more are no weights of ours."""
MOST = 4096
"""Dicts and arrays; a ResNet-18 has about 130."""
DEEPEST = 16
"""Dicts within dicts; a ResNet has 3."""
DAMAGED = (
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    UnicodeError,
    OverflowError,
    RecursionError,
    MemoryError,
)
"""What reading a damaged file, or one made to be unreadable, may raise."""


class Refused(ValueError):
    """The file asks for something that arrays do not need; the text says what."""


def read_arrays(data: bytes, source: str) -> dict[str, NDArray[Any]]:
    """Arrays by path, names joined with '/', of a pickle of nested dicts of float arrays.

    Raises:
        UserError: it holds, or asks for, anything else; one line that names it.
    """
    try:
        return _Leaves().of(_Reader().read(data))
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
        where = _short(path) or "the file"
        if not isinstance(value, dict | _Array):
            raise Refused(f"{where} holds {_name(value)}, not an array")
        if id(value) in self._met:
            raise Refused(f"{where} is also elsewhere in it")
        self._met.add(id(value))
        if depth > DEEPEST or len(self._met) > MOST:
            raise Refused(f"it holds more than {MOST} arrays, or nests deeper than {DEEPEST}")
        if isinstance(value, _Array):
            self._found[path] = array = value.array()
            self._elements += array.size
            if self._elements > LARGEST:
                raise Refused(f"its arrays have more than {LARGEST} elements")
            return
        for key, child in value.items():
            if not key or "/" in key:
                raise Refused(f"{_short(key)!r} below {_short(path) or 'the top'} is no plain name")
            self._visit(child, f"{path}/{key}" if path else key, depth + 1)


@dataclass
class _Dtype:
    """What stands for a NumPy element type: its code, then its state with the byte order."""

    code: str

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise Refused(f"element type {_short(self.code)} in another byte order")


@dataclass
class _Array:
    """What stands for an array until its state is known."""

    shape: tuple[int, ...] = ()
    data: bytes | None = field(default=None, repr=False)
    dtype: _Dtype = field(default_factory=lambda: _Dtype("f4"))
    columns_first: bool = False

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array whose state is not NumPy's")
        _, shape, dtype, columns_first, data = state
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        if not whole or not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise Refused("an array whose state is not NumPy's")
        self.shape, self.dtype, self.data = shape, dtype, data
        self.columns_first = bool(columns_first)

    def array(self) -> NDArray[Any]:
        """The array itself, as float32."""
        if self.data is None or self.dtype.code not in FLOATS:
            raise Refused(f"an array of {_short(self.dtype.code)}; weights are f4")
        kind = np.dtype(FLOATS[self.dtype.code]).newbyteorder("<")
        count = 1
        for n in self.shape:
            count *= n
        if count > LARGEST or count * kind.itemsize != len(self.data):
            raise Refused(f"an array of shape {_short(self.shape)} in {len(self.data)} bytes")
        order = "F" if self.columns_first else "C"
        flat = np.frombuffer(self.data, kind)
        return np.ascontiguousarray(flat.reshape(self.shape, order=order), np.float32)


class _Ndarray:
    """What stands for the type numpy.ndarray."""


def _empty_array(*_: Any) -> _Array:
    """numpy's _reconstruct(ndarray, (0,), b'b')."""
    return _Array()


def _element_type(code: Any, *_: Any) -> _Dtype:
    """numpy's dtype('f4', False, True)."""
    if not isinstance(code, str):
        raise Refused(f"an element type that is {_name(code)}")
    return _Dtype(code.lstrip("<|="))


def _jax_array(function: Any, arguments: Any, state: Any, aval: Any) -> _Array:
    """jax's _reconstruct_array(fun, args, array state, aval state): `aval` adds nothing."""
    if function is not _empty_array or not isinstance(aval, Mapping):
        raise Refused("a jax.Array that is not made of a NumPy array")
    array = _empty_array()
    array.build(state)
    return array


GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("jax._src.array", "_reconstruct_array"): _jax_array,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("numpy", "dtype"): _element_type,
    ("numpy", "ndarray"): _Ndarray,
}
"""Every name that a file may mention, and what stands for it here."""


class _Mark:
    """Where on the stack a group of values begins."""


CONSTANTS = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": _Mark,
}
TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
LITERALS = (*TEXTS, *BYTES, *NUMBERS)
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Reader:
    """A stack and a memo, as the pickle format has them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(BytesIO(data)):
            if opcode.name == "STOP":
                return self._pop()
            self._do(opcode.name, argument)
        raise ValueError("it ends before its end")

    def _do(self, name: str, argument: Any) -> None:
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name]())
        elif name in LITERALS:
            self.stack.append(argument)
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in TUPLES:
            self.stack.append(tuple(reversed([self._pop() for _ in range(TUPLES[name])])))
        elif name == "TUPLE":
            self.stack.append(tuple(self._group()))
        elif name in ("SETITEM", "SETITEMS"):
            items = [self._pop(), self._pop()][::-1] if name == "SETITEM" else self._group()
            target = self._top(dict)
            for key in items[::2]:
                if not isinstance(key, str):  # hashing a nest of tuples may take for ever
                    raise Refused(f"{_name(key)} is no plain name")
            target.update(zip(items[::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop()] if name == "APPEND" else self._group()
            self._top(list).extend(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._push_global(name, argument)
        elif name == "REDUCE":
            self._reduce()
        elif name == "BUILD":
            state, target = self._pop(), self._top((_Array, _Dtype))
            target.build(state)
        elif name not in ("PROTO", "FRAME"):
            raise Refused(f"it holds the instruction {name}")

    def _push_global(self, name: str, argument: Any) -> None:
        if name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
        else:
            attribute, module = self._pop(), self._pop()
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise Refused("it asks for something without a name")
        if (module, attribute) not in GLOBALS:
            raise Refused(f"it asks for {_short(f'{module}.{attribute}')}")
        self.stack.append(GLOBALS[module, attribute])

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not any(function is known for known in GLOBALS.values()):
            raise Refused(f"it calls {_name(function)}")
        if function is _Ndarray or not isinstance(arguments, tuple):
            raise Refused(f"it calls {_name(function)} in an unusual way")
        self.stack.append(function(*arguments))

    def _top(self, kind: type | tuple[type, ...]) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise Refused(f"it changes {_name(self.stack[-1])}")
        return self.stack[-1]

    def _pop(self) -> Any:
        value = self.stack.pop()
        if isinstance(value, _Mark):
            raise ValueError("a group has no beginning")
        return value

    def _group(self) -> list[Any]:
        """Everything above the last mark, which goes too."""
        values = []
        while not isinstance(self.stack[-1], _Mark):
            values.append(self.stack.pop())
        self.stack.pop()
        return values[::-1]


def _short(value: object) -> str:
    """Fit for a line on a terminal, whatever the file holds."""
    text = "".join(c if c.isprintable() else "?" for c in str(value)[:200])
    return text if len(text) <= 100 else text[:97] + "..."


def _name(value: Any) -> str:
    return f"a value of type {type(value).__name__.lstrip('_').lower()}"
