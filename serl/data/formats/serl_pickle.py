"""SERL's and HIL-SERL's pickles: one list of transitions, each a dict.

    observations, next_observations: {"state": (1, D), "<camera>": (1, H, W, 3) uint8}
    actions (A,), rewards, masks = 1 - terminated, dones, and in HIL-SERL infos

Read without running the pickle. The list has no episodes: a transition begins one when the one
before was done, or when its observation is not the next observation of the one before. So a
segment, as HIL-SERL's intervention files hold, is never joined to another.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.formats.base import FORMATS, Arrays, Options, Steps, reading
from serl.data.formats.pickle_writer import PickleWriter
from serl.data.formats.steps import as_actions, plain_names
from serl.data.plain_pickle import (
    NUMPY,
    Array,
    Names,
    Refused,
    array_of_bytes,
    empty_dict,
    name_of,
    read_pickle,
    scalar,
    short,
)
from serl.errors import UserError
from serl.types import Spec

NAMES: Names = {
    **NUMPY,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
    ("numpy.core.numeric", "_frombuffer"): array_of_bytes,
    ("numpy._core.numeric", "_frombuffer"): array_of_bytes,
    ("collections", "OrderedDict"): empty_dict,
}
"""Every name that such a file may mention, and what stands for it."""

KEYS = ("observations", "actions", "next_observations", "rewards", "masks", "dones")
PENALTY, EXTRAS = "grasp_penalty", "extras"
"""In infos: HIL-SERL's one extra number, and a dict of all that a set of ours has."""
GROWTH = 4
"""How much larger than the file its transitions may come out: one value may be there many times."""

ASSUMED = (
    "these files store a time-out as a termination unless their masks say otherwise, and success "
    "only as infos' 'succeed' or a positive reward at the end."
)


@FORMATS.register("serl_pickle")
class SerlPickle:
    """Lists of transitions; nothing in a file is run."""

    about = "SERL's and HIL-SERL's .pkl of transitions, read without running it"
    extra: str | None = None
    keeps = frozenset({"frames", "last", "truncated", "success", "extras"})

    def detect(self, path: Path) -> bool:
        return path.suffix in (".pkl", ".pickle") and path.is_file()

    def read(self, path: Path) -> Iterator[Steps]:
        with reading(path, "list of transitions"):
            transitions = _Transitions(path)
            for begin, end in transitions.segments():
                yield transitions.steps(begin, end)

    def write(self, path: Path, spec: Spec, demos: Iterable[Steps], options: Options) -> None:
        with path.open("wb") as file:
            writer = PickleWriter(file)
            writer.begin()
            for steps in demos:
                for k in range(steps.count):
                    writer.item(_transition(steps, k))
            writer.end()


class _Transitions:
    """The transitions of a file, each kept as it was read until it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._room = GROWTH * path.stat().st_size + (1 << 20)
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as m:
                found = read_pickle(m, NAMES)  # type: ignore[arg-type]
        except Refused as error:
            raise _refused(path, error) from error
        if not isinstance(found, list):
            raise ValueError(f"it holds {name_of(found)}, not a list of transitions")
        if not found:
            raise ValueError("its list is empty")
        self._found = found
        self._names: dict[str, str] | None = None

    def segments(self) -> Iterator[tuple[int, int]]:
        """(begin, end) of each episode in the list."""
        begin, before = 0, None
        for k in range(len(self._found)):
            now = self._observations(k, "observations")
            if before is not None and (self._done(k - 1) or not _same(before, now)):
                yield begin, k
                begin = k
            before = self._observations(k, "next_observations")
        yield begin, len(self._found)

    def steps(self, begin: int, end: int) -> Steps:
        ks = range(begin, end)
        rows = [self._observations(k, "observations") for k in ks]
        rows.append(self._observations(end - 1, "next_observations"))
        observations = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        actions, notes = as_actions(np.stack([_value(self._item(k), "actions") for k in ks]))
        rewards = np.array([_number(self._item(k), "rewards") for k in ks], np.float32)
        done = np.array([self._done(k) for k in ks])
        masks = np.array([_number(self._item(k), "masks") for k in ks])
        infos = [self._infos(k) for k in ks]
        succeed = [info.get("succeed") for info in infos]
        paid = done & (rewards > 0)
        success = [bool(paid[k]) if s is None else bool(s) for k, s in enumerate(succeed)]
        return Steps(
            observations=observations,
            actions=actions,
            rewards=rewards,
            terminated=masks == 0,
            truncated=done & (masks != 0),
            success=np.array(success),
            fields=_extras(infos),
            notes=(ASSUMED, *notes),
        )

    def _item(self, k: int) -> dict[str, Any]:
        item = self._found[k]
        if not isinstance(item, dict):
            raise ValueError(f"transition {k} is {name_of(item)}")
        for key in KEYS:
            if key not in item:
                raise ValueError(f"transition {k} has no {key!r}")
        return item

    def _done(self, k: int) -> bool:
        return bool(_number(self._item(k), "dones"))

    def _infos(self, k: int) -> dict[str, Any]:
        infos = self._item(k).get("infos", {})
        return infos if isinstance(infos, dict) else {}

    def _observations(self, k: int, key: str) -> Arrays:
        """The newest of each stack of observations, by plain names."""
        raw = self._item(k)[key]
        raw = raw if isinstance(raw, dict) else {"state": raw}
        if self._names is None:
            self._names = plain_names(raw)
        if raw.keys() != self._names.keys():
            raise ValueError(f"transition {k} has other {key} than the first")
        found = {self._names[name]: _newest(_value(raw, name)) for name in raw}
        if key == "observations":
            self._room -= sum(a.nbytes for a in found.values())
        if self._room < 0:
            raise _refused(self.path, "its transitions come out far larger than the file")
        return found


def _transition(steps: Steps, k: int) -> dict[str, Any]:
    """Step k as SERL stores it; what it has no key for goes into infos, as HIL-SERL's does."""
    extras = {
        name.removeprefix("extra/"): np.asarray(values[k + 1])
        for name, values in steps.fields.items()
        if name.startswith("extra/")
    }
    infos: dict[str, Any] = {"succeed": bool(steps.success[k]), EXTRAS: extras}
    if PENALTY in extras:
        infos[PENALTY] = float(extras[PENALTY])
    return {
        "observations": {name: v[k][None] for name, v in steps.observations.items()},
        "actions": steps.actions[k],
        "next_observations": {name: v[k + 1][None] for name, v in steps.observations.items()},
        "rewards": float(steps.rewards[k]),
        "masks": 0.0 if steps.terminated[k] else 1.0,
        "dones": bool(steps.terminated[k] | steps.truncated[k]),
        "infos": infos,
    }


def _extras(infos: list[dict[str, Any]]) -> Arrays:
    """Ours by name, and HIL-SERL's grasp_penalty, where every step has them."""
    told = [{PENALTY: info[PENALTY]} if PENALTY in info else {} for info in infos]
    for one, info in zip(told, infos, strict=True):
        ours = info.get(EXTRAS)
        one.update(ours if isinstance(ours, dict) else {})
    found: Arrays = {}
    for name in told[0]:
        if not all(name in one for one in told):
            continue
        values = np.stack([_array(one[name]) for one in told])
        if values.dtype.kind not in "fiub":
            raise ValueError(f"{short(name)} in infos is {values.dtype}, not numbers")
        plain = values.dtype == np.float64 and not isinstance(told[0][name], Array)
        values = values.astype(np.float32) if plain else values
        blank = np.zeros_like(values[:1])
        found["extra/" + plain_names([name])[name]] = np.concatenate([blank, values])
    return found


def _newest(array: NDArray[Any]) -> NDArray[Any]:
    """The last of a stack: (T, D) is D, (T, H, W, C) is H, W, C."""
    return array[-1] if array.ndim in (2, 4) else array


def _value(item: dict[str, Any], key: str) -> NDArray[Any]:
    if not isinstance(item[key], Array):
        raise ValueError(f"{short(key)} is {name_of(item[key])}, not an array")
    return item[key].array()


def _number(item: dict[str, Any], key: str) -> float:
    array = _array(item[key])
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise ValueError(f"{key} is {name_of(item[key])}, not a number")
    return float(array.reshape(()))


def _array(value: Any) -> NDArray[Any]:
    if isinstance(value, Array):
        return value.array()
    if isinstance(value, bool | int | float):
        return np.array(value)
    raise ValueError(f"{name_of(value)} is no number")


def _same(one: Arrays, other: Arrays) -> bool:
    """Bit for bit."""
    return all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


def _refused(path: Path, reason: object) -> UserError:
    return UserError(f"{path} is refused, and nothing in it was run: {reason}.")
