"""Reads plain values out of a pickle without running it: it is a program, this is its analyst.

Python's unpickler is not used. `pickletools` splits the file into instructions, and the few below
are carried out on plain values; a name in the file is looked up in the table that the caller gives
and nowhere else, so nothing is imported and nothing is called but the functions there. NumPy alone
is needed.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ELEMENTS = {
    "b1": np.bool_,
    "i1": np.int8,
    "i2": np.int16,
    "i4": np.int32,
    "i8": np.int64,
    "u1": np.uint8,
    "u2": np.uint16,
    "u4": np.uint32,
    "u8": np.uint64,
    "f2": np.float16,
    "f4": np.float32,
    "f8": np.float64,
}
"""Element types of arrays; none of them can refer to an object."""
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

Names = Mapping[tuple[str, str], Callable[..., Any]]
"""Every (module, name) that a file may mention, and what stands for it."""


class Refused(ValueError):
    """The file asks for something that plain values do not need; the text says what."""


def read_pickle(file: IO[bytes], names: Names) -> Any:
    """The value that a pickle describes: dicts, lists, tuples, texts, numbers, `Array`s.

    A pickle may refer to one value any number of times, even from within: what comes out may be
    larger than the file, and may contain itself. Walk it with a limit.

    Raises:
        Refused: it asks for anything else.
        one of DAMAGED: it is no whole pickle.
    """
    return _Reader(names).read(file)


@dataclass
class Dtype:
    """What stands for a NumPy element type: its code, then its state with the byte order."""

    code: str

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", "|", "="):
            raise Refused(f"element type {short(self.code)} in another byte order")


@dataclass
class Array:
    """What stands for an array until its state is known."""

    shape: tuple[int, ...] = ()
    data: bytes | bytearray | None = field(default=None, repr=False)
    dtype: Dtype = field(default_factory=lambda: Dtype("f4"))
    columns_first: bool = False

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array whose state is not NumPy's")
        _, shape, dtype, columns_first, data = state
        self.fill(data, dtype, shape, bool(columns_first))

    def fill(self, data: Any, dtype: Any, shape: Any, columns_first: bool) -> None:
        """Take NumPy's parts of an array, or refuse."""
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        right = isinstance(dtype, Dtype) and isinstance(data, bytes | bytearray)
        if not whole or not right:
            raise Refused("an array whose state is not NumPy's")
        self.shape, self.dtype, self.data = shape, dtype, data
        self.columns_first = columns_first

    def array(self) -> NDArray[Any]:
        """The array itself, in native byte order; it may share the pickle's memory."""
        if self.data is None or self.dtype.code not in ELEMENTS:
            raise Refused(f"an array of {short(self.dtype.code)}")
        kind = np.dtype(ELEMENTS[self.dtype.code]).newbyteorder("<")
        count = 1
        for n in self.shape:
            count *= n
        if count * kind.itemsize != len(self.data):
            raise Refused(f"an array of shape {short(self.shape)} in {len(self.data)} bytes")
        order = "F" if self.columns_first else "C"
        return np.frombuffer(self.data, kind).reshape(self.shape, order=order)


class Ndarray:
    """What stands for the type numpy.ndarray."""


def empty_array(*_: Any) -> Array:
    """numpy's _reconstruct(ndarray, (0,), b'b')."""
    return Array()


def element_type(code: Any, *_: Any) -> Dtype:
    """numpy's dtype('f4', False, True)."""
    if not isinstance(code, str):
        raise Refused(f"an element type that is {name_of(code)}")
    return Dtype(code.lstrip("<|="))


def array_of_bytes(data: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    """numpy's _frombuffer(buffer, dtype, shape, order), which protocol 5 writes."""
    array = Array()
    array.fill(data, dtype, shape, order == "F")
    return array


def scalar(dtype: Any, data: Any) -> Any:
    """numpy's scalar(dtype, bytes), as a plain Python number."""
    array = Array()
    array.fill(data, dtype, (), False)
    return array.array().item()


def empty_dict(*entries: Any) -> dict[Any, Any]:
    """collections.OrderedDict(), whose items follow."""
    if entries:
        raise Refused("an OrderedDict in an unusual way")
    return {}


NUMPY: Names = {
    ("numpy.core.multiarray", "_reconstruct"): empty_array,
    ("numpy._core.multiarray", "_reconstruct"): empty_array,
    ("numpy", "dtype"): element_type,
    ("numpy", "ndarray"): Ndarray,
}
"""What arrays alone need."""


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
BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8")
NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
LITERALS = (*TEXTS, *BYTES, *NUMBERS)
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Reader:
    """A stack and a memo, as the pickle format has them."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, file: IO[bytes]) -> Any:
        for opcode, argument, _ in pickletools.genops(file):
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
                    raise Refused(f"{name_of(key)} is no plain name")
            target.update(zip(items[::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = [self._pop()] if name == "APPEND" else self._group()
            self._top(list).extend(items)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            self._push_global(name, argument)
        elif name == "REDUCE":
            self._reduce()
        elif name == "BUILD":
            state, target = self._pop(), self._top((Array, Dtype))
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
        if (module, attribute) not in self.names:
            raise Refused(f"it asks for {short(f'{module}.{attribute}')}")
        self.stack.append(self.names[module, attribute])

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not any(function is known for known in self.names.values()):
            raise Refused(f"it calls {name_of(function)}")
        if function is Ndarray or not isinstance(arguments, tuple):
            raise Refused(f"it calls {name_of(function)} in an unusual way")
        self.stack.append(function(*arguments))

    def _top(self, kind: type | tuple[type, ...]) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise Refused(f"it changes {name_of(self.stack[-1])}")
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


def short(value: object) -> str:
    """Fit for a line on a terminal, whatever the file holds."""
    text = "".join(c if c.isprintable() else "?" for c in str(value)[:200])
    return text if len(text) <= 100 else text[:97] + "..."


def name_of(value: Any) -> str:
    return f"a value of type {type(value).__name__.lstrip('_').lower()}"
