"""What a rehearsal hides from the controller: a load at the tool, and dry friction in the joints.

Neither is in the model that gravity compensation and the law go by, as on a real arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from robot_servers.models.base import RobotModel, element
from serl.errors import UserError

RADIUS_M = 0.03
"""The load's inertia is that of a solid sphere of this size."""


@dataclass(frozen=True, kw_only=True)
class Burden:
    """The same for every arm of a cell."""

    payload_kg: float = 0.0
    """A mass at the TCP that gravity compensation does not know [kg]."""
    joint_friction_nm: float | Sequence[float] = 0.0
    """Coulomb friction of each joint, or of all [N m]."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.payload_kg <= 10.0:
            raise UserError(f"payload_kg is {self.payload_kg:g} kg; allowed is 0 to 10 kg.")
        if not all(0.0 <= friction <= 50.0 for friction in self._each(1)):
            raise UserError(
                f"joint_friction_nm is {self.joint_friction_nm}; allowed is 0 to 50 N m."
            )

    def put_on(self, tree: Element, prefix: str, robot: RobotModel) -> None:
        """Add load and friction to an arm's tree."""
        joints = robot.description.joint_names
        friction = self._each(len(joints))
        if len(friction) != len(joints):
            raise UserError(
                f"joint_friction_nm has {len(friction)} numbers; {robot.description.name} has "
                f"{len(joints)} joints. Give one per joint, or one for all."
            )
        for name, value in zip(joints, friction, strict=True):
            if value > 0.0:
                _find(tree, "joint", prefix + name).set("frictionloss", f"{value:.12g}")
        if self.payload_kg > 0.0:
            self._hang(tree, prefix, robot.names.tcp_site)

    def _hang(self, tree: Element, prefix: str, tcp_site: str) -> None:
        """A body without gravity compensation, at the TCP."""
        site = _find(tree, "site", prefix + tcp_site)
        parent = next(body for body in tree.iter("body") if site in list(body))
        body = element(parent, "body", name=f"{prefix}burden", pos=site.get("pos", "0 0 0"))
        turn = 0.4 * self.payload_kg * RADIUS_M**2
        element(body, "inertial", mass=self.payload_kg, pos=(0, 0, 0), diaginertia=(turn,) * 3)

    def _each(self, count: int) -> tuple[float, ...]:
        friction = self.joint_friction_nm
        return (friction,) * count if isinstance(friction, (int, float)) else tuple(friction)


def _find(tree: Element, tag: str, name: str) -> Element:
    found = next((node for node in tree.iter(tag) if node.get("name") == name), None)
    assert found is not None, name
    return found
