"""robomimic's HDF5: one file, a group per demonstration.

    data                     attrs: total, env_args (JSON)
    data/demo_<k>            attrs: num_samples
    data/demo_<k>/obs/<name>, next_obs/<name>, actions, rewards, dones, [states]
    mask/<filter key>        names of demonstrations

Its `dones` do not tell a time-out from a termination; ours lie beside, in a group of their own that
its loader does not look at. Source: robomimic's documentation, "Dataset Contents".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from serl.data.formats import hdf5
from serl.data.formats.base import FORMATS, PARTS, Arrays, Options, Steps, need
from serl.data.formats.steps import as_actions, closed, flat_names, plain_names
from serl.types import Spec

KIND = "robomimic HDF5 file"
DEMO = re.compile(r"demo_(\d+)")
GYM = 2
"""robomimic's number for an env of Gym's kind."""
FLAGS = ("terminated", "truncated", "success")

ASSUMED = (
    "robomimic's dones do not tell a time-out from a termination: one with a positive reward is "
    "taken for a success and a termination, one without for a time-out."
)


@FORMATS.register("robomimic")
class Robomimic:
    """One HDF5 file."""

    about = "robomimic's HDF5: one file"
    extra: str | None = "formats"
    keeps = frozenset(PARTS)

    def detect(self, path: Path) -> bool:
        return path.suffix in (".hdf5", ".h5") and hdf5.is_hdf5(path)

    def read(self, path: Path) -> Iterator[Steps]:
        with hdf5.opened(path, KIND) as file:
            data = hdf5.group(file, "data")
            rate = _control_hz(data)
            numbered = {int(m[1]): m[0] for m in map(DEMO.fullmatch, data) if m}
            for number in sorted(numbered):
                yield _read_demo(hdf5.group(data, numbered[number]), rate)

    def write(self, path: Path, spec: Spec, demos: Iterable[Steps], options: Options) -> None:
        h5py = need("h5py", "formats")
        names = flat_names(a.name for a in spec.observation)
        total = 0
        with h5py.File(path, "w") as file:
            data = file.create_group("data")
            task = options.task
            for number, steps in enumerate(demos):
                task = task or (steps.meta.task if steps.meta else "")
                total += steps.count
                _write_demo(data.create_group(f"demo_{number}"), steps, spec, names)
            kwargs = {"control_freq": options.control_hz} if options.control_hz else {}
            about = {"env_name": task or "unknown", "type": GYM, "env_kwargs": kwargs}
            data.attrs["total"] = total
            data.attrs["env_args"] = json.dumps(about)


def _write_demo(demo: Any, steps: Steps, spec: Spec, names: dict[str, str]) -> None:
    demo.attrs["num_samples"] = steps.count
    for name, values in steps.observations.items():
        hdf5.put(demo, f"obs/{names[name]}", values[:-1])
        hdf5.put(demo, f"next_obs/{names[name]}", values[1:])
    hdf5.put(demo, "actions", steps.actions)
    hdf5.put(demo, "rewards", steps.rewards)
    hdf5.put(demo, "dones", (steps.terminated | steps.truncated).astype(np.int64))
    for flag in FLAGS:
        hdf5.put(demo, f"{hdf5.OURS}_{flag}", getattr(steps, flag))
    hdf5.put_ours(demo, steps, spec)


def _read_demo(demo: Any, rate: float | None) -> Steps:
    stored = hdf5.arrays(hdf5.group(demo, "obs"))
    actions, notes = as_actions(hdf5.array(demo, "actions"))
    n = len(actions)
    ours = hdf5.read_ours(demo)
    names = plain_names(stored)
    if ours is not None:
        names = {
            flat: name for name, flat in flat_names(a.name for a in ours[0].observation).items()
        }
    has_next = hdf5.has(demo, "next_obs")
    observations: Arrays = {}
    for name, values in stored.items():
        if len(values) != n:
            raise ValueError(f"{name} has {len(values)} rows for {n} actions")
        if has_next:
            after = hdf5.array(demo, f"next_obs/{name}")
            values = np.concatenate([values, after[-1:]])
        observations[names[name]] = values
    rewards = hdf5.array(demo, "rewards") if hdf5.has(demo, "rewards") else np.zeros(n)
    steps = Steps(
        observations=observations,
        actions=actions,
        rewards=rewards.astype(np.float32),
        **_flags(demo, rewards),
        fields=ours[2] if ours else {},
        spec=ours[0] if ours else None,
        meta=ours[1] if ours else None,
        control_hz=rate,
        notes=notes if ours else (ASSUMED, *notes),
    )
    return steps if has_next else closed(steps)


def _flags(demo: Any, rewards: Any) -> dict[str, Any]:
    if hdf5.has(demo, f"{hdf5.OURS}_{FLAGS[0]}"):
        return {flag: hdf5.array(demo, f"{hdf5.OURS}_{flag}").astype(bool) for flag in FLAGS}
    done = (
        hdf5.array(demo, "dones") != 0 if hdf5.has(demo, "dones") else np.zeros(len(rewards), bool)
    )
    paid = done & (rewards > 0)
    return {"terminated": paid, "truncated": done & ~paid, "success": paid}


def _control_hz(data: Any) -> float | None:
    """Of the env's arguments, where they say it."""
    try:
        arguments = json.loads(data.attrs["env_args"])
        return float(arguments["env_kwargs"]["control_freq"])
    except (KeyError, TypeError, ValueError):
        return None
