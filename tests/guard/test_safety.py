"""Clamps: what comes out is inside every limit, twice is once, and what is inside is untouched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_servers.config import KeepOut, SafetyLimits, Workspace
from robot_servers.control import se3
from robot_servers.joint_path import refuse_path
from robot_servers.models.base import MODELS
from robot_servers.safety import (
    clamp_cartesian,
    clamp_gripper,
    clamp_joints,
    clamp_wrench,
    entry,
    inside_keep_out,
    outside_m,
    workspace_rotvec,
)
from robot_servers.types import CartesianTarget, GripperTarget, JointTarget, WrenchTarget

BOX = Workspace(
    low_m=(0.3, -0.4, 0.0),
    high_m=(0.7, 0.4, 0.6),
    rotation_rad=(0.6, 0.5, 1.2),
    keep_out=(
        KeepOut(low_m=(0.45, -0.1, 0.0), high_m=(0.55, 0.1, 0.2)),
        KeepOut(low_m=(0.5, 0.05, 0.1), high_m=(0.6, 0.3, 0.3)),
    ),
)
LIMITS = SafetyLimits(workspace=BOX, step_m=0.15, step_rad=0.3)
R_DOWN = se3.matrix_from_quat((1.0, 0.0, 0.0, 0.0))
TOLERANCE = 1e-8


def numbers(low, high, count):
    return st.lists(st.floats(low, high), min_size=count, max_size=count).map(np.array)


def turned(rotvec):
    return R_DOWN @ se3.matrix_from_rotvec(rotvec)


anywhere = st.builds(
    lambda p, r: se3.pose(turned(r), p), numbers(-0.5, 1.5, 3), numbers(-3.0, 3.0, 3)
)
allowed = st.builds(
    lambda share, r: se3.pose(
        turned(r * np.array(BOX.rotation_rad)),
        np.array(BOX.low_m) + share * (np.array(BOX.high_m) - np.array(BOX.low_m)),
    ),
    numbers(0.0, 1.0, 3),
    numbers(-1.0, 1.0, 3),
).filter(lambda T: not any(inside_keep_out(T[:3, 3], box) for box in BOX.keep_out))


def clamp(T, T_origin, limits=LIMITS, p_ref=None):
    return clamp_cartesian(CartesianTarget(T_base_tcp=T), T_origin, limits, p_ref)


def is_inside(T, T_origin, limits=LIMITS):
    p, box = T[:3, 3], limits.workspace
    r = workspace_rotvec(T[:3, :3], box)
    step = se3.pose_error(T, T_origin)
    return (
        outside_m(p, box) < TOLERANCE
        and (np.abs(r) <= np.array(box.rotation_rad) + TOLERANCE).all()
        and np.linalg.norm(step[:3]) <= limits.step_m + TOLERANCE
        and np.linalg.norm(step[3:]) <= limits.step_rad + TOLERANCE
        and not any(inside_keep_out(p, keep_out) for keep_out in box.keep_out)
    )


@settings(max_examples=300, deadline=None)
@given(anywhere, allowed)
def test_from_inside_every_target_ends_inside_all_limits(T, T_origin):
    target, _ = clamp(T, T_origin)
    assert se3.is_pose(target.T_base_tcp)
    assert is_inside(target.T_base_tcp, T_origin)


@settings(max_examples=300, deadline=None)
@given(allowed, numbers(-0.12, 0.12, 3), numbers(-0.3, 0.3, 3))
def test_without_keep_outs_the_short_cut_lets_nothing_through(T_origin, move, turn):
    limits = replace(LIMITS, workspace=replace(BOX, keep_out=()))
    T = se3.apply_displacement(T_origin, np.concatenate([move, turn]))
    target, clamps = clamp(T, T_origin, limits)
    assert is_inside(target.T_base_tcp, T_origin, limits)
    assert bool(clamps) == (not is_inside(T, T_origin, limits))


@settings(max_examples=300, deadline=None)
@given(anywhere, allowed, allowed)
def test_clamping_twice_is_clamping_once(T, T_origin, T_ref):
    once, _ = clamp(T, T_origin, p_ref=T_ref[:3, 3])
    twice, clamps = clamp(once.T_base_tcp, T_origin, p_ref=T_ref[:3, 3])
    np.testing.assert_allclose(twice.T_base_tcp, once.T_base_tcp, atol=1e-9)
    assert not clamps or all(c.limit == "keep_out" for c in clamps)


@settings(max_examples=200, deadline=None)
@given(anywhere, allowed)
def test_a_target_inside_all_limits_is_the_very_same_object(T, T_origin):
    inside = clamp(T, T_origin)[0].T_base_tcp
    target = CartesianTarget(T_base_tcp=inside)
    same, clamps = clamp_cartesian(target, T_origin, LIMITS)
    assert same is target
    assert clamps == ()


@settings(max_examples=200, deadline=None)
@given(anywhere, anywhere)
def test_an_origin_outside_may_come_back_and_never_goes_further_out(T, T_origin):
    limits = replace(LIMITS, workspace=replace(BOX, keep_out=()))
    p = clamp(T, T_origin, limits)[0].T_base_tcp[:3, 3]
    assert outside_m(p, BOX) <= outside_m(T_origin[:3, 3], BOX) + TOLERANCE
    assert np.linalg.norm(p - T_origin[:3, 3]) <= limits.step_m + TOLERANCE


def test_an_arm_outside_that_is_asked_to_stay_is_not_pulled_in():
    T_outside = se3.pose(turned(np.array([1.0, 0.0, 0.0])), [0.8, 0.0, 0.3])
    target, clamps = clamp(T_outside, T_outside)
    assert target.T_base_tcp is T_outside
    assert clamps == ()


@settings(max_examples=300, deadline=None)
@given(anywhere, allowed)
def test_no_way_to_an_accepted_target_passes_through_a_keep_out(T, T_origin):
    p, origin = clamp(T, T_origin)[0].T_base_tcp[:3, 3], T_origin[:3, 3]
    for share in np.linspace(0, 1, 50):
        way = origin + share * (p - origin)
        assert not any(
            ((way > np.array(b.low_m) + 1e-9) & (way < np.array(b.high_m) - 1e-9)).all()
            for b in BOX.keep_out
        )


def test_a_target_in_a_keep_out_ends_on_the_face_it_meets_and_slides_along_it():
    T_origin = se3.pose(R_DOWN, [0.5, 0.0, 0.25])
    target, clamps = clamp(se3.pose(R_DOWN, [0.52, -0.03, 0.15]), T_origin)
    np.testing.assert_allclose(target.T_base_tcp[:3, 3], [0.52, -0.03, 0.2])
    assert [c.limit for c in clamps] == ["keep_out"]
    on_face = target.T_base_tcp
    target, _ = clamp(se3.pose(R_DOWN, [0.47, 0.02, 0.19]), on_face)
    np.testing.assert_allclose(target.T_base_tcp[:3, 3], [0.47, 0.02, 0.2])


def test_the_way_of_a_lagging_reference_does_not_cut_a_keep_outs_corner():
    T_origin = se3.pose(R_DOWN, [0.44, -0.05, 0.21])
    p_ref = np.array([0.44, -0.05, 0.05])
    T = se3.pose(R_DOWN, [0.5, -0.05, 0.21])
    assert clamp(T, T_origin)[1] == ()
    target, clamps = clamp(T, T_origin, p_ref=p_ref)
    np.testing.assert_array_equal(target.T_base_tcp, T_origin)
    assert [c.limit for c in clamps] == ["keep_out"]


def test_from_inside_a_keep_out_the_way_leads_out_by_the_nearest_face():
    T_origin = se3.pose(R_DOWN, [0.46, 0.0, 0.1])
    deeper, clamps = clamp(se3.pose(R_DOWN, [0.5, 0.0, 0.1]), T_origin)
    np.testing.assert_allclose(deeper.T_base_tcp[:3, 3], [0.45, 0.0, 0.1])
    assert clamps[0].limit == "keep_out"
    out, clamps = clamp(se3.pose(R_DOWN, [0.4, 0.0, 0.1]), T_origin)
    assert clamps == ()
    np.testing.assert_allclose(out.T_base_tcp[:3, 3], [0.4, 0.0, 0.1])


@given(numbers(-1, 1, 3), numbers(-1, 1, 3))
def test_the_entry_point_is_on_the_box(p_from, p_to):
    box = KeepOut(low_m=(-0.3, -0.2, -0.4), high_m=(0.5, 0.3, 0.2))
    hit = entry(p_from, p_to, box)
    samples = [p_from + s * (p_to - p_from) for s in np.linspace(0, 1, 101)]
    crosses = any(inside_keep_out(p, box) for p in samples)
    if hit is None:
        assert not crosses or inside_keep_out(p_from, box)
    else:
        axis, share = hit
        p = p_from + share * (p_to - p_from)
        assert min(abs(p[axis] - box.low_m[axis]), abs(p[axis] - box.high_m[axis])) < 1e-9


PANDA = MODELS.get("panda").description


@given(numbers(-6, 6, 7))
def test_joints_stay_their_margin_from_every_end(q):
    once, clamps = clamp_joints(JointTarget(q_rad=q), PANDA, LIMITS)
    assert (once.q_rad >= np.array(PANDA.q_min_rad) + LIMITS.joint_margin_rad).all()
    assert (once.q_rad <= np.array(PANDA.q_max_rad) - LIMITS.joint_margin_rad).all()
    again, none = clamp_joints(once, PANDA, LIMITS)
    assert again is once
    assert none == ()
    assert bool(clamps) == (not np.array_equal(once.q_rad, q))


@given(numbers(-50, 50, 6))
def test_a_wrench_is_clamped_on_each_axis(w):
    once, _ = clamp_wrench(WrenchTarget(wrench=w), LIMITS)
    assert np.abs(once.wrench[:3]).max() <= LIMITS.wrench_n
    assert np.abs(once.wrench[3:]).max() <= LIMITS.wrench_nm
    assert clamp_wrench(once, LIMITS) == (once, ())


def test_a_gripper_target_is_clamped_to_the_grippers_own_limits():
    gripper = PANDA.gripper
    once, clamps = clamp_gripper(GripperTarget(width_m=0.2, force_n=500.0), gripper)
    assert (once.width_m, once.force_n, once.speed_m_per_s) == (0.08, 70.0, None)
    assert clamps[0].limit == "gripper"
    assert clamp_gripper(once, gripper) == (once, ())


HOME = np.array(PANDA.q_home_rad)
ROOM = Workspace(low_m=(0.2, -0.6, 0.0), high_m=(0.85, 0.6, 0.9))


def test_a_joint_move_within_the_workspace_is_allowed():
    assert refuse_path(HOME, HOME + np.array([0.5, 0.1, 0, 0, 0, 0, 0]), PANDA, ROOM) == ""


def test_a_joint_move_whose_end_or_way_is_outside_is_refused_with_the_point():
    """Both ends are inside; the way between them, a quarter turn of the base, is not."""
    narrow = replace(ROOM, high_m=(0.3, 0.6, 0.9), low_m=(-0.1, -0.6, 0.0))
    left, right = HOME.copy(), HOME.copy()
    left[0], right[0] = 1.2, -1.2
    text = refuse_path(left, right, PANDA, narrow)
    assert "outside the workspace" in text
    assert "(0.30" in text
    beyond = HOME.copy()
    beyond[0] = 2.5
    assert "outside the workspace" in refuse_path(HOME, beyond, PANDA, ROOM)


def test_a_joint_move_through_a_keep_out_is_refused():
    wall = replace(ROOM, keep_out=(KeepOut(low_m=(0.2, -0.01, 0.0), high_m=(0.8, 0.01, 0.9)),))
    left, right = HOME.copy(), HOME.copy()
    left[0], right[0] = 0.5, -0.5
    assert "keep-out" in refuse_path(left, right, PANDA, wall)
    assert refuse_path(left, left + 0.05, PANDA, wall) == ""


def test_a_joint_move_from_outside_may_come_back_in():
    outside = HOME.copy()
    outside[0] = 1.6
    assert refuse_path(outside, HOME, PANDA, ROOM) == ""
    assert "outside" in refuse_path(HOME, outside, PANDA, ROOM)
    further = outside.copy()
    further[0] = 2.0
    assert "outside" in refuse_path(outside, further, PANDA, ROOM)


def test_a_joint_move_out_of_the_rotation_box_is_refused_and_one_back_is_not():
    narrow = replace(ROOM, rotation_rad=(0.3, 0.3, 0.3))
    turned_over = HOME.copy()
    turned_over[6] += 1.0  # turns the gripper in place
    text = refuse_path(HOME, turned_over, PANDA, narrow)
    assert "outside the rotation box" in text
    assert refuse_path(HOME, turned_over, PANDA, ROOM) == ""
    assert refuse_path(turned_over, HOME, PANDA, narrow) == ""
    further = turned_over.copy()
    further[6] += 0.2
    assert "rotation box" in refuse_path(turned_over, further, PANDA, narrow)
    there, back = HOME.copy(), HOME.copy()
    there[5], back[5] = there[5] + 0.29, back[5] - 0.29
    assert refuse_path(there, back, PANDA, narrow) == ""


def test_a_joint_move_of_an_arm_without_a_model_is_refused():
    nameless = replace(PANDA, name="nobody")
    assert "need a model" in refuse_path(HOME, HOME, nameless, ROOM)


@pytest.mark.parametrize("axis", range(3))
def test_a_turn_about_each_axis_stops_at_the_rotation_box(axis):
    limits = replace(LIMITS, step_rad=3.0)
    r = np.zeros(3)
    r[axis] = 1.5
    T = se3.pose(turned(r), [0.4, 0.2, 0.4])
    target, clamps = clamp(T, se3.pose(R_DOWN, [0.4, 0.2, 0.4]), limits)
    angle = workspace_rotvec(target.T_base_tcp[:3, :3], BOX)[axis]
    assert angle == pytest.approx(BOX.rotation_rad[axis])
    assert [c.limit for c in clamps] == ["rotation"]
