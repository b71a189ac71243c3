"""LeRobot's sets: pictures and video, and what LeRobot's own loader makes of ours.

The loader needs PyTorch, in an environment of its own: SERL_LEROBOT_PYTHON names its Python.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serl.data.formats.base import Options
from serl.data.formats.exchange import export_demos, import_demos
from serl.data.formats.native import DemoSet, open_set, write_episode
from serl.errors import UserError

pq = pytest.importorskip("pyarrow.parquet")
LEROBOT = os.environ.get("SERL_LEROBOT_PYTHON")


@pytest.fixture
def ours(kit: SimpleNamespace, tmp_path: Path) -> DemoSet:
    """Three episodes; the camera sees what a camera may see: smooth shades that move."""
    spec = kit.spec()
    for k, end in enumerate(kit.ends):
        rows, meta = kit.episode(spec, 5 + k, end, k)
        rows["obs/front"] = scenes(len(rows), rows["obs/front"].shape[1:], k)
        write_episode(tmp_path / "ours", rows, spec, meta)
    return open_set(tmp_path / "ours")


def scenes(count: int, shape: tuple[int, ...], seed: int) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    at = np.arange(count)[:, None, None] / count + seed
    return np.stack(
        [127 + 120 * np.sin(c + 2 * x + (3 - c) * y + 3 * at) for c in range(3)], -1
    ).astype(np.uint8)


def psnr_db(one: Any, other: Any) -> float:
    error = np.mean((one.astype(float) - other.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def test_video_keeps_all_but_the_frames_bit_for_bit_and_those_at_35_db(
    ours: DemoSet, tmp_path: Path
) -> None:
    pytest.importorskip("av")
    done = export_demos(ours, "lerobot", tmp_path / "there", Options(control_hz=10.0, video=True))
    assert done.notes == ("not kept by lerobot: frames, bit for bit.",)
    import_demos(tmp_path / "there", "lerobot", tmp_path / "back")
    for here, there in zip(ours, open_set(tmp_path / "back"), strict=True):
        assert there.meta == here.meta
        for name in here.records.dtype.names or ():
            if name == "obs/front":
                worst = min(
                    psnr_db(a, b)
                    for a, b in zip(here.records[name], there.records[name], strict=True)
                )
                assert worst >= 35
            elif name != "episode":
                assert here.records[name].tobytes() == there.records[name].tobytes(), name


def test_frames_without_colours_are_refused_as_video_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from serl.data.formats.lerobot_video import VideoFile

    with pytest.raises(UserError, match="1 channels; video needs three"):
        VideoFile(tmp_path / "front/chunk-000/file-000.mp4", (8, 8, 1), 10)


def test_a_video_of_an_odd_size_comes_back_whole(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from serl.data.formats.lerobot_video import VideoFile, read_video

    frames = scenes(9, (17, 23, 3), 0)
    video = VideoFile(tmp_path / "videos/front/chunk-000/file-000.mp4", frames.shape[1:], 7)
    for frame in frames:
        video.add(frame)
    video.close()
    place = {"chunk_index": 0, "file_index": 0, "from_timestamp": 3 / 7}
    row = {f"videos/front/{name}": value for name, value in place.items()}
    back = read_video(tmp_path, "front", row, 7.0, 6)
    assert [int(np.argmin([np.abs(f - g.astype(int)).sum() for f in frames])) for g in back] == [
        *range(3, 9)
    ]


def test_an_edited_set_no_longer_takes_what_lies_beside(ours: DemoSet, tmp_path: Path) -> None:
    """LeRobot's tools delete and merge episodes, and know nothing of our files."""
    export_demos(ours, "lerobot", tmp_path / "there", Options(control_hz=10.0))
    beside = sorted((tmp_path / "there/meta/serl").iterdir())
    content = [p.read_bytes() for p in beside]
    for path, other in zip(beside, [*content[1:], content[0]], strict=True):
        path.write_bytes(other)
    done = import_demos(tmp_path / "there", "lerobot", tmp_path / "back")
    assert any("made from the arrays" in note for note in done.notes)
    back = list(open_set(tmp_path / "back"))
    rows, whole = back[0].records, next(iter(ours)).records
    assert set(rows.dtype.names or ()) >= {"obs/left.state", "obs/front", "extra/grasp_penalty"}
    np.testing.assert_array_equal(rows["obs/front"][:-1], whole["obs/front"][:-1])
    np.testing.assert_array_equal(rows["extra/grasp_penalty"], whole["extra/grasp_penalty"])
    np.testing.assert_array_equal(rows["terminated"], whole["terminated"])
    lengths = [len(e.records) - 1 for e in back]
    assert lengths == [5, 5, 6], "without a termination the last action goes"


@pytest.mark.parametrize("video", [False, True])
def test_a_set_of_several_files_is_read_as_one(
    video: bool, ours: DemoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LeRobot begins another file when one is large, and another folder after a thousand."""
    pytest.importorskip("av")
    from serl.data.formats import lerobot_files as files

    for name, value in {"DATA_MB": 1e-6, "VIDEO_MB": 1e-6, "FILES_A_CHUNK": 2}.items():
        monkeypatch.setattr(files, name, value)
    export_demos(ours, "lerobot", tmp_path / "there", Options(control_hz=10.0, video=video))
    places = ["chunk-000/file-000", "chunk-000/file-001", "chunk-001/file-000"]
    assert all((tmp_path / f"there/data/{place}.parquet").is_file() for place in places)
    seen = sorted((tmp_path / "there/videos").rglob("*.mp4"))
    assert len(seen) == (3 if video else 0)
    import_demos(tmp_path / "there", "lerobot", tmp_path / "back")
    for here, there in zip(ours, open_set(tmp_path / "back"), strict=True):
        assert here.records["obs/left/state"].tobytes() == there.records["obs/left/state"].tobytes()
        assert here.records["action"].tobytes() == there.records["action"].tobytes()


def test_another_version_is_refused_in_one_line(ours: DemoSet, tmp_path: Path) -> None:
    export_demos(ours, "lerobot", tmp_path / "there", Options(control_hz=10.0))
    info = tmp_path / "there/meta/info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "codebase_version": "v2.1"}))
    with pytest.raises(UserError, match=r"LeRobot v2\.1, not v3\.0"):
        import_demos(tmp_path / "there", "lerobot", tmp_path / "back")


@pytest.mark.parametrize(("rate", "says"), [(None, "does not say"), (7.5, "a whole number")])
def test_lerobot_needs_a_whole_control_rate(
    rate: float | None, says: str, ours: DemoSet, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says):
        export_demos(ours, "lerobot", tmp_path / "there", Options(control_hz=rate))
    assert not (tmp_path / "there").exists()


def test_the_files_say_what_lerobot_s_say(ours: DemoSet, tmp_path: Path) -> None:
    export_demos(ours, "lerobot", tmp_path / "there", Options(control_hz=10.0))
    info = json.loads((tmp_path / "there/meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"]) == ("v3.0", 10)
    assert (info["total_episodes"], info["total_frames"], info["splits"]) == (
        3,
        18,
        {"train": "0:3"},
    )
    state = info["features"]["observation.left.state"]
    assert state == {"dtype": "float32", "shape": [3], "names": ["x [0.1 m]", "y [0.1 m]", "g [m]"]}
    rows = pq.read_table(tmp_path / "there/data/chunk-000/file-000.parquet").to_pylist()
    assert [r["index"] for r in rows] == list(range(18))
    assert rows[6]["timestamp"] == np.float32(0.1)
    episodes = pq.read_table(
        tmp_path / "there/meta/episodes/chunk-000/file-000.parquet"
    ).to_pylist()
    assert [(e["dataset_from_index"], e["dataset_to_index"]) for e in episodes] == [
        (0, 5),
        (5, 11),
        (11, 18),
    ]
    stats = json.loads((tmp_path / "there/meta/stats.json").read_text())
    actions = np.concatenate([e.records["action"][1:] for e in ours])
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0), rtol=1e-6)
    np.testing.assert_allclose(stats["action"]["std"], actions.astype(float).std(0), rtol=1e-6)
    assert np.shape(stats["observation.images.front"]["mean"]) == (3, 1, 1)
    assert stats["action"]["count"] == [18]


LOAD = """
import sys
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

loaded = LeRobotDataset("serl/test", root=sys.argv[1], video_backend="pyav")
items = [loaded[k] for k in range(len(loaded))]
keys = [k for k in items[0] if k != "task"]
arrays = {k: np.stack([np.asarray(item[k]) for item in items]) for k in keys}
np.savez(sys.argv[2], episodes=loaded.num_episodes, fps=loaded.fps,
         tasks=np.array([item["task"] for item in items]), **arrays)
"""


@pytest.mark.skipif(LEROBOT is None, reason="SERL_LEROBOT_PYTHON names no Python with lerobot")
@pytest.mark.parametrize("video", [False, True])
def test_lerobot_s_own_loader_reads_what_we_export(
    video: bool, ours: DemoSet, tmp_path: Path
) -> None:
    assert LEROBOT is not None
    export_demos(ours, "lerobot", tmp_path / "there", Options(control_hz=10.0, video=video))
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    words = [LEROBOT, "-c", LOAD, str(tmp_path / "there"), str(tmp_path / "read.npz")]
    done = subprocess.run(
        words, env=offline, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    read = np.load(tmp_path / "read.npz")
    rows = [e.records for e in ours]

    def before(name: str) -> np.ndarray:
        return np.concatenate([r[name][:-1] for r in rows])

    def after(name: str) -> np.ndarray:
        return np.concatenate([r[name][1:] for r in rows])

    assert (read["episodes"], read["fps"]) == (3, 10)
    assert set(read["tasks"]) == {"pick_cube"}
    assert read["observation.left.state"].tobytes() == before("obs/left/state").tobytes()
    assert read["action"].tobytes() == after("action").tobytes()
    assert read["next.reward"].tobytes() == after("reward").tobytes()
    for flag in ("truncated", "success"):
        assert read[f"next.{flag}"].tolist() == after(flag).tolist()
    frames = (read["observation.images.front"].transpose(0, 2, 3, 1) * 255).round()
    if video:
        assert min(psnr_db(a, b) for a, b in zip(frames, before("obs/front"), strict=True)) >= 35
    else:
        np.testing.assert_array_equal(frames, before("obs/front"))
