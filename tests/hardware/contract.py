"""The franky backend for the contract tests: an arm of franky-sim behind it, over the FCI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from benchmarks.franky_world import FrankyWorld
from robot_servers.models.base import MODELS

PATIENT_S = 3.0
"""Of a state and of torques, while arm and backend share the cores of a busy machine."""


@contextmanager
def simulated_franky() -> Iterator:
    """A connected backend; its `world` is the arm. Joint friction, which blurs what a static push
    tells of the law, is off."""
    from robot_servers.backends.franky import FrankyBackend, driver, motions

    class OnArmTime(FrankyBackend):
        """Lets a period pass on the arm's clock: on a busy machine the world runs slower."""

        def advance(self, period_s):
            began_ms = self._arm._arm_time
            states = super().advance(period_s)
            while self._arm._arm_time - began_ms < 900 * period_s:
                states = super().advance(self.period_s)
                if states[""].fault is not None:
                    break
            return states

    home = MODELS.get("fr3").description.q_home_rad
    with (
        FrankyWorld(home) as world,
        patch.object(driver, "SILENT_S", PATIENT_S),
        patch.object(motions, "TORQUE_TIMEOUT_S", PATIENT_S),
    ):
        world.set_friction(0.0)
        with OnArmTime(robot_ip=world.host, enforce_realtime=False) as backend:
            backend.world = world
            yield backend


def push_franky(backend) -> Callable[[str, np.ndarray], None]:
    """(arm, wrench in base (6,)): push on the TCP from now on."""
    return lambda arm, wrench: backend.world.push(*map(float, wrench))
