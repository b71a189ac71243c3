"""The grasp penalty: each arm's command against its own measured fingers, and nothing else."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from envs.config import ActionConfig, ArmConfig, RobotEnvConfig
from envs.tasks.base import Outcome
from envs.wrappers.grasp_penalty import opposes
from serl.data.mixing import GRASP_PENALTY
from serl.errors import UserError
from serl.records import RecordBuilder

PENALTY = np.float32(0.02)


class Paying:
    """An empty scene that pays a half at every step and is never won."""

    mjcf = "<mujoco/>"
    needs_objects = False

    def place(self, rng):
        return []

    def begin(self, view):
        return Outcome({}, False, {"success": 0.5})

    step = begin


@dataclass(frozen=True, kw_only=True)
class Gripping(RobotEnvConfig):
    task_name: ClassVar[str] = "gripping"
    action: ActionConfig = field(
        default_factory=lambda: ActionConfig(
            axes=("x",), gripper="three_way", grasp_penalty=float(PENALTY)
        )
    )
    state: tuple[str, ...] = ("gripper_width",)

    def make_task(self):
        return Paying()


ARMS = (
    ArmConfig(name="left", base_pos_m=(0.0, 0.5, 0.0)),
    ArmConfig(name="right", base_pos_m=(0.0, -0.5, 0.0)),
)


@pytest.fixture(scope="module")
def env():
    made = Gripping(arms=ARMS).make()
    yield made
    made.close()


def paid(env, left: float, right: float, steps: int = 1) -> list[float]:
    """The extra after each of some steps with these gripper commands."""
    action = np.array([0.0, left, 0.0, right])
    return [float(env.step(action)[4]["extra/grasp_penalty"]) for _ in range(steps)]


def test_only_a_command_against_the_measured_fingers_costs(env):
    env.reset(seed=0)
    assert paid(env, 1.0, 0.0) == [0.0]  # open, told to open; told nothing
    closing = paid(env, -1.0, 0.0, 15)
    assert closing[0] == -PENALTY  # open, told to close
    assert not any(closing[3:])  # no longer open
    assert closing == sorted(closing)
    assert paid(env, 0.0, 0.0) == [0.0]
    opening = paid(env, 1.0, 0.0, 20)
    assert opening[0] == -PENALTY  # closed, told to open
    assert opening[-1] == 0.0  # open again
    assert opening == sorted(opening)


def test_each_arm_is_judged_by_its_own_fingers_and_two_cost_twice(env):
    """HIL-SERL's wrapper for two arms read the right gripper at the index of a yaw (D-R9)."""
    env.reset(seed=0)
    paid(env, 0.0, -1.0, 15)  # right closed, left open
    assert paid(env, 1.0, -1.0) == [0.0]
    assert paid(env, -1.0, 1.0) == [-2 * PENALTY]
    env.reset(seed=0)
    assert paid(env, -1.0, -1.0)[0] == -2 * PENALTY


def test_reward_and_success_know_nothing_of_it(env):
    """SERL read success back from a reward that the penalty had changed (D-A11)."""
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(np.array([0.0, -1.0, 0.0, -1.0]))
    assert info["extra/grasp_penalty"] == -2 * PENALTY
    assert (reward, terminated, truncated, info["success"]) == (0.5, False, False, False)
    assert set(info["reward_terms"]) == {"success"}


def test_the_spec_has_the_extra_and_records_hold_it(env):
    spec = Gripping(arms=ARMS).spec()
    assert [a.name for a in spec.extras] == [GRASP_PENALTY]
    obs, info = env.reset(seed=0)
    builder = RecordBuilder(spec)
    first = builder.first(0, obs, info)
    action = np.array([0.0, -1.0, 0.0, 0.0])
    obs, reward, terminated, truncated, info = env.step(action)
    record = builder.step(
        action=action,
        obs=obs,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        info=info,
    )
    assert first["extra/grasp_penalty"] == 0.0
    assert record["extra/grasp_penalty"] == -PENALTY


def test_without_a_penalty_nothing_is_added():
    config = Gripping(action=ActionConfig(axes=("x",), gripper="three_way"))
    assert config.spec().extras == ()
    env = config.make()
    env.reset(seed=0)
    assert "extra/grasp_penalty" not in env.step(np.zeros(2))[4]
    env.close()


@pytest.mark.parametrize(
    ("gripper", "penalty", "message"),
    [
        ("width", 0.02, "action.gripper is 'width', which neither opens nor closes"),
        ("none", 0.02, "action.gripper is 'none'"),
        ("toggle", -0.02, r"action.grasp_penalty is -0.02; it must be 0 or more"),
        ("toggle", float("nan"), "action.grasp_penalty is nan"),
    ],
)
def test_a_penalty_that_means_nothing_is_refused(gripper, penalty, message):
    with pytest.raises(UserError, match=message):
        Gripping(action=ActionConfig(axes=("x",), gripper=gripper, grasp_penalty=penalty))


@pytest.mark.parametrize("command", [-0.49, 0.0, 0.49])
def test_a_command_to_stay_opposes_nothing(command):
    assert not opposes(command, is_open=True)
    assert not opposes(command, is_open=False)
