"""Other projects' formats of demonstrations: what a format is, and an episode as they lay it out.

A format is a leaf: one file that registers itself, reads and writes `Steps`, and says what it can
keep. Its libraries are imported when it is used. No JAX.
"""

from __future__ import annotations

import importlib
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serl.data.demos import EpisodeMeta
from serl.errors import CorruptFile, UserError
from serl.registry import Registry
from serl.types import Spec

Arrays = dict[str, NDArray[Any]]

PARTS = {
    "frames": "frames, bit for bit",
    "last": "the observation after the last action",
    "truncated": "time-outs apart from terminations",
    "success": "success of each step",
    "spec": "bounds, names and units of elements",
    "meta": "who recorded it, task, seed, outcome",
    "extras": "extra arrays of a task, such as a grasp penalty",
    "rest": "requested actions, sources, weights, versions and stamps",
}
"""What a format may keep besides states, actions, rewards and ends, which all of them do."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """One episode as other projects have it: n actions between n + 1 observations."""

    observations: Arrays
    """By name, each (n + 1, ...)."""
    actions: NDArray[Any]
    """(n, A)."""
    rewards: NDArray[Any]
    """(n,)."""
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    success: NDArray[np.bool_]
    fields: Arrays = field(default_factory=dict)
    """Further fields of the record by name, each (n + 1, ...); 'extra/<name>' among them."""
    spec: Spec | None = None
    """Where the file has it, because we wrote it."""
    meta: EpisodeMeta | None = None
    """Likewise."""
    control_hz: float | None = None
    notes: tuple[str, ...] = ()
    """What was assumed or left out in reading; a line each."""

    @property
    def count(self) -> int:
        """How many actions."""
        return len(self.actions)

    def noting(self, *notes: str) -> Steps:
        return replace(self, notes=self.notes + notes)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What an export may be told."""

    control_hz: float | None = None
    """Steps per second; LeRobot's fps."""
    video: bool = False
    """Frames as video, smaller and not bit for bit; LeRobot only."""
    task: str = ""
    """The task in words, where a set does not say it."""


class Format(Protocol):
    """One format."""

    about: str
    """A line for `serl list formats`."""
    extra: str | None
    """What of serl-suite[...] brings its libraries."""
    keeps: frozenset[str]
    """Names of PARTS."""

    def detect(self, path: Path) -> bool:
        """Whether `path` looks like one; never raises, needs no library."""
        ...

    def read(self, path: Path) -> Iterator[Steps]:
        """Its episodes in order, one at a time. Raises CorruptFile naming the file."""
        ...

    def write(self, path: Path, spec: Spec, demos: Iterable[Steps], options: Options) -> None:
        """Make `path`, a file or a folder that does not exist yet."""
        ...


FORMATS: Registry[type[Format]] = Registry("format", "serl.data.formats")


def detected(path: Path) -> str:
    """The name of the format that `path` is in."""
    if not path.exists():
        raise UserError(f"there is nothing at {path}.")
    found = [name for name in FORMATS if FORMATS.get(name)().detect(path)]
    if len(found) != 1:
        said = f"looks like {' and '.join(found)}" if found else "is in no format known here"
        raise UserError(f"{path} {said}; say --from with one of: {', '.join(FORMATS)}.")
    return found[0]


def need(module: str, extra: str) -> Any:
    """Import a library of a format; what is not installed is one line that names the extra."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed; `pip install 'serl-suite[{extra}]'` brings it."
        ) from error


DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    EOFError,
    SyntaxError,  # Pillow's word for a broken PNG
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What reading damaged files can raise, besides what the libraries below call their own."""
LIBRARIES = ("pyarrow", "av", "PIL", "h5py", "google")


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Around what reads `path`: whatever is wrong with it becomes one line that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if not isinstance(error, DAMAGE) and library not in LIBRARIES:
            raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise CorruptFile(f"{path} is no {kind}, or it is damaged ({reason}).") from error


def ended(steps: Steps) -> Steps:
    """The episode up to its first end: what follows one in a file is no part of it."""
    ends = np.flatnonzero(steps.terminated | steps.truncated)
    if not len(ends) or ends[0] + 1 == steps.count:
        return steps
    n = int(ends[0]) + 1
    left = f"steps after the first end of an episode are left out ({steps.count - n} in one)."
    return replace(
        steps,
        observations={k: v[: n + 1] for k, v in steps.observations.items()},
        fields={k: v[: n + 1] for k, v in steps.fields.items()},
        actions=steps.actions[:n],
        rewards=steps.rewards[:n],
        terminated=steps.terminated[:n],
        truncated=steps.truncated[:n],
        success=steps.success[:n],
    ).noting(left)
