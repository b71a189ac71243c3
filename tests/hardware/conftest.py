"""Short words for what the tests of real arms' backends do."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from robot_servers.control import se3
from robot_servers.types import ArmCommand, CartesianTarget, RobotState


class Hand:
    """Commands one arm and looks at it, in real time."""

    def __init__(self, backend):
        self.backend = backend
        self.ticks: list[RobotState] = []
        """Every sample since `record`."""
        self._recording = False
        backend.subscribe(self._on_tick)

    def _on_tick(self, states):
        if self._recording:
            self.ticks.append(states[""])

    def record(self):
        self.ticks, self._recording = [], True

    @property
    def state(self) -> RobotState:
        return self.backend.states()[""]

    def command(self, target=None, gripper=None):
        self.backend.command({"": ArmCommand(target=target, gripper=gripper)})

    def go(self, T):
        self.command(CartesianTarget(T_base_tcp=T))

    def shift(self, *displacement):
        """Aim `displacement` (6,) away from where the TCP is; the target."""
        T = se3.apply_displacement(self.state.T_base_tcp, np.array(displacement, float))
        self.go(T)
        return T

    def wait(self, seconds: float) -> RobotState:
        time.sleep(seconds)
        return self.state

    def until(self, condition: Callable[[RobotState], object], limit_s: float = 10.0) -> RobotState:
        """The first state for which `condition` holds."""
        deadline = time.monotonic() + limit_s
        while not condition(state := self.state):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {limit_s:g} s; the arm is at {state}")
            time.sleep(0.005)
        return state

    def away(self, T) -> tuple[float, float]:
        """How far the TCP is from `T`: [m] and [rad]."""
        error = se3.pose_error(T, self.state.T_base_tcp)
        return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))

    def at_rest(self, state=None) -> bool:
        twist = (state or self.state).twist_base_tcp
        return bool(np.linalg.norm(twist[:3]) < 0.003 and np.linalg.norm(twist[3:]) < 0.02)


@pytest.fixture(name="Hand")
def _hand():
    return Hand
