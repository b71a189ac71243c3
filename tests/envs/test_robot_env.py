"""RobotEnv over the simulated arm: time, safety, seeds, and bad input."""

import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from envs import waiting
from envs.backend import make_backend
from envs.config import ActionConfig, ArmConfig, RobotEnvConfig, SafetyBox
from envs.robot_env import RobotEnv
from envs.spaces import AXES, FieldSpec
from envs.tasks.base import Outcome
from envs.tasks.pick_cube import PickCubeConfig
from robot_servers.control import se3
from robot_servers.errors import StaleState
from serl.errors import UserError


class Nothing:
    """An empty scene; success, a reward term and a field by script."""

    mjcf = "<mujoco/>"
    needs_objects = False

    def __init__(self):
        self.value = 0.0
        self.success = False

    def place(self, rng):
        return []

    def begin(self, view):
        return self.step(view)

    def step(self, view):
        return Outcome({"value": self.value}, self.success, {"success": float(self.success)})


@dataclass(frozen=True, kw_only=True)
class Empty(RobotEnvConfig):
    """Nothing but the arm, all six displacements and the gripper."""

    task_name: ClassVar[str] = "empty"
    task_fields: ClassVar[dict] = {"value": FieldSpec((), "1")}
    arms: tuple[ArmConfig, ...] = (ArmConfig(start_noise_m=(0.03, 0.03, 0.03)),)
    action: ActionConfig = field(default_factory=lambda: ActionConfig(axes=AXES))
    state: tuple[str, ...] = ("tcp_pos", "tcp_rotvec", "tcp_lin_vel", "gripper_width", "value")

    def make_task(self):
        return Nothing()


@pytest.fixture(scope="module")
def env():
    env = Empty().make()
    yield env
    env.close()


def watch_commands(env, monkeypatch):
    """Every target the env sends from now on."""
    sent = []
    backend = env.unwrapped.backend
    command = backend.command

    def spy(commands):
        sent.extend(c.target.T_base_tcp for c in commands.values() if c.target is not None)
        command(commands)

    monkeypatch.setattr(backend, "command", spy)
    return sent


def test_the_same_seed_gives_the_same_episode_bit_for_bit():
    """Resets used to draw from the global generator, so a seed meant nothing (SERL, gym-hil)."""
    config = PickCubeConfig(mass_kg=(0.05, 0.2))
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (15, 4)).astype(np.float32)

    def episode(env):
        rows = [env.reset(seed=7)[0]["state"]]
        rows += [env.step(a)[0]["state"] for a in actions]
        return np.array(rows)

    one, other = config.make(), config.make()
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = episode(one)
    one.reset(seed=3)
    np.testing.assert_array_equal(episode(one), first)
    np.testing.assert_array_equal(episode(other), first)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert not np.array_equal(other.reset(seed=8)[0]["state"], first[0])


def test_one_step_is_one_control_period_even_when_the_gripper_moves(env):
    """A gripper toggle used to block the step for 0.6 s, the arm uncontrolled meanwhile."""
    _, info = env.reset(seed=0)
    stamps = [info["stamp_mono_ns"]]
    for grip in (-1, 1, 0, -1, -1):
        info = env.step(np.array([0, 0, 0, 0, 0, 0, grip], np.float32))[4]
        stamps.append(info["stamp_mono_ns"])
    np.testing.assert_array_equal(np.diff(stamps), 50_000_000)


def test_a_time_out_truncates_and_never_terminates():
    """Time-outs used to be stored as failures, so values near the limit came out too low."""
    env = Empty(episode_s=0.3).make()
    env.reset(seed=0)
    flags = [env.step(np.zeros(7, np.float32))[2:4] for _ in range(6)]
    assert flags == [(False, False)] * 5 + [(False, True)]


@dataclass(frozen=True, kw_only=True)
class Penalised(Empty):
    """Every step costs 0.1, the successful one too."""

    def reward_weights(self):
        return {"sparse": {"success": 0.9}}


def test_success_ends_the_episode_whatever_the_reward():
    """A penalty on the last step made its reward 0.9, and 'reward == 1' missed the success."""
    env = Penalised().make()
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(np.zeros(7, np.float32))
    assert (reward, terminated, info["success"]) == (0.0, False, False)
    env.unwrapped.task.success = True
    _, reward, terminated, truncated, info = env.step(np.zeros(7, np.float32))
    assert (reward, terminated, truncated, info["success"]) == (0.9, True, False, True)
    with pytest.raises(UserError, match="reset"):
        env.step(np.zeros(7, np.float32))


def test_every_target_of_a_reset_is_inside_the_box_and_near_the_one_before(monkeypatch):
    """The safety box did not hold for resets, which could jump 10 cm at 2000 N/m. An arm found
    outside its box (here: at home, the first time) goes straight in, without a jump to its face."""
    box = SafetyBox(low_m=(0.45, -0.05, 0.2), high_m=(0.55, 0.05, 0.3), rotation_rad=(0.2,) * 3)
    arm = ArmConfig(
        start_pos_m=(0.54, 0.04, 0.29),
        start_noise_m=(0.1, 0.1, 0.1),
        start_noise_rad=(0.5, 0.5, 0.5),
        box=box,
    )
    config = Empty(arms=(arm,))
    env = config.make()
    sent = watch_commands(env, monkeypatch)
    for seed in range(4):
        start = len(sent)
        env.reset(seed=seed)
        limits = env.unwrapped.limits[""]
        outside = []
        for T in sent[start:]:
            beyond = np.maximum(np.array(box.low_m) - T[:3, 3], T[:3, 3] - np.array(box.high_m))
            outside.append(float(np.linalg.norm(np.maximum(beyond, 0.0))))
            r = se3.rotvec_from_matrix(limits.R_base_box.T @ T[:3, :3])
            assert np.abs(r).max() <= 0.2 + 1e-9
        assert (np.diff(outside) <= 1e-9).all()
        assert seed == 0 or max(outside) <= 1e-9
        moves = [
            np.linalg.norm(se3.pose_error(b, a)[:3])
            for a, b in zip(sent[start:], sent[start + 1 :], strict=False)
        ]
        assert max(moves, default=0.0) <= config.reset_speed_m_per_s * config.period_s + 1e-9


@pytest.mark.parametrize("pitch", [0.05, -0.3])
def test_a_tilted_start_is_reached_the_short_way(pitch, monkeypatch):
    """Reset poses came out with the sign of their pitch flipped: 5.7 degrees off at 0.05 rad; and
    interpolated quaternions could go the long way round near roll = pi."""
    R = se3.matrix_from_rpy((np.pi, pitch, 0.0))
    quat = tuple(float(x) for x in se3.quat_from_matrix(R))
    env = Empty(arms=(ArmConfig(start_quat_xyzw=quat),)).make()
    sent = watch_commands(env, monkeypatch)
    env.reset(seed=0)
    T = env.unwrapped.states[""].T_base_tcp
    assert np.linalg.norm(se3.rotvec_from_matrix(R.T @ T[:3, :3])) < 0.03
    left = [np.linalg.norm(se3.rotvec_from_matrix(R.T @ T[:3, :3])) for T in sent]
    assert max(left) < abs(pitch) + 0.1
    assert (np.diff(left) < 1e-6).all()


def test_a_start_that_cannot_be_reached_is_said_in_one_line():
    far = ArmConfig(
        start_pos_m=(0.95, 0.0, 0.6),
        box=SafetyBox(low_m=(0.3, -0.1, 0.0), high_m=(1.0, 0.1, 0.9)),
    )
    env = Empty(arms=(far,), reset_timeout_s=0.5).make()
    with pytest.raises(UserError, match=r"still .* cm .* from its start after"):
        env.reset(seed=0)


@pytest.mark.parametrize("element", [0, 4, 6])
def test_a_nan_action_is_refused_by_name_and_moves_nothing(env, element, monkeypatch):
    env.reset(seed=0)
    sent = watch_commands(env, monkeypatch)
    action = np.zeros(7, np.float32)
    action[element] = np.nan
    with pytest.raises(UserError, match=(*AXES, "gripper")[element]):
        env.step(action)
    raw = np.zeros(7)
    raw[element] = np.inf
    with pytest.raises(UserError, match="inf"):
        env.unwrapped.step(raw)
    assert sent == []


def test_a_nan_observation_is_refused_by_name(env):
    env.reset(seed=0)
    env.unwrapped.task.value = float("nan")
    with pytest.raises(UserError, match="value"):
        env.step(np.zeros(7, np.float32))
    env.unwrapped.task.value = 0.0


def test_an_action_of_the_wrong_size_names_its_elements(env):
    env.reset(seed=0)
    with pytest.raises(UserError, match="x, y, z, rx, ry, rz, gripper"):
        env.step(np.zeros(4, np.float32))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"control_hz": 30.0}, r"0\.0333333 s is 16\.6667 physics steps of 0\.002 s"),
        ({"control_hz": 0.0}, "control_hz is 0"),
        ({"episode_s": 0.001}, "shorter than one control period"),
        ({"state": ("tcp_position",)}, "Did you mean 'tcp_pos'"),
        ({"reward": "dence"}, "sparse"),
        ({"action": ActionConfig(axes=("x", "roll"))}, "action.axes"),
        ({"arms": (ArmConfig(start_pos_m=(0.9, 0, 0.2)),)}, "outside its safety box"),
        ({"arms": (ArmConfig(), ArmConfig())}, "different names"),
    ],
)
def test_a_config_that_cannot_work_says_why(changes, words):
    """0.06 // 0.002 is 29: a control period was silently shortened by one physics step."""
    with pytest.raises(UserError, match=words):
        Empty(**changes)


@pytest.mark.parametrize("control_hz", [10.0, 20.0, 100 / 6, 20 / 3, 50.0])
def test_a_whole_number_of_physics_steps_is_accepted(control_hz):
    assert Empty(control_hz=control_hz).max_steps == round(5 * control_hz)


def test_object_fields_are_refused_on_a_backend_without_a_scene(env):
    class Hardware:
        scene = None

        def __init__(self, backend):
            self._backend = backend

        def __getattr__(self, name):
            return getattr(self._backend, name)

    config = PickCubeConfig()
    hardware = Hardware(env.unwrapped.backend)
    with pytest.raises(UserError, match=r"pick_cube.*object poses"):
        RobotEnv(config, config.make_task(), backend=hardware)
    RobotEnv(Empty(), Nothing(), backend=hardware).reset(seed=0)


def test_a_longer_episode_is_obeyed():
    """A registered limit of 100 steps used to cut episodes that were configured longer."""
    import gymnasium

    env = gymnasium.make("serl/Reach-v0", config=replace(Empty(), episode_s=6.0))
    env.reset(seed=0)
    steps = 0
    while not env.step(np.zeros(7, np.float32))[3]:
        steps += 1
    assert steps + 1 == 120


def test_two_arms_are_one_env_with_prefixed_fields():
    """Both arms' results used to travel through globals filled by threads, stale on an error."""
    arms = (
        ArmConfig(name="left", base_pos_m=(0.0, 0.5, 0.0), start_noise_m=(0.02, 0.02, 0.02)),
        ArmConfig(name="right", base_pos_m=(0.0, -0.5, 0.0)),
    )
    config = Empty(arms=arms, action=ActionConfig(axes=("x", "y", "z")))
    fields = config.spec().observation[0].fields
    assert fields[0].startswith("left/tcp_pos.x")
    assert fields[3].startswith("right/tcp_pos.x")
    assert fields[-1].startswith("value")
    assert config.spec().action.fields == (
        *(f"left/{a}" for a in ("x", "y", "z", "gripper")),
        *(f"right/{a}" for a in ("x", "y", "z", "gripper")),
    )
    env = config.make()
    env.reset(seed=0)
    start = {name: s.T_base_tcp[:3, 3] for name, s in env.unwrapped.states.items()}
    for _ in range(8):
        obs, _, _, _, info = env.step(np.array([0, 0, 0, 0, 0, 0, -0.5, -1], np.float32))
    moved = {n: s.T_base_tcp[:3, 3] - start[n] for n, s in env.unwrapped.states.items()}
    assert np.linalg.norm(moved["left"]) < 0.003
    assert moved["right"][2] == pytest.approx(0.08, abs=0.02)
    grip = [i for i, name in enumerate(fields) if "gripper_width" in name]
    assert obs["state"][grip[0]] > 0.9
    assert obs["state"][grip[1]] < 0.3
    assert info["executed_action"].shape == (8,)


class Silent:
    """Cameras of a remote simulator that does not answer the first call."""

    def __init__(self):
        self.calls = 0

    def frames(self, stamp_mono_ns):
        self.calls += 1
        if self.calls == 1:
            raise StaleState("no state")
        return {}

    def trouble(self):
        return ""

    def close(self):
        pass


def test_a_simulator_that_goes_silent_while_a_picture_is_drawn_is_waited_for(monkeypatch):
    """Over the network `render` may find the simulator gone: that ended the actor."""
    monkeypatch.setattr(waiting, "AGAIN_S", 0.05)
    with Empty().make() as env:
        robot = env.unwrapped
        robot.cameras = Silent()
        robot.reset(seed=0)
        assert robot.cameras.calls == 2
        robot.cameras = Silent()
        *_, truncated, info = robot.step(np.zeros(7, np.float32))
        assert not truncated
        assert "interrupted" not in info
        assert robot.cameras.calls == 2


def test_an_env_whose_cameras_cannot_be_had_lets_the_robot_go(monkeypatch):
    closed = []

    def none(config, scene):
        raise UserError("no camera")

    config = Empty()
    backend = make_backend(config)
    close = backend.close
    monkeypatch.setattr(backend, "close", lambda: (closed.append(True), close()))
    monkeypatch.setattr("envs.robot_env.make_cameras", none)
    with pytest.raises(UserError, match="no camera"):
        RobotEnv(config, config.make_task(), backend=backend)
    assert closed == [True]


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mujoco", "robot_servers", "jax", "numba", "hid"}:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)

sys.meta_path.insert(0, Block())
from envs.tasks.base import TASKS
for name in TASKS.names():
    config = TASKS.get(name)()
    assert config.spec().action.shape and config.contract()["task"] == name
"""


def test_a_learner_reads_spec_and_contract_with_no_simulator_and_no_robot_server():
    """The learner used to need a live robot server, and every device library of every task."""
    subprocess.run([sys.executable, "-c", BLOCKED], check=True, timeout=60)


def test_joint_fields_have_the_size_of_the_robot():
    config = Empty(state=("q", "dq"))
    fields = config.spec().observation[0].fields
    env = config.make()
    obs, _ = env.reset(seed=0)
    n = env.unwrapped.backend.arms[""].joint_count
    assert len(fields) == 2 * n
    np.testing.assert_allclose(obs["state"][:n], env.unwrapped.states[""].q_rad, rtol=1e-6)
