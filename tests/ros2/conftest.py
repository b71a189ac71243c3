"""A simulated arm behind ROS topics, on the fake rclpy or, where ROS is sourced, a real one."""

from __future__ import annotations

import pytest
from hypothesis import settings
from ros2.arm_world import ArmWorld
from ros2.contract import PATIENT_S
from ros2.fake_rclpy import installed

from robot_servers.backends.ros2 import Ros2Backend

settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")


@pytest.fixture
def world():
    with installed(), ArmWorld() as world:
        yield world


@pytest.fixture
def backend(world):
    with Ros2Backend(stale_after_s=PATIENT_S) as backend:
        yield backend
