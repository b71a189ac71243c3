"""robomimic's and Minari's files: what theirs look like, and what their readers make of ours."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serl.data.formats.base import Options
from serl.data.formats.exchange import export_demos, import_demos
from serl.data.formats.native import DemoSet, open_set, write_episode
from serl.errors import UserError

h5py = pytest.importorskip("h5py")


@pytest.fixture
def ours(kit: SimpleNamespace, tmp_path: Path) -> DemoSet:
    spec = kit.spec()
    for k, end in enumerate(kit.ends):
        rows, meta = kit.episode(spec, 3 + k, end, k)
        write_episode(tmp_path / "ours", rows, spec, meta)
    return open_set(tmp_path / "ours")


def theirs(path: Path, dones: Any, rewards: Any, *, next_obs: bool = True) -> None:
    """A robomimic file of one demonstration, as its recorder writes it."""
    n = len(dones)
    with h5py.File(path, "w") as file:
        demo = file.create_group("data/demo_0")
        demo.attrs["num_samples"] = n
        file["data"].attrs["total"] = n
        arguments = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
        file["data"].attrs["env_args"] = json.dumps(arguments)
        demo["obs/robot0_eef_pos"] = np.arange(3 * n, dtype=np.float64).reshape(n, 3)
        if next_obs:
            demo["next_obs/robot0_eef_pos"] = np.arange(3, 3 * n + 3, dtype=np.float64).reshape(
                n, 3
            )
        demo["actions"] = np.linspace(-1, 1, 2 * n).reshape(n, 2)
        demo["rewards"], demo["dones"] = np.array(rewards, float), np.array(dones)
        file["mask/train"] = np.array([b"demo_0"])


def brought(path: Path, name: str, tmp_path: Path) -> tuple[Any, list[Any]]:
    done = import_demos(path, name, tmp_path / "back")
    return done, list(open_set(tmp_path / "back"))


def test_a_file_of_robomimic_s_own_is_read_with_its_rate(tmp_path: Path) -> None:
    theirs(tmp_path / "low_dim.hdf5", [0, 0, 0, 1], [0, 0, 0, 1])
    done, (episode,) = brought(tmp_path / "low_dim.hdf5", "robomimic", tmp_path)
    np.testing.assert_array_equal(episode.records["obs/robot0_eef_pos"][:, 0], 3.0 * np.arange(5))
    assert episode.records["terminated"].tolist() == [False] * 4 + [True]
    assert episode.meta.details["control_hz"] == 20
    assert episode.meta.success
    assert any("rounded to float32" in note for note in done.notes)


def test_a_done_without_a_reward_is_a_time_out(tmp_path: Path) -> None:
    theirs(tmp_path / "low_dim.hdf5", [0, 0, 1], [0, 0, 0])
    _, (episode,) = brought(tmp_path / "low_dim.hdf5", "robomimic", tmp_path)
    assert episode.records["truncated"][-1]
    assert not episode.records["terminated"].any()


def test_what_follows_a_success_is_left_out_and_told(tmp_path: Path) -> None:
    """robomimic goes on for some steps after the task is done, each of them 'done'."""
    theirs(tmp_path / "low_dim.hdf5", [0, 1, 1, 1], [0, 1, 1, 1])
    done, (episode,) = brought(tmp_path / "low_dim.hdf5", "robomimic", tmp_path)
    assert len(episode.records) == 3
    assert any("left out (2 in one)" in note for note in done.notes)


@pytest.mark.parametrize(("last", "steps"), [(1, 3), (0, 2)])
def test_an_observation_that_is_not_there_is_never_learned_from(
    last: int, steps: int, tmp_path: Path
) -> None:
    """Without next_obs the last action's result is unknown: it goes, unless nothing follows it."""
    theirs(tmp_path / "low_dim.hdf5", [0, 0, last], [0, 0, last], next_obs=False)
    _, (episode,) = brought(tmp_path / "low_dim.hdf5", "robomimic", tmp_path)
    assert len(episode.records) - 1 == steps


def test_robomimic_finds_its_own_names_in_what_we_export(ours: DemoSet, tmp_path: Path) -> None:
    export_demos(ours, "robomimic", tmp_path / "there.hdf5", Options(control_hz=10.0))
    with h5py.File(tmp_path / "there.hdf5", "r") as file:
        data = file["data"]
        assert data.attrs["total"] == 12
        assert json.loads(data.attrs["env_args"])["env_kwargs"] == {"control_freq": 10.0}
        demo = data["demo_1"]
        assert demo.attrs["num_samples"] == 4
        assert set(demo["obs"]) == set(demo["next_obs"]) == {"left.state", "front"}
        for name in ("actions", "rewards", "dones", "obs/front", "next_obs/left.state"):
            assert len(demo[name]) == 4
        assert demo["dones"][()].tolist() == [0, 0, 0, 1]


def test_minari_s_own_package_reads_what_we_export(ours: DemoSet, tmp_path: Path) -> None:
    minari = pytest.importorskip("minari", reason="minari is not installed")
    export_demos(ours, "minari", tmp_path / "there")
    loaded = minari.MinariDataset(tmp_path / "there/data")
    assert loaded.total_episodes == 3
    assert loaded.total_steps == 12
    assert loaded.action_space.shape == (2,)
    for here, there in zip(ours, loaded.iterate_episodes(), strict=True):
        rows = here.records
        np.testing.assert_array_equal(there.observations["front"], rows["obs/front"])
        np.testing.assert_array_equal(there.observations["left.state"], rows["obs/left/state"])
        np.testing.assert_array_equal(there.actions, rows["action"][1:])
        np.testing.assert_array_equal(there.rewards, rows["reward"][1:])
        np.testing.assert_array_equal(there.truncations, rows["truncated"][1:])
        assert loaded.observation_space["front"].contains(there.observations["front"][0])
        assert there.infos["success"].tolist() == rows["success"].tolist()


def test_what_minari_s_own_package_writes_is_read(tmp_path: Path) -> None:
    pytest.importorskip("minari", reason="minari is not installed")
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    (tmp_path / "there").mkdir()
    frames = np.repeat(np.arange(5, dtype=np.uint8) * 50, 8 * 8 * 3).reshape(5, 8, 8, 3)
    seen = {"pos": np.arange(10.0).reshape(5, 2), "cam": frames}
    box = spaces.Dict(
        pos=spaces.Box(-np.inf, np.inf, (2,), np.float64),
        cam=spaces.Box(0, 255, (8, 8, 3), np.uint8),
    )
    storage = MinariStorage.new(tmp_path / "there/data", box, spaces.Discrete(3))
    buffer = EpisodeBuffer(
        observations=seen,
        actions=[0, 1, 2, 1],
        rewards=[0.0, 0.0, 0.0, 1.0],
        terminations=[False] * 4,
        truncations=[False] * 3 + [True],
    )
    storage.update_episodes([buffer])
    _, (episode,) = brought(tmp_path / "there", "minari", tmp_path)
    np.testing.assert_array_equal(episode.records["obs/pos"], seen["pos"])
    np.testing.assert_allclose(episode.records["obs/cam"], frames, atol=2)  # it codes them as JPEG
    assert episode.records["action"][:, 0].tolist() == [0, 0, 1, 2, 1]
    assert episode.spec.action.high == (2.0,)
    assert episode.records["truncated"][-1]
    assert not episode.meta.success


@pytest.mark.parametrize("way", ["external link", "soft link", "other file's storage", "huge"])
def test_a_file_that_reaches_out_of_itself_is_refused(way: str, tmp_path: Path) -> None:
    """HDF5 can point at any file of this machine, and promise any size."""
    theirs(tmp_path / "there.hdf5", [0, 1], [0, 1])
    theirs(tmp_path / "secret.hdf5", [0, 1], [0, 1])
    with h5py.File(tmp_path / "there.hdf5", "a") as file:
        demo = file["data/demo_0"]
        del demo["actions"]
        if way == "external link":
            demo["actions"] = h5py.ExternalLink(
                str(tmp_path / "secret.hdf5"), "data/demo_0/actions"
            )
        elif way == "soft link":
            demo["actions"] = h5py.SoftLink("/data/demo_0/rewards")
        elif way == "huge":
            demo.create_dataset("actions", (2, 1 << 24), "f4", chunks=(1, 1024))
        else:
            (tmp_path / "raw").write_bytes(b"\0" * 16)
            outside = [(str(tmp_path / "raw"), 0, 16)]
            demo.create_dataset("actions", (2, 2), "f4", external=outside)
    with pytest.raises(UserError, match=r"there\.hdf5 is no robomimic"):
        brought(tmp_path / "there.hdf5", "robomimic", tmp_path)
