"""Frozen dataclasses out of TOML tables, strictly: every key known, every value of its type.

Generic over the dataclass. An error is one line that names the file, the table and key, and what
is allowed there.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from serl.errors import UserError, unknown_name

T = TypeVar("T")

KINDS = {str: "a text in quotes", bool: "true or false", int: "a whole number"}


class TableReader:
    """Reads the tables of one file.

    Args:
        path: for the messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def table(self, where: str, kind: type[T], given: Any, default: T | None = None) -> T:
        """A dataclass from a table. Keys that are not given are as in `default`."""
        values = self.mapping(where, given)
        hints = get_type_hints(kind)
        for key in values:
            if key not in hints:
                raise self.error(where, str(unknown_name("key", key, hints)))
        found = {
            key: self._value(_join(where, key), hints[key], value, getattr(default, key, None))
            for key, value in values.items()
        }
        if default is not None:
            return replace(default, **found)  # type: ignore[type-var]
        for field in fields(kind):  # type: ignore[arg-type]
            needed = field.default is MISSING and field.default_factory is MISSING
            if needed and field.name not in found:
                raise self.error(where, f"{field.name} is missing; this table needs it.")
        return kind(**found)

    def mapping(self, where: str, value: Any) -> dict[str, Any]:
        """A table as it is."""
        return self._is_a(where, dict, f"a table, [{where}]", value)

    def error(self, where: str, text: str) -> UserError:
        return UserError(f"{self._path}: {f'{where}: ' if where else ''}{text}")

    def _value(self, where: str, hint: Any, value: Any, default: Any) -> Any:
        if get_origin(hint) in (Union, types.UnionType):
            (hint,) = (one for one in get_args(hint) if one is not type(None))
        if isinstance(hint, type) and is_dataclass(hint):
            return self.table(where, hint, value, default)
        if get_origin(hint) is tuple:
            return self._tuple(where, get_args(hint), value)
        if hint is Path:
            return Path(self._is_a(where, str, "a path in quotes", value))
        if hint is float:
            return self._number(where, value)
        if hint in KINDS:
            return self._is_a(where, hint, KINDS[hint], value)
        assert get_origin(hint) in (Mapping, dict), f"{where}: no way to read {hint}"
        return self.mapping(where, value)

    def _tuple(self, where: str, parts: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
        items = self._is_a(where, list, "a list in brackets", value)
        if parts[-1] is Ellipsis:
            parts = (parts[0],) * len(items)
        if len(items) != len(parts):
            raise self.error(where, f"has {len(items)} values; it must have {len(parts)}.")
        return tuple(
            self._value(f"{where}[{i}]", part, item, None)
            for i, (part, item) in enumerate(zip(parts, items, strict=True))
        )

    def _number(self, where: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(where, f"is {value!r}; it must be a number.")
        if not math.isfinite(value):
            raise self.error(where, f"is {value}; it must be a finite number.")
        return float(value)

    def _is_a(self, where: str, kind: type, text: str, value: Any) -> Any:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(where, f"is {value!r}; it must be {text}.")
        return value


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
