"""A robot server's guard in front of the ros2 backend: watchdog, stops and limits, end to end."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ros2.arm_world import ArmWorld
from ros2.contract import PATIENT_S
from ros2.fake_rclpy import installed

from robot_servers.backends.ros2.session import poll
from robot_servers.config import RobotConfig
from robot_servers.control import se3
from robot_servers.guard import Guard
from robot_servers.types import ArmCommand, CartesianTarget, FaultKind, Mode

SPARE_S = 0.4
"""What a busy machine may add to 100 ms."""


@pytest.fixture
def guard(tmp_path):
    from robot_servers.backends.ros2 import Ros2Backend

    with installed(), ArmWorld():
        guard = Guard(Ros2Backend(stale_after_s=PATIENT_S), RobotConfig(recordings=tmp_path))
        guard.start()
        yield guard
        guard.close()


def state(guard):
    return guard.states()[""]


def push_on(guard, start, dx, valid_for_s=0.2):
    T = se3.apply_displacement(start, np.array([dx, 0, 0, 0, 0, 0]))
    (verdict,) = guard.command(
        {"": ArmCommand(target=CartesianTarget(T_base_tcp=T))}, valid_for_s=valid_for_s
    ).values()
    return verdict.refused


def moving(guard):
    """Accepted, once the wrench at rest has been measured, and under way."""
    start = state(guard).T_base_tcp
    assert poll(lambda: not push_on(guard, start, 0.05, valid_for_s=1.0), 5.0, every_s=0.05)
    assert poll(lambda: state(guard).T_base_tcp[0, 3] > start[0, 3] + 0.01, 5.0)
    return start


def test_silence_holds_the_arm_and_the_next_command_goes_on(guard):
    start = moving(guard)
    began = time.monotonic()
    assert not push_on(guard, start, 0.08)
    assert poll(lambda: state(guard).mode is Mode.HOLD, 3.0)
    assert time.monotonic() - began < 0.2 + 0.1 + SPARE_S
    assert poll(lambda: np.linalg.norm(state(guard).twist_base_tcp[:3]) < 0.01, 2.0)
    assert state(guard).fault is None
    here = state(guard).T_base_tcp
    assert not push_on(guard, here, 0.02)
    assert poll(lambda: state(guard).mode is Mode.IMPEDANCE, 2.0)


def test_a_commander_that_is_gone_leaves_an_arm_that_holds(guard):
    moving(guard)
    began = time.monotonic()
    guard.release("the client's connection closed")
    assert poll(lambda: state(guard).mode is Mode.HOLD, 2.0)
    assert time.monotonic() - began < 0.1 + SPARE_S
    assert state(guard).fault is None


def test_an_estop_takes_the_arm_from_crisp_until_an_operator_recovers(guard):
    start = moving(guard)
    guard.estop("test")
    assert poll(lambda: state(guard).mode is Mode.FAULT, 2.0)
    assert state(guard).fault.kind is FaultKind.ESTOP
    assert "ault" in push_on(guard, start, 0.02)
    assert guard.recover([""], "test") == {"": ""}
    assert state(guard).mode is Mode.HOLD
    moving(guard)
