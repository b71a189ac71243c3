"""Turning what an env returns into records: one place decides what a step says of itself.

Used by the actor and by whoever records demonstrations. Plain NumPy: no JAX.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.pixels import FEATURE, check_frames, images
from serl.types import RewardSource, Source, Spec, record_dtype

Records = NDArray[Any]
"""A structured array of `record_dtype(spec)`."""


class RecordBuilder:
    """Makes the records of one episode after another, each a structured array of length 1.

    What the env says in `info` wins: executed_action, requested_action, source, success, clamped,
    stamp_mono_ns, reward_source, reward_version, weight, extra/<name>. What it leaves out has the
    plain meaning: the chosen action was executed, by whom the caller says, reward from the env.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.dtype = record_dtype(spec)
        self._images = images(spec)
        self._extras = [a.name for a in spec.extras if not a.name.startswith(FEATURE)]
        self._episode = 0
        self._index = 0

    def first(
        self,
        episode: int,
        obs: Mapping[str, Any],
        info: Mapping[str, Any],
        seen: Mapping[str, Any] | None = None,
    ) -> Records:
        """Record 0: the observation of a reset, which no action led to."""
        self._episode, self._index = episode, 0
        record = self._blank(obs, info, seen or {})
        record["policy_version"] = -1
        return record

    def step(
        self,
        *,
        action: NDArray[Any],
        obs: Mapping[str, Any],
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[str, Any],
        source: Source = Source.POLICY,
        policy_version: int = -1,
        seen: Mapping[str, Any] | None = None,
    ) -> Records:
        """The next record: `action` led to `obs`.

        Args:
            seen: features of `obs`, by the names of their extras (serl.pixels).

        Raises:
            UserError: the reward is not a finite number.
        """
        if not np.isfinite(reward):
            raise UserError(f"the env returned reward {reward}; it must be a finite number.")
        self._index += 1
        record = self._blank(obs, info, seen or {})
        record["action"] = info.get("executed_action", action)
        record["requested_action"] = info.get("requested_action", action)
        record["reward"] = reward
        record["terminated"] = terminated
        record["truncated"] = truncated and not terminated
        record["success"] = info.get("success", False)
        record["clamped"] = info.get("clamped", False)
        record["source"] = int(info.get("source", source))
        record["policy_version"] = policy_version
        record["reward_source"] = int(info.get("reward_source", RewardSource.ENV))
        record["reward_version"] = int(info.get("reward_version", 0))
        for name in self._extras:
            record[f"extra/{name}"] = info[f"extra/{name}"]
        return record

    def _blank(
        self, obs: Mapping[str, Any], info: Mapping[str, Any], seen: Mapping[str, Any]
    ) -> Records:
        check_frames(self._images, obs)
        record = np.zeros(1, self.dtype)
        record["episode"], record["index"] = self._episode, self._index
        for array in self.spec.observation:
            value = np.asarray(obs[array.name])
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise UserError(_not_finite(array.name, array.fields, value))
            record["obs/" + array.name] = value
        for name, features in seen.items():
            record["extra/" + name] = features
        record["weight"] = info.get("weight", 1.0)
        record["stamp_mono_ns"] = info.get("stamp_mono_ns", time.monotonic_ns())
        record["stamp_wall_ns"] = time.time_ns()
        return record


def _not_finite(name: str, fields: tuple[str, ...], value: NDArray[Any]) -> str:
    at = int(np.flatnonzero(~np.isfinite(value.ravel()))[0])
    element = fields[at] if at < len(fields) else f"[{at}]"
    return (
        f"observation {name!r}, {element}, is {value.ravel()[at]}; every value must be finite. "
        "Nothing was stored for this step; check the sensor or the task that computes it."
    )
