"""Farama's Minari: a folder `data` with one HDF5 file and a metadata.json.

    data/main_data.hdf5      episode_<k>: observations (an array, or a group of them) with one row
                             more than actions, rewards, terminations, truncations; infos
    data/metadata.json       spaces, version, totals

Read and written in the layout itself: the package, in opening a set, may make the environment that
the file names, which is to run what one reads. Source: Minari's documentation, "Dataset standards".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serl.data.formats import hdf5
from serl.data.formats.base import FORMATS, PARTS, Arrays, Options, Steps, need, reading
from serl.data.formats.pictures import decoded
from serl.data.formats.steps import as_actions, flat_names, plain_name, plain_names, rate_of
from serl.types import ArraySpec, Spec

KIND = "Minari set"
VERSION = "0.5.4"
"""Of Minari, whose layout this is."""
FILE, METADATA = "data/main_data.hdf5", "data/metadata.json"
SUCCESS = "success"


@FORMATS.register("minari")
class Minari:
    """A folder with HDF5 and JSON."""

    about = "Farama's Minari: a folder with HDF5 and JSON"
    extra: str | None = "formats"
    keeps = frozenset(PARTS)

    def detect(self, path: Path) -> bool:
        return hdf5.is_hdf5(path / FILE) and (path / METADATA).is_file()

    def read(self, path: Path) -> Iterator[Steps]:
        with reading(path / METADATA, KIND):
            about = json.loads((path / METADATA).read_text())
            jpeg = bool(about.get("jpeg_encoding", True))
            count = int(about["total_episodes"])
        with hdf5.opened(path / FILE, KIND) as file:
            for number in range(count):
                yield _read_episode(hdf5.group(file, f"episode_{number}"), jpeg)

    def write(self, path: Path, spec: Spec, demos: Iterable[Steps], options: Options) -> None:
        h5py = need("h5py", "formats")
        names = flat_names(a.name for a in spec.observation)
        (path / "data").mkdir(parents=True)
        count = total = 0
        with h5py.File(path / FILE, "w", track_order=True) as file:
            for number, steps in enumerate(demos):
                _write_episode(file.create_group(f"episode_{number}"), number, steps, spec, names)
                count, total = count + 1, total + steps.count
        spaces = {names[a.name]: _box(a) for a in spec.observation}
        about = {
            "total_episodes": count,
            "total_steps": total,
            "data_format": "hdf5",
            "jpeg_encoding": False,
            "observation_space": json.dumps({"type": "Dict", "subspaces": spaces}),
            "action_space": json.dumps(_box(spec.action)),
            "dataset_id": f"{plain_name(options.task or 'demonstrations').replace('/', '_')}-v0",
            "minari_version": VERSION,
            "description": options.task or "Demonstrations, exported by serl-suite.",
        }
        (path / METADATA).write_text(json.dumps(about))


def _write_episode(
    episode: Any, number: int, steps: Steps, spec: Spec, names: Mapping[str, str]
) -> None:
    episode.attrs["id"] = number
    episode.attrs["total_steps"] = steps.count
    if steps.meta is not None and steps.meta.seed is not None:
        episode.attrs["seed"] = steps.meta.seed
    for name, values in steps.observations.items():
        hdf5.put(episode, f"observations/{names[name]}", values)
    hdf5.put(episode, "actions", steps.actions)
    hdf5.put(episode, "rewards", steps.rewards)
    hdf5.put(episode, "terminations", steps.terminated)
    hdf5.put(episode, "truncations", steps.truncated)
    infos = episode.create_group("infos")
    hdf5.put(infos, SUCCESS, np.concatenate([[False], steps.success]))
    hdf5.put_ours(infos, steps, spec)


def _read_episode(episode: Any, jpeg: bool) -> Steps:
    actions, notes = as_actions(hdf5.array(episode, "actions"))
    n = len(actions)
    terminated = hdf5.array(episode, "terminations").astype(bool)
    infos = hdf5.group(episode, "infos") if hdf5.has(episode, "infos") else {}
    ours = hdf5.read_ours(infos) if infos else None
    observations = _observations(episode, jpeg)
    names = plain_names(observations)
    if ours is not None:
        names = {
            flat: name for name, flat in flat_names(a.name for a in ours[0].observation).items()
        }
    for name, values in observations.items():
        if len(values) != n + 1:
            raise ValueError(f"{name} has {len(values)} rows; {n} actions need {n + 1}")
    said = hdf5.array(infos, SUCCESS) if SUCCESS in infos else np.zeros(0)
    if said.shape == (n + 1,):
        success = said[1:].astype(bool)
    else:
        success = np.zeros(n, bool)
        notes += (
            "Minari has no place for success, and these infos none; no episode counts as one.",
        )
    return Steps(
        observations={names[name]: values for name, values in observations.items()},
        actions=actions,
        rewards=hdf5.array(episode, "rewards").astype(np.float32),
        terminated=terminated,
        truncated=hdf5.array(episode, "truncations").astype(bool),
        success=success,
        fields=ours[2] if ours else {},
        spec=ours[0] if ours else None,
        meta=ours[1] if ours else None,
        control_hz=rate_of(ours[1]) if ours else None,
        notes=notes,
    )


def _observations(episode: Any, jpeg: bool) -> Arrays:
    """By name; a set whose observation is one array calls it 'state'."""
    stored = hdf5.member(episode, "observations")
    alone = type(stored).__name__ == "Dataset"
    parent, names = (episode, ["observations"]) if alone else (stored, list(stored))
    found: Arrays = {}
    for name in names:
        data = hdf5.member(parent, name)
        if jpeg and type(data).__name__ == "Dataset" and _is_jpeg(data):
            found["image" if alone else name] = np.stack([decoded(bytes(row)) for row in data[()]])
        elif type(data).__name__ == "Group":
            found |= {f"{name}/{k}": v for k, v in hdf5.arrays(hdf5.group(parent, name)).items()}
        else:
            found["state" if alone else name] = hdf5.array(parent, name)
    return found


def _is_jpeg(data: Any) -> bool:
    """Rows of bytes of a JPEG, all of one length or not."""
    rows = data.dtype == object or (data.dtype == np.uint8 and data.ndim == 2)
    return bool(rows and len(data) and bytes(data[0][:2]) == b"\xff\xd8")


def _box(array: ArraySpec) -> dict[str, Any]:
    """Gymnasium's Box in Minari's words."""
    kind = np.dtype(array.dtype)
    least, most = (-np.inf, np.inf) if kind.kind == "f" else (0, 1)
    if kind.kind in "iu":
        least, most = np.iinfo(kind).min, np.iinfo(kind).max
    low = least if array.low is None else array.low
    high = most if array.high is None else array.high
    shape = array.shape

    def full(bound: Any) -> Any:
        values = np.asarray(bound, np.float64)
        return (np.full(shape, values) if values.ndim == 0 else values.reshape(shape)).tolist()

    box = {"type": "Box", "dtype": array.dtype, "shape": list(shape)}
    return {**box, "low": full(low), "high": full(high)}
