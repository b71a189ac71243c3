"""Changing one leaf of a frozen config from the command line: `--agent.discount 0.98`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from serl.errors import UserError, unknown_name

T = TypeVar("T")


def apply(config: T, overrides: Sequence[tuple[str, Sequence[str]]], root: str = "") -> T:
    """`config` with each (dotted path, words) applied.

    Args:
        root: path prefix that `config` stands for ('env' when only the env is at hand); settings
            outside it are left out.

    Raises:
        UserError: no such setting, words that are not of its type, or a value it refuses.
    """
    for path, words in overrides:
        names = path.split(".")
        if root:
            if names[0] != root:
                continue
            names = names[1:]
        config = _replace(config, names, list(words), path)
    return config


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every setting that a flag can change: (path, type, value)."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        path = f"{prefix}{field.name}"
        if _is_config(value):
            yield from leaves(value, f"{path}.")
        else:
            yield path.replace("_", "-"), _type_name(hints[field.name]), value


def _replace(config: Any, names: list[str], words: list[str], path: str) -> Any:
    """`config` with the leaf at `names` read from `words`."""
    name, *rest = names
    fields = [f.name for f in dataclasses.fields(config)]
    negated = not rest and name.startswith("no_") and name[3:] in fields and not words
    if negated:
        name, words = name[3:], ["False"]
    if name not in fields:
        prefix = path[: len(path) - len(".".join(names))]
        flags = [_flag(prefix + field) for field in fields]
        raise unknown_name("setting", _flag(prefix + name), flags)
    value = getattr(config, name)
    if rest:
        if not _is_config(value):
            raise UserError(f"{_flag(path)}: {name} is one value, {value!r}; it has no parts.")
        new = _replace(value, rest, words, path)
    elif _is_config(value):
        parts = ", ".join(f.name.replace("_", "-") for f in dataclasses.fields(value))
        raise UserError(f"{_flag(path)} has parts; name one of them: {parts}.")
    else:
        new = _read(typing.get_type_hints(type(config))[name], words, path, value)
    try:
        return dataclasses.replace(config, **{name: new})
    except (ValueError, TypeError) as error:
        raise UserError(f"{_flag(path)} {' '.join(words)}: {error}") from error


def _read(hint: Any, words: list[str], path: str, now: Any) -> Any:
    """Words to a value of type `hint`, by tyro; its own printing is silenced."""
    import tyro

    if hint is bool and not words:
        words = ["True"]
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return tyro.cli(hint, args=words, add_help=False, console_outputs=False)
    except (SystemExit, tyro.constructors.UnsupportedTypeAnnotationError):
        given = " ".join(words) or "nothing"
        raise UserError(
            f"{_flag(path)} takes {_type_name(hint)}, got {given!r}; it is {now!r} now."
        ) from None


def _is_config(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _flag(path: str) -> str:
    return "--" + path.replace("_", "-")


_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def _type_name(hint: Any) -> str:
    return _WORDS.get(hint, str(hint).replace("typing.", ""))
