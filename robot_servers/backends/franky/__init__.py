"""Franka arms without ROS: franky-control (libfranka, 1 kHz Cartesian impedance in C++).

Proved in the tests against franky-sim, the FCI's network protocol on loopback, extended by external
forces, reflexes and a user stop; not yet on metal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robot_servers.backends.base import BACKENDS
from robot_servers.backends.franky.driver import FrankyDriver
from robot_servers.backends.hardware import HardwareBackend
from robot_servers.backends.mock import one_arm
from robot_servers.control import se3
from robot_servers.grippers.base import Gripper, make_gripper
from robot_servers.types import Array


@BACKENDS.register("franky")
class FrankyBackend(HardwareBackend):
    """`HardwareBackend` over a `FrankyDriver`.

    Args:
        robot_ip: the arm's address.
        arms: one arm, 'fr3' or 'panda' by name.
        gripper: a gripper, or a name: 'franka_hand' is reached at the arm's address, 'none' is
            none.
        enforce_realtime: False connects without a real-time kernel: simulators only.
        T_flange_tcp: see `FrankyDriver`.
    """

    def __init__(
        self,
        *,
        robot_ip: str,
        arms: Mapping[str, str] | None = None,
        gripper: Gripper | str = "franka_hand",
        enforce_realtime: bool = True,
        T_flange_tcp: Array | None = None,
    ) -> None:
        name, model = one_arm("franky", arms or {"": "fr3"})
        self._arm = FrankyDriver(
            robot_ip, model, enforce_realtime=enforce_realtime, T_flange_tcp=T_flange_tcp
        )
        super().__init__(self._arm, _gripper(gripper, robot_ip), name)

    def set_tcp(self, name: str, pos_flange_m: Sequence[float], quat_xyzw: Sequence[float]) -> None:
        """T_flange_tcp from now on, on the arm too. At rest only."""
        self._set_tcp(name, se3.pose_from_quat(pos_flange_m, quat_xyzw), self._arm.set_tcp)


def _gripper(gripper: Gripper | str, robot_ip: str) -> Gripper:
    """A hand by name is reached at the arm's address; others have an address of their own."""
    at_arm = {"address": robot_ip} if gripper == "franka_hand" else {}
    return make_gripper(gripper, **at_arm)
