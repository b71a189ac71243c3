"""Where things lie in a LeRobotDataset v3.0, and its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serl.data.formats.base import need

INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
"""The paths of every v3.0 set. A file's own templates are not followed: they could lead out."""

REWARD, DONE, TRUNCATED, SUCCESS = "next.reward", "next.done", "next.truncated", "next.success"

FILES_A_CHUNK = 1000
DATA_MB, VIDEO_MB = 100, 200
"""LeRobot's own sizes at which the next file begins."""


def episodes(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of the table of episodes, in order."""
    parquet = need("pyarrow.parquet", "formats")
    found: list[dict[str, Any]] = []
    for file in sorted((path / "meta/episodes").glob("*/*.parquet")):
        with parquet.ParquetFile(file) as table:
            names = [n for n in table.schema_arrow.names if not n.startswith("stats/")]
            found += table.read(columns=names).to_pylist()
    if not found:
        raise ValueError("meta/episodes holds no episode")
    yield from sorted(found, key=lambda row: int(row["episode_index"]))


def rows(path: Path, episode: Mapping[str, Any]) -> Any:
    """The table of one episode."""
    parquet = need("pyarrow.parquet", "formats")
    place = {k: int(episode[f"data/{k}"]) for k in ("chunk_index", "file_index")}
    wanted = [("episode_index", "==", int(episode["episode_index"]))]
    return parquet.read_table(path / DATA.format(**place), filters=wanted, partitioning=None)


def pictures(table: Any, key: str) -> list[bytes]:
    """The files of a camera's pictures."""
    found = [cell["bytes"] for cell in table.column(key).to_pylist()]
    if not all(isinstance(data, bytes) for data in found):
        raise ValueError(f"{key} has its pictures in other files, which are not followed")
    return found


def video_file(path: Path, key: str, episode: Mapping[str, Any]) -> Path:
    """A camera's video with this episode in it."""
    if "/" in key or "\\" in key or ".." in key:
        raise ValueError(f"{key!r} is no name of a feature")
    place = {k: int(episode[f"videos/{key}/{k}"]) for k in ("chunk_index", "file_index")}
    return path / VIDEO.format(video_key=key, **place)
