"""Safety box, lead and step: pure functions of poses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.config import ActionConfig, ArmConfig, SafetyBox
from envs.limits import ReferenceLimits
from envs.spaces import AXES
from robot_servers.control import se3

BOX = SafetyBox(low_m=(0.4, -0.1, 0.1), high_m=(0.6, 0.1, 0.3), rotation_rad=(0.3, 0.2, 0.9))
ARM = ArmConfig(start_pos_m=(0.5, 0.0, 0.2), box=BOX)
LOW, HIGH = np.array(BOX.low_m), np.array(BOX.high_m)


def unit(n):
    return st.lists(st.floats(-1, 1), min_size=n, max_size=n).map(np.array)


def pose_about_box(where, turn, spread=1.3):
    """A pose in, on or near the box; `where` and `turn` within +-1."""
    limits = ReferenceLimits(ARM, ActionConfig())
    p = 0.5 * (LOW + HIGH) + 0.5 * (HIGH - LOW) * where * spread
    r = np.array(BOX.rotation_rad) * turn * spread
    return se3.pose(limits.R_base_box @ se3.matrix_from_rotvec(r), p)


def coordinates(limits, T):
    return np.concatenate([T[:3, 3], se3.rotvec_from_matrix(limits.R_base_box.T @ T[:3, :3])])


@settings(max_examples=150, deadline=None)
@given(
    axes=st.sampled_from([AXES, ("x", "y", "z"), ("x", "y", "z", "rz"), ("x", "z", "ry")]),
    frame=st.sampled_from(["tcp", "base"]),
    where=unit(3),
    turn=unit(3),
    lag=unit(6),
    action=unit(6).map(lambda a: 3 * a),
)
def test_what_was_accepted_is_accepted_again_unchanged(axes, frame, where, turn, lag, action):
    """The stored action must reproduce the motion, at box corners and with rotation too."""
    config = ActionConfig(axes=axes, rotation_step_rad=0.2)
    limits = ReferenceLimits(ARM, config)
    T_ref = pose_about_box(where, turn)
    T_tcp = se3.apply_displacement(T_ref, lag * np.repeat([0.05, 0.3], 3))
    window = limits.window(T_tcp)
    R = T_tcp[:3, :3] if frame == "tcp" else np.eye(3)
    origin = limits.nearest(T_ref, window)
    wish = action * np.repeat([config.translation_step_m, config.rotation_step_rad], 3)

    T_first, moved = limits.accept(origin, wish, R, window)
    along = np.concatenate([moved[:3] @ R, moved[3:] @ R])
    keep = np.array([axis in axes for axis in AXES])
    stored = np.where(keep, along, 0.0).astype(np.float32).astype(np.float64)
    again = np.concatenate([R @ stored[:3], R @ stored[3:]])
    T_again, _ = limits.accept(origin, again, R, window)

    np.testing.assert_allclose(T_again, T_first, atol=1e-7)
    step = np.repeat([config.translation_step_m, config.rotation_step_rad], 3)
    assert (np.abs(along) <= np.where(keep, step, 0.0) + 1e-9).all()
    inside = coordinates(limits, T_first)
    assert (inside[:3] >= LOW - 1e-9).all()
    assert (inside[:3] <= HIGH + 1e-9).all()
    assert (np.abs(inside[3:]) <= np.array(BOX.rotation_rad) + 1e-9).all()


@settings(max_examples=50, deadline=None)
@given(where=unit(3), turn=unit(3), lag=unit(3))
def test_the_reference_stays_within_the_lead_of_the_measured_pose(where, turn, lag):
    """A reference that runs away stores up a push, released when the obstacle gives way."""
    config = ActionConfig(axes=AXES, max_lead_m=0.01)
    limits = ReferenceLimits(ARM, config)
    T_tcp = pose_about_box(where, turn, spread=0.9)
    T_ref = T_tcp.copy()
    T_ref[:3, 3] += 0.2 * lag
    window = limits.window(T_tcp)
    T, _ = limits.accept(limits.nearest(T_ref, window), np.full(6, 0.01), np.eye(3), window)
    assert np.abs(T[:3, 3] - T_tcp[:3, 3]).max() <= config.max_lead_m + 1e-9


def test_a_wall_stops_the_normal_motion_and_lets_the_rest_slide():
    limits = ReferenceLimits(ARM, ActionConfig(max_lead_m=0.1))
    T = pose_about_box(np.array([0.0, 0.0, -1.0]), np.zeros(3), spread=1.0)
    T_new, moved = limits.accept(T, np.array([0.02, 0, -0.02, 0, 0, 0]), np.eye(3), limits.box)
    np.testing.assert_allclose(moved[:3], [0.02, 0, 0], atol=1e-12)
    np.testing.assert_allclose(T_new[:3, 3], T[:3, 3] + [0.02, 0, 0], atol=1e-12)


def test_the_box_wins_over_the_lead_when_the_arm_is_outside():
    limits = ReferenceLimits(ARM, ActionConfig(max_lead_m=0.01))
    T_tcp = pose_about_box(np.array([3.0, 0, 0]), np.zeros(3))
    T = limits.nearest(T_tcp, limits.window(T_tcp))
    assert T[0, 3] == pytest.approx(HIGH[0])


def test_an_axis_the_agent_lacks_is_not_dragged_by_the_lead():
    """Pressed out of line, the hand used to keep the tilt: nothing could turn it back."""
    limits = ReferenceLimits(ARM, ActionConfig(axes=("x", "y", "z")))
    T_ref = pose_about_box(np.zeros(3), np.zeros(3))
    T_tcp = se3.apply_displacement(T_ref, np.array([0, 0, 0, 0.5, 0, 0]))
    T = limits.nearest(T_ref, limits.window(T_tcp))
    np.testing.assert_allclose(T, T_ref, atol=1e-12)
