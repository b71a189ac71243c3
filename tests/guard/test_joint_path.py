"""Joint moves are slowed until the TCP keeps to its own speed limits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_servers.backends.joint_line import JointLine
from robot_servers.config import SafetyLimits
from robot_servers.control import se3
from robot_servers.joint_path import slowed_joints
from robot_servers.models.base import MODELS
from robot_servers.types import JointTarget

PANDA = MODELS.get("panda")
ROBOT = PANDA.description
LOW, HIGH = np.array(ROBOT.q_min_rad), np.array(ROBOT.q_max_rad)
DT_S = 0.005


def line_of(q, target):
    return JointLine(q, target.q_rad, ROBOT, target.speed_share, None, target.acceleration_share)


@settings(max_examples=25, deadline=None)
@given(
    shares=st.lists(st.floats(0.05, 0.95), min_size=14, max_size=14),
    linear=st.floats(0.05, 1.0),
    angular=st.floats(0.2, 3.0),
)
def test_the_tcp_keeps_its_speed_limits_on_a_joint_move(shares, linear, angular):
    """A low limit in robot.toml used to end a joint reset in a speed fault half way."""
    q = LOW + np.array(shares).reshape(2, 7) * (HIGH - LOW)
    limits = SafetyLimits(linear_speed_m_per_s=linear, angular_speed_rad_per_s=angular)
    target = slowed_joints(JointTarget(q_rad=q[1]), q[0], ROBOT, limits)
    line = line_of(q[0], target)
    line.advance(DT_S)
    way = [line.q_ref]
    while np.abs(line.q_ref - q[1]).max() > 1e-6 and len(way) < 20_000:
        way.append(line.advance(DT_S))
    T = PANDA.T_base_tcp(np.array(way))
    speeds = np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=1) / DT_S
    turns = [
        np.linalg.norm(se3.rotvec_from_matrix(b[:3, :3] @ a[:3, :3].T)) / DT_S
        for a, b in pairwise(T)
    ]
    assert speeds.max(initial=0.0) <= 1.05 * linear
    assert max(turns, default=0.0) <= 1.05 * angular


def test_a_slow_move_stays_as_it_is():
    q = np.array(ROBOT.q_home_rad)
    target = JointTarget(q_rad=q + 0.1, speed_share=0.05)
    assert slowed_joints(target, q, ROBOT, SafetyLimits()) is target
    assert slowed_joints(JointTarget(q_rad=q), q, ROBOT, SafetyLimits()).speed_share == 0.5


def test_half_the_speed_limit_gives_half_the_share():
    q = np.array(ROBOT.q_home_rad)
    target = JointTarget(q_rad=q + np.array([1.0, 0, 0, 0, 0, 0, 0]))
    slow = replace(SafetyLimits(), linear_speed_m_per_s=0.2)
    slower = replace(SafetyLimits(), linear_speed_m_per_s=0.1)  # acceleration bounds neither
    first, second = (slowed_joints(target, q, ROBOT, each) for each in (slow, slower))
    assert second.speed_share == pytest.approx(first.speed_share / 2)


@settings(max_examples=25, deadline=None)
@given(
    shares=st.lists(st.floats(0.1, 0.9), min_size=14, max_size=14),
    linear=st.floats(0.5, 12.0),
    angular=st.floats(2.0, 45.0),
)
def test_the_tcp_keeps_its_acceleration_limits_on_a_joint_move(shares, linear, angular):
    q = LOW + np.array(shares).reshape(2, 7) * (HIGH - LOW)
    limits = SafetyLimits(
        linear_acceleration_m_per_s2=linear, angular_acceleration_rad_per_s2=angular
    )
    target = slowed_joints(JointTarget(q_rad=q[1], speed_share=1.0), q[0], ROBOT, limits)
    line = line_of(q[0], target)
    way = [q[0], q[0]]
    while np.abs(line.q_ref - q[1]).max() > 1e-6 and len(way) < 20_000:
        way.append(line.advance(DT_S))
    T = PANDA.T_base_tcp(np.array(way))
    velocity = np.diff(T[:, :3, 3], axis=0) / DT_S
    omega = np.array([se3.rotvec_from_matrix(b[:3, :3] @ a[:3, :3].T) for a, b in pairwise(T)])
    for rates, most in ((velocity, linear), (omega / DT_S, angular)):
        acceleration = np.linalg.norm(np.diff(rates, axis=0), axis=1) / DT_S
        assert acceleration.max(initial=0.0) <= 1.1 * most
