"""All wrappers together with a hand on the arm: what is stored is what moved."""

import dataclasses
import time

import numpy as np
import pytest

from envs.config import ActionConfig
from envs.devices.base import Hand
from envs.spaces import AXES
from envs.tasks.dual_pick import DualPickConfig
from envs.tasks.pick_cube import PickCubeConfig
from envs.tasks.reach import ReachConfig
from robot_servers.control import se3
from serl.records import RecordBuilder
from serl.types import Source

TILTED = dataclasses.replace(
    ReachConfig().arms[0], start_quat_xyzw=(0.9496, 0.1925, 0.0491, 0.2425), start_noise_m=(0, 0, 0)
)
"""Tilted by half a radian: straight down, a turn and its inverse are the same matrix."""

SIX = ActionConfig(axes=AXES, translation_step_m=0.025, gripper="three_way")


class FitfulHand:
    """A person who takes over for a while, at random, and moves at random."""

    def __init__(self, arms, seed):
        self._arms, self._rng = arms, np.random.default_rng(seed)
        self._left = 0

    def __call__(self):
        if self._left == 0:
            self._left = int(self._rng.integers(-8, 9)) or 1
        self._left -= int(np.sign(self._left))
        draw = {arm: self._rng.uniform(-1, 1, 7) for arm in self._arms}
        if self._left < 0:
            return None
        return {arm: Hand(tuple(d[:6]), gripper=float(np.sign(d[6]))) for arm, d in draw.items()}


def poses(env):
    return {name: state.T_base_tcp.copy() for name, state in env.unwrapped.states.items()}


CASES = {
    "six axes, three-way gripper": ReachConfig(action=SIX),
    "reset-relative poses, width gripper": PickCubeConfig(
        action=ActionConfig(translation_step_m=0.025, gripper="width"), pose_frame="reset"
    ),
    "base frame": PickCubeConfig(action=dataclasses.replace(SIX, frame="base")),
    "measured reference": ReachConfig(action=dataclasses.replace(SIX, reference="measured")),
    "two arms, one across the table": DualPickConfig(
        arms=tuple(
            dataclasses.replace(arm, base_yaw_rad=yaw)
            for arm, yaw in zip(DualPickConfig().arms, (0.0, 0.3), strict=True)
        )
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_replaying_stored_actions_repeats_the_motion(name):
    """To 1 mm and 0.2 degrees, human and policy steps mixed: what is learned from is what moved."""
    config = dataclasses.replace(CASES[name], intervention_hold_s=0.2, episode_s=4.0)
    arms = [arm.name for arm in config.arms]
    env = config.make(intervention=FitfulHand(arms, seed=5))
    builder, rng = RecordBuilder(config.spec()), np.random.default_rng(1)
    obs, info = env.reset(seed=11)
    rows, moved = [builder.first(0, obs, info)], [poses(env)]
    for _ in range(40):
        action = rng.uniform(-1, 1, env.action_space.shape)
        obs, reward, terminated, truncated, info = env.step(action)
        rows.append(
            builder.step(
                action=action, obs=obs, reward=reward, terminated=terminated,
                truncated=truncated, info=info,
            )
        )  # fmt: skip
        moved.append(poses(env))
        if terminated or truncated:
            break
    env.close()
    records = np.concatenate(rows)
    assert {Source.HUMAN, Source.POLICY} <= set(records["source"][1:])

    again = config.make()
    again.reset(seed=11)
    for record, expected in zip(records, moved, strict=True):
        if record["index"]:
            obs, *_ = again.step(record["action"])
            np.testing.assert_allclose(obs["state"], record["obs/state"], atol=1e-3)
        for arm, T in poses(again).items():
            error = se3.pose_error(T, expected[arm])
            assert np.linalg.norm(error[:3]) < 1e-3
            assert np.degrees(np.linalg.norm(error[3:])) < 0.2
    again.close()
    travelled = np.linalg.norm(moved[-1][arms[0]][:3, 3] - moved[0][arms[0]][:3, 3])
    assert travelled > 0.01


@pytest.fixture(scope="module")
def free():
    """Six axes in the middle of the box, and a hand that the test sets."""
    held = {}
    config = ReachConfig(action=SIX, arms=(TILTED,))
    env = config.make(intervention=lambda: held.get("hands"))
    yield env, held
    env.close()


@pytest.mark.parametrize("dof", range(6))
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_tool_moves_the_way_the_hand_moves(free, dof, sign):
    """Away, left, up; tilted and turned alike: in the axes of a person behind the base."""
    env, held = free
    held["hands"] = None
    env.reset(seed=2)
    before = poses(env)[""]
    twist = [0.0] * 6
    twist[dof] = sign
    held["hands"] = {"": Hand(tuple(twist))}
    for _ in range(4):
        env.step(np.zeros(7))
    held["hands"] = {}
    for _ in range(4):
        env.step(np.zeros(7))
    after = poses(env)[""]
    moved = after[:3, 3] - before[:3, 3]
    turned = se3.rotvec_from_matrix(after[:3, :3] @ before[:3, :3].T)
    way, rest = (moved, turned) if dof < 3 else (turned, moved)
    enough = 0.05 if dof < 3 else 0.2
    assert sign * way[dof % 3] > enough
    assert np.abs(np.delete(way, dof % 3)).max() < 0.3 * enough
    assert np.abs(rest).max() < (0.05 if dof < 3 else 0.01)


def test_a_hand_at_rest_leaves_everything_as_it_is(free):
    env, held = free
    held["hands"] = None
    env.reset(seed=3)
    held["hands"] = {"": Hand((0.0,) * 6, gripper=-1.0)}
    env.step(np.zeros(7))
    held["hands"] = {}
    before = env.unwrapped.references[""].copy()
    info = env.step(np.ones(7))[4]
    np.testing.assert_allclose(env.unwrapped.references[""], before, atol=1e-9)
    assert info["executed_action"] == pytest.approx(np.zeros(7), abs=1e-6)
    np.testing.assert_allclose(env.get_wrapper_attr("rest")(), info["executed_action"], atol=1e-6)


def test_to_hands_undoes_from_hands(free):
    env, held = free
    held["hands"] = None
    env.reset(seed=4)
    to_hands, from_hands = (env.get_wrapper_attr(n) for n in ("to_hands", "from_hands"))
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = np.append(rng.uniform(-0.5, 0.5, 6), rng.choice([-1.0, 0.0, 1.0]))
        hands = to_hands(action)
        assert max(map(abs, hands[""].twist)) <= 1.0
        np.testing.assert_allclose(from_hands(hands), action, atol=1e-9)


def test_the_latency_is_told_once_for_each_input(free):
    env, held = free
    held["hands"] = None
    env.reset(seed=5)
    now_ns = time.monotonic_ns()
    push = Hand((0.1, 0, 0, 0, 0, 0), stamp_mono_ns=now_ns - 5_000_000)
    held["hands"] = {"": push}
    infos = [env.step(np.zeros(7))[4] for _ in range(2)]
    assert infos[0]["intervention_latency_s"] >= 0.005
    assert "intervention_latency_s" not in infos[1]
    held["hands"] = {"": dataclasses.replace(push, stamp_mono_ns=time.monotonic_ns())}
    assert 0.0 <= env.step(np.zeros(7))[4]["intervention_latency_s"] < 0.5


def test_a_hand_that_says_its_own_hold_is_heeded(free):
    """An operator who lets a dead-man key go gives the arm back at once."""
    config = ReachConfig(action=SIX)

    class DeadMan:
        hold_s = 0.0
        hands = None

        def __call__(self):
            return self.hands

    hand = DeadMan()
    env = config.make(intervention=hand)
    env.reset(seed=0)
    hand.hands = {}
    assert env.step(np.zeros(7))[4]["source"] == Source.HUMAN
    hand.hands = None
    assert "source" not in env.step(np.zeros(7))[4]
    env.close()
