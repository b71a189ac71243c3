"""Joint moves, and moves that begin in another one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_servers.backends.joint_line import ACCELERATION_RAD_PER_S2, JointLine
from robot_servers.models.base import MODELS

ROBOT = MODELS.get("panda").description
HOME = np.array(ROBOT.q_home_rad)
DT = 0.005
offsets = st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7).map(np.array)


def run(line, ticks=4000):
    """References (N, 7) until it rests at its goal."""
    found = [line.q_ref]
    for _ in range(ticks):
        found.append(line.advance(DT))
        if np.abs(found[-1] - line.q_goal).max() < 1e-9 and np.abs(line.dq_ref).max() < 1e-9:
            return np.array(found)
    raise AssertionError(f"still {np.abs(found[-1] - line.q_goal).max()} rad away")


def accelerations(q, dq_start):
    """Of references (N, 7), from the velocity before them on."""
    dq = np.vstack([dq_start, np.diff(q, axis=0) / DT])
    return np.abs(np.diff(dq, axis=0)) / DT


@settings(deadline=None, max_examples=60)
@given(offsets)
def test_from_rest_it_is_a_straight_line_within_both_limits(offset):
    q = run(JointLine(HOME, HOME + offset, ROBOT, 0.5))
    size = np.linalg.norm(offset)
    if size > 1e-6:
        along = offset / size
        aside = (q - HOME) - np.outer((q - HOME) @ along, along)
        assert np.abs(aside).max() < 1e-9
    assert (np.abs(np.diff(q, axis=0)) / DT <= 0.5 * np.array(ROBOT.dq_max_rad_per_s) + 1e-6).all()
    assert accelerations(q, np.zeros(7)).max() <= ACCELERATION_RAD_PER_S2 + 1e-6


@settings(deadline=None, max_examples=100)
@given(offsets, offsets, st.integers(1, 300))
def test_a_target_in_mid_move_keeps_the_limits_and_arrives(first, second, ticks):
    line = JointLine(HOME, HOME + first, ROBOT, 0.5)
    for _ in range(ticks):
        line.advance(DT)
    dq = line.dq_ref.copy()
    q = run(JointLine(line.q_ref, HOME + second, ROBOT, 0.5, dq_start=dq))
    assert (np.abs(np.diff(q, axis=0)) / DT <= 0.5 * np.array(ROBOT.dq_max_rad_per_s) + 1e-6).all()
    assert accelerations(q, dq).max() <= ACCELERATION_RAD_PER_S2 + 1e-6


def test_a_target_further_on_loses_no_speed():
    line = JointLine(HOME, HOME + 1.0, ROBOT, 0.5)
    for _ in range(80):
        line.advance(DT)
    before = np.linalg.norm(line.dq_ref)
    on = JointLine(line.q_ref, HOME + 1.5, ROBOT, 0.5, dq_start=line.dq_ref)
    speeds = [(on.advance(DT), np.linalg.norm(on.dq_ref))[1] for _ in range(20)]
    assert min(speeds) == pytest.approx(before, rel=1e-3)
