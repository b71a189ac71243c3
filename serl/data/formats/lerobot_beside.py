"""What LeRobot has no place for, beside its files: one small .npz an episode, below `meta/serl`.

It holds the observation after the last action, the remaining fields of the records, and the spec.
It counts only while the episode is the one that it was written with.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from serl.data.formats.base import Steps
from serl.data.formats.steps import header_json, read_header
from serl.types import Spec

FOLDER = "meta/serl"


def write_beside(path: Path, number: int, steps: Steps, spec: Spec, keys: dict[str, str]) -> None:
    """Write what only we have of an episode.

    Args:
        keys: LeRobot's feature of each observation.
    """
    folder = path / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    header = {"ours": json.loads(header_json(steps, spec)), "keys": keys, "of": _digest(steps)}
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    last = {f"last/{name}": values[-1] for name, values in steps.observations.items()}
    fields = {f"field/{name}": values for name, values in steps.fields.items()}
    members: dict[str, Any] = {"header": text, **last, **fields}
    np.savez_compressed(folder / f"episode_{number:06d}.npz", **members)


def read_beside(path: Path, number: int, steps: Steps) -> Steps | None:
    """The whole episode, where ours is beside and fits; None otherwise.

    Args:
        steps: what LeRobot's files have, observations by feature.
    """
    file = path / FOLDER / f"episode_{number:06d}.npz"
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as found:
        header = json.loads(found["header"].tobytes())
        if header["of"] != _digest(steps) or set(header["keys"].values()) != set(
            steps.observations
        ):
            return None  # someone has edited the set since
        spec, meta = read_header(json.dumps(header["ours"]))
        n = steps.count
        fields = {k.removeprefix("field/"): found[k] for k in found if k.startswith("field/")}
        if any(len(values) != n + 1 for values in fields.values()):
            raise ValueError(f"{file.name} does not fit its episode of {n} steps")
        observations = {}
        for array in spec.observation:
            before = steps.observations[header["keys"][array.name]].reshape(n, *array.shape)
            observations[array.name] = np.concatenate([before, found[f"last/{array.name}"][None]])
    return replace(steps, observations=observations, fields=fields, spec=spec, meta=meta)


def _digest(steps: Steps) -> str:
    return hashlib.sha256(np.ascontiguousarray(steps.actions, "<f4").tobytes()).hexdigest()
