"""The ros2 backend for the contract tests: a simulated arm behind it, on a fake or a real rclpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from ros2.arm_world import ArmWorld
from ros2.fake_rclpy import installed

PATIENT_S = 1.0
"""Of a state, while arm and backend share the cores of a busy machine."""


@contextmanager
def simulated_ros2() -> Iterator:
    """A connected backend; its `world` is the arm."""
    from robot_servers.backends.ros2 import Ros2Backend

    with installed(), ArmWorld() as world, Ros2Backend(stale_after_s=PATIENT_S) as backend:
        backend.world = world
        yield backend


def push_ros2(backend) -> Callable[[str, np.ndarray], None]:
    """(arm, wrench in base (6,)): push on the TCP from now on."""
    return lambda arm, wrench: setattr(backend.world, "pushed", np.array(wrench, dtype=float))
