"""Errors a person can act on.

Every command catches `UserError`, prints its one line and exits with code 2: no traceback.
The message says what happened, with the number; what is allowed; what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Bad input or a condition outside the program: one line, exit code 2."""

    exit_code = 2


class SpecMismatch(UserError):
    """Two sides disagree on the experiment; the message names the first difference."""


class CorruptFile(UserError):
    """A file on disk is damaged or truncated; the message names it."""


class Interrupted(UserError):
    """Someone asked to stop while an environment waited for something outside the program."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Around what makes or writes `path`: a disk that refuses is one line that names it."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Make space there or the folder "
            "writable, or choose another."
        ) from error


def unknown_name(kind: str, name: str, available: Iterable[str]) -> UserError:
    """The error for a name that is not registered, with the nearest ones.

    >>> str(unknown_name("device", "space_mouse", ["keyboard", "spacemouse"]))
    "no device named 'space_mouse'. Did you mean 'spacemouse'? Available: keyboard, spacemouse."
    """
    names = sorted(available)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    return UserError(f"no {kind} named {name!r}.{hint} Available: {', '.join(names) or 'none'}.")
