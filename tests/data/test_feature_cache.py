"""Demonstrations are encoded once over all runs: their features lie beside them."""

import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from serl.data.demos import EpisodeMeta, load_folder, load_into, save_episode
from serl.data.feature_cache import FeatureCache
from serl.data.replay import Replay
from serl.encoder import Encoder

META = EpisodeMeta(experiment="pick", success=True)


@pytest.fixture
def demos(kit, folder) -> Path:
    for episode in range(3):
        rows = kit.records(kit.image_spec(), 1, episode, 0, 8)
        save_episode(folder / "demos", rows, kit.image_spec(), META)
    return folder / "demos"


class Run:
    """One run with its own demo replay, and how many crops it made itself."""

    def __init__(self, kit, demos: Path, path: Path, layout=None) -> None:
        self.kit, self.made = kit, 0
        layout = layout or kit.layout()
        episodes, _ = load_folder(demos, kit.image_spec())
        cache = FeatureCache(demos / "features", layout)
        with Replay(path, kit.wide_spec(), 200, features=layout, sync_s=100.0) as replay:
            load_into(replay, episodes)
            self.found = cache.load(replay, episodes)
            with Encoder(self.encode, (replay,), caches=[cache]) as encoder:
                deadline = time.monotonic() + 10.0
                while replay.backlog or cache.pending:
                    encoder.check()
                    assert time.monotonic() < deadline
                    time.sleep(0.002)
            assert replay.ready == 24
            self.drawn = replay.sample(np.random.default_rng(0), (300,), features=True)

    def encode(self, frames, offsets):
        self.made += len(frames)
        return self.kit.encode(frames, offsets)


def test_a_second_run_encodes_nothing_and_sees_the_same(kit, demos, folder):
    first = Run(kit, demos, folder / "1")
    assert (first.found, first.made) == (0, 3 * 8 * 2 * 3)
    assert len(list((demos / "features").glob("*/*/*.safetensors"))) == 3
    second = Run(kit, demos, folder / "2")
    assert (second.found, second.made) == (3, 0)
    for camera in ("front", "wrist"):
        np.testing.assert_array_equal(second.drawn.crops[camera], first.drawn.crops[camera])
        np.testing.assert_array_equal(second.drawn.obs[camera], first.drawn.obs[camera])
    assert second.drawn.obs["front"].dtype == ml_dtypes.bfloat16


def test_a_demo_recorded_later_is_encoded_alone(kit, demos, folder):
    Run(kit, demos, folder / "1")
    (demos / "episode_000001.npz").unlink()
    rows = kit.records(kit.image_spec(), 2, 0, 0, 8)
    save_episode(demos, rows, kit.image_spec(), META)
    second = Run(kit, demos, folder / "2")
    assert (second.found, second.made) == (2, 8 * 2 * 3)


def test_features_of_other_frames_under_the_same_number_are_not_used(kit, demos, folder):
    """As when a demo is deleted and recorded again."""
    Run(kit, demos, folder / "1")
    (demos / "episode_000002.npz").unlink()
    rows = kit.records(kit.image_spec(), 5, 0, 0, 8)
    save_episode(demos, rows, kit.image_spec(), META)
    second = Run(kit, demos, folder / "2")
    assert (second.found, second.made) == (2, 8 * 2 * 3)
    assert Run(kit, demos, folder / "3").made == 0


@pytest.mark.parametrize("change", [{"crops": 2}, {"shift_px": 0}, {"trunk": "bb-float32"}])
def test_each_layout_has_its_own(kit, demos, folder, change):
    Run(kit, demos, folder / "1")
    other = kit.layout(**change)
    if change != {"shift_px": 0}:
        assert Run(kit, demos, folder / "2", other).found == 0
        assert Run(kit, demos, folder / "3", other).found == 3
    else:
        path = FeatureCache(demos / "features", other)._folder
        assert path != FeatureCache(demos / "features", kit.layout())._folder
    assert Run(kit, demos, folder / "4").made == 0


def test_damaged_files_are_made_anew(kit, demos, folder, caplog):
    Run(kit, demos, folder / "1")
    files = sorted((demos / "features").glob("*/*/*.safetensors"))
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:-7])
    files[1].write_bytes(b"")
    files[2].write_bytes(b"\xff" * 100)
    second = Run(kit, demos, folder / "2")
    assert second.found == 0
    assert "made anew" in caplog.text
    assert files[0].stat().st_size == len(whole)
    assert Run(kit, demos, folder / "3").made == 0


def test_where_nothing_can_be_written_demos_are_encoded_in_each_run(kit, demos, folder, caplog):
    (demos / "features").write_text("a file where the folder should be")
    assert Run(kit, demos, folder / "1").made == Run(kit, demos, folder / "2").made > 0
    assert "encoded again next time" in caplog.text
