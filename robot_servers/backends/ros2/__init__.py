"""The `ros2` backend: an arm under ros2_control, reached through topics, services and actions.

Unproven on real rclpy until `make test-ros2` has been run (docs/franka.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from robot_servers.backends.base import BACKENDS
from robot_servers.backends.hardware import HardwareBackend
from robot_servers.backends.mock import one_arm
from robot_servers.backends.ros2.driver import MAX_ROTATIONAL_STIFFNESS, Ros2Driver, check_stiffness
from robot_servers.backends.ros2.names import Ros2Names
from robot_servers.control import se3
from robot_servers.grippers.base import GRIPPERS, Gripper
from robot_servers.types import Gains


@BACKENDS.register("ros2")
class Ros2Backend(HardwareBackend):
    """`HardwareBackend` over a `Ros2Driver`.

    Args:
        arms: one arm, model by name.
        gripper: a gripper, or its name. 'franka_hand' is the hand that franka_ros2's gripper node
            drives: there the connection to the hand is that node's.
        namespace, state, names, stale_after_s: see `Ros2Driver`.
        loop_hz: of targets.
    """

    gain_limits = {"rotational_stiffness_nm_per_rad": MAX_ROTATIONAL_STIFFNESS}
    """A guard in front lowers what is asked for to these, and says so."""

    def __init__(
        self,
        *,
        arms: Mapping[str, str] | None = None,
        gripper: Gripper | str = "franka_hand",
        namespace: str = "",
        state: str = "franka",
        names: Ros2Names | None = None,
        loop_hz: float = 200.0,
        stale_after_s: float = 0.2,
    ) -> None:
        name, robot = one_arm("ros2", arms or {"": "fr3"})
        self._ros = driver = Ros2Driver(
            robot,
            namespace=namespace,
            state=state,
            names=names,
            loop_hz=loop_hz,
            stale_after_s=stale_after_s,
        )
        if isinstance(gripper, str):
            hand: Gripper = _gripper(gripper, namespace)
        else:
            hand = gripper
        super().__init__(driver, hand, name)

    def set_tcp(self, name: str, pos_flange_m: Sequence[float], quat_xyzw: Sequence[float]) -> None:
        """The TCP is Desk's and the URDF's: refused unless it is this one already."""
        self._check_names([name])
        self._ros.check_flange_tcp(se3.pose_from_quat(pos_flange_m, quat_xyzw))

    def set_gains(self, gains: Mapping[str, Gains]) -> None:
        """As `HardwareBackend.set_gains`; what CRISP would clamp in silence is refused."""
        for value in gains.values():
            check_stiffness(value)
        super().set_gains(gains)


def _gripper(name: str, namespace: str) -> Gripper:
    if name in ("franka_hand", "ros2_hand"):
        return GRIPPERS.get("ros2_hand")(namespace=namespace)
    return GRIPPERS.get(name)()
