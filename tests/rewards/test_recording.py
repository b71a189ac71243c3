"""What is refused before an arm moves, and what is kept when a recording or a test breaks off."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rewards.squares import SquareConfig, SquareEnv, square_episode

from launch import classifier_label
from launch.classifier_label import LabelServer
from launch.classifier_record import by_hand, scripted
from launch.classifier_test import run_test
from launch.main import main
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.rewards.classifier import check_fits
from serl.rewards.conditions import Condition
from serl.rewards.frames import View, frame_count, list_episodes, load_episode, save_episode
from serl.rewards.model import ClassifierHeader

HEADER = ClassifierHeader(
    view=View.of(SquareConfig()), classes=("failure", "success"), success=1, pose_frame="base"
)


@dataclass(frozen=True, kw_only=True)
class RealConfig(SquareConfig):
    """As on a real arm: a backend, no scene under it; its expert must never be asked."""

    pose_frame: str = ""

    def make(self, *, render: bool = False) -> SquareEnv:
        env: Any = super().make()
        env.backend = SimpleNamespace(scene=None)
        env.close = lambda: MADE.append(env)
        return env

    def expert(self, env: Any, *, noise: float = 0.0, seed: int = 0) -> Any:
        raise AssertionError("an expert without a simulator")


MADE: list[Any] = []
"""Envs that were closed."""


def test_nothing_is_scripted_on_a_real_arm_whose_env_is_closed_again(tmp_path):
    MADE.clear()
    with pytest.raises(UserError, match="this arm is real: record with --by-hand"):
        scripted(RealConfig(), tmp_path, positives=1, negatives=1)
    assert len(MADE) == 1
    one: Any = SimpleNamespace(header=replace(HEADER, pose_frame=""))
    with pytest.raises(UserError, match=r"this arm is real: .* test with --still"):
        run_test(RealConfig(), one, episodes=1)
    assert len(MADE) == 2


def test_an_env_without_an_expert_is_tested_with_the_arm_still():
    one: Any = SimpleNamespace(header=HEADER, judge=lambda obs: np.array([0.2, 0.8]))
    with pytest.raises(UserError, match=r"SquareConfig has no scripted expert.* test with --still"):
        run_test(SquareConfig(), one, episodes=1)
    tested = run_test(SquareConfig(), one, episodes=1, still=True)
    assert (tested.frames, tested.judged, tested.by_frame) == (SquareConfig().steps, 1, None)


def test_a_condition_on_a_state_of_another_pose_frame_is_refused_in_the_test_as_in_the_run():
    header = replace(HEADER, conditions=(Condition(field="grip", below=0.05),))
    check_fits(header, header.view, "base")
    check_fits(HEADER, header.view, "episode")
    with pytest.raises(SpecMismatch, match="pose_frame 'base', this run's is 'episode'"):
        check_fits(header, header.view, "episode")
    one: Any = SimpleNamespace(header=header)
    with pytest.raises(SpecMismatch, match="pose_frame 'base', this run's is ''"):
        run_test(RealConfig(), one, episodes=1, still=True)


class Breaks(SquareEnv):
    """In its fourth step something happens."""

    def __init__(self, what):
        super().__init__(SquareConfig(reward="learned"))
        self.what = what

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.count == 4 and isinstance(self.what, str):
            return obs, reward, terminated, True, {**info, "interrupted": self.what}
        if self.count == 4:
            raise self.what
        return obs, reward, terminated, truncated, info


def hand(folder: Path, env: Any, keys: list[str]) -> list[int]:
    presses = iter(keys)
    pressed = lambda: next(presses)  # noqa: E731
    return by_hand(env.config, folder, pressed=pressed, env=env, every=1, pace=False)


def test_ctrl_c_keeps_the_frames_of_the_episode_in_progress(tmp_path):
    assert hand(tmp_path, Breaks(KeyboardInterrupt()), ["", " ", "", ""]) == [2, 2]
    (path,) = list_episodes(tmp_path)
    assert load_episode(path).label.tolist() == [0, 0, 1, 1]


def test_an_error_of_the_env_keeps_them_too_and_is_told(tmp_path):
    with pytest.raises(UserError, match="the arm is gone"):
        hand(tmp_path, Breaks(UserError("the arm is gone")), [""] * 4)
    (path,) = list_episodes(tmp_path)
    assert len(load_episode(path)) == 4


def test_the_frames_of_a_step_that_was_broken_off_are_nobody_s_example(tmp_path):
    hand(tmp_path, Breaks("camera front is lost"), ["", "", "", "", "q"])
    first, second = list_episodes(tmp_path)
    assert len(load_episode(first)) == 4
    assert len(load_episode(second)) == 2


@pytest.mark.parametrize("word", ["record --into a", "test x.safetensors"])
@pytest.mark.parametrize("flag", ["--reward classifier:x", "--agent vice"])
def test_what_a_word_would_not_use_is_refused(word, flag, capsys):
    assert main(f"classifier {word} --task pick_cube {flag}".split()) == 2
    told = capsys.readouterr().err
    assert "uses the env and its cameras alone; leave it out" in told
    assert told.count("\n") == 1


def test_the_page_counts_frames_without_unpacking_pictures(tmp_path, monkeypatch):
    for places in ([0.1, 0.9], [0.2], [0.3, 0.4, 0.5]):
        save_episode(tmp_path, square_episode(places))
    asked = []
    read = classifier_label.load_episode
    monkeypatch.setattr(
        classifier_label, "load_episode", lambda path: asked.append(path) or read(path)
    )
    with LabelServer(tmp_path) as server:
        assert '{"0": 2, "1": 1, "2": 3}' in server.answer("")[1].decode()
    assert len(asked) == 1  # whose classes are shown
    path = tmp_path / "episode_000001.labels.json"
    path.write_text("[")
    with pytest.raises(CorruptFile, match="damaged"):
        frame_count(tmp_path / "episode_000001.npz")


def test_a_port_that_is_taken_is_one_line(tmp_path):
    save_episode(tmp_path, square_episode([0.1, 0.9]))
    with LabelServer(tmp_path) as server:
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(UserError, match=f"cannot serve on port {port}: .*Give another --port"):
            LabelServer(tmp_path, port)
