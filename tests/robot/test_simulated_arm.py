"""The simulated arm as a spring: pushes, tracking, moves, and what it reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.types import ArmCommand, CartesianTarget, Gains, JointTarget, Mode, MotionLimits
from serl.errors import UserError

GAINS = Gains(nullspace_stiffness_nm_per_rad=0.0)
PUSHES = [0, 1, 2]


@pytest.fixture(autouse=True)
def _plain_gains(cell):
    cell.backend.set_gains({"": GAINS})
    cell.backend.set_limits({"": MotionLimits()})
    cell.reset(x=0.8)


def pushed(cell, wrench, seconds):
    cell.backend.scene.push(np.asarray(wrench, dtype=float))
    return cell.wait(seconds)


@pytest.mark.parametrize("axis", PUSHES)
@pytest.mark.parametrize("force", [-16.0, 8.0])
def test_a_static_push_moves_the_tcp_by_force_over_stiffness(cell, axis, force):
    wrench = np.zeros(6)
    wrench[axis] = force
    state = pushed(cell, wrench, 4.0)
    expected = np.zeros(6)
    expected[axis] = force / GAINS.translational_stiffness_n_per_m
    moved = se3.pose_error(state.T_base_tcp, state.T_base_ref)
    np.testing.assert_allclose(moved[:3], expected[:3], atol=1e-4)
    np.testing.assert_allclose(moved[3:], 0, atol=2e-3)


@pytest.mark.parametrize("axis", PUSHES)
def test_a_static_twist_turns_the_tcp_by_torque_over_rotational_stiffness(cell, axis):
    wrench = np.zeros(6)
    wrench[3 + axis] = 4.0
    state = pushed(cell, wrench, 4.0)
    turned = se3.pose_error(state.T_base_tcp, state.T_base_ref)[3:]
    expected = np.zeros(3)
    expected[axis] = 4.0 / GAINS.rotational_stiffness_nm_per_rad
    np.testing.assert_allclose(turned, expected, atol=1e-3)


@pytest.mark.parametrize("axis", PUSHES)
def test_beyond_stiffness_times_clip_the_arm_gives_way_at_the_rate_damping_allows(cell, axis):
    """20 N is all the spring has; 30 N leave 10 N against 89 N s/m and the joints' friction."""
    wrench = np.zeros(6)
    wrench[axis] = -30.0
    before = pushed(cell, wrench, 0.5)
    after = cell.wait(0.5)
    gone = abs(se3.pose_error(after.T_base_tcp, after.T_base_ref)[axis])
    assert gone > 3 * GAINS.translational_clip_m[axis]
    speed = -(after.T_base_tcp - before.T_base_tcp)[axis, 3] / 0.5
    assert 0.6 * 10 / 89 < speed < 1.05 * 10 / 89
    spring = np.linalg.norm(after.wrench_base_ext[:3])
    assert spring == pytest.approx(30, rel=0.01)


@pytest.mark.parametrize(("axis", "sign"), [(0, 1), (0, -1), (2, 1), (2, -1)])
def test_against_an_uneven_clip_the_arm_yields_to_one_side_only(cell, axis, sign):
    """25 N on a spring whose clip is 20 N on one side and 60 N on the other."""
    near, far = (0.01,) * 3, (0.03,) * 3
    cell.backend.set_gains(
        {"": replace(GAINS, translational_clip_m=far, translational_clip_neg_m=near)}
    )
    wrench = np.zeros(6)
    wrench[axis] = sign * 25.0
    state = pushed(cell, wrench, 1.0)
    gone = abs(se3.pose_error(state.T_base_tcp, state.T_base_ref)[axis])
    if sign < 0:  # the reference is on the positive side
        assert gone == pytest.approx(25 / 2000, abs=1e-3)
    else:
        assert gone > 0.02


def test_it_comes_back_when_the_push_ends(cell):
    start = cell.reset(x=0.8)
    pushed(cell, [15, 0, 0, 0, 0, 0], 1.0)
    state = pushed(cell, np.zeros(6), 2.0)
    np.testing.assert_allclose(state.T_base_tcp, start.T_base_tcp, atol=1e-4)


def test_gravity_is_compensated_wherever_the_arm_is_left(cell):
    for q in ([0.5, 0.3, -0.4, -1.8, 0.3, 2.0, 1.0], [-1.0, -0.6, 0.8, -2.2, -0.5, 1.2, 0.0]):
        start = cell.backend.scene.reset([], {"": np.array(q)})[""]
        state = cell.wait(1.0)
        np.testing.assert_allclose(state.T_base_tcp, start.T_base_tcp, atol=1e-5)
        np.testing.assert_allclose(state.tau_nm, 0, atol=0.05)


@pytest.mark.parametrize("gains", [GAINS, Gains()], ids=["no nullspace", "default"])
def test_a_target_5_cm_away_is_reached_and_the_arm_settles(cell, gains):
    cell.backend.set_gains({"": gains})
    start = cell.reset(x=0.8).T_base_tcp
    T = se3.apply_displacement(start, np.array([0.05, -0.05, -0.05, 0.1, 0.0, 0.2]))
    state = cell.go(T, seconds=2.5)
    error = se3.pose_error(state.T_base_tcp, T)
    assert np.linalg.norm(error[:3]) < 2e-3
    assert np.linalg.norm(error[3:]) < 2e-2
    assert np.abs(state.dq_rad_per_s).max() < 5e-3
    assert state.mode is Mode.IMPEDANCE


def test_the_reported_twist_is_the_poses_rate_of_change(cell):
    T = se3.apply_displacement(
        cell.reset(x=0.8).T_base_tcp, np.array([0.1, 0.1, -0.1, 0.3, 0.2, -0.3])
    )
    before = cell.go(T, seconds=0.2, period=0.02)
    after = cell.backend.advance(0.002)[""]
    rate = se3.pose_error(after.T_base_tcp, before.T_base_tcp) / 0.002
    mean = (after.twist_base_tcp + before.twist_base_tcp) / 2
    np.testing.assert_allclose(rate, mean, atol=5e-3)


@pytest.mark.parametrize("wrench", [[5, -3, 4, 0, 0, 0], [0, 0, 0, 0.5, -0.4, 0.3]])
def test_the_reported_wrench_is_what_the_world_does_to_the_robot(cell, wrench):
    """libfranka's sign is the other way round; SERL passes it on unlabelled."""
    state = pushed(cell, wrench, 1.0)
    np.testing.assert_allclose(state.wrench_base_ext, wrench, atol=1e-4)


def test_pressing_on_the_table_is_felt_upwards(cell):
    start = cell.reset(x=0.9).T_base_tcp
    T = start.copy()
    T[2, 3] = -0.05
    state = cell.go(T, seconds=4.0)
    assert state.wrench_base_ext[2] == pytest.approx(20.0, abs=1.0)
    assert state.T_base_tcp[2, 3] > 0


def test_a_joint_move_arrives_within_its_speed_limit_and_hands_over_smoothly(cell):
    robot = cell.backend.arms[""]
    goal = np.add(robot.q_home_rad, [0.6, 0.3, -0.4, 0.4, 0.3, 0.4, -0.8])
    cell.backend.command({"": ArmCommand(target=JointTarget(q_rad=goal))})
    fastest = 0.0
    for _ in range(100):
        state = cell.backend.advance(0.02)[""]
        fastest = max(fastest, np.abs(state.dq_rad_per_s / robot.dq_max_rad_per_s).max())
    assert state.mode is Mode.JOINT
    assert fastest < 0.6
    np.testing.assert_allclose(state.q_rad, goal, atol=2e-3)
    T = state.T_base_tcp
    state = cell.go(T, seconds=1.0)
    np.testing.assert_allclose(state.T_base_tcp, T, atol=2e-3)


def test_torques_never_exceed_the_joints_limits_nor_their_rate(cell):
    stiff = replace(GAINS, translational_stiffness_n_per_m=6000, translational_clip_m=(0.1,) * 3)
    cell.backend.set_gains({"": stiff})
    T = se3.apply_displacement(
        cell.reset(x=0.8).T_base_tcp, np.array([0.2, 0.2, -0.2, 0.5, 0.5, 0.5])
    )
    cell.backend.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=T))})
    limit = np.array(cell.backend.arms[""].tau_max_nm)
    last = np.zeros(len(limit))
    data, dofs = cell.backend.world.data, slice(0, len(limit))
    for _ in range(300):
        state = cell.backend.advance(0.002)[""]
        assert (np.abs(data.qfrc_actuator[dofs]) <= limit + 1e-9).all()
        assert (np.abs(state.tau_nm - last) <= GAINS.torque_rate_nm_per_s * 0.002 + 1e-9).all()
        last = state.tau_nm


def test_a_simulation_that_diverges_says_so(make_cell, tmp_path, monkeypatch):
    """MuJoCo prints a warning and starts over from its first state, mid-episode."""
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning to a file here
    cell = make_cell()
    cell.reset()
    wild = Gains(translational_stiffness_n_per_m=1e9, torque_rate_nm_per_s=1e9)
    cell.backend.world.model.jnt_actfrclimited[:] = 0
    cell.backend.set_gains({"": replace(wild, rotational_damping_nm_s_per_rad=1e6)})
    cell.backend.scene.push(np.array([1.0, 0, 0, 0, 0, 0]))
    with pytest.raises(UserError, match=r"diverged at .* lower stiffness"):
        cell.wait(1.0)
    cell.backend.set_gains({"": GAINS})
    cell.reset()
    cell.wait(0.1)


def test_another_tcp_is_what_is_measured_moved_and_pushed_on(make_cell):
    cell = make_cell()
    start = cell.reset(x=0.9)
    pos, quat = (0.02, 0.0, 0.2), (0.0, 0.0, 0.0, 1.0)
    cell.backend.set_tcp("", pos, quat)
    model, tool = MODELS.get("panda"), se3.pose_from_quat(pos, quat)
    moved = cell.wait(0.5)
    np.testing.assert_allclose(moved.T_base_tcp, model.T_base_tcp(start.q_rad, tool), atol=1e-4)
    assert moved.mode is Mode.HOLD
    np.testing.assert_allclose(moved.T_base_tcp, moved.T_base_ref, atol=1e-4)
    cell.backend.scene.load("")  # it is the arm's, not the scene's
    cell.backend.set_gains({"": GAINS})
    T = cell.backend.states()[""].T_base_tcp.copy()
    np.testing.assert_allclose(T, moved.T_base_tcp, atol=1e-3)
    T[1, 3] += 0.05
    state = cell.go(T, seconds=2.0)
    np.testing.assert_allclose(state.T_base_tcp, T, atol=1e-3)
    np.testing.assert_allclose(model.T_base_tcp(state.q_rad, tool), state.T_base_tcp, atol=1e-9)
    state = pushed(cell, [0, 0, 8.0, 0, 0, 0], 2.0)
    np.testing.assert_allclose(state.wrench_base_ext, [0, 0, 8, 0, 0, 0], atol=1e-3)
    turned = se3.pose_error(state.T_base_tcp, state.T_base_ref)[3:]
    np.testing.assert_allclose(turned, 0, atol=2e-3)


def test_a_tcp_is_set_at_rest_only(cell):
    T = cell.reset(x=0.8).T_base_tcp.copy()
    T[1, 3] += 0.2
    cell.go(T, seconds=0.3)
    with pytest.raises(UserError, match=r"moves at .* set the TCP at rest"):
        cell.backend.set_tcp("", (0.0, 0.0, 0.1), (0.0, 0.0, 0.0, 1.0))
