"""Labelled frames on disk: whole or not at all, labels apart from pictures."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewards.squares import SquareConfig, square_episode

from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.rewards.frames import (
    UNLABELLED,
    View,
    list_episodes,
    load_episode,
    load_folders,
    relabel,
    save_episode,
    save_labels,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.data())
@settings(deadline=None, max_examples=25)
def test_what_is_stored_comes_back(tmp_path_factory, places, data):
    label = data.draw(st.lists(st.integers(-1, 1), min_size=len(places), max_size=len(places)))
    episode = square_episode(places, label=label)
    back = load_episode(save_episode(tmp_path_factory.mktemp("frames"), episode))
    assert back.header == episode.header
    np.testing.assert_array_equal(back.frames["front"], episode.frames["front"])
    np.testing.assert_array_equal(back.state, episode.state)
    assert back.label.tolist() == label
    assert back.by == episode.by


def test_a_new_label_costs_no_picture(tmp_path):
    path = save_episode(tmp_path, square_episode([0.1, 0.5, 0.9]))
    before = path.read_bytes(), path.stat().st_mtime_ns
    save_labels(relabel(load_episode(path), [0, 1], UNLABELLED, "anna"))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    back = load_episode(path)
    assert back.label.tolist() == [-1, -1, 1]
    assert back.by == ("anna", "anna", "task")


def test_a_write_that_was_cut_short_leaves_no_episode(tmp_path):
    save_episode(tmp_path, square_episode([0.1]))
    (tmp_path / "episode_000001.99.part").write_bytes(b"half")
    (tmp_path / "episode_000001.labels.json").write_text("{}")
    assert [p.name for p in list_episodes(tmp_path)] == ["episode_000000.npz"]
    assert save_episode(tmp_path, square_episode([0.2])).name == "episode_000001.npz"
    assert len(load_folders([tmp_path])) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "labels", "shape", "pickle", "label range"])
def test_a_damaged_episode_is_named(tmp_path, damage):
    path = save_episode(tmp_path, square_episode([0.1, 0.9]))
    data = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 3] ^= 255
        path.write_bytes(data)
    elif damage == "labels":
        path.with_suffix(".labels.json").unlink()
    elif damage == "label range":
        path.with_suffix(".labels.json").write_text('{"label": [0, 7], "by": ["a", "b"]}')
    else:
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        if damage == "shape":
            header = json.loads(parts["header.json"])
            header["cameras"]["front"]["shape"] = [32, 31, 3]
            parts["header.json"] = json.dumps(header).encode()
        else:
            import io

            objects = io.BytesIO()
            np.save(objects, np.array([print], dtype=object), allow_pickle=True)
            parts["step.npy"] = objects.getvalue()
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, part)
    with pytest.raises(CorruptFile, match=r"episode_000000\.npz"):
        load_episode(path)


def test_folders_of_different_cameras_do_not_mix(tmp_path):
    save_episode(tmp_path / "a", square_episode([0.1]))
    save_episode(tmp_path / "b", square_episode([0.1], config=SquareConfig(rotate_deg=90)))
    with pytest.raises(SpecMismatch, match=r"rotate_deg: 0 here, 90 there|rotate_deg: 90 here, 0"):
        load_folders([tmp_path / "a", tmp_path / "b"])


def test_folders_of_different_classes_do_not_mix(tmp_path):
    save_episode(tmp_path, square_episode([0.1]))
    save_episode(tmp_path, square_episode([0.1], classes=("no", "yes")))
    with pytest.raises(SpecMismatch, match="classes"):
        load_folders([tmp_path])


def test_an_empty_folder_and_an_absent_one_are_one_line_each(tmp_path):
    with pytest.raises(UserError, match="no episodes in"):
        load_folders([tmp_path])
    with pytest.raises(UserError, match="no folder"):
        load_folders([tmp_path / "absent"])


def test_a_label_or_frame_that_is_not_there_is_refused():
    episode = square_episode([0.1, 0.9])
    with pytest.raises(UserError, match="label 2 must be 0 to 1"):
        relabel(episode, [0], 2, "hand")
    with pytest.raises(UserError, match="frame 5 is not one of the episode's 2"):
        relabel(episode, [5], 1, "hand")


def test_an_env_without_cameras_is_told_what_to_take():
    spec = SquareConfig().spec()
    with pytest.raises(UserError, match="no camera"):
        View.of_spec(replace(spec, observation=spec.observation[:1]))


def test_other_cameras_of_a_run_do_not_matter():
    one, more = View(cameras={"front": {"crop": None}}), View(cameras={"front": {"crop": None}})
    more = View(cameras={**more.cameras, "wrist": {"crop": [0, 0, 4, 4]}})
    assert one.difference(more) is None
    assert "'wrist'" in str(more.difference(one))
