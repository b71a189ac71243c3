"""Mends what keeps a set from fitting an experiment: cameras, state fields, the gripper's mode.

The old set stays as it was recorded; what is mended is a copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.data_edit import copy
from launch.data_fit import check_fit
from launch.data_info import GRIPPER, action_names, bounds
from serl.data.demos import Episode, EpisodeMeta
from serl.data.formats.base import need
from serl.data.formats.native import open_set
from serl.data.formats.steps import RATE, SHARED
from serl.data.records import Records, field_names
from serl.errors import UserError, unknown_name
from serl.pixels import images
from serl.types import ArraySpec, Spec, record_dtype

HALF = 0.5
"""A three-way gripper action beyond this opens, below minus this closes."""


@dataclass(frozen=True, kw_only=True)
class Mend:
    """What to change; names are those before a renaming."""

    drop_cameras: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    resize: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(height, width) by camera; '' for every one."""
    drop_state: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    """Which fields of the state remain, in order; empty: all."""
    drop_extras: tuple[str, ...] = ()
    gripper: tuple[str, str] | None = None
    """From which mode to which."""
    control_hz: float | None = None
    success_at_end: bool = False
    adopt: Spec | None = None
    """Takes over names, bounds and number types of its arrays, where the shapes are alike."""


def convert(path: Path, into: Path, mend: Mend, env_config: Any = None) -> tuple[str, ...]:
    """A mended copy of a set.

    Args:
        env_config: the env that the new set must fit; None asks for no fit.

    Raises:
        UserError: a name is unknown, or the result does not fit, with the first difference.
    """
    demos = open_set(path)
    made = mended_spec(demos.spec, mend)
    if env_config is not None:
        check_fit(str(path), made, mended_meta(demos.headers[0].meta, mend), env_config)
    copy(demos, into, lambda episode: mended(episode, mend))
    return tuple(map(str, demos.damaged))


def mended(episode: Episode, mend: Mend) -> Episode:
    """One episode, mended."""
    spec = mended_spec(episode.spec, mend)
    old = episode.records
    rows = np.zeros(len(old), record_dtype(spec))
    for name in field_names(rows.dtype):
        if name in field_names(old.dtype) and not name.startswith(("obs/", "extra/")):
            rows[name] = old[name]
    back = {new: name for name, new in mend.rename.items()}
    for array in spec.observation:
        source = _array(episode.spec.observation, back.get(array.name, array.name))
        rows["obs/" + array.name] = _observation(old, source, array, mend)
    for array in spec.extras:
        rows["extra/" + array.name] = old["extra/" + back.get(array.name, array.name)]
    if mend.gripper is not None:
        for name in ("action", "requested_action"):
            rows[name] = _grippers(episode, name, mend.gripper)
    if mend.adopt is not None:
        _check_bounds(rows, spec)
    meta = mended_meta(episode.meta, mend)
    if mend.success_at_end:
        last = rows[-1:]
        last["reward"], last["terminated"], last["truncated"], last["success"] = (
            1,
            True,
            False,
            True,
        )
        meta = dataclasses.replace(meta, success=True, outcome="success")
    return Episode(spec, meta, rows)


def mended_spec(spec: Spec, mend: Mend) -> Spec:
    """What the new set has. Raises UserError for a name that the set does not know."""
    cameras = [a.name for a in images(spec)]
    _check(cameras, (*mend.drop_cameras, *filter(None, mend.resize)), "camera")
    _check([a.name for a in (*spec.observation, *spec.extras)], mend.rename, "observation or extra")
    _check([a.name for a in spec.extras], mend.drop_extras, "extra")
    words = {word for a in spec.observation for word in _words(a)}
    _check(words, (*mend.drop_state, *mend.state), "state field")
    kept = [a for a in spec.observation if a.name not in mend.drop_cameras]
    observation = tuple(_renamed(_cut(_sized(a, mend, cameras), mend), mend) for a in kept)
    extras = tuple(_renamed(a, mend) for a in spec.extras if a.name not in mend.drop_extras)
    names = [a.name for a in (*observation, *extras)]
    if len(set(names)) < len(names):
        raise UserError(f"two arrays would be called the same: {', '.join(sorted(names))}.")
    return _adopted(Spec(observation=observation, action=spec.action, extras=extras), mend.adopt)


def mended_meta(meta: EpisodeMeta, mend: Mend) -> EpisodeMeta:
    """What an episode says of rate and gripper, after the mending."""
    details = dict(meta.details)
    shared = dict(details.get(SHARED, {}))
    if mend.control_hz is not None:
        details[RATE] = mend.control_hz
    if mend.gripper is not None and "action" in shared:
        shared["action"] = {**shared["action"], GRIPPER: mend.gripper[1]}
        details[SHARED] = shared
    return dataclasses.replace(meta, details=details)


def _check_bounds(rows: Records, spec: Spec) -> None:
    """Raises UserError for an action beyond the bounds that were taken over."""
    low, high = bounds(spec)
    actions = rows["action"].reshape(len(rows), -1)
    for k, name in enumerate(action_names(spec)):
        far = float(actions[:, k][np.abs(actions[:, k]).argmax()])
        if not low[k] <= far <= high[k]:
            raise UserError(
                f"action {name} is {far:g} in the set, beyond the experiment's {low[k]:g} to "
                f"{high[k]:g}: it means something else there, and --adopt does not scale."
            )


def _observation(old: Records, source: ArraySpec, array: ArraySpec, mend: Mend) -> NDArray[Any]:
    values = old["obs/" + source.name]
    if source.dtype == "uint8" and len(source.shape) == 3:
        return _resized(values, array.shape)
    return values[:, _kept(source, mend)] if len(source.shape) == 1 else values


def _resized(frames: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Frames of another size, by area."""
    if frames.shape[1:] == shape:
        return frames
    image = need("PIL.Image", "formats")
    size = (shape[1], shape[0])
    way = image.Resampling.BOX if frames.shape[1] >= shape[0] else image.Resampling.BILINEAR
    plain = frames[..., 0] if shape[2] == 1 else frames
    made = [np.asarray(image.fromarray(frame).resize(size, way)) for frame in plain]
    return np.stack(made).reshape(-1, *shape)


def _grippers(episode: Episode, name: str, modes: tuple[str, str]) -> NDArray[np.float32]:
    """The actions with each gripper's element in the other mode."""
    actions = episode.records[name].copy()
    names = action_names(episode.spec)
    columns = [k for k, n in enumerate(names) if n.rpartition("/")[2] == GRIPPER]
    if not columns:
        raise UserError(f"no element of the action ({', '.join(names)}) is called gripper.")
    for k in columns:
        begin = _opening(episode, names[k])
        change = to_width if modes[1] == "width" else to_three_way
        actions[1:, k] = change(actions[1:, k], begin)
    return actions


def to_width(classes: NDArray[np.floating], begin: float) -> NDArray[np.floating]:
    """Close, stay, open as the opening that is wanted after each step: -1 closed, 1 open."""
    wanted = np.where(classes >= HALF, 1.0, np.where(classes <= -HALF, -1.0, np.nan))
    at = np.maximum.accumulate(np.where(np.isnan(wanted), -1, np.arange(len(wanted))))
    return np.where(at < 0, begin, wanted[at]).astype(np.float32)


def to_three_way(widths: NDArray[np.floating], begin: float) -> NDArray[np.floating]:
    """Wanted openings as commands: 1 where it opens, -1 where it closes, 0 where it stays.

    Openings between the ends count as the nearer one.
    """
    wide = np.sign(np.where(widths >= 0, 1.0, -1.0))
    before = np.concatenate([[1.0 if begin >= 0 else -1.0], wide[:-1]])
    return ((wide - before) / 2).astype(np.float32)


def _opening(episode: Episode, element: str) -> float:
    """How open the gripper should be at first, by the state; open where that does not say."""
    arm = element.rpartition("/")[0]
    for word in ("gripper_target", "gripper_width"):
        for array in episode.spec.observation:
            for k, name in enumerate(array.fields):
                if _base(name) == (f"{arm}/{word}" if arm else word):
                    value = float(episode.records["obs/" + array.name][0, k])
                    return value if word == "gripper_target" else (1.0 if value >= 0 else -1.0)
    return 1.0


def _sized(array: ArraySpec, mend: Mend, cameras: list[str]) -> ArraySpec:
    asked = mend.resize.get(array.name, mend.resize.get(""))
    if array.name not in cameras or asked is None:
        return array
    return dataclasses.replace(array, shape=(*asked, array.shape[2]))


def _cut(array: ArraySpec, mend: Mend) -> ArraySpec:
    if len(array.shape) != 1 or not (mend.state or mend.drop_state):
        return array
    kept = _kept(array, mend)

    def of(bound: Any) -> Any:
        return tuple(bound[k] for k in kept) if isinstance(bound, tuple) else bound

    fields = tuple(array.fields[k] for k in kept) if array.fields else ()
    made = dataclasses.replace(array, shape=(len(kept),), fields=fields)
    return dataclasses.replace(made, low=of(array.low), high=of(array.high))


def _kept(array: ArraySpec, mend: Mend) -> list[int]:
    """Which elements of a vector remain, in order."""
    names = _elements(array)
    order = list(range(len(names)))
    known = [w for w in mend.state if any(_is(names[k], w) for k in order)]
    if known:
        order = [k for word in known for k in order if _is(names[k], word)]
    return [k for k in order if not any(_is(names[k], word) for word in mend.drop_state)]


def _elements(array: ArraySpec) -> list[str]:
    """Names of a vector's elements without units; its places where it has no names."""
    if array.fields:
        return [_base(name) for name in array.fields]
    return [str(k) for k in range(int(np.prod(array.shape)))]


def _words(array: ArraySpec) -> set[str]:
    """What may be said of a vector's elements: 'tcp_pos' for all of 'tcp_pos.x', ..."""
    if len(array.shape) != 1:
        return set()
    names = _elements(array)
    return {*names, *(name.partition(".")[0] for name in names)}


def _base(name: str) -> str:
    return name.partition(" [")[0]


def _is(name: str, word: str) -> bool:
    return name == word or name.startswith(word + ".")


def _renamed(array: ArraySpec, mend: Mend) -> ArraySpec:
    return dataclasses.replace(array, name=mend.rename.get(array.name, array.name))


def _adopted(spec: Spec, other: Spec | None) -> Spec:
    if other is None:
        return spec
    known = {a.name: a for a in (*other.observation, *other.extras)}

    def of(array: ArraySpec, like: ArraySpec | None) -> ArraySpec:
        both = like is not None and like.shape == array.shape
        return like if both and np.can_cast(array.dtype, like.dtype, "same_kind") else array  # type: ignore[return-value]

    return Spec(
        observation=tuple(of(a, known.get(a.name)) for a in spec.observation),
        action=of(spec.action, other.action),
        extras=tuple(of(a, known.get(a.name)) for a in spec.extras),
    )


def _array(arrays: tuple[ArraySpec, ...], name: str) -> ArraySpec:
    return next(a for a in arrays if a.name == name)


def _check(known: Any, asked: Any, kind: str) -> None:
    for name in asked:
        if name not in known:
            raise unknown_name(kind, name, known)
