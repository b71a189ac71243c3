"""No gripper: a bare flange, or a tool that nothing here drives."""

from __future__ import annotations

import time
from typing import Any

from robot_servers.grippers.base import GRIPPERS, GripperState
from robot_servers.types import GripperTarget
from serl.errors import UserError


@GRIPPERS.register("none")
class NoGripper:
    """Accepts the keywords of any gripper and has none."""

    description = None

    def __init__(self, **_: Any) -> None: ...

    def connect(self) -> None: ...

    def close(self) -> None: ...

    def command(self, target: GripperTarget) -> None:
        raise UserError("there is no gripper here; set type in robot.toml's [arm.gripper].")

    def state(self) -> GripperState:
        return GripperState(
            stamp_mono_ns=time.monotonic_ns(), width_m=0, target_m=0, moving=False, holding=False
        )
