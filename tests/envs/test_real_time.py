"""What an env does that its arms may stop, go silent, or drift: over a backend that does so."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from envs.config import PoseGoal
from envs.pace import Pace
from envs.pose_reward import PoseReward
from envs.robot_env import RobotEnv
from envs.tasks.base import Outcome
from envs.tasks.pose import PoseConfig
from envs.tasks.reach import ReachConfig
from robot_servers.control import se3
from robot_servers.errors import CommandRefused, StaleState
from robot_servers.types import Fault, FaultKind, JointTarget, Mode
from serl.errors import Interrupted, UserError
from serl.evaluation import evaluate


class Troubled:
    """A simulated backend without its scene, that can be made to fault or fall silent."""

    def __init__(self, backend):
        self._backend = backend
        self.scene = None
        self.fault = None
        self.silent = False
        self.refusal = ""
        self.commands = []

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def states(self):
        if self.silent:
            raise StaleState("no state for 0.5 s (limit 0.2 s). Check the robot server.")
        states = self._backend.states()
        if self.fault is None:
            return states
        return {n: replace(s, mode=Mode.FAULT, fault=self.fault) for n, s in states.items()}

    def command(self, commands):
        if self.refusal:
            raise CommandRefused(self.refusal)
        self.commands.append(commands)
        self._backend.command(commands)

    def advance(self, period_s):
        self._backend.advance(period_s)
        return self.states()


@pytest.fixture(scope="module")
def cell():
    env = ReachConfig().make()
    yield env.unwrapped.backend
    env.close()


@pytest.fixture
def env(cell):
    config = PoseConfig(joint_reset_every=2)
    return RobotEnv(config, config.make_task(), backend=Troubled(cell))


FAULT = Fault(kind=FaultKind.REFLEX, reason="joint 4 hit something.", stamp_mono_ns=1)


def later(seconds, action):
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def test_a_fault_ends_the_episode_as_truncated_and_reset_waits_for_the_operator(env):
    """Faults used to be cleared ten times a second by the client itself, unseen."""
    env.reset(seed=0)
    env.backend.fault = FAULT
    _, _, terminated, truncated, info = env.step(np.zeros(7))
    assert (terminated, truncated) == (False, True)
    assert "joint 4 hit something" in info["interrupted"]
    assert "serl robot recover" in info["interrupted"]
    said = []
    env.waiter.on_wait = said.append
    sent = len(env.backend.commands)
    timer = later(0.3, lambda: setattr(env.backend, "fault", None))
    env.reset(seed=1)
    timer.join()
    assert any("REFLEX" in what for what in said)
    assert said[-1] == ""
    assert len(env.backend.commands) > sent
    _, _, _, truncated, info = env.step(np.zeros(7))
    assert not truncated
    assert "interrupted" not in info


def test_nothing_is_commanded_while_an_arm_is_in_fault(env):
    env.reset(seed=0)
    env.backend.fault = FAULT
    env.step(np.zeros(7))
    sent = len(env.backend.commands)
    env.waiter.interrupted = lambda: len(env.backend.commands) > sent or time.monotonic() > end
    end = time.monotonic() + 0.3
    with pytest.raises(Interrupted, match="joint 4"):
        env.reset(seed=1)
    assert len(env.backend.commands) == sent


def test_a_silent_arm_pauses_the_episode_which_then_goes_on(env):
    """A lost network used to end the run, or the episode, or nothing at all."""
    env.reset(seed=0)
    env.backend.silent = True
    timer = later(0.3, lambda: setattr(env.backend, "silent", False))
    _, _, terminated, truncated, info = env.step(np.zeros(7))
    timer.join()
    assert not terminated
    assert not truncated
    assert info["paused_s"] >= 0.2
    assert "paused_s" not in env.step(np.zeros(7))[4]


def test_a_refusal_that_a_person_lifts_ends_an_episode_and_not_the_program(env, monkeypatch):
    """An operator who takes the arm over for a moment used to end the actor."""
    monkeypatch.setattr("envs.waiting.AGAIN_S", 0.1)
    env.reset(seed=0)
    env.backend.refusal = "the operator has the arm"
    _, _, terminated, truncated, info = env.step(np.zeros(7))
    assert (terminated, truncated) == (False, True)
    assert info["interrupted"] == "the operator has the arm"
    said = []
    env.waiter.on_wait = said.append
    timer = later(0.3, lambda: setattr(env.backend, "refusal", ""))
    env.reset(seed=1)
    timer.join()
    assert "the operator has the arm" in said
    assert not env.step(np.zeros(7))[3]


def test_an_episode_that_was_broken_off_is_no_result_of_the_policy(env):
    """A reflex in the final test used to count as the policy's failure."""
    seeds = []
    reset = env.reset

    def broken_once(*, seed):
        seeds.append(seed)
        env.backend.fault = None
        return reset(seed=seed)

    def policy(obs):
        second = len(seeds) == 2
        env.backend.fault = FAULT if second else None
        env.task.step = lambda view: Outcome({}, not second)
        return np.zeros(7)

    env._judge = lambda outcome, begun=False: outcome
    env.reset = broken_once
    result = evaluate(policy, env, [5, 6])
    assert seeds == [5, 6, 6]
    assert [(e.seed, e.success) for e in result.episodes] == [(5, True), (6, True)]


def test_joints_go_home_every_second_episode_and_only_then(env):
    moved = []
    for seed in range(4):
        before = len(env.backend.commands)
        env.reset(seed=seed)
        targets = [c[""].target for c in env.backend.commands[before:]]
        moved.append(any(isinstance(target, JointTarget) for target in targets))
    assert moved == [True, False, True, False]


def test_the_placement_of_an_env_is_no_part_of_what_is_learned():
    config = ReachConfig()
    elsewhere = replace(config, robot="grpc://10.0.0.7:5600", joint_reset_every=7)
    assert elsewhere.contract() == config.contract()
    assert elsewhere.is_realtime
    assert not config.is_realtime
    assert not replace(elsewhere, realtime=False).is_realtime


@pytest.mark.parametrize("robot", ["mock", "franky", "ros2"])
def test_an_env_never_moves_a_real_arm_from_its_own_process(robot):
    """Limits and watchdog live in the robot server; without one a dead env would leave the arm
    pressing."""
    with pytest.raises(UserError, match=f"serl robot-server --backend {robot}"):
        ReachConfig(robot=robot).make()


GOAL = PoseGoal(
    pos_m=(0.5, 0.1, 0.2),
    quat_xyzw=(1.0, 0.0, 0.0, 0.0),
    within_m=(0.01, 0.02, 0.03),
    within_rad=(0.1, 0.2, 0.3),
)


@pytest.mark.parametrize("axis", range(6))
def test_each_axis_of_a_pose_goal_has_its_own_tolerance_on_both_sides(axis):
    """Angles were compared as absolute Euler angles: a tilt to the wrong side counted as none."""
    reward = PoseReward(GOAL)
    limit = (*GOAL.within_m, *GOAL.within_rad)[axis]
    assert reward.reached(reward.T_base_goal)
    for sign in (1, -1):
        for share, there in ((0.99, True), (1.01, False)):
            move = np.zeros(6)
            move[axis] = sign * share * limit
            T = reward.T_base_goal.copy()
            T[:3, 3] += move[:3]
            T[:3, :3] = T[:3, :3] @ se3.matrix_from_rotvec(move[3:])
            assert reward.reached(T) is there


def test_the_pose_reward_makes_any_task_succeed_at_its_goal():
    goal = PoseGoal(pos_m=(0.5, 0.0, 0.35), within_m=(0.05,) * 3, within_rad=(0.5,) * 3)
    env = ReachConfig(reward="pose", pose_goal=goal).make()
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(np.zeros(6, np.float32))
    T = env.unwrapped.states[""].T_base_tcp
    assert terminated == info["success"] == PoseReward(goal).reached(T)
    assert reward == float(terminated)
    env.close()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"reward": "pose", "pose_goal": None}, "pose_goal is not given"),
        ({"pose_goal": replace(GOAL, arm="left")}, "pose_goal.arm is 'left'"),
        ({"pose_goal": replace(GOAL, within_m=(0.0, 0.1, 0.1))}, "must all be above 0"),
        ({"joint_reset_every": -1}, "joint_reset_every is -1"),
    ],
)
def test_a_pose_goal_that_cannot_be_met_is_refused(change, line):
    with pytest.raises(UserError, match=line):
        PoseConfig(**change)


def test_pace_tells_the_achieved_rate_and_counts_late_periods():
    pace = Pace(0.05)
    assert pace.metrics() == {}
    stamp = 0
    pace.begin(stamp)
    for period_ms in (50, 51, 49, 80):
        stamp += period_ms * 1_000_000
        pace.step(stamp)
    measured = pace.metrics()
    assert measured["achieved_hz"] == pytest.approx(4 / 0.230)
    assert measured["period_error_max_s"] == pytest.approx(0.03)
    assert measured["periods_late"] == 1
