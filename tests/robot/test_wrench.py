"""Wrench mode: the law as formulas, and on the simulated arm against a wall and in the air."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_servers.control import se3
from robot_servers.control.wrench import (
    BOX_CLIP_M,
    BOX_CLIP_RAD,
    kept_inside,
    no_wrench_box,
    pack_wrench_box,
    wrench_in_base,
    wrench_in_box,
    wrench_torque,
)
from robot_servers.types import WRENCH_HOLD_S, ArmCommand, CartesianTarget, Mode, WrenchTarget
from serl.errors import UserError

seeds = st.integers(0, 2**32 - 1)
LOW, HIGH = (0.4, -0.1, 0.2), (0.6, 0.1, 0.5)
DOWN = (1.0, 0.0, 0.0, 0.0)


def box(rotation_rad=(0.2, 0.2, 0.2)):
    return pack_wrench_box(LOW, HIGH, DOWN, rotation_rad)


def posed(p=(0.5, 0.0, 0.35), turn=(0.0, 0.0, 0.0)):
    """The TCP at p, turned by a rotation vector in the box's axes from looking down."""
    return se3.pose_from_quat(p, DOWN) @ se3.pose_from_rotvec((0, 0, 0), turn)


@given(seeds)
def test_inside_the_box_the_wrench_passes_unchanged(seed):
    rng = np.random.default_rng(seed)
    w, T = rng.uniform(-20, 20, 6), posed(rng.uniform(LOW, HIGH), rng.uniform(-0.1, 0.1, 3))
    np.testing.assert_allclose(wrench_in_box(w, T, box()), w, atol=1e-12)


@given(seeds)
def test_without_a_box_it_passes_everywhere(seed):
    rng = np.random.default_rng(seed)
    T = se3.pose_from_rotvec(rng.uniform(-2, 2, 3), rng.uniform(-2, 2, 3))
    w = rng.uniform(-20, 20, 6)
    np.testing.assert_allclose(wrench_in_box(w, T, no_wrench_box()), w, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("out_m", "pull_n"), [(0.01, 2.0), (0.03, 6.0), (0.2, 6.0)])
def test_outside_200_n_per_m_pull_back_and_6_n_at_most(axis, side, out_m, pull_n):
    p = np.array([0.5, 0.0, 0.35])
    p[axis] = (LOW if side < 0 else HIGH)[axis] + side * out_m
    expected = np.zeros(6)
    expected[axis] = -side * pull_n
    np.testing.assert_allclose(wrench_in_box(np.zeros(6), posed(p), box()), expected, atol=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize(("out_rad", "pull_nm"), [(0.02, 1.0), (0.06, 3.0), (0.5, 3.0)])
def test_turned_too_far_it_is_turned_back(axis, side, out_rad, pull_nm):
    turn = np.zeros(3)
    turn[axis] = side * (0.2 + out_rad)
    T = posed(turn=turn)
    back = wrench_in_box(np.zeros(6), T, box())
    np.testing.assert_allclose(back[:3], 0, atol=1e-12)
    about = T[:3, :3] @ turn / np.linalg.norm(turn)  # the axis of `turn`, in base
    np.testing.assert_allclose(back[3:], -pull_nm * about, atol=1e-9)


@given(st.floats(-20, 20), st.floats(-0.2, 0.2))
def test_far_enough_outside_no_command_leads_further_out(push, back):
    total = kept_inside(push, back, 200.0, BOX_CLIP_M)
    if abs(back) >= BOX_CLIP_M:
        assert total * back > 0
    elif push * back >= 0:
        assert total == pytest.approx(push + 200 * back)


@given(st.floats(-20, 20), st.floats(-0.05, 0.05), st.floats(-1e-6, 1e-6))
def test_the_wall_has_no_edge_to_chatter_on(push, back, little):
    jump = kept_inside(push, back + little, 50.0, BOX_CLIP_RAD)
    assert abs(jump - kept_inside(push, back, 50.0, BOX_CLIP_RAD)) < 1e-3 + 1e3 * abs(little)


@given(seeds)
def test_a_wrench_in_tcp_axes_turns_with_the_tool(seed):
    rng = np.random.default_rng(seed)
    T, w = se3.pose_from_rotvec(rng.normal(size=3), rng.normal(size=3)), rng.normal(size=6)
    R = T[:3, :3]
    expected = np.concatenate([R @ w[:3], R @ w[3:]])
    np.testing.assert_allclose(wrench_in_base(w, True, T), expected, atol=1e-12)
    np.testing.assert_array_equal(wrench_in_base(w, False, T), w)


@given(seeds)
def test_the_joints_do_the_work_of_the_wrench_less_what_damping_takes(seed):
    rng = np.random.default_rng(seed)
    J, w, dq = rng.normal(size=(6, 7)), rng.normal(size=6), rng.normal(size=7)
    damping = rng.uniform(1, 10, 7)
    tau = wrench_torque(J, dq, w, damping, np.zeros(7))
    assert tau @ dq == pytest.approx(w @ J @ dq - damping @ dq**2, rel=1e-9, abs=1e-9)


WALL = """
<mujoco>
  <body name="wall" pos="0.6 0 0.3"><geom type="box" size="0.02 0.4 0.3"/></body>
</mujoco>
"""


@pytest.fixture(scope="module")
def walled(request):
    from robot_servers.backends.mujoco import MujocoBackend

    with MujocoBackend() as backend:
        backend.scene.load(WALL)
        yield backend


def push(backend, wrench, seconds, frame="base", every=0.05):
    """Command again and again, as an env does; the last state."""
    target = WrenchTarget(wrench=np.array(wrench, dtype=float), frame=frame)
    for _ in range(round(seconds / every)):
        backend.command({"": ArmCommand(target=target)})
        state = backend.advance(every)[""]
    return state


@pytest.mark.parametrize(("axis", "start_m"), [(0, (0.5, 0.0, 0.3)), (2, (0.45, 0.0, 0.05))])
def test_pushing_on_a_wall_with_8_n_is_felt_as_8_n_from_the_wall(walled, axis, start_m):
    """Along +x on the wall, along -z on the table; the world pushes back."""
    walled.scene.reset([])
    near = CartesianTarget(T_base_tcp=se3.pose_from_quat(start_m, DOWN))
    walled.command({"": ArmCommand(target=near)})
    walled.advance(2.0)
    wrench = np.zeros(6)
    wrench[axis] = 8.0 if axis == 0 else -8.0
    state = push(walled, wrench, 2.0)
    assert state.mode is Mode.WRENCH
    assert np.linalg.norm(state.twist_base_tcp[:3]) < 0.02
    assert state.wrench_base_ext[axis] == pytest.approx(-wrench[axis], abs=0.5)


def test_after_a_tenth_of_a_second_without_a_command_nothing_pushes(cell):
    cell.reset(x=0.9)
    cell.backend.command({"": ArmCommand(target=WrenchTarget(wrench=np.array([8.0] + [0.0] * 5)))})
    speeds, powers = [], []
    for _ in range(round(1.5 / 0.002)):
        state = cell.backend.advance(0.002)[""]
        speeds.append(state.twist_base_tcp[0])
        powers.append(float(state.tau_nm @ state.dq_rad_per_s))
    fastest = 0.002 * (1 + int(np.argmax(speeds)))
    assert fastest == pytest.approx(WRENCH_HOLD_S, abs=0.02)
    assert max(powers[round(0.12 / 0.002) :]) < 1e-3  # damping only takes away
    assert abs(speeds[-1]) < 1e-3
    assert state.mode is Mode.WRENCH


def test_in_the_air_damping_bounds_the_speed(cell):
    cell.reset(x=0.9)
    speeds = []
    for _ in range(16):
        state = push(cell.backend, [0, 8, 0, 0, 0, 0], 0.05)
        speeds.append(np.linalg.norm(state.twist_base_tcp[:3]))
    assert 0.1 < max(speeds) < 0.4
    assert speeds[-1] < 1.1 * speeds[-4]


@pytest.mark.parametrize("force", [5.0, 20.0])
def test_the_box_pulls_back_what_pushes_outwards(make_cell, force):
    cell = make_cell()
    p = cell.reset(x=0.9).T_base_tcp[:3, 3]
    cell.backend.set_wrench_box("", p - 0.05, p + 0.05)
    beyond = []
    for _ in range(60):
        state = push(cell.backend, [0, force, 0, 0, 0, 0], 0.05)
        beyond.append(state.T_base_tcp[1, 3] - p[1] - 0.05)
    assert 0.0 < beyond[-1] < BOX_CLIP_M
    assert max(beyond) < 2 * BOX_CLIP_M
    assert abs(state.twist_base_tcp[1]) < 0.02
    cell.wait(3.0)  # nobody pushes: back it goes
    assert cell.wait(2.0).T_base_tcp[1, 3] - p[1] - 0.05 < 5e-3


def test_a_wrench_in_tool_axes_moves_the_arm_as_the_same_wrench_in_base(cell):
    ends = []
    for frame in ("base", "tcp"):
        q = np.array(cell.backend.arms[""].q_home_rad)
        q[6] += 1.0
        start = cell.backend.scene.reset([], {"": q})[""]
        w = np.array([6.0, 0, 0, 0, 0, 0.3])
        if frame == "base":
            R = start.T_base_tcp[:3, :3]
            w = np.concatenate([R @ w[:3], R @ w[3:]])
        ends.append(push(cell.backend, w, 0.05, frame).T_base_tcp)
        assert np.linalg.norm(ends[-1] - start.T_base_tcp) > 1e-3
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-4)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (WrenchTarget(wrench=np.full(6, np.nan)), "target.wrench holds"),
        (WrenchTarget(wrench=np.zeros(3)), "target.wrench has 3"),
        (WrenchTarget(wrench=np.zeros(6), frame="world"), "'base' or 'tcp'"),
    ],
)
def test_a_wrench_that_makes_no_sense_is_refused(cell, target, message):
    cell.reset(x=0.9)
    with pytest.raises(UserError, match=message):
        cell.backend.command({"": ArmCommand(target=target)})


def test_a_box_without_an_inside_is_refused(cell):
    with pytest.raises(UserError, match="below high"):
        cell.backend.set_wrench_box("", HIGH, LOW)
    with pytest.raises(UserError, match="rotation"):
        cell.backend.set_wrench_box("", LOW, HIGH, rotation_rad=(-1.0, 1.0, 1.0))
