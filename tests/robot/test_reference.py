"""The reference generator: limits, arrival, and constants per second."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_servers.control import se3
from robot_servers.control.reference import advance_reference, displacement, moved, pack_limits
from robot_servers.types import MotionLimits

LIMITS = MotionLimits()
seeds = st.integers(0, 2**32 - 1)


def run(targets, limits, dt, T=None, ticks_each=1):
    """References and twists, one row per tick."""
    T = np.eye(4) if T is None else T
    twist, goal = np.zeros(6), T
    poses, twists = [], []
    for target in targets:
        for _ in range(ticks_each):
            T, twist, goal = advance_reference(T, twist, goal, target, pack_limits(limits), dt)
            poses.append(T)
            twists.append(twist)
    return np.array(poses), np.array(twists)


def random_targets(seed, count=8):
    rng = np.random.default_rng(seed)
    return [
        se3.pose_from_rotvec(rng.uniform(-0.3, 0.3, 3), rng.uniform(-1, 1, 3)) for _ in range(count)
    ]


@given(seeds, st.sampled_from([0.001, 0.002, 0.005]), st.sampled_from([0.0, 0.2]))
@settings(max_examples=25)
def test_no_jump_of_the_target_exceeds_speed_or_acceleration(seed, dt, time_constant):
    limits = MotionLimits(filter_time_constant_s=time_constant)
    poses, twists = run(random_targets(seed), limits, dt, ticks_each=40)
    assert np.linalg.norm(twists[:, :3], axis=1).max() <= limits.linear_speed_m_per_s + 1e-9
    assert np.linalg.norm(twists[:, 3:], axis=1).max() <= limits.angular_speed_rad_per_s + 1e-9
    change = np.diff(twists, axis=0, prepend=np.zeros((1, 6))) / dt
    assert np.linalg.norm(change[:, :3], axis=1).max() <= limits.linear_acceleration_m_per_s2 + 1e-6
    assert (
        np.linalg.norm(change[:, 3:], axis=1).max() <= limits.angular_acceleration_rad_per_s2 + 1e-6
    )
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    np.testing.assert_allclose(steps, np.linalg.norm(twists[1:, :3], axis=1) * dt, atol=1e-12)


@given(seeds)
@settings(max_examples=15)
def test_a_target_that_stays_is_reached_exactly_and_not_overshot(seed):
    (target,) = random_targets(seed, 1)
    poses, twists = run([target], LIMITS, 0.002, ticks_each=1500)
    np.testing.assert_allclose(poses[-1], target, atol=1e-12)
    np.testing.assert_allclose(twists[-1], 0, atol=1e-9)
    left = np.array([displacement(T, target) for T in poses])
    for part in (left[:, :3], left[:, 3:]):
        way = part[0] / np.linalg.norm(part[0])
        assert (part @ way).min() > -1e-9


def test_a_move_takes_as_long_as_its_limits_say():
    """0.3 m at 0.5 m/s and 5 m/s^2: 0.6 s of way and 0.1 s for speeding up and braking."""
    target = se3.pose(np.eye(3), [0.3, 0, 0])
    poses, _ = run([target], LIMITS, 0.002, ticks_each=500)
    arrived = np.argmax(np.abs(poses[:, 0, 3] - 0.3) < 1e-4) * 0.002
    assert arrived == pytest.approx(0.7, abs=0.02)


@pytest.mark.parametrize("time_constant", [0.0, 0.2])
def test_constants_are_per_second_whatever_the_tick(time_constant):
    """SERL's filter factor is per 1 kHz tick: at another rate the same number moves otherwise."""
    limits = MotionLimits(filter_time_constant_s=time_constant)
    target = se3.pose_from_rotvec([0.2, -0.1, 0.05], [0.3, 0.2, -0.4])
    at = {dt: run([target], limits, dt, ticks_each=round(0.3 / dt))[0][-1] for dt in (0.001, 0.002)}
    np.testing.assert_allclose(at[0.001], at[0.002], atol=2e-3)


def test_the_filter_covers_63_percent_of_the_way_in_its_time_constant():
    limits = MotionLimits(
        filter_time_constant_s=0.2,
        linear_speed_m_per_s=100,
        angular_speed_rad_per_s=100,
        linear_acceleration_m_per_s2=1e5,
        angular_acceleration_rad_per_s2=1e5,
    )
    target = se3.pose_from_rotvec([0.1, 0, 0], [0, 0, 0.5])
    poses, _ = run([target], limits, 0.002, ticks_each=100)
    left = displacement(poses[-1], target)
    assert left[0] == pytest.approx(0.1 * np.exp(-1), abs=1e-3)
    assert left[5] == pytest.approx(0.5 * np.exp(-1), abs=5e-3)


@given(seeds)
@settings(max_examples=20)
def test_the_loops_compute_what_se3_computes(seed):
    A, B = random_targets(seed, 2)
    np.testing.assert_allclose(displacement(A, B), se3.pose_error(B, A), atol=1e-12)
    np.testing.assert_allclose(
        moved(A, se3.pose_error(B, A), 0.3), se3.interpolate(A, B, 0.3), atol=1e-12
    )
