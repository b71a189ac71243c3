"""The wrappers together: frames, gripper modes, interventions, and the executed action."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.config import ActionConfig, ArmConfig, RobotEnvConfig, SafetyBox
from envs.robot_env import RobotEnv
from envs.spaces import AXES
from envs.tasks.base import Outcome
from envs.wrappers import AgentAction, Intervention, RelativeFrame, StateVector, WeightedReward
from envs.wrappers.intervention import Hand
from robot_servers.control import se3
from serl.types import Source


class Nothing:
    mjcf = "<mujoco/>"
    needs_objects = False

    def place(self, rng):
        return []

    def begin(self, view):
        return Outcome({}, False, {"success": 0.0})

    step = begin


@dataclass(frozen=True, kw_only=True)
class Corner(RobotEnvConfig):
    """An arm that starts 1 cm from three walls of its box, turned by 40 degrees."""

    task_name: ClassVar[str] = "corner"
    arms: tuple[ArmConfig, ...] = (
        ArmConfig(
            start_pos_m=(0.58, 0.08, 0.22),
            start_quat_xyzw=(0.9397, 0.342, 0.0, 0.0),
            start_noise_m=(0.01, 0.01, 0.01),
            start_noise_rad=(0.1, 0.1, 0.3),
            box=SafetyBox(
                low_m=(0.45, -0.09, 0.21), high_m=(0.59, 0.09, 0.4), rotation_rad=(0.12, 0.12, 0.3)
            ),
        ),
    )
    action: ActionConfig = field(default_factory=lambda: ActionConfig(axes=AXES))

    def make_task(self):
        return Nothing()


class ScriptedHand:
    """A device that does what the test says."""

    def __init__(self):
        self.hands = None

    def __call__(self):
        return self.hands


VARIANTS = {
    "six axes, toggle": ActionConfig(axes=AXES),
    "six axes, three_way, base frame": ActionConfig(axes=AXES, gripper="three_way", frame="base"),
    "xyz, width": ActionConfig(gripper="width"),
    "xyz and yaw, no gripper": ActionConfig(axes=("x", "y", "z", "rz"), gripper="none"),
    "six axes, measured reference": ActionConfig(axes=AXES, reference="measured"),
}


@pytest.fixture(scope="module")
def variants():
    made = {}
    for name, action in VARIANTS.items():
        hand = ScriptedHand()
        made[name] = (Corner(action=action).make(intervention=hand), hand)
    yield made
    for env, _ in made.values():
        env.close()


def origin_and_axes(env):
    """What the next displacement is added to, and the agent's axes in base."""
    robot = env.unwrapped
    action, T_tcp = robot.config.action, robot.states[""].T_base_tcp
    T = T_tcp if action.reference == "measured" else robot.references[""]
    limits = robot.limits[""]
    R = T_tcp[:3, :3] if action.frame == "tcp" else np.eye(3)
    return limits.nearest(T, limits.window(T_tcp)), R


def accepted(env):
    """The reference and the gripper target the arm has accepted."""
    robot = env.unwrapped
    return robot.references[""], robot.states[""].gripper_target_m


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    human=st.booleans(),
    wish=st.lists(st.floats(-2, 2), min_size=7, max_size=7),
    history=st.integers(0, 4),
)
@pytest.mark.parametrize("name", VARIANTS)
def test_replaying_the_executed_action_accepts_the_same_target(
    variants, name, seed, human, wish, history
):
    """Interventions were stored in the wrong frame: what was learned from was not what moved."""
    env, hand = variants[name]
    size = env.action_space.shape[0]
    past = np.random.default_rng(seed).uniform(-1, 1, (history, size))

    def prepare():
        hand.hands = None
        env.reset(seed=seed)
        for action in past:
            env.step(action)

    prepare()
    if human:
        hand.hands = {"": Hand(tuple(wish[:6]), gripper=wish[6] / 2)}
        policy = np.zeros(size)
    else:
        policy = np.array(wish[:size])
    T_before, R = origin_and_axes(env)
    info = env.step(policy)[4]
    T, width = accepted(env)
    executed = info["executed_action"]
    moved = se3.pose_error(T, T_before)
    action = env.unwrapped.config.action
    along = np.concatenate([moved[:3] @ R, moved[3:] @ R])
    along /= np.repeat([action.translation_step_m, action.rotation_step_rad], 3)
    expected = [along[AXES.index(axis)] for axis in action.axes]
    np.testing.assert_allclose(executed[: len(expected)], expected, atol=1e-5)
    assert executed.dtype == np.float32
    assert env.action_space.contains(executed)
    assert info.get("source", Source.POLICY) == (Source.HUMAN if human else Source.POLICY)

    prepare()
    again = env.step(executed)[4]
    T_again, width_again = accepted(env)
    np.testing.assert_allclose(T_again, T, atol=1e-7)
    assert width_again == pytest.approx(width, abs=2e-4)
    np.testing.assert_allclose(again["executed_action"], executed, atol=1e-5)


def test_the_order_is_the_documented_one():
    env = Corner().make()
    order = []
    while env is not env.unwrapped:
        order.append(type(env))
        env = env.env
    expected = [TimeLimit, WeightedReward, StateVector, Intervention, AgentAction, RelativeFrame]
    assert order == expected
    assert type(env) is RobotEnv


def test_a_hand_that_pushes_along_base_x_moves_the_tool_along_base_x(variants):
    """Whatever way the tool is turned, the operator's axes are the base's."""
    env, hand = variants["six axes, toggle"]
    hand.hands = None
    env.reset(seed=1)
    before = env.unwrapped.references[""].copy()
    hand.hands = {"": Hand((-1.0, 0, 0, 0, 0, 0))}
    info = env.step(np.ones(7))[4]
    moved = env.unwrapped.references[""][:3, 3] - before[:3, 3]
    assert info["source"] == Source.HUMAN
    assert moved[0] < -0.01
    assert abs(moved[1] / moved[0]) < 0.35  # the step is cut on the tool's axes, never turned much
    assert abs(moved[2]) < 0.003
    assert info["requested_action"].shape == info["executed_action"].shape


def test_a_human_who_passes_neutral_keeps_the_arm_for_half_a_second(variants):
    """Control flipped to the policy whenever the puck passed neutral during a correction."""
    env, hand = variants["six axes, toggle"]
    env.reset(seed=2)
    hand.hands = {"": Hand((-0.5, 0, 0, 0, 0, 0))}
    env.step(np.zeros(7))
    hand.hands = None
    sources = [env.step(np.ones(7))[4].get("source") for _ in range(12)]
    assert sources == [int(Source.HUMAN)] * 10 + [None] * 2


def test_a_policy_step_leaves_the_source_to_the_caller(variants):
    """The recorder's SCRIPTED and the actor's RANDOM are for them to say."""
    env, hand = variants["xyz, width"]
    hand.hands = None
    env.reset(seed=0)
    assert "source" not in env.step(np.zeros(4))[4]


def test_a_translation_command_does_not_turn_the_tool():
    """With the adjoint in the wrong order a 2 cm step brought -3.4 degrees of yaw."""
    env = Corner().make()
    env.reset(seed=0)
    R = env.unwrapped.references[""][:3, :3].copy()
    for axis in range(3):
        env.step(np.eye(7)[axis] * -0.3)
        np.testing.assert_allclose(env.unwrapped.references[""][:3, :3], R, atol=1e-9)


def test_to_tcp_undoes_to_base():
    frame = RelativeFrame(RobotEnv(Corner(), Nothing()))
    frame.reset(seed=0)
    action = np.random.default_rng(0).uniform(-1, 1, 7)
    np.testing.assert_allclose(frame.to_tcp(frame.to_base(action)), action, atol=1e-12)
    assert not np.allclose(frame.to_base(action), action)


def test_pose_and_twist_are_those_the_tool_sees():
    """The pose starts at zero, and the twist is the displacement over time in the tool's axes."""
    config = Corner(state=("tcp_pos", "tcp_rotvec", "tcp_lin_vel", "tcp_ang_vel"))
    env = config.make()
    obs, _ = env.reset(seed=0)
    np.testing.assert_allclose(obs["state"][:6], 0, atol=1e-6)
    T_start = env.unwrapped.states[""].T_base_tcp
    for _ in range(4):
        obs, *_ = env.step(np.array([-0.5, 0.2, -0.3, 0.1, 0, 0.2, 0]))
    state = env.unwrapped.states[""]
    T = se3.inverse(T_start) @ state.T_base_tcp
    np.testing.assert_allclose(obs["state"][:3] * 0.1, T[:3, 3], atol=1e-6)
    np.testing.assert_allclose(obs["state"][3:6], se3.rotvec_from_matrix(T[:3, :3]), atol=1e-6)
    R = state.T_base_tcp[:3, :3]
    np.testing.assert_allclose(R @ obs["state"][6:9] * 0.5, state.twist_base_tcp[:3], atol=1e-6)
    np.testing.assert_allclose(R @ obs["state"][9:12], state.twist_base_tcp[3:], atol=1e-5)


def gripper_targets(mode, values):
    """Commanded opening, as a share of the largest, after each gripper action."""
    env = Corner(action=ActionConfig(gripper=mode)).make()
    env.reset(seed=0)
    largest = env.unwrapped.backend.arms[""].gripper.width_max_m
    shares, executed = [], []
    for value in values:
        info = env.step(np.array([0, 0, 0, value]))[4]
        shares.append(env.unwrapped.states[""].gripper_target_m / largest)
        executed.append(float(info["executed_action"][-1]))
    return shares, executed


def test_a_toggle_gripper_has_hysteresis():
    shares, executed = gripper_targets("toggle", [0.2, -0.4, -0.5, 0.4, -0.1, 0.5, 0.0])
    assert shares == pytest.approx([1, 1, 0, 0, 0, 1, 1])
    assert executed == pytest.approx([0.2, -0.4, -0.5, 0.4, -0.1, 0.5, 0.0])


def test_a_three_way_gripper_learns_from_the_class_that_was_executed():
    shares, executed = gripper_targets("three_way", [0.2, -0.7, -0.2, 0.9])
    assert shares == pytest.approx([1, 0, 0, 1])
    assert executed == [0.0, -1.0, 0.0, 1.0]


def test_a_width_gripper_goes_to_the_width():
    shares, _ = gripper_targets("width", [1.0, -1.0, 0.0, 0.5])
    assert shares == pytest.approx([1, 0, 0.5, 0.75])


def test_the_measured_reference_adds_the_action_to_the_measured_pose():
    env = Corner(action=ActionConfig(reference="measured")).make()
    env.reset(seed=0)
    env.step(np.array([-1.0, 0, 0, 0]))
    state = env.unwrapped.states[""]
    env.step(np.array([-0.5, 0, 0, 0]))
    moved = env.unwrapped.references[""][:3, 3] - state.T_base_tcp[:3, 3]
    np.testing.assert_allclose(moved, state.T_base_tcp[:3, 0] * -0.01, atol=1e-9)


def test_a_shoved_arm_drags_its_reference_along():
    """A human who shoves the arm aside is not fought with the whole of the stored way back."""
    env = Corner(action=ActionConfig(max_lead_m=0.02)).make()
    env.reset(seed=0)
    robot = env.unwrapped
    robot.backend.scene.push(np.array([-90.0, 0, 0, 0, 0, 0]))
    leads = []
    for _ in range(5):
        before = robot.states[""].T_base_tcp[:3, 3]
        info = env.step(np.zeros(4))[4]
        leads.append(np.abs(robot.references[""][:3, 3] - before).max())
        np.testing.assert_allclose(info["executed_action"], 0, atol=1e-6)
    assert max(leads) <= 0.02 + 1e-9
    assert robot.references[""][0, 3] < 0.55


def test_pushing_into_the_table_never_stores_more_than_the_lead():
    """The way back starts at once: nothing has to be unwound first."""
    box = SafetyBox(low_m=(0.4, -0.1, -0.2), high_m=(0.6, 0.1, 0.3))
    config = Corner(
        arms=(ArmConfig(start_pos_m=(0.5, 0, 0.03), box=box),), action=ActionConfig(max_lead_m=0.02)
    )
    env = config.make()
    env.reset(seed=0)
    for _ in range(15):
        env.step(np.array([0, 0, 1.0, 0]))  # the tool's z points down
    robot = env.unwrapped
    measured = robot.states[""].T_base_tcp[2, 3]
    assert measured > 0.0
    assert robot.references[""][2, 3] >= measured - 0.025
    for _ in range(4):
        env.step(np.array([0, 0, -1.0, 0]))
    assert robot.states[""].T_base_tcp[2, 3] > measured + 0.015
