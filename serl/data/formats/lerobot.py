"""LeRobot's LeRobotDataset v3.0: Parquet, JSON, and pictures in Parquet or as video.

    meta/info.json           version, fps, features with shapes and names, totals
    meta/stats.json          of every feature
    meta/tasks.parquet       tasks in words
    meta/episodes/chunk-000/file-000.parquet         a row an episode: where it lies, its statistics
    data/chunk-000/file-000.parquet                  a row an action, with what was seen before it
    videos/<key>/chunk-000/file-000.mp4              a camera's frames of several episodes

There is no place for the observation after the last action. Ours lies beside, in `meta/serl`, with
whatever else only we have; LeRobot does not look there. Source: LeRobot's documentation,
"LeRobotDataset v3.0", and the reader of lerobot 0.6.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.formats import lerobot_files as files
from serl.data.formats.base import FORMATS, PARTS, Arrays, Options, Steps, reading
from serl.data.formats.lerobot_beside import read_beside
from serl.data.formats.lerobot_video import read_video
from serl.data.formats.lerobot_writer import Writer
from serl.data.formats.pictures import decoded
from serl.data.formats.steps import as_actions, closed, plain_names
from serl.errors import UserError
from serl.types import Spec

KIND = "LeRobot set"
VERSION = "v3."
PICTURES = ("image", "video")
OBSERVATION, IMAGES, EXTRA = "observation.", "observation.images.", "complementary_info."
RENAMED = {"discrete_penalty": "grasp_penalty"}
"""LeRobot's name of an extra array, and ours."""

ASSUMED = (
    "LeRobot sets without 'next.truncated' do not tell a time-out from a termination: each 'done' "
    "is taken for a termination; without 'next.success', one with a positive reward for a success."
)


@FORMATS.register("lerobot")
class LeRobot:
    """A folder of Parquet, JSON, pictures."""

    about = "LeRobot's LeRobotDataset v3.0: a folder with Parquet and PNG, or video"
    extra: str | None = "formats"
    keeps = frozenset(PARTS)

    def detect(self, path: Path) -> bool:
        return (path / files.INFO).is_file()

    def read(self, path: Path) -> Iterator[Steps]:
        with reading(path, KIND):
            info = json.loads((path / files.INFO).read_text())
            version = str(info["codebase_version"])
            if not version.startswith(VERSION):
                raise UserError(
                    f"{path} is of LeRobot {version}, not v3.0; convert it with LeRobot's script."
                )
            found = _Set(path, dict(info["features"]), float(info["fps"]))
            for number, row in enumerate(files.episodes(path)):
                yield found.steps(number, row)

    def write(self, path: Path, spec: Spec, demos: Iterable[Steps], options: Options) -> None:
        writer = Writer(path, spec, options)
        for steps in demos:
            writer.add(steps)
        writer.finish()


@dataclass(frozen=True)
class _Set:
    """A set to read."""

    path: Path
    features: Mapping[str, Any]
    fps: float

    def steps(self, number: int, row: Mapping[str, Any]) -> Steps:
        """One episode: rows of the data file, pictures of the videos, and ours if it is beside."""
        table = files.rows(self.path, row)
        n = table.num_rows
        if n != int(row["length"]) or n == 0:
            raise ValueError(f"episode {number} has {n} rows, not {row['length']}")
        actions, notes = as_actions(self._numbers(table, "action"))
        stored = {key: self._observation(table, row, key) for key in self.features if _seen(key)}
        steps = Steps(
            observations=stored,
            actions=actions,
            **self._flags(table, n),
            control_hz=self.fps,
            notes=notes,
        )
        ours = read_beside(self.path, number, steps)
        if ours is not None:
            return ours
        names = plain_names(_name(key) for key in stored)
        renamed = {names[_name(key)]: values for key, values in stored.items()}
        plain = Steps(**{**vars(steps), "observations": renamed, "fields": self._extras(table, n)})
        whole = closed(plain)
        extras = {
            k: np.concatenate([v[:1] * 0, v])[: whole.count + 1] for k, v in plain.fields.items()
        }
        return Steps(**{**vars(whole), "fields": extras}).noting(ASSUMED)

    def _observation(self, table: Any, row: Mapping[str, Any], key: str) -> NDArray[Any]:
        kind = self.features[key]["dtype"]
        if kind == "image":
            pictures = files.pictures(table, key)
            return np.stack([decoded(data) for data in pictures])
        if kind == "video":
            return read_video(self.path, key, row, self.fps, table.num_rows)
        return self._numbers(table, key)

    def _numbers(self, table: Any, key: str) -> NDArray[Any]:
        """A feature of numbers, (n, ...) in the shape and type that info.json gives it."""
        feature = self.features[key]
        kind = np.dtype(feature["dtype"])
        if kind.kind not in "fiub":
            raise ValueError(f"{key} holds {kind}, not numbers")
        values = np.array(table.column(key).to_pylist(), kind)
        return values.reshape(table.num_rows, *feature["shape"])

    def _flags(self, table: Any, n: int) -> dict[str, Any]:
        none = np.zeros(n, bool)

        def flag(key: str) -> NDArray[np.bool_] | None:
            there = key in self.features and key in table.column_names
            return self._numbers(table, key).reshape(n).astype(bool) if there else None

        paid = self._numbers(table, files.REWARD) if files.REWARD in self.features else none
        rewards = paid.reshape(n).astype(np.float32)
        done, truncated, success = flag(files.DONE), flag(files.TRUNCATED), flag(files.SUCCESS)
        done = none if done is None else done
        truncated = none if truncated is None else truncated & done
        success = done & (rewards > 0) if success is None else success
        return {
            "rewards": rewards,
            "terminated": done & ~truncated,
            "truncated": truncated,
            "success": success,
        }

    def _extras(self, table: Any, n: int) -> Arrays:
        """Further numbers of each step, by our names; one row an action still."""
        found: Arrays = {}
        for key, feature in self.features.items():
            if key.startswith(EXTRA) and feature["dtype"] not in (*PICTURES, "string"):
                name = key.removeprefix(EXTRA)
                values = self._numbers(table, key)
                scalar = values.shape == (n, 1)
                plain = plain_names([RENAMED.get(name, name)]).popitem()[1]
                found["extra/" + plain] = values.reshape(n) if scalar else values
        return found


def _seen(key: str) -> bool:
    return key.startswith(OBSERVATION)


def _name(key: str) -> str:
    """'observation.images.front' is 'front', 'observation.state' is 'state'."""
    return key.removeprefix(IMAGES) if key.startswith(IMAGES) else key.removeprefix(OBSERVATION)
