"""Rigid motions against scipy, on random poses and at the awkward ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from robot_servers.control import se3

unit = st.floats(-1, 1, allow_nan=False)
vectors = st.tuples(unit, unit, unit).map(np.array)
directions = vectors.filter(lambda v: np.linalg.norm(v) > 1e-2).map(lambda v: v / np.linalg.norm(v))
angles = st.one_of(
    st.floats(0, np.pi),
    st.floats(0, 1e-7).map(lambda d: np.pi - d),
    st.floats(0, 1e-7),
)
rotvecs = st.builds(lambda axis, angle: axis * angle, directions, angles)
poses = st.builds(se3.pose_from_rotvec, vectors, rotvecs)


def scipy_matrix(rotvec):
    return Rotation.from_rotvec(rotvec).as_matrix()


@given(rotvecs)
def test_exp_agrees_with_scipy(rotvec):
    np.testing.assert_allclose(se3.matrix_from_rotvec(rotvec), scipy_matrix(rotvec), atol=1e-12)


@given(rotvecs)
def test_log_undoes_exp_also_near_half_a_turn(rotvec):
    R = scipy_matrix(rotvec)
    back = se3.rotvec_from_matrix(R)
    assert np.linalg.norm(back) <= np.pi + 1e-12
    np.testing.assert_allclose(scipy_matrix(back), R, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(back), np.linalg.norm(rotvec), atol=1e-7)


@given(poses)
def test_quaternions_are_xyzw_with_w_not_negative_and_lose_nothing(T):
    p, quat = se3.pose_to_quat(T)
    assert quat[3] >= 0
    np.testing.assert_allclose(np.linalg.norm(quat), 1, atol=1e-12)
    np.testing.assert_allclose(Rotation.from_quat(quat).as_matrix(), T[:3, :3], atol=1e-12)
    np.testing.assert_allclose(se3.pose_from_quat(p, -3 * quat), T, atol=1e-12)


def test_a_quaternion_of_length_zero_is_refused():
    with pytest.raises(ValueError, match="no rotation"):
        se3.matrix_from_quat([0, 0, 0, 0])


@given(poses, poses)
def test_applying_the_error_lands_on_the_target(T_base_target, T_base_tcp):
    error = se3.pose_error(T_base_target, T_base_tcp)
    np.testing.assert_allclose(se3.apply_displacement(T_base_tcp, error), T_base_target, atol=1e-11)


@given(poses, poses)
def test_a_relative_pose_cancels_inward(T_base_a, T_base_b):
    T_a_b = se3.inverse(T_base_a) @ T_base_b
    np.testing.assert_allclose(T_base_a @ T_a_b, T_base_b, atol=1e-12)


@given(st.tuples(st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1)).map(np.array))
def test_roll_pitch_yaw_keeps_the_sign_of_pitch(rpy):
    """SERL's euler_2_quat mirrors the pitch: RAM's reset pose is 5.7 degrees off (D-S4)."""
    R = se3.matrix_from_rpy(rpy)
    np.testing.assert_allclose(R, Rotation.from_euler("xyz", rpy).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(se3.rpy_from_matrix(R), rpy, atol=1e-9)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_roll_pitch_yaw_survives_gimbal_lock(pitch):
    R = se3.matrix_from_rpy([0.4, pitch, -0.7])
    np.testing.assert_allclose(se3.matrix_from_rpy(se3.rpy_from_matrix(R)), R, atol=1e-9)


@given(poses, vectors, vectors)
def test_a_twist_moves_a_body_as_its_adjoint_says(T_a_b, linear, angular):
    """The same small motion, made in b and seen from a. SERL's adjoint is in the order of
    (angular, linear), so a pure translation also turned the tool (D-S5)."""
    h = 1e-6
    step_b = se3.pose_from_rotvec(h * linear, h * angular)
    step_a = T_a_b @ step_b @ se3.inverse(T_a_b)
    seen = np.concatenate([step_a[:3, 3], se3.rotvec_from_matrix(step_a[:3, :3])]) / h
    v_a = se3.adjoint(T_a_b) @ np.concatenate([linear, angular])
    np.testing.assert_allclose(v_a, seen, atol=1e-4)


@given(poses)
def test_a_translation_command_never_turns_the_tool(T_base_tcp):
    """D-S5: at (0.59, 0.08, 0.09) a unit y translation became -0.59 about z."""
    twist = se3.adjoint(T_base_tcp) @ [0, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(twist[3:], 0)


@given(poses, poses)
def test_the_adjoint_of_a_product_is_the_product_of_adjoints(T_a_b, T_b_c):
    np.testing.assert_allclose(
        se3.adjoint(T_a_b @ T_b_c), se3.adjoint(T_a_b) @ se3.adjoint(T_b_c), atol=1e-11
    )


@given(poses, poses, st.floats(0, 1))
def test_interpolation_is_scipys_slerp(T_start, T_end, fraction):
    angle = np.linalg.norm(se3.rotvec_from_matrix(T_end[:3, :3] @ T_start[:3, :3].T))
    if angle > np.pi - 1e-4:  # both ways round are as short
        return
    T = se3.interpolate(T_start, T_end, fraction)
    ends = Rotation.from_matrix(np.stack([T_start[:3, :3], T_end[:3, :3]]))
    np.testing.assert_allclose(T[:3, :3], Slerp([0, 1], ends)(fraction).as_matrix(), atol=1e-9)
    line = T_start[:3, 3] + fraction * (T_end[:3, 3] - T_start[:3, 3])
    np.testing.assert_allclose(T[:3, 3], line, atol=1e-12)


@given(poses, poses, st.integers(2, 20))
def test_an_interpolated_move_takes_the_shortest_path_at_constant_speed(T_start, T_end, n):
    """Quaternions interpolated component by component, without a look at their sign, detour by
    up to a full turn near roll = pi (D-S6)."""
    path = [se3.interpolate(T_start, T_end, i / n) for i in range(n + 1)]
    turns = [
        np.linalg.norm(se3.rotvec_from_matrix(b[:3, :3] @ a[:3, :3].T))
        for a, b in itertools.pairwise(path)
    ]
    whole = np.linalg.norm(se3.rotvec_from_matrix(T_end[:3, :3] @ T_start[:3, :3].T))
    np.testing.assert_allclose(turns, whole / n, atol=1e-7)
    np.testing.assert_allclose(path[-1], T_end, atol=1e-11)


LOW, HIGH = -np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3]), np.array([0.2, 0.1, 0.3, 0.3, 0.2, 0.1])


@given(poses, poses)
@settings(max_examples=200)
def test_a_clamped_pose_is_inside_the_box_and_clamping_twice_changes_nothing(T, center):
    inside, _ = se3.clamp_pose(T, center, LOW, HIGH)
    error = se3.pose_error(inside, center)
    assert (error >= LOW - 1e-9).all()
    assert (error <= HIGH + 1e-9).all()
    again, _ = se3.clamp_pose(inside, center, LOW - 1e-9, HIGH + 1e-9)
    np.testing.assert_array_equal(again, inside)


@given(poses, st.tuples(*[st.floats(lo, hi) for lo, hi in zip(LOW, HIGH)]))  # noqa: B905
def test_a_pose_inside_the_box_is_left_alone(center, fraction):
    T = se3.apply_displacement(center, 0.99 * np.array(fraction))
    clamped, moved = se3.clamp_pose(T, center, LOW, HIGH)
    assert not moved
    assert clamped is T


def test_the_box_has_no_seam_where_euler_angles_wrap():
    """SERL clamps |roll| and keeps its sign; a gripper pointing down sits on that seam."""
    center = se3.pose_from_rotvec([0.5, 0, 0.2], [np.pi, 0, 0])
    for roll in (-0.05, 0.05):
        T = se3.apply_displacement(center, np.array([0, 0, 0, roll, 0, 0]))
        assert se3.clamp_pose(T, center, LOW, HIGH)[1] is False


@pytest.mark.parametrize(
    "T",
    [
        np.eye(3),
        np.full((4, 4), np.nan),
        np.diag([1.0, 1, -1, 1]),
        np.diag([2.0, 2, 2, 1]),
        np.ones((4, 4)),
    ],
)
def test_what_is_no_rigid_pose_is_recognised(T):
    assert not se3.is_pose(T)
    assert se3.is_pose(np.eye(4))
