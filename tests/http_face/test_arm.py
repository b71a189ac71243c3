"""A client that issues exactly what SERL's FrankaEnv does, against a real guard and a simulated
arm in real time."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from http_face.conftest import Client, until

from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.config import RobotConfig
from robot_servers.control import se3
from robot_servers.guard import Guard
from robot_servers.http import HttpFace
from robot_servers.lease import LeaseBook
from robot_servers.types import Mode

COMPLIANCE = {
    "translational_stiffness": 2000,
    "translational_damping": 89,
    "rotational_stiffness": 150,
    "rotational_damping": 7,
    "translational_Ki": 0,
    "rotational_Ki": 0,
    **{f"translational_clip_{s}{a}": 0.01 for a in "xyz" for s in ("", "neg_")},
    **{f"rotational_clip_{s}{a}": 0.05 for a in "xyz" for s in ("", "neg_")},
}
PRECISION = {**COMPLIANCE, "translational_stiffness": 3000, "rotational_stiffness": 300}


class SerlEnv:
    """The requests of SERL's FrankaEnv, in its order (serl.md 6.2): connections are not kept."""

    HZ = 10.0

    def __init__(self, address, **options):
        self.client = Client(address, **options)
        self.answers = []
        self.look()

    def look(self):
        self.state = self.client.post("getstate").json()

    def send_pose(self, pose):
        self.client.post("clearerr")
        self.answers.append(self.client.post("pose", {"arr": list(map(float, pose))}))

    def step(self, shift):
        """Target = measured + shift; sleep the rest of the period; look."""
        began = time.monotonic()
        pose = np.array(self.state["pose"])
        pose[:3] += shift
        self.send_pose(pose)
        time.sleep(max(0.0, 1 / self.HZ - (time.monotonic() - began)))
        self.look()

    def interpolate(self, goal, seconds):
        """Components one by one, quaternions too."""
        self.look()
        for pose in np.linspace(self.state["pose"], goal, int(seconds * self.HZ)):
            self.send_pose(pose)
            time.sleep(1 / self.HZ)
        self.look()

    def reset(self, goal, seconds=0.7):
        self.client.post("update_param", COMPLIANCE)
        self.client.post("update_param", PRECISION)
        self.interpolate(goal, seconds)
        self.client.post("update_param", COMPLIANCE)
        self.client.post("clearerr")

    def settle(self, goal, limit_s=10.0):
        """The same pose again and again, until the arm has been still for half a second."""
        seen = []
        for _ in range(int(limit_s * self.HZ)):
            self.send_pose(goal)
            time.sleep(1 / self.HZ)
            self.look()
            seen.append(self.state["pose"])
            if len(seen) > 15 and np.ptp(seen[-6:], axis=0).max() < 1e-4:
                break
        return self.state


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """One simulated arm for the file: guard, backend, leases."""
    backend = MujocoBackend(lockstep=False)
    config = RobotConfig(recordings=tmp_path_factory.mktemp("recordings"))
    guard = Guard(backend, config)
    guard.start()
    yield SimpleNamespace(guard=guard, backend=backend)
    guard.close()


@pytest.fixture
def face(cell):
    """A fresh face and lease book; the arm is home, unpushed, in no fault."""
    cell.backend.scene.push(np.zeros(6))
    if cell.guard.states()[""].mode is Mode.FAULT:
        cell.guard.recover([""], "the test before")
    options = {"flavour": "serl"}
    with HttpFace(cell.guard, LeaseBook(), "127.0.0.1:0", **options) as served:
        yield served


def state(cell):
    return cell.guard.states()[""]


def down(x, y, z, yaw=0.0):
    R = se3.matrix_from_rotvec([0, 0, yaw]) @ se3.matrix_from_rotvec([np.pi, 0, 0])
    return [x, y, z, *se3.quat_from_matrix(R)]


def test_serls_sequence_moves_the_arm(cell, face):
    env = SerlEnv(face.address)
    assert env.client.post("jointreset").status == 200
    np.testing.assert_allclose(state(cell).q_rad, cell.guard.arms[""].q_home_rad, atol=0.02)
    env.reset(down(0.45, 0.0, 0.4), 1.5)
    env.settle(down(0.45, 0.0, 0.4))
    np.testing.assert_allclose(env.state["pose"][:3], [0.45, 0.0, 0.4], atol=0.005)
    before = np.array(env.state["pose"][:3])
    for _ in range(40):
        env.step([0.02, 0.0, 0.0])
        if env.state["pose"][0] > before[0] + 0.06:
            break
    moved = np.array(env.state["pose"][:3]) - before
    assert moved[0] > 0.05
    assert np.abs(moved[1:]).max() < 0.02
    assert {answer.status for answer in env.answers} == {200}


def test_the_grippers_sleep_only_holds_and_the_next_pose_goes_on(cell, face):
    """SERL's env sleeps 0.6 s when the gripper toggles; nothing is sent meanwhile."""
    env = SerlEnv(face.address)
    env.reset(down(0.45, 0.0, 0.4))
    env.step([0.0, 0.02, 0.0])
    env.client.post("close_gripper")
    time.sleep(0.6)
    assert until(lambda: env.client.post("get_gripper").json()["gripper"] < 0.02)
    env.look()
    assert state(cell).mode in (Mode.HOLD, Mode.IMPEDANCE)
    before = env.state["pose"][1]
    for _ in range(40):
        env.step([0.0, 0.02, 0.0])
        if env.state["pose"][1] > before + 0.02:
            break
    assert env.answers[-1].status == 200
    assert env.state["pose"][1] > before + 0.02
    env.client.post("open_gripper")
    assert until(lambda: env.client.post("get_gripper").json()["gripper"] > 0.076)


def test_silence_holds_the_arm_which_is_no_fault(cell, face):
    env = SerlEnv(face.address)
    env.reset(down(0.45, 0.0, 0.4))
    for _ in range(3):
        env.step([0.02, 0.0, 0.0])
    assert until(lambda: state(cell).mode is Mode.HOLD, 2.0)
    assert state(cell).fault is None
    assert np.linalg.norm(state(cell).twist_base_tcp[:3]) < 0.01 or until(
        lambda: np.linalg.norm(state(cell).twist_base_tcp[:3]) < 0.01, 1.0
    )
    env.look()
    env.step([0.0, 0.0, 0.02])
    assert env.answers[-1].status == 200


def test_a_kept_connection_that_dies_holds_the_arm_long_before_its_pose_lapses(cell, face):
    env = SerlEnv(face.address, keep=True)
    env.reset(down(0.45, 0.0, 0.4))
    env.step([0.02, 0.0, 0.0])
    died = time.monotonic()
    env.client.close()
    assert until(lambda: state(cell).mode is Mode.HOLD, 2.0)
    assert time.monotonic() - died < 0.4, "0.5 s would be the watchdog's doing"


def test_a_fault_stays_through_clearerr_until_an_operator_recovers(cell, face):
    env = SerlEnv(face.address)
    env.reset(down(0.45, 0.0, 0.4))
    cell.guard.stop("the test stops it")
    here = np.array(env.client.post("getstate").json()["pose"][:3])
    for _ in range(5):
        env.step([0.02, 0.0, 0.0])
    assert env.answers[-1].status == 409
    assert "ecover" in env.answers[-1].text
    np.testing.assert_allclose(env.state["pose"][:3], here, atol=0.005)
    assert cell.guard.recover([""], "operator")[""] == ""
    env.step([0.02, 0.0, 0.0])
    assert env.answers[-1].status == 200


def test_a_pose_far_outside_is_clamped_and_never_reached(cell, face):
    env = SerlEnv(face.address)
    env.reset(down(0.45, 0.0, 0.4))
    for _ in range(5):
        env.send_pose(down(0.45, 0.0, -2.0))
        time.sleep(0.1)
    assert env.answers[-1].status == 200
    low = cell.guard.config.arm.limits.workspace.low_m[2]
    assert state(cell).T_base_target[2, 3] >= low - 1e-9


def test_a_push_reads_in_libfrankas_sign_and_bends_the_spring_by_its_stiffness(cell, face):
    """10 N along +x of base on a spring of 2000 N/m: 5 mm. Looking down, base x is the TCP's x,
    and libfranka reports the force of the robot on its environment: -10."""
    env, goal = SerlEnv(face.address), down(0.45, 0.0, 0.4)
    env.reset(goal)
    force, bent = pushed(cell, env, goal, [10.0, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(force, [-10, 0, 0], atol=0.5)
    np.testing.assert_allclose(bent[:3], [0.005, 0, 0], atol=0.001)


def test_a_twist_bends_by_serls_half_angle_stiffness(cell, face):
    """1.5 N m about base z: SERL's 150 on half the angle is 75 N m/rad, so 0.02 rad."""
    env, goal = SerlEnv(face.address), down(0.45, 0.0, 0.4)
    env.reset(goal)
    _, bent = pushed(cell, env, goal, [0, 0, 0, 0, 0, 1.5])
    assert bent[5] == pytest.approx(0.02, abs=0.004)


def pushed(cell, env, goal, wrench):
    """How much a push changes the force (3,) that a client reads, and the pose (6,) in base."""
    before = env.settle(goal)
    cell.backend.scene.push(np.array(wrench, float))
    after = env.settle(goal)
    cell.backend.scene.push(np.zeros(6))
    poses = [se3.pose_from_quat(seen["pose"][:3], seen["pose"][3:]) for seen in (before, after)]
    return np.subtract(after["force"], before["force"]), se3.pose_error(poses[1], poses[0])


def test_the_jacobian_turns_joint_speeds_into_the_twist(cell, face):
    env = SerlEnv(face.address)
    env.reset(down(0.45, 0.0, 0.4))
    found = False
    for _ in range(10):
        env.step([0.03, 0.0, 0.0])
        J, dq, vel = (np.array(env.state[k]) for k in ("jacobian", "dq", "vel"))
        assert J.shape == (6, 7)
        np.testing.assert_allclose(J @ dq, vel, atol=0.01)
        found |= bool(np.linalg.norm(vel[:3]) > 0.03)
    assert found


def test_wrench_mode_pushes_and_lets_go_by_itself(cell, face):
    face.stop()
    with HttpFace(cell.guard, LeaseBook(), "127.0.0.1:0", flavour="hil-serl") as egg:
        client = Client(egg.address)
        assert client.post("startwrench").status == 200
        x = state(cell).T_base_tcp[0, 3]
        for _ in range(20):
            assert client.post("wrench", {"arr": [4.0, 0, 0, 0, 0, 0]}).status == 200
            time.sleep(0.02)
        assert state(cell).mode is Mode.WRENCH
        assert state(cell).T_base_tcp[0, 3] > x + 0.005
        assert client.post("stopwrench").status == 200
        assert state(cell).mode is Mode.HOLD
