"""Several policies tested on the same seeds: how they are named, paired and shown."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from launch.comparison import Trial, compared, paired, sign_test, write_comparison
from launch.evaluate import _checkpoints, on_backend
from launch.evaluate_episodes import Keeper
from serl.agents.sac import SACConfig
from serl.data.demos import load_folder
from serl.errors import UserError
from serl.evaluation import EpisodeResult, EvaluationResult, evaluate
from serl.experiment import Experiment
from serl.types import ArraySpec, Source, Spec

SPEC = Spec(
    observation=(ArraySpec(name="state", shape=(1,), dtype="float32"),),
    action=ArraySpec(name="action", shape=(1,), dtype="float32", low=-1.0, high=1.0),
)


@dataclass(frozen=True)
class Env:
    name: str = "toy"

    def spec(self) -> Spec:
        return SPEC

    def contract(self) -> dict[str, Any]:
        return {"task": self.name}


class Walk:
    """Three steps; the person has the arm in the second of seed 2."""

    def reset(self, seed):
        self.seed, self.steps = seed, 0
        return {"state": np.zeros(1, np.float32)}, {}

    def step(self, action):
        self.steps += 1
        info = {"success": self.steps == 3}
        if self.seed == 2 and self.steps == 2:
            info["source"] = int(Source.HUMAN)
        obs = {"state": np.full(1, self.steps, np.float32)}
        return obs, float(info["success"]), info["success"], False, info


def result(wins: str) -> dict[str, Any]:
    episodes = tuple(
        EpisodeResult(
            seed=k, success=c in "wh", steps=10 + k, episode_return=1.0, human_steps=c == "h"
        )
        for k, c in enumerate(wins)
    )
    return {**EvaluationResult(episodes=episodes).to_json(), "mean_cycle_s": 0.5}


def trial(name: str, wins: str, env: str = "toy") -> Trial:
    experiment = Experiment(name="x", env=Env(env), agent=SACConfig())
    return Trial(name, experiment, 7, result(wins))


def test_a_success_with_help_is_none_of_the_policy_s_and_stands_apart():
    counted = result("wwh-")
    assert (counted["successes"], counted["episodes"]) == (2, 4)
    assert (counted["assisted_successes"], counted["assisted_episodes"]) == (1, 1)


def test_policies_are_paired_by_seed():
    assert paired(result("ww--"), result("w-w-h")) == (1, 1, 4)
    assert sign_test(1, 8) == pytest.approx(2 * 10 / 512)


def test_the_page_shows_every_policy_and_every_episode(tmp_path):
    rows = [trial("first & best", "wwh-"), trial("second", "w---")]
    text = write_comparison(tmp_path / "a" / "page.html", rows).read_text()
    assert "first &amp; best" in text
    assert "2 / 4" in text
    assert "12 steps *" in text
    assert "on 4 shared seeds" in text
    assert "http" not in text.replace("http://www.w3.org", "")


def test_other_envs_are_said_with_the_first_difference():
    lines = compared([trial("a", "w"), trial("b", "w", env="other")])
    assert any("task: 'toy' here, 'other' there" in line for line in lines)


def test_help_is_counted_and_episodes_are_kept_as_demonstrations_are(tmp_path):
    experiment = Experiment(name="walk", env=Env(), agent=SACConfig())
    keeper = Keeper(tmp_path / "kept", experiment, version=7)
    done = evaluate(
        lambda obs: np.zeros(1, np.float32), Walk(), [1, 2], on_episode=keeper.keep, recorder=keeper
    )
    assert [(e.human_steps, e.interventions) for e in done.episodes] == [(0, 0), (1, 1)]
    episodes, damaged = load_folder(tmp_path / "kept", SPEC, successes_only=False)
    assert not damaged
    assert [e.meta.seed for e in episodes] == [1, 2]
    assert episodes[1].records["source"].tolist() == [0, 1, 2, 1]
    assert (episodes[0].records["policy_version"][1:] == 7).all()


def test_an_episode_that_its_watcher_breaks_off_is_begun_again():
    said = iter([False, True] + [False] * 20)
    done = evaluate(lambda obs: np.zeros(1), Walk(), [5], on_step=lambda env: next(said))
    assert [(e.seed, e.steps) for e in done.episodes] == [(5, 3)]


def test_a_last_word_that_names_an_experiment_is_one(tmp_path):
    policy = tmp_path / "policy.safetensors"
    policy.touch()
    for words, kept, experiment in (
        ([str(policy), "pick_cube_state"], [str(policy)], "pick_cube_state"),
        ([str(policy), str(policy)], [str(policy)] * 2, None),
        ([str(policy)], [str(policy)], None),
    ):
        args = Namespace(checkpoint=words, experiment=None)
        assert _checkpoints(args) == kept
        assert args.experiment == experiment


def test_an_env_without_a_robot_has_no_other_backend():
    experiment = Experiment(name="x", env=Env(), agent=SACConfig())
    assert on_backend(experiment, None) is experiment
    with pytest.raises(UserError, match="--backend"):
        on_backend(experiment, "mujoco")
