"""What an experiment's data looks like: named arrays, and the record of one step.

A `Spec` names every observation, the action and any extra per-step array. From it follow the
fixed-size `record_dtype` that travels from actor to replay unchanged, and the first difference
that actor and learner report when they disagree. Plain Python and NumPy: no JAX.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Source(enum.IntEnum):
    """Who chose the action of a step. The numbers are on disk: never reuse one."""

    NONE = 0
    """Record 0 of an episode: an observation that no action led to."""
    POLICY = 1
    HUMAN = 2
    SCRIPTED = 3
    RANDOM = 4


class RewardSource(enum.IntEnum):
    """Who gave the reward of a step. The numbers are on disk: never reuse one."""

    ENV = 0
    CLASSIFIER = 1
    HUMAN = 2


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One named array of fixed shape and dtype."""

    name: str
    """A plain identifier; may hold '/' (arm prefix) and '.'."""

    shape: tuple[int, ...]
    dtype: str
    """NumPy dtype name: 'float32', 'uint8', 'int64', 'bool'."""

    low: tuple[float, ...] | float | None = None
    """Lower bound: one number for all, or one per element (flattened); None is unbounded."""

    high: tuple[float, ...] | float | None = None
    fields: tuple[str, ...] = ()
    """Name of each element of a vector, in order, with unit: ('tcp_pos.x_m', ...). May be empty."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The shape of an experiment's data; all that a learner needs to know of an environment."""

    observation: tuple[ArraySpec, ...]
    action: ArraySpec
    """The agent's action, float32 within [low, high]."""

    extras: tuple[ArraySpec, ...] = ()
    """Further per-step arrays a task adds (a grasp penalty, a stage): no protocol change."""

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return canonical_json(asdict(self))

    @staticmethod
    def from_json(text: str) -> Spec:
        """Inverse of `to_json`."""
        raw = json.loads(text)
        return Spec(
            observation=tuple(_array_spec(a) for a in raw["observation"]),
            action=_array_spec(raw["action"]),
            extras=tuple(_array_spec(a) for a in raw["extras"]),
        )


def _array_spec(raw: Mapping[str, Any]) -> ArraySpec:
    def bound(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    return ArraySpec(
        name=raw["name"],
        shape=tuple(raw["shape"]),
        dtype=raw["dtype"],
        low=bound(raw["low"]),
        high=bound(raw["high"]),
        fields=tuple(raw["fields"]),
    )


def record_dtype(spec: Spec) -> np.dtype:
    """The packed NumPy structure of one record.

    Record k of an episode holds observation k and the action, reward and flags that led to it;
    record 0 holds zeros there and `source` NONE. So any prefix of an episode is a valid episode.

    Fields: `episode` u4, `index` u4 (the record's key within its actor); `obs/<name>` per
    observation; `action` (executed, in the agent's space) and `requested_action`; `reward` f4;
    `terminated`, `truncated`, `success`, `clamped` (the server moved the command) bool;
    `weight` f4;
    `source` u1 (Source); `policy_version` i8 (-1 without a policy); `reward_source` u1 and
    `reward_version` i8; `stamp_mono_ns` and `stamp_wall_ns` i8, of the observation; `extra/<name>`.
    """

    def field(prefix: str, array: ArraySpec) -> tuple[str, str, tuple[int, ...]]:
        return (prefix + array.name, np.dtype(array.dtype).newbyteorder("<").str, array.shape)

    action = spec.action
    return np.dtype(
        [
            ("episode", "<u4"),
            ("index", "<u4"),
            *[field("obs/", a) for a in spec.observation],
            ("action", "<f4", action.shape),
            ("requested_action", "<f4", action.shape),
            ("reward", "<f4"),
            ("terminated", "?"),
            ("truncated", "?"),
            ("success", "?"),
            ("clamped", "?"),
            ("weight", "<f4"),
            ("source", "u1"),
            ("policy_version", "<i8"),
            ("reward_source", "u1"),
            ("reward_version", "<i8"),
            ("stamp_mono_ns", "<i8"),
            ("stamp_wall_ns", "<i8"),
            *[field("extra/", a) for a in spec.extras],
        ]
    )


Observation = dict[str, NDArray[Any]]
"""Observations are always a dict from name to array; a plain Box env has one, named 'state'."""


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, floats as Python writes them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def contract_hash(contract: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON, hex."""
    return hashlib.sha256(canonical_json(contract).encode()).hexdigest()


def first_difference(here: Any, there: Any, path: str = "") -> str | None:
    """The first leaf at which two JSON values differ, as 'agent.discount: 0.97 here, 0.99 there'.

    >>> first_difference({"agent": {"discount": 0.97}}, {"agent": {"discount": 0.99}})
    'agent.discount: 0.97 here, 0.99 there'
    >>> first_difference([1, 2], [1, 2]) is None
    True
    """
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            where = f"{path}.{key}" if path else str(key)
            if key not in here or key not in there:
                return f"{where}: only {'here' if key in here else 'there'}"
            found = first_difference(here[key], there[key], where)
            if found:
                return found
        return None
    if isinstance(here, list) and isinstance(there, list) and len(here) == len(there):
        for i, (a, b) in enumerate(zip(here, there, strict=True)):
            found = first_difference(a, b, f"{path}[{i}]")
            if found:
                return found
        return None
    return None if here == there else f"{path or 'value'}: {here!r} here, {there!r} there"


class EnvConfig(Protocol):
    """What an experiment needs of an environment: its spec without making it, and the thing itself.

    `spec` and `contract` come from the config alone: no simulator, no robot, no JAX.
    """

    def spec(self) -> Spec: ...

    def contract(self) -> dict[str, Any]:
        """Everything that changes what is learned: task, rate, reward, fields. JSON values."""
        ...

    def make(self, *, render: bool = False) -> Any:
        """The gymnasium.Env, whose observations are dicts named as in `spec`."""
        ...
