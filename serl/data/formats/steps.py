"""Between our records and other projects' layout of an episode, both ways."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.demos import Episode, EpisodeMeta
from serl.data.formats.base import Arrays, Steps
from serl.data.records import Records, field_names
from serl.errors import UserError
from serl.types import ArraySpec, Source, Spec, first_difference, record_dtype

STEP_FIELDS = ("action", "reward", "terminated", "truncated", "success")
KEYS = ("episode", "index")
RATE, SHARED = "control_hz", "shared"
"""Where an episode's details have its control rate [Hz]: by itself, or in what a recorder's whole
set has in common."""


def rate_of(meta: EpisodeMeta | None) -> float | None:
    """The control rate that an episode says it was recorded at."""
    details = {} if meta is None else meta.details
    rate = details.get(RATE, details.get(SHARED, {}).get(RATE))
    return None if rate is None else float(rate)


def steps_of(episode: Episode) -> Steps:
    """Our episode in other projects' layout; everything is there."""
    rows = episode.records
    observations = {a.name: rows["obs/" + a.name] for a in episode.spec.observation}
    done = {*STEP_FIELDS, *KEYS, *(f"obs/{name}" for name in observations)}
    return Steps(
        observations=observations,
        actions=rows["action"][1:],
        rewards=rows["reward"][1:],
        terminated=rows["terminated"][1:],
        truncated=rows["truncated"][1:] & ~rows["terminated"][1:],
        success=rows["success"][1:],
        fields={name: rows[name] for name in field_names(rows.dtype) if name not in done},
        spec=episode.spec,
        meta=episode.meta,
        control_hz=rate_of(episode.meta),
    )


def records_of(steps: Steps, spec: Spec, source: Source = Source.HUMAN) -> Records:
    """Records of an episode; what the file does not say has the plain meaning.

    Args:
        source: who chose the actions, where the file does not say.
    """
    rows = np.zeros(steps.count + 1, record_dtype(spec))
    rows["index"] = np.arange(len(rows))
    for array in spec.observation:
        rows["obs/" + array.name] = steps.observations[array.name]
    rows["action"][1:] = rows["requested_action"][1:] = steps.actions
    rows["reward"][1:] = steps.rewards
    rows["terminated"][1:] = steps.terminated
    rows["truncated"][1:] = steps.truncated & ~steps.terminated
    rows["success"][1:] = steps.success
    rows["weight"] = 1.0
    rows["source"][1:] = source
    rows["policy_version"] = -1
    if steps.control_hz:
        rows["stamp_mono_ns"] = np.arange(len(rows)) * 1e9 / steps.control_hz
    for name, values in steps.fields.items():
        if name in field_names(rows.dtype):
            rows[name] = values
    return rows


def meta_of(steps: Steps, experiment: str) -> EpisodeMeta:
    """What is known of an episode; one of ours keeps what it said."""
    rate = {RATE: steps.control_hz} if steps.control_hz else {}
    if steps.meta is not None:
        told = {} if rate_of(steps.meta) else rate
        return dataclasses.replace(steps.meta, details={**steps.meta.details, **told})
    success = bool(steps.success.any())
    over = bool((steps.terminated | steps.truncated)[-1:].any())
    return EpisodeMeta(
        experiment=experiment,
        success=success,
        outcome="success" if success else "failure" if over else "aborted",
        details=rate,
    )


class SpecOf:
    """Gathers what a spec must say from episodes that come without one.

    Args:
        source: what an error message calls the file.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._own: Spec | None = None
        self._shapes: dict[str, tuple[tuple[int, ...], str]] | None = None
        self._low = self._high = np.zeros(0)

    def see(self, steps: Steps) -> None:
        """One more episode. Raises UserError where it does not match those before."""
        shapes = {f"obs/{k}": (v.shape[1:], v.dtype.name) for k, v in steps.observations.items()}
        shapes |= {k: (v.shape[1:], v.dtype.name) for k, v in _extras(steps).items()}
        shapes["action"] = (steps.actions.shape[1:], "float32")
        if self._shapes is None:
            self._shapes, self._own = shapes, steps.spec
            self._low = np.full(steps.actions.shape[1:], np.inf)
            self._high = -self._low
        difference = first_difference(_plain(self._shapes), _plain(shapes))
        if difference or steps.spec != self._own:
            what = difference or "bounds or names of elements"
            raise UserError(
                f"episodes of {self.source} differ ({what} in the first and a later one); import "
                "sets of one kind, each by itself."
            )
        if steps.count:
            self._low = np.minimum(self._low, steps.actions.min(0))
            self._high = np.maximum(self._high, steps.actions.max(0))

    def made(self) -> tuple[Spec, str]:
        """The spec, and a line that says where it is from."""
        if self._shapes is None:
            raise UserError(f"{self.source} holds no episode.")
        if self._own is not None:
            return self._own, "the spec is the one it was exported with."
        arrays = [_array(name, *shape) for name, shape in self._shapes.items() if name != "action"]
        low, high, bounds = self._action_bounds()
        shape = self._shapes["action"][0]
        spec = Spec(
            observation=tuple(a for is_extra, a in arrays if not is_extra),
            action=ArraySpec(name="action", shape=shape, dtype="float32", low=low, high=high),
            extras=tuple(a for is_extra, a in arrays if is_extra),
        )
        return spec, (
            "the spec is made from the arrays: states and actions are as stored, in that project's "
            f"conventions, with actions {bounds}."
        )

    def _action_bounds(self) -> tuple[Any, Any, str]:
        """Those of a normalised action if the data keeps them, else the data's own."""
        if (self._low >= -1).all() and (self._high <= 1).all():
            return -1.0, 1.0, "within -1 and 1"
        low, high = (np.asarray(v, np.float32).ravel() for v in (self._low, self._high))
        return (
            tuple(float(v) for v in low),
            tuple(float(v) for v in high),
            f"between the least and the largest there are ({low.min():.4g} to {high.max():.4g})",
        )


def closed(steps: Steps) -> Steps:
    """An episode of a file that has no observation after the last action: n of each there.

    Where it ends in a termination the last observation is repeated: nothing is learned from what
    follows one. Elsewhere the last action goes: no observation is made up that learning would use.
    """
    if bool(steps.terminated[-1:].any()):
        again = {k: np.concatenate([v, v[-1:]]) for k, v in steps.observations.items()}
        fields = {k: np.concatenate([v, v[-1:]]) for k, v in steps.fields.items()}
        line = "the observation after a termination is not in the file; the one before is repeated."
        return dataclasses.replace(steps, observations=again, fields=fields).noting(line)
    n = max(0, steps.count - 1)
    return dataclasses.replace(
        steps,
        actions=steps.actions[:n],
        rewards=steps.rewards[:n],
        terminated=steps.terminated[:n],
        truncated=steps.truncated[:n],
        success=steps.success[:n],
    ).noting("an episode without a termination loses its last action: what it led to is not there.")


def flat_names(names: Iterable[str]) -> dict[str, str]:
    """Names without '/', which other formats take for folders.

    >>> flat_names(["left/state", "front"])
    {'left/state': 'left.state', 'front': 'front'}
    """
    flat = {name: name.replace("/", ".") for name in names}
    if len(set(flat.values())) < len(flat):
        raise UserError(f"the names {', '.join(flat)} are not told apart without their '/'.")
    return flat


def plain_name(text: str) -> str:
    """A name that a spec can have.

    >>> plain_name("robot0 eye-in-hand"), plain_name("3d")
    ('robot0_eye_in_hand', '_3d')
    """
    name = re.sub(r"[^0-9A-Za-z_./]", "_", text)
    return name if name[:1].isalpha() or name[:1] == "_" else "_" + name


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """`plain_name` of each. Raises UserError where two become one."""
    made = {name: plain_name(name) for name in names}
    if len(set(made.values())) < len(made):
        raise UserError(f"the names {', '.join(made)} are not told apart once made plain.")
    return made


def header_json(steps: Steps, spec: Spec) -> str:
    """Spec and what is known of an episode, for a format's own place for text."""
    meta = None if steps.meta is None else dataclasses.asdict(steps.meta)
    return json.dumps({"spec": json.loads(spec.to_json()), "meta": meta})


def read_header(text: str) -> tuple[Spec, EpisodeMeta | None]:
    """Inverse of `header_json`."""
    raw = json.loads(text)
    meta = None if raw["meta"] is None else EpisodeMeta(**raw["meta"])
    return Spec.from_json(json.dumps(raw["spec"])), meta


def as_actions(values: NDArray) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Actions (n, A) as float32, and a note where that changed them."""
    actions = np.asarray(values)
    flat = actions.reshape(len(actions), -1)
    single = flat.astype(np.float32)
    same = flat.dtype == np.float32 or (single == flat).all()
    return single, () if same else (f"actions are {flat.dtype}, rounded to float32.",)


def _extras(steps: Steps) -> Arrays:
    return {k: v for k, v in steps.fields.items() if k.startswith("extra/")}


def _plain(shapes: dict[str, tuple[tuple[int, ...], str]]) -> dict[str, object]:
    return {name: [list(shape), dtype] for name, (shape, dtype) in shapes.items()}


def _array(name: str, shape: tuple[int, ...], dtype: str) -> tuple[bool, ArraySpec]:
    kind, _, plain = name.partition("/")
    return kind == "extra", ArraySpec(name=plain, shape=shape, dtype=dtype)
