"""Writes a LeRobotDataset v3.0, episode by episode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.formats import lerobot_files as files
from serl.data.formats.base import Arrays, Options, Steps, need
from serl.data.formats.lerobot_beside import write_beside
from serl.data.formats.lerobot_stats import Stats, stats_of, together
from serl.data.formats.lerobot_video import VideoFile, video_info
from serl.data.formats.pictures import png
from serl.data.formats.steps import flat_names
from serl.data.records import frame_fields
from serl.errors import UserError
from serl.types import ArraySpec, Spec

MB = 1 << 20
PLAIN = {"timestamp": "float32", **dict.fromkeys(("frame_index", "episode_index"), "int64")}
PLAIN |= dict.fromkeys(("index", "task_index"), "int64")
"""The columns that every set has."""


class Writer:
    """A set in the making; `add` each episode, then `finish`.

    Raises:
        UserError: no whole control rate is known, or frames do not fit a video.
    """

    def __init__(self, path: Path, spec: Spec, options: Options) -> None:
        self.path, self.spec, self.options = path, spec, options
        self.fps = _fps(options.control_hz)
        self.keys = _keys(spec)
        self.cameras = {name.removeprefix("obs/") for name in frame_fields(spec)}
        self.features = self._features()
        self._rows = 0
        self._episodes: list[dict[str, Any]] = []
        self._stats: list[dict[str, Stats]] = []
        self._tasks: list[str] = []
        self._data: Any = None
        self._data_place = [0, 0]
        self._videos: dict[str, VideoFile] = {}
        self._video_places = {self.keys[name]: [0, 0] for name in self.cameras}

    def add(self, steps: Steps) -> None:
        """One episode: a row an action, with the observation before it."""
        n, number = steps.count, len(self._episodes)
        task = (steps.meta.task if steps.meta else "") or self.options.task or "unknown"
        if task not in self._tasks:
            self._tasks.append(task)
        columns = self._columns(steps, number, self._tasks.index(task))
        episode: dict[str, Any] = {"episode_index": number, "tasks": [task], "length": n}
        videos = {}
        if self.options.video:
            for name in sorted(self.cameras):
                videos |= self._write_video(self.keys[name], columns[self.keys[name]])
        self._write_rows(columns)
        chunk, file = self._data_place
        self._episodes.append(
            {
                **episode,
                "data/chunk_index": chunk,
                "data/file_index": file,
                "dataset_from_index": self._rows,
                "dataset_to_index": self._rows + n,
                **videos,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        self._stats.append({key: stats_of(values) for key, values in columns.items()})
        self._rows += n
        write_beside(self.path, number, steps, self.spec, self.keys)

    def finish(self) -> None:
        """Close what is open, write what is said of the whole."""
        pa, parquet = need("pyarrow", "formats"), need("pyarrow.parquet", "formats")
        if self._data is not None:
            self._data.close()
        for video in self._videos.values():
            video.close()
        rows = [
            {**e, **{f"stats/{k}/{n}": v.tolist() for k, of in s.items() for n, v in of.items()}}
            for e, s in zip(self._episodes, self._stats, strict=True)
        ]
        file = self.path / files.EPISODES.format(chunk_index=0, file_index=0)
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.Table.from_pylist(rows), file)
        parquet.write_table(_tasks(pa, self._tasks), self.path / files.TASKS)
        stats = {key: together([s[key] for s in self._stats]) for key in self._stats[0]}
        plain = {key: {n: v.tolist() for n, v in of.items()} for key, of in stats.items()}
        (self.path / files.STATS).write_text(json.dumps(plain, indent=4))
        (self.path / files.INFO).write_text(json.dumps(self._info(), indent=4))

    def _info(self) -> dict[str, Any]:
        count = len(self._episodes)
        return {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": count,
            "total_frames": self._rows,
            "total_tasks": len(self._tasks),
            "chunks_size": files.FILES_A_CHUNK,
            "data_files_size_in_mb": files.DATA_MB,
            "video_files_size_in_mb": files.VIDEO_MB,
            "fps": self.fps,
            "splits": {"train": f"0:{count}"},
            "data_path": files.DATA,
            "video_path": files.VIDEO if self.options.video and self.cameras else None,
            "features": self.features,
        }

    def _features(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for array in self.spec.observation:
            camera = array.name in self.cameras
            found[self.keys[array.name]] = self._picture(array) if camera else _feature(array)
        found["action"] = _feature(self.spec.action)
        found[files.REWARD] = {"dtype": "float32", "shape": [1], "names": None}
        for flag in (files.DONE, files.TRUNCATED, files.SUCCESS):
            found[flag] = {"dtype": "bool", "shape": [1], "names": None}
        for array in self.spec.extras:
            found[_extra(array.name)] = _feature(array)
        for name, kind in PLAIN.items():
            found[name] = {"dtype": kind, "shape": [1], "names": None}
        return found

    def _picture(self, array: ArraySpec) -> dict[str, Any]:
        kind = "video" if self.options.video else "image"
        names = ["height", "width", "channels"]
        feature = {"dtype": kind, "shape": list(array.shape), "names": names}
        info = {"info": video_info(array.shape, self.fps)} if self.options.video else {}
        return {**feature, **info}

    def _columns(self, steps: Steps, number: int, task: int) -> Arrays:
        n = steps.count
        found = {self.keys[k]: v[:-1] for k, v in steps.observations.items()}
        found["action"], found[files.REWARD] = steps.actions, steps.rewards
        found[files.DONE] = steps.terminated | steps.truncated
        found[files.TRUNCATED], found[files.SUCCESS] = steps.truncated, steps.success
        for array in self.spec.extras:
            found[_extra(array.name)] = steps.fields["extra/" + array.name][1:]
        found["timestamp"] = (np.arange(n) / self.fps).astype(np.float32)
        found["frame_index"] = np.arange(n)
        found["episode_index"], found["task_index"] = np.full(n, number), np.full(n, task)
        found["index"] = self._rows + np.arange(n)
        return {key: found[key] for key in self.features}

    def _write_rows(self, columns: Arrays) -> None:
        pa, parquet = need("pyarrow", "formats"), need("pyarrow.parquet", "formats")
        told = {k: f for k, f in self.features.items() if f["dtype"] != "video"}
        arrays = [_arrow(pa, columns[key], feature) for key, feature in told.items()]
        hub = json.dumps({"info": {"features": {k: _hub(f) for k, f in told.items()}}})
        table = pa.Table.from_arrays(arrays, names=list(told))
        table = table.replace_schema_metadata({"huggingface": hub})
        file = self.path / files.DATA.format(**_place(self._data_place))
        if self._data is not None and file.stat().st_size + table.nbytes > files.DATA_MB * MB:
            self._data.close()
            self._data = None
            _advance(self._data_place)
            file = self.path / files.DATA.format(**_place(self._data_place))
        if self._data is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._data = parquet.ParquetWriter(file, table.schema, compression="snappy")
        self._data.write_table(table)

    def _write_video(self, key: str, frames: NDArray[np.uint8]) -> dict[str, Any]:
        place, video = self._video_places[key], self._videos.get(key)
        if video is not None and video.path.stat().st_size > files.VIDEO_MB * MB:
            video.close()
            video = None
            _advance(place)
        if video is None:
            file = self.path / files.VIDEO.format(video_key=key, **_place(place))
            video = self._videos[key] = VideoFile(file, frames.shape[1:], self.fps)
        begin = video.frames
        for frame in frames:
            video.add(frame)
        return {
            f"videos/{key}/chunk_index": place[0],
            f"videos/{key}/file_index": place[1],
            f"videos/{key}/from_timestamp": begin / self.fps,
            f"videos/{key}/to_timestamp": video.frames / self.fps,
        }


def _fps(control_hz: float | None) -> int:
    if control_hz is None:
        raise UserError("the set does not say its control rate, which LeRobot needs; give --hz.")
    if control_hz < 1 or control_hz != round(control_hz):
        raise UserError(f"LeRobot's fps is a whole number; {control_hz:g} Hz is none. Give --hz.")
    return round(control_hz)


def _keys(spec: Spec) -> dict[str, str]:
    """LeRobot's feature of each observation: 'state' is 'observation.state', a camera 'front' is
    'observation.images.front'."""
    flat = flat_names(a.name for a in spec.observation)
    cameras = {name.removeprefix("obs/") for name in frame_fields(spec)}
    return {n: f"observation.{'images.' if n in cameras else ''}{f}" for n, f in flat.items()}


def _extra(name: str) -> str:
    return "complementary_info." + name.replace("/", ".")


def _feature(array: ArraySpec) -> dict[str, Any]:
    names = list(array.fields) or None
    return {"dtype": array.dtype, "shape": list(array.shape) or [1], "names": names}


def _arrow(pa: Any, values: NDArray[Any], feature: dict[str, Any]) -> Any:
    """A column: a plain one for one element, lists of a fixed length for a vector."""
    if feature["dtype"] == "image":
        rows = [{"bytes": png(f), "path": f"frame-{k:06d}.png"} for k, f in enumerate(values)]
        return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    shape = feature["shape"]
    if shape == [1]:
        return pa.array(values.reshape(-1))
    if len(shape) == 1:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, shape[0])
    kind = pa.from_numpy_dtype(values.dtype)
    for _ in shape:
        kind = pa.list_(kind)
    return pa.array(values.tolist(), kind)


def _hub(feature: dict[str, Any]) -> dict[str, Any]:
    """The column's type in the words of Hugging Face's `datasets`."""
    if feature["dtype"] == "image":
        return {"_type": "Image"}
    value = {"dtype": feature["dtype"], "_type": "Value"}
    shape = feature["shape"]
    if shape == [1]:
        return value
    if len(shape) == 1:
        return {"feature": value, "length": shape[0], "_type": "Sequence"}
    return {"shape": shape, "dtype": feature["dtype"], "_type": f"Array{len(shape)}D"}


def _tasks(pa: Any, tasks: list[str]) -> Any:
    """Tasks in words as the index that pandas makes of it, with their numbers."""
    columns = [
        {"name": n, "field_name": n, "pandas_type": p, "numpy_type": k, "metadata": None}
        for n, p, k in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    about = {"index_columns": ["task"], "column_indexes": [], "columns": columns}
    about["creator"] = {"library": "pyarrow", "version": pa.__version__}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": tasks})
    return table.replace_schema_metadata({"pandas": json.dumps({**about, "pandas_version": "2.2"})})


def _place(place: list[int]) -> dict[str, int]:
    return {"chunk_index": place[0], "file_index": place[1]}


def _advance(place: list[int]) -> None:
    """To the next file, in the next chunk after a thousand."""
    place[1] += 1
    if place[1] == files.FILES_A_CHUNK:
        place[:] = [place[0] + 1, 0]
