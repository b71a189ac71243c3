"""What every registered source of rewards must do; being registered holds a new one to this.

A source judges a white square that walks right; at the right edge it is a success. A new source is
given conditions on the state, as JSON; one that needs another file enters `MAKERS`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewards.squares import SquareConfig, square_episode

from serl.errors import UserError
from serl.experiment import Experiment
from serl.rewards.base import REWARDS, reward_contract, rewarded, version_number, with_reward
from serl.types import ArraySpec, RewardSource, Spec

CONFIG = SquareConfig(reward="learned")
STEPS_IN_A_ROW = 2
"""What a source is told to want."""


def classifiers(folder: Path) -> tuple[Path, Path]:
    """Two trained ones that differ in their threshold."""
    from serl.rewards.model import save_classifier
    from serl.rewards.training import TrainConfig, train
    from serl.trunk import random_trunk

    rng = np.random.default_rng(0)
    shown = [square_episode(np.sort(rng.uniform(0, 1, 20))) for _ in range(12)]
    quick = TrainConfig(crops=2, shift_px=1, steps=120, batch=64, pooling="spatial_embeddings")
    made = train(shown, random_trunk("small"), quick, consecutive=STEPS_IN_A_ROW).classifier
    paths = folder / "one.safetensors", folder / "two.safetensors"
    for path, share in zip(paths, (1.0, 0.99), strict=True):
        header = replace(made.header, threshold=share * made.header.threshold)
        save_classifier(replace(made, header=header), path)
    return paths


def state_files(folder: Path) -> tuple[Path, Path]:
    """Where the square must be, in metres."""
    paths = folder / "one.json", folder / "two.json"
    for path, above in zip(paths, (0.75, 0.76), strict=True):
        conditions = [{"field": "place", "above": above}]
        path.write_text(json.dumps({"conditions": conditions, "consecutive": STEPS_IN_A_ROW}))
    return paths


MAKERS: dict[str, Callable[[Path], tuple[Path, Path]]] = {"classifier": classifiers}
FILED = [name for name in REWARDS if getattr(REWARDS.get(name), "takes_path", True)]
"""Those that judge by a file; 'human' has none (tests/rewards/test_human.py)."""
MAKERS |= {name: state_files for name in FILED if name not in MAKERS}
"""From a folder to two files of a source, which do not judge alike."""


@dataclass(frozen=True)
class Made:
    name: str
    path: Path
    other: Path

    @property
    def reward(self) -> str:
        return f"{self.name}:{self.path}"


@pytest.fixture(scope="module", params=FILED)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(request.param, *MAKERS[request.param](tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def env(source: Made) -> Any:
    return rewarded(CONFIG.make(), source.reward, CONFIG.spec())


def episode(env: Any, action: float) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Reward, terminated and info of every step."""
    env.reset(seed=3)
    rows, over = [], False
    while not over:
        _, reward, terminated, truncated, info = env.step(np.array([action], np.float32))
        rows.append((reward, terminated, info))
        over = terminated or truncated
    return rows


def test_its_version_is_of_what_it_says_wherever_that_lies(source: Made, tmp_path: Path) -> None:
    versions = REWARDS.get(source.name)
    version = versions.version(source.path)
    assert len(version) >= 16
    assert int(version, 16) >= 0
    copy = tmp_path / source.path.name
    shutil.copy(source.path, copy)
    assert versions.version(copy) == version
    assert versions.version(source.other) != version


def test_actor_and_learner_compare_it(source: Made) -> None:
    version = REWARDS.get(source.name).version(source.path)
    assert reward_contract(source.reward) == {"source": source.name, "version": version}
    plain = Experiment(name="squares", env=SquareConfig(), agent=source)
    judged = with_reward(plain, source.reward)
    assert judged.env == CONFIG
    assert judged.contract()["reward"] == reward_contract(source.reward)
    assert "reward" not in plain.contract()


@pytest.mark.parametrize("damage", ["absent", "empty", "cut"])
def test_a_file_that_is_not_whole_is_one_line(source: Made, damage: str, tmp_path: Path) -> None:
    path = tmp_path / source.path.name
    if damage != "absent":
        data = source.path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    for ask in (
        REWARDS.get(source.name).version,
        partial(REWARDS.get(source.name).wrap, CONFIG.make(), spec=CONFIG.spec()),
    ):
        with pytest.raises(UserError) as error:
            ask(path=path)
        assert "\n" not in str(error.value)
        assert path.name in str(error.value)


def test_success_pays_once_and_ends_the_episode(source: Made, env: Any) -> None:
    rows = episode(env, 1.0)
    assert [r for r, _, _ in rows] == [0.0] * (len(rows) - 1) + [1.0]
    assert [t for _, t, _ in rows] == [False] * (len(rows) - 1) + [True]
    assert [i["success"] for _, _, i in rows] == [False] * (len(rows) - 1) + [True]
    for reward, terminated, info in rows:
        assert (type(reward), type(terminated), type(info["success"])) == (float, bool, bool)


def test_without_success_nothing_is_paid_and_the_time_runs_out(env: Any) -> None:
    rows = episode(env, 0.0)
    assert len(rows) == CONFIG.steps
    assert not any(reward or terminated or info["success"] for reward, terminated, info in rows)


def test_the_task_s_own_success_is_told_beside_and_never_paid(env: Any) -> None:
    rows = episode(env, 1.0)
    true = [info["env_success"] for _, _, info in rows]
    paid = [reward for reward, _, _ in rows]
    assert true.count(True) >= STEPS_IN_A_ROW
    assert paid[true.index(True)] == 0.0, "the env itself pays from its first success on"


def test_a_new_episode_begins_from_nothing(env: Any) -> None:
    assert episode(env, 1.0)[-1][2]["success"]
    env.reset(seed=3)
    env.unwrapped.place = 0.9  # one step short of what counts
    _, reward, terminated, _, info = env.step(np.zeros(1, np.float32))
    assert (reward, terminated, info["success"]) == (0.0, False, False)


def test_every_step_says_who_gave_its_reward(source: Made, env: Any) -> None:
    number = version_number(REWARDS.get(source.name).version(source.path))
    for _, _, info in episode(env, 1.0):
        assert RewardSource(info["reward_source"]) != RewardSource.ENV
        assert info["reward_version"] == number


def test_an_env_that_ends_at_its_own_success_is_refused(source: Made) -> None:
    own = SquareConfig(reward="sparse")
    with pytest.raises(UserError, match=r"env\.reward"):
        rewarded(own.make(), source.reward, own.spec())


class Blind(SquareConfig):
    """Another camera, and a state of other elements."""

    def spec(self) -> Spec:
        state = ArraySpec(name="state", shape=(2,), dtype="float32", fields=("heat [K]", "hum [V]"))
        return replace(super().spec(), observation=(state, super().spec().observation[1]))


def test_an_env_without_what_it_looks_at_is_refused_in_one_line(source: Made) -> None:
    config = Blind(reward="learned", camera="side")
    with pytest.raises(UserError) as error:
        rewarded(config.make(), source.reward, config.spec())
    assert "\n" not in str(error.value)
