"""Demonstrations on disk: whole or absent, named when damaged, resumable."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from serl.data.demos import (
    EpisodeMeta,
    list_episodes,
    load_episode,
    load_folder,
    load_into,
    save_episode,
)
from serl.data.records import BadRecord
from serl.data.replay import Replay
from serl.errors import CorruptFile, SpecMismatch, UserError

SUCCESS = EpisodeMeta(experiment="pick", task="pick_cube", success=True, outcome="success")
FAILURE = EpisodeMeta(experiment="pick", task="pick_cube", success=False, outcome="failure")


def save_some(kit, folder: Path, count: int = 3) -> list[Path]:
    spec = kit.image_spec()
    paths = [
        save_episode(folder, kit.records(spec, 1, e, 0, 8), spec, SUCCESS) for e in range(count)
    ]
    return [p for p in paths if p is not None]


def test_an_episode_comes_back_as_it_was_saved(kit, folder):
    spec = kit.image_spec()
    rows = kit.records(spec, 1, 7, 0, 12)
    path = save_episode(folder, rows, spec, SUCCESS)
    assert path == folder / "episode_000000.npz"
    episode = load_episode(path, spec)
    assert episode.spec == spec
    assert (episode.meta.experiment, episode.meta.outcome) == ("pick", "success")
    assert episode.meta.created.endswith("+00:00")
    for name in rows.dtype.names:
        np.testing.assert_array_equal(episode.records[name], rows[name])


def test_any_numpy_reads_it_without_pickle(kit, folder):
    """D-R6: demos were pickles, code that runs on loading, unreadable after library changes."""
    (path,) = save_some(kit, folder, 1)
    with np.load(path, allow_pickle=False) as data:
        assert data["obs/state"].shape == (8, 3)
        assert data["obs/front"].dtype == np.uint8
        assert json.loads(data["header.json"])["meta"]["task"] == "pick_cube"


def test_an_object_array_is_refused_not_unpickled(kit, folder):
    (path,) = save_some(kit, folder, 1)
    evil = folder / "episode_000009.npz"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(evil, "w") as target:
        for item in source.infolist():
            if item.filename != "reward.npy":
                target.writestr(item.filename, source.read(item))
        with target.open("reward.npy", "w") as member:
            np.lib.format.write_array(member, np.array([print] * 8, dtype=object))
    with pytest.raises(CorruptFile, match="episode_000009"):
        load_episode(evil)


def test_a_failed_episode_is_not_kept_among_the_demos(kit, folder):
    """D-R3: SERL's recorder appended failed episodes too."""
    spec, rows = kit.state_spec(), kit.records(kit.state_spec(), 1, 0, 0, 5)
    assert save_episode(folder, rows, spec, FAILURE) is None
    assert list_episodes(folder) == []
    assert save_episode(folder, rows, spec, FAILURE, keep_failures=True) is not None
    save_episode(folder, rows, spec, SUCCESS)
    episodes, _ = load_folder(folder, spec)
    assert [e.meta.success for e in episodes] == [True]
    episodes, _ = load_folder(folder, spec, successes_only=False)
    assert [e.meta.success for e in episodes] == [False, True]


def test_recording_goes_on_after_the_last_number(kit, folder):
    paths = save_some(kit, folder, 2)
    paths[0].unlink()
    (folder / ".episode-1.tmp").write_bytes(b"half of one")
    (folder / "notes.txt").write_text("kept out")
    assert [p.name for p in save_some(kit, folder, 1)] == ["episode_000002.npz"]
    assert [p.name for p in list_episodes(folder)] == ["episode_000001.npz", "episode_000002.npz"]
    assert list_episodes(folder / "absent") == []


def test_numbers_sort_as_numbers(kit, folder):
    """D-R4: dumps were read in glob order."""
    (path,) = save_some(kit, folder, 1)
    for number in (1_000_000, 999_999, 12):
        path.with_name(f"episode_{number:06d}.npz").write_bytes(path.read_bytes())
    episodes, _ = load_folder(folder, kit.image_spec())
    assert [e.number for e in episodes] == [0, 12, 999_999, 1_000_000]


def test_a_truncated_or_damaged_file_is_named_and_the_others_load(kit, folder):
    paths = save_some(kit, folder, 4)
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    paths[2].write_bytes(b"")
    episodes, corrupt = load_folder(folder, kit.image_spec())
    assert [e.number for e in episodes] == [0, 3]
    assert [p.name in str(c) for p, c in zip(paths[1:3], corrupt, strict=True)] == [True, True]


def test_no_flipped_bit_and_no_cut_passes_unseen(kit, folder):
    """Whatever is wrong, the answer is the same records or CorruptFile, nothing else."""
    spec, (path,) = kit.image_spec(), save_some(kit, folder, 1)
    whole, truth = path.read_bytes(), load_episode(path).records
    rng = np.random.default_rng(0)
    refused = 0
    for k in range(400):
        raw = bytearray(whole)
        if k % 4 == 0:
            raw = raw[: rng.integers(len(raw))]
        else:
            raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
        path.write_bytes(raw)
        try:
            found = load_episode(path, spec).records
        except CorruptFile:
            refused += 1
        else:
            assert found.tobytes() == truth.tobytes()
    assert refused > 200


def test_another_spec_is_refused_by_its_first_difference(kit, folder):
    save_some(kit, folder, 1)
    with pytest.raises(SpecMismatch, match=r"episode_000000\.npz was recorded .*extras"):
        load_folder(folder, kit.state_spec())


def test_what_is_not_one_whole_finite_episode_is_refused(kit, folder):
    spec = kit.state_spec()
    rows = kit.records(spec, 1, 0, 0, 6)
    with pytest.raises(BadRecord, match="has 2 where 0"):
        save_episode(folder, rows[2:], spec, SUCCESS)
    with pytest.raises(UserError, match="no step"):
        save_episode(folder, rows[:1], spec, SUCCESS)
    several = np.concatenate([rows, kit.records(spec, 1, 1, 0, 3)])
    with pytest.raises(UserError, match="several episodes"):
        save_episode(folder, several, spec, SUCCESS)
    rows["obs/state"][2, 1] = np.nan
    with pytest.raises(BadRecord, match="obs/state"):
        save_episode(folder, rows, spec, SUCCESS)
    assert list_episodes(folder) == []


def test_demos_enter_a_replay_once_however_often_they_are_loaded(kit, folder):
    spec = kit.image_spec()
    save_some(kit, folder / "demos", 3)
    with Replay(folder / "replay", spec, 1000) as replay:
        assert load_into(replay, load_folder(folder / "demos", spec)[0]) == 24
        assert load_into(replay, load_folder(folder / "demos", spec)[0]) == 0
        save_some(kit, folder / "demos", 1)
        assert load_into(replay, load_folder(folder / "demos", spec)[0]) == 8
        assert replay.transitions == 4 * 7


FULL = """
import importlib.util, resource, sys
from serl.data.demos import EpisodeMeta, list_episodes, load_folder, save_episode
from serl.errors import UserError

module = importlib.util.spec_from_file_location("kit", sys.argv[1])
kit = importlib.util.module_from_spec(module)
module.loader.exec_module(kit)
spec = kit.image_spec()
meta = EpisodeMeta(experiment="e", success=True)
save_episode(sys.argv[2], kit.records(spec, 1, 0, 0, 9), spec, meta)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
try:
    save_episode(sys.argv[2], kit.records(spec, 1, 1, 0, 9), spec, meta)
except UserError as error:
    assert "free disk space" in str(error)
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
save_episode(sys.argv[2], kit.records(spec, 1, 1, 0, 9), spec, meta)
print(len(load_folder(sys.argv[2], spec)[0]), "jax" in sys.modules)
"""


def test_a_full_disk_leaves_the_earlier_demos_and_no_half_file(folder):
    command = [sys.executable, "-c", FULL, Path(__file__).parent / "conftest.py", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["refused", "2", "False"], done.stderr
    assert len(list(folder.iterdir())) == 2
