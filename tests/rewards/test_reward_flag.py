"""--reward holds wherever an experiment is used: in demonstrations, on resume, in evaluation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from rewards.squares import SquareConfig

from envs.tasks.reach import ReachConfig
from launch import evaluate
from launch.experiments import Selection
from launch.main import main
from launch.runs import Run
from serl.data.demos import load_folder
from serl.errors import UserError
from serl.experiment import Experiment, ReplayConfig
from serl.rewards.base import REWARDS, version_number
from serl.rewards.judged import JudgedReward, Stage
from serl.types import RewardSource

VERSION = "0123456789abcdef"


class Stand:
    """A source that sees success in the third step of an episode, whatever is shown."""

    def version(self, path):
        return VERSION if path.name == "one" else VERSION[::-1]

    def wrap(self, env, path, spec):
        seen = Stage(
            name="s",
            judge=lambda obs: np.array([0.0, 1.0]),
            success=1,
            threshold=0.5,
            consecutive=3 if path.name == "one" else 1 << 20,
        )
        return JudgedReward(env, [seen], version=version_number(self.version(path)))


@pytest.fixture(autouse=True)
def stand():
    REWARDS.discover()
    REWARDS.register("stand")(Stand())
    yield
    del REWARDS._leaves["stand"]


FILE = """
from envs.tasks.reach import ReachConfig
from serl.experiment import Experiment
from serl.rewards.base import with_reward

class NoAgent: ...

EXPERIMENT = with_reward(Experiment(name="x", env=ReachConfig(), agent=NoAgent()), "stand:one")
"""


@pytest.mark.parametrize("words", [["--task", "reach", "--reward", "stand:one"], ["experiment.py"]])
def test_demonstrations_are_paid_and_ended_by_the_reward_given_and_never_by_the_env(
    words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.py").write_text(FILE)
    assert main(["record", *words, "--demos", "2", "--into", "demos", "--all"]) == 0
    episodes, _ = load_folder(tmp_path / "demos", ReachConfig().spec(), successes_only=False)
    assert len(episodes) == 2
    for episode in episodes:
        rows = episode.records[1:]
        assert set(rows["reward_source"]) == {RewardSource.CLASSIFIER}
        assert set(rows["reward_version"]) == {version_number(VERSION)}
        assert rows["reward"].tolist() == [0.0, 0.0, 1.0]
        assert rows["terminated"].tolist() == [False, False, True]
        assert rows["success"].tolist() == [False, False, True]
        assert not episode.meta.success  # it was judged one, and the simulator knows it was none


def test_demonstrations_of_two_rewards_do_not_share_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = "record --task reach --demos 1 --into demos --all"
    assert main([*line.split(), "--reward", "stand:one"]) == 0
    for other in (["--reward", "stand:two"], []):
        assert main([*line.split(), *other]) == 2
        assert "demonstrations that another reward paid" in capsys.readouterr().err
    assert main([*line.split(), "--reward", "stand:one"]) == 0


def test_a_demonstration_is_judged_again_when_it_is_replayed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = "record --task reach --demos 1 --into demos --all --reward stand:one"
    assert main(line.split()) == 0
    assert main(["replay-demo", str(*(tmp_path / "demos").glob("*.npz"))]) == 0
    assert "success then and now: success, success" in capsys.readouterr().out


def test_a_task_seen_through_a_learned_reward_does_not_judge_for_itself():
    plain = Selection(task="pick_cube", pixels=True)
    judged = dataclasses.replace(plain, reward="stand:one")
    own: Any = plain.load_env()
    told: Any = judged.load_env()
    assert (own.reward, told.reward) == ("sparse", "learned")
    assert judged.load_reward() == judged.load().reward
    assert plain.load_reward() == "env"


def test_a_run_remembers_its_reward_from_any_folder_and_refuses_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = Selection(task="reach", reward="stand:one").absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert kept.reward == f"stand:{tmp_path / 'one'}"
    assert kept.difference(Selection(reward="stand:../one")) is None
    assert "not --reward stand:" in str(kept.difference(Selection(reward="stand:one")))
    plain = Selection(task="reach")
    assert plain.difference(Selection(reward="env")) is None
    assert "reward env, not" in str(plain.difference(Selection(reward="stand:one")))


def test_a_run_is_evaluated_with_the_reward_and_the_seed_that_are_given(tmp_path):
    run = Run(tmp_path)
    stored = dataclasses.asdict(Selection(task="reach", reward="stand:one").absolute())
    run.write(run.launch, {"selection": stored})
    run.write(run.config, {})

    def of(**given):
        return evaluate._experiment(Selection(**given), str(tmp_path))

    assert of().reward.endswith("/one")
    assert of(reward="stand:/two").reward == "stand:/two"
    own: Any = of(reward="env")
    assert (own.reward, own.env.reward) == ("env", "dense")
    assert of(seed=7).seed == 7
    assert of(agent="sac").agent == of().agent
    with pytest.raises(UserError, match="not --agent bc"):
        of(agent="bc")


@dataclasses.dataclass(frozen=True)
class OwnReward:
    learns_reward = True


def test_an_agent_that_learns_its_reward_takes_single_steps_of_an_env_that_gives_none():
    def experiment(reward="learned", n_step=1):
        env, replay = SquareConfig(reward=reward), ReplayConfig(n_step=n_step)
        return Experiment(name="x", env=env, agent=OwnReward(), replay=replay)

    experiment()
    with pytest.raises(UserError, match=r"replay\.n_step is 3, .* set it to 1"):
        experiment(n_step=3)
    with pytest.raises(UserError, match=r"env\.reward is 'sparse'.* Set env\.reward to 'learned'"):
        experiment(reward="sparse")
