"""The impedance law as formulas: torque against angle, force against stretch, nullspace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_servers.control import impedance, se3
from robot_servers.types import Gains

rng = np.random.default_rng(0)
seeds = st.integers(0, 2**32 - 1)
GAINS = Gains()
PACKED = impedance.pack_gains(GAINS)


def wrench(T, T_ref, twist=None, gains=PACKED):
    return impedance.task_wrench(T, T_ref, np.zeros(6) if twist is None else twist, gains)


def random_pose(rng):
    return se3.pose_from_rotvec(rng.uniform(-1, 1, 3), rng.uniform(-2, 2, 3))


@given(seeds)
def test_at_rest_on_the_reference_there_is_no_wrench(seed):
    T = random_pose(np.random.default_rng(seed))
    np.testing.assert_allclose(wrench(T, T), 0, atol=1e-10)


@given(seeds, st.floats(-0.0099, 0.0099))
def test_force_is_stiffness_times_stretch_below_the_clip(seed, stretch):
    T = random_pose(np.random.default_rng(seed))
    T_ref = se3.apply_displacement(T, np.array([0, stretch, 0, 0, 0, 0]))
    expected = [0, GAINS.translational_stiffness_n_per_m * stretch, 0, 0, 0, 0]
    np.testing.assert_allclose(wrench(T, T_ref), expected, atol=1e-9)


@given(seeds, st.floats(-0.099, 0.099), st.integers(0, 2))
def test_torque_is_rotational_stiffness_times_the_true_angle(seed, angle, axis):
    """With half the angle, as in SERL, the same number would be half as stiff (decision 17)."""
    T = random_pose(np.random.default_rng(seed))
    turn = np.zeros(6)
    turn[3 + axis] = angle
    expected = GAINS.rotational_stiffness_nm_per_rad * turn
    np.testing.assert_allclose(wrench(T, se3.apply_displacement(T, turn)), expected, atol=1e-9)


UNEVEN = Gains(
    translational_clip_m=(0.01, 0.02, 0.03),
    translational_clip_neg_m=(0.02, 0.005, 0.01),
    rotational_clip_rad=(0.1, 0.05, 0.02),
    rotational_clip_neg_rad=(0.03, 0.2, 0.06),
)


@given(seeds, st.floats(-0.06, 0.06), st.integers(0, 2))
def test_each_side_of_an_axis_has_its_own_clip(seed, stretch, axis):
    T, way = random_pose(np.random.default_rng(seed)), np.zeros(6)
    way[axis] = stretch
    clip = UNEVEN.translational_clip_m if stretch > 0 else UNEVEN.translational_clip_neg_m
    expected = UNEVEN.translational_stiffness_n_per_m * min(abs(stretch), clip[axis])
    F = wrench(T, se3.apply_displacement(T, way), gains=impedance.pack_gains(UNEVEN))
    assert F[axis] == pytest.approx(np.copysign(expected, stretch), abs=1e-9)


@given(seeds, st.floats(-0.3, 0.3), st.integers(0, 2))
def test_each_sense_of_rotation_has_its_own_clip(seed, angle, axis):
    T, way = random_pose(np.random.default_rng(seed)), np.zeros(6)
    way[3 + axis] = angle
    clip = UNEVEN.rotational_clip_rad if angle > 0 else UNEVEN.rotational_clip_neg_rad
    expected = UNEVEN.rotational_stiffness_nm_per_rad * min(abs(angle), clip[axis])
    M = wrench(T, se3.apply_displacement(T, way), gains=impedance.pack_gains(UNEVEN))
    assert M[3 + axis] == pytest.approx(np.copysign(expected, angle), abs=1e-9)


@given(seeds)
def test_one_clip_given_is_both_sides(seed):
    rng = np.random.default_rng(seed)
    both = replace(
        GAINS,
        translational_clip_neg_m=GAINS.translational_clip_m,
        rotational_clip_neg_rad=GAINS.rotational_clip_rad,
    )
    T, T_ref = random_pose(rng), random_pose(rng)
    np.testing.assert_array_equal(
        wrench(T, T_ref), wrench(T, T_ref, gains=impedance.pack_gains(both))
    )


def test_serls_gains_on_half_the_angle_are_ours_on_the_angle():
    """150 N m/rad on sin(angle / 2), clipped at 0.05, against 75 on the angle, clipped at 0.1."""
    for angle in np.linspace(-0.3, 0.3, 13):
        serl = 150 * np.clip(np.sin(angle / 2), -0.05, 0.05)
        T_ref = se3.pose_from_rotvec(np.zeros(3), [0, 0, angle])
        assert wrench(np.eye(4), T_ref)[5] == pytest.approx(serl, abs=4e-3)


@given(seeds)
def test_the_wrench_never_exceeds_stiffness_times_clip(seed):
    rng = np.random.default_rng(seed)
    F = wrench(random_pose(rng), random_pose(rng))
    limit = np.array(
        [GAINS.translational_stiffness_n_per_m * c for c in GAINS.translational_clip_m]
        + [GAINS.rotational_stiffness_nm_per_rad * c for c in GAINS.rotational_clip_rad]
    )
    assert (np.abs(F) <= limit + 1e-12).all()


@given(seeds)
def test_damping_only_takes_energy_away(seed):
    rng = np.random.default_rng(seed)
    T, twist = random_pose(rng), rng.uniform(-1, 1, 6)
    assert (wrench(T, T, twist) @ twist) < 0


@given(seeds)
def test_without_damping_the_nullspace_torque_makes_no_wrench_at_the_tcp(seed):
    rng = np.random.default_rng(seed)
    J, q, dq, q_rest = rng.normal(size=(6, 7)), *rng.normal(size=(3, 7))
    tau = impedance.nullspace_torque(J, q, dq, q_rest, PACKED, 0.0)
    felt = np.linalg.pinv(J.T) @ tau
    np.testing.assert_allclose(felt, 0, atol=1e-6 * (1 + np.abs(tau).max()))


@given(seeds)
def test_with_damping_the_leak_is_what_the_singular_values_say(seed):
    rng = np.random.default_rng(seed)
    J, q, q_rest = rng.normal(size=(6, 7)), *rng.normal(size=(2, 7))
    tau = impedance.nullspace_torque(J, q, np.zeros(7), q_rest, PACKED, 0.2)
    full = GAINS.nullspace_stiffness_nm_per_rad * (q_rest - q)
    full[0] *= GAINS.joint1_nullspace_factor
    U, s, _ = np.linalg.svd(J)
    expected = (U.T @ J @ full) * 0.2**2 / (s**2 + 0.2**2)
    np.testing.assert_allclose(U.T @ (J @ tau), expected, atol=1e-8)


@given(seeds)
@settings(max_examples=30)
def test_joint_torques_do_the_work_of_the_wrench(seed):
    """tau . dq = F . J dq, with the nullspace switched off."""
    rng = np.random.default_rng(seed)
    gains = PACKED.copy()
    gains[10] = 0.0
    J, q, dq = rng.normal(size=(6, 7)), *rng.normal(size=(2, 7))
    T, T_ref, coriolis = random_pose(rng), random_pose(rng), rng.normal(size=7)
    tau = impedance.impedance_torque(J, q, dq, T, T_ref, q, coriolis, gains)
    F = wrench(T, T_ref, J @ dq, gains)
    assert (tau - coriolis) @ dq == pytest.approx(F @ J @ dq, rel=1e-9, abs=1e-9)


def test_torque_changes_no_faster_than_its_rate_whatever_the_tick():
    for dt in (0.001, 0.002, 0.004):
        tau = np.zeros(2)
        for _ in range(round(0.02 / dt)):
            tau = impedance.limit_rate(np.array([100.0, -5.0]), tau, 1000.0, dt)
        np.testing.assert_allclose(tau, [20.0, -5.0])
