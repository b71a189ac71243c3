"""Fields of the state vector and elements of the action: names, units and scale, as data.

A state element is (value - offset) / scale, clipped to +-STATE_LIMIT, so that what a network sees
is near unit size. Its name in the spec says so: 'tcp_pos.x [0.1 m]' is in tenths of a metre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serl.errors import UserError, unknown_name
from serl.types import ArraySpec

if TYPE_CHECKING:
    from envs.config import ArmConfig

STATE_LIMIT = 10.0
"""A state element never leaves +- this, in its scaled unit."""

AXES = ("x", "y", "z", "rx", "ry", "rz")
"""Displacements of the TCP: along and about its axes."""


@dataclass(frozen=True)
class FieldSpec:
    """One named piece of the state vector."""

    elements: tuple[str, ...]
    """Name of each element; empty for one element of the field's own name."""
    unit: str
    scale: float = 1.0
    offset: float = 0.0

    @property
    def size(self) -> int:
        return max(1, len(self.elements))

    def names(self, field: str) -> tuple[str, ...]:
        """Each element's name with its unit.

        >>> FieldSpec(("x", "y"), "m", scale=0.1).names("tcp_pos")
        ('tcp_pos.x [0.1 m]', 'tcp_pos.y [0.1 m]')
        >>> FieldSpec((), "m", scale=0.04, offset=0.04).names("gripper_width")
        ('gripper_width [0.04 m from 0.04]',)
        """
        unit = f"{self.scale:g} {self.unit}" if self.scale != 1.0 else self.unit
        unit += f" from {self.offset:g}" if self.offset else ""
        return tuple(f"{field}{'.' if e else ''}{e} [{unit}]" for e in self.elements or ("",))


XYZ = ("x", "y", "z")

ARM_FIELDS: dict[str, FieldSpec] = {
    "tcp_pos": FieldSpec(XYZ, "m", scale=0.1),
    "tcp_rotvec": FieldSpec(XYZ, "rad"),
    "tcp_rot6d": FieldSpec(("r11", "r21", "r31", "r12", "r22", "r32"), "1"),
    "tcp_lin_vel": FieldSpec(XYZ, "m/s", scale=0.5),
    "tcp_ang_vel": FieldSpec(XYZ, "rad/s"),
    "ref_pos": FieldSpec(XYZ, "m", scale=0.02),
    "ref_rotvec": FieldSpec(XYZ, "rad", scale=0.1),
    "force": FieldSpec(XYZ, "N", scale=10.0),
    "torque": FieldSpec(XYZ, "N m"),
    "gripper_width": FieldSpec((), "m", scale=0.04, offset=0.04),
    "gripper_target": FieldSpec((), "m", scale=0.04, offset=0.04),
}
"""Fields every arm has, besides q [rad] and dq [rad/s], whose size its description knows.

tcp_pos, tcp_rotvec, tcp_rot6d (first two columns of the rotation matrix): pose relative to the
reset pose or base (`pose_frame`). tcp_lin_vel, tcp_ang_vel, force, torque: in the TCP's axes; the
wrench is the environment's on the robot. ref_*: the reference relative to the measured TCP, in its
axes. gripper_target: the last commanded opening.
"""

_JOINT_FIELDS = {"q": "rad", "dq": "rad/s"}


def arm_field(name: str, robot: str) -> FieldSpec | None:
    """The field of that name for that robot, or None. Only q and dq ask the robot's description."""
    if name in _JOINT_FIELDS:
        from robot_servers.models.base import describe

        return FieldSpec(describe(robot).joint_names, _JOINT_FIELDS[name])
    return ARM_FIELDS.get(name)


def check_fields(state: Sequence[str], task_fields: Mapping[str, FieldSpec]) -> None:
    """Raise UserError for a field nobody knows, or one named twice."""
    known = [*ARM_FIELDS, *_JOINT_FIELDS, *task_fields]
    for name in state:
        if name not in known:
            raise unknown_name("state field", name, known)
    if not state or len(set(state)) != len(state):
        raise UserError(f"state {tuple(state)} must name at least one field, and none twice.")


def layout(
    arms: Sequence[ArmConfig], state: Sequence[str], task_fields: Mapping[str, FieldSpec]
) -> list[tuple[str, FieldSpec]]:
    """(full name, field) of every piece of the state vector, in order.

    An arm's field appears once per arm, with the arm's prefix; the task's own appear once.
    """
    pieces: list[tuple[str, FieldSpec]] = []
    for name in state:
        if name in task_fields:
            pieces.append((name, task_fields[name]))
            continue
        for arm in arms:
            field = arm_field(name, arm.robot)
            assert field is not None, name
            pieces.append((arm.prefix + name, field))
    return pieces


def state_spec(
    arms: Sequence[ArmConfig], state: Sequence[str], task_fields: Mapping[str, FieldSpec]
) -> ArraySpec:
    """The observation 'state'."""
    names = [n for full, field in layout(arms, state, task_fields) for n in field.names(full)]
    return ArraySpec(
        name="state",
        shape=(len(names),),
        dtype="float32",
        low=-STATE_LIMIT,
        high=STATE_LIMIT,
        fields=tuple(names),
    )


def action_spec(arms: Sequence[ArmConfig], axes: Sequence[str], gripper: str) -> ArraySpec:
    """The agent's action: per arm the chosen axes, then the gripper unless it has none."""
    per_arm = [*axes, *([] if gripper == "none" else ["gripper"])]
    names = tuple(f"{arm.prefix}{name}" for arm in arms for name in per_arm)
    return ArraySpec(
        name="action", shape=(len(names),), dtype="float32", low=-1.0, high=1.0, fields=names
    )
