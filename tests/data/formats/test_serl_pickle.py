"""SERL's and HIL-SERL's pickles: read without being run, cut where they are not one episode."""

from __future__ import annotations

import itertools
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serl.data.formats.exchange import export_demos, import_demos
from serl.data.formats.native import open_set, write_episode
from serl.errors import UserError


def transition(k: int, *, done: bool = False, mask: float = 1.0, infos: Any = None) -> dict:
    """Step k of a world where every value tells k, as SERL's recorder stores it."""

    def seen(at: int) -> dict:
        return {
            "state": np.full((1, 4), at, np.float64),
            "wrist_1": np.full((1, 8, 8, 3), at % 256, np.uint8),
        }

    found = {
        "observations": seen(k),
        "actions": np.array([k / 1000, -1.0, 1.0]),
        "next_observations": seen(k + 1),
        "rewards": np.float32(mask == 0),
        "masks": mask,
        "dones": np.bool_(done),
    }
    return found if infos is None else {**found, "infos": infos}


def read(tmp_path: Path, transitions: Any, protocol: int = 4) -> Any:
    (tmp_path / "there.pkl").write_bytes(pickle.dumps(transitions, protocol=protocol))
    done = import_demos(tmp_path / "there.pkl", "serl_pickle", tmp_path / "back")
    return done, list(open_set(tmp_path / "back"))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_their_recorder_pickles_is_read(protocol: int, tmp_path: Path) -> None:
    one = [transition(k, done=k == 3, mask=float(k < 3)) for k in range(4)]
    two = [transition(k, done=k == 12, mask=float(k < 12)) for k in range(10, 13)]
    done, (first, second) = read(tmp_path, one + two, protocol)
    assert (done.episodes, done.steps) == (2, 7)
    assert first.records["obs/state"].dtype == np.float64
    np.testing.assert_array_equal(first.records["obs/state"][:, 0], range(5))
    np.testing.assert_array_equal(second.records["obs/wrist_1"][:, 0, 0, 0], range(10, 14))
    np.testing.assert_array_equal(
        first.records["action"][1:, 0], np.arange(4, dtype=np.float32) / 1000
    )
    assert first.records["terminated"].tolist() == [False] * 4 + [True]
    assert not first.records["truncated"].any()
    assert first.meta.success
    assert any("made from the arrays" in note for note in done.notes)


def test_the_infos_of_hil_serl_are_read(tmp_path: Path) -> None:
    """P3: the grasp penalty is an array of its own, by name."""
    infos = [
        {
            "grasp_penalty": -0.02 * k,
            "succeed": k == 2,
            "left": True,
            "original_state_obs": OrderedDict(a=np.ones(2)),
        }
        for k in range(3)
    ]
    _, (episode,) = read(tmp_path, [transition(k, done=k == 2, infos=infos[k]) for k in range(3)])
    np.testing.assert_allclose(episode.records["extra/grasp_penalty"], [0, 0, -0.02, -0.04])
    assert episode.records["extra/grasp_penalty"].dtype == np.float32
    assert [a.name for a in episode.spec.extras] == ["grasp_penalty"]
    assert episode.records["success"].tolist() == [False, False, False, True]
    assert episode.records["truncated"][-1], "done with a mask of 1 is a time-out"


def test_segments_chained_in_one_file_are_never_joined(tmp_path: Path) -> None:
    """D-R1: HIL-SERL's intervention files chain segments; the first of a new one was paired with
    the image before."""
    _, episodes = read(tmp_path, [transition(k) for k in (0, 1, 2, 7, 8, 3)])
    found = [e.records["obs/state"][:, 0].tolist() for e in episodes]
    assert found == [[0, 1, 2, 3], [7, 8, 9], [3, 4]]
    assert all(e.meta.outcome == "aborted" for e in episodes)


@given(steps=st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_no_step_has_a_next_observation_of_another_segment(
    steps: list[tuple[int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    transitions = [transition(k, done=done) for k, done in steps]
    _, episodes = read(tmp_path_factory.mktemp("there"), transitions)
    pairs = []
    for episode in episodes:
        for name in ("obs/state", "obs/wrist_1"):
            rows = episode.records[name].reshape(len(episode.records), -1)[:, 0]
            assert (np.diff(rows.astype(int)) == 1).all()
        rows = episode.records["obs/state"][:, 0]
        pairs += list(itertools.pairwise(rows))
        assert not episode.records["truncated"][1:-1].any()
    assert pairs == [(k, k + 1) for k, _ in steps]


class Stock(pickle.Unpickler):
    """Python's own reader, as SERL's scripts use it, let near nothing but NumPy's arrays."""

    def find_class(self, module: str, name: str) -> Any:
        assert module.split(".")[0] == "numpy", f"{module}.{name}"
        assert name in ("_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"), name
        return super().find_class(module, name)


def test_plain_pickle_reads_what_we_export(kit: SimpleNamespace, tmp_path: Path) -> None:
    spec = kit.spec()
    rows, meta = kit.episode(spec, 3, "truncated", 0)
    write_episode(tmp_path / "ours", rows, spec, meta)
    export_demos(open_set(tmp_path / "ours"), "serl_pickle", tmp_path / "there.pkl")
    with (tmp_path / "there.pkl").open("rb") as file:
        found = Stock(file).load()
    assert [sorted(t) for t in found] == [sorted(transition(0, infos={}))] * 3
    for k, t in enumerate(found):
        np.testing.assert_array_equal(t["observations"]["front"], rows["obs/front"][k][None])
        np.testing.assert_array_equal(t["next_observations"]["front"][0], rows["obs/front"][k + 1])
        np.testing.assert_array_equal(t["actions"], rows["action"][k + 1])
        assert t["actions"].flags["ALIGNED"]
        assert t["infos"]["grasp_penalty"] == rows["extra/grasp_penalty"][k + 1]
        assert isinstance(t["infos"]["grasp_penalty"], float)
    assert [(t["dones"], t["masks"]) for t in found] == [(False, 1.0), (False, 1.0), (True, 1.0)]


class Evil:
    def __init__(self, reduced: tuple) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple:
        return self.reduced


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_that_runs_a_command_is_refused_by_name_and_does_not(
    protocol: int, tmp_path: Path
) -> None:
    """D-R6: demonstrations from elsewhere were unpickled, which runs whatever they hold."""
    touched = tmp_path / "touched"
    step = {**transition(0), "infos": {"x": Evil((os.system, (f"touch {touched}",)))}}
    with pytest.raises(UserError, match=r"there\.pkl is refused.*it asks for (posix|nt)\.system"):
        read(tmp_path, [step], protocol)
    assert not touched.exists()
    assert not (tmp_path / "back").exists()


def test_one_step_that_is_there_a_million_times_is_refused(tmp_path: Path) -> None:
    """A file of a few bytes a step would fill the disk."""
    one = transition(0)
    with pytest.raises(UserError, match="far larger than the file"):
        read(tmp_path, [one] * 200_000)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "not a list"),
        ([], "list is empty"),
        ([1], "transition 0 is a value of type int"),
        ([{"actions": 1}], "transition 0 has no 'observations'"),
        ([{**transition(0), "actions": "go"}], "actions is a value of type str"),
        (
            [transition(0), {**transition(1), "observations": {"state": np.ones((1, 4))}}],
            "has other",
        ),
        ([{**transition(0), "rewards": np.ones(3)}], "rewards is a value"),
        ([{**transition(0), "rewards": np.nan}], "finite"),
        ([{**transition(0), "actions": np.array([object()])}], "asks for|an array of|instruction"),
    ],
)
def test_what_is_no_list_of_transitions_is_one_line(value: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as raised:
        read(tmp_path, value)
    assert "\n" not in str(raised.value)
