"""Between `types.py` and `robot.proto`, both ways, and bit for bit.

`put_*` fills a message, `take_*` makes a value of one. A message is a stranger's: `take_*` raises
UserError for a wrong length or an unknown word. What numbers are allowed is the Guard's business;
`refuse_nan` is for calls that no Guard checks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import numpy as np

from robot_servers.config import KeepOut, SafetyLimits, Workspace
from robot_servers.guard import Clamp
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import (
    ArmCommand,
    Array,
    CartesianTarget,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    GripperDescription,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
    WrenchTarget,
)
from serl.errors import UserError

PROTOCOL = 1
"""Version of the meaning of robot.proto and scene.proto."""

T = TypeVar("T")

LENGTHS = {
    "translational_clip_m": 3,
    "rotational_clip_rad": 3,
    "translational_clip_neg_m": 3,
    "rotational_clip_neg_rad": 3,
    "com_flange_m": 3,
    "inertia_kg_m2": 9,
    "wrench": 6,
    "low_m": 3,
    "high_m": 3,
    "quat_xyzw": 4,
    "rotation_rad": 3,
}
"""Of the arrays of values that are not one sample; the rest are per joint."""

MAY_BE_ABSENT = ("translational_clip_neg_m", "rotational_clip_neg_rad")
"""Empty on the wire is None."""


def put_flat(message: Any, value: Any) -> None:
    """A dataclass of numbers, words and tuples of them, field by field of the same name."""
    for field in fields(value):
        given = getattr(value, field.name)
        if isinstance(given, tuple):
            getattr(message, field.name).extend(given)
        elif given is not None:
            setattr(message, field.name, given)


def take_flat(cls: type[T], message: Any, where: str) -> T:
    """The inverse of `put_flat`."""
    values = {f.name: _taken(getattr(message, f.name), f.name, where) for f in fields(cls)}  # type: ignore[arg-type]
    return cls(**values)


def put_pose(numbers: Any, T_a_b: Array) -> None:
    """The upper three rows of a pose (4, 4), into a repeated field."""
    numbers.extend(np.asarray(T_a_b, np.float64)[:3].ravel().tolist())


def take_pose(numbers: Any, what: str) -> Array:
    T_a_b = np.zeros((4, 4))
    T_a_b.ravel()[:12] = take_numbers(numbers, 12, what)
    T_a_b[3, 3] = 1.0
    return T_a_b


def take_numbers(numbers: Any, length: int, what: str) -> Array:
    """A repeated field as an array of a known length."""
    if len(numbers) != length:
        raise UserError(f"{what} has {len(numbers)} numbers; it takes {length}.")
    return np.array(numbers[:], np.float64)


def take_array(numbers: Any) -> Array:
    """A repeated field of any length: the receiver knows how many joints there are."""
    return np.array(numbers[:], np.float64)


def put_state(message: pb.RobotState, arm: str, state: RobotState) -> None:
    message.arm = arm
    message.stamp_mono_ns = state.stamp_mono_ns
    message.q_rad.extend(state.q_rad.tolist())
    message.dq_rad_per_s.extend(state.dq_rad_per_s.tolist())
    message.tau_nm.extend(state.tau_nm.tolist())
    put_pose(message.T_base_tcp, state.T_base_tcp)
    message.twist_base_tcp.extend(state.twist_base_tcp.tolist())
    message.wrench_base_ext.extend(state.wrench_base_ext.tolist())
    put_pose(message.T_base_ref, state.T_base_ref)
    put_pose(message.T_base_target, state.T_base_target)
    message.gripper_width_m = state.gripper_width_m
    message.gripper_target_m = state.gripper_target_m
    message.gripper_moving = state.gripper_moving
    message.mode = int(state.mode)  # type: ignore[assignment]
    message.clamped = state.clamped
    if state.fault is not None:
        put_fault(message.fault, state.fault)


def take_state(message: pb.RobotState, offset_ns: int = 0) -> RobotState:
    """A sample; `offset_ns` is added to its stamps."""
    n = len(message.q_rad)
    return RobotState(
        stamp_mono_ns=message.stamp_mono_ns + offset_ns,
        q_rad=take_array(message.q_rad),
        dq_rad_per_s=take_numbers(message.dq_rad_per_s, n, "dq_rad_per_s"),
        tau_nm=take_numbers(message.tau_nm, n, "tau_nm"),
        T_base_tcp=take_pose(message.T_base_tcp, "T_base_tcp"),
        twist_base_tcp=take_numbers(message.twist_base_tcp, 6, "twist_base_tcp"),
        wrench_base_ext=take_numbers(message.wrench_base_ext, 6, "wrench_base_ext"),
        T_base_ref=take_pose(message.T_base_ref, "T_base_ref"),
        T_base_target=take_pose(message.T_base_target, "T_base_target"),
        gripper_width_m=message.gripper_width_m,
        gripper_target_m=message.gripper_target_m,
        gripper_moving=message.gripper_moving,
        mode=Mode(message.mode),
        clamped=message.clamped,
        fault=take_fault(message.fault, offset_ns) if message.HasField("fault") else None,
    )


def put_states(message: pb.States, states: Mapping[str, RobotState]) -> None:
    message.stamp_mono_ns = max((s.stamp_mono_ns for s in states.values()), default=0)
    for arm, state in states.items():
        put_state(message.arms.add(), arm, state)


def take_states(message: pb.States, offset_ns: int = 0) -> dict[str, RobotState]:
    return {state.arm: take_state(state, offset_ns) for state in message.arms}


def put_fault(message: pb.Fault, fault: Fault) -> None:
    message.kind = int(fault.kind)  # type: ignore[assignment]
    message.reason = fault.reason
    message.stamp_mono_ns = fault.stamp_mono_ns
    message.recording = fault.recording


def take_fault(message: pb.Fault, offset_ns: int = 0) -> Fault:
    return Fault(
        kind=FaultKind(message.kind or FaultKind.OTHER),
        reason=message.reason,
        stamp_mono_ns=message.stamp_mono_ns + offset_ns,
        recording=message.recording,
    )


def put_command(message: pb.ArmCommand, arm: str, command: ArmCommand) -> None:
    """Raises UserError for what is no pose (4, 4) or no vector: only its shape is looked at."""
    message.arm = arm
    target = command.target
    if isinstance(target, CartesianTarget):
        T_base_tcp = np.asarray(target.T_base_tcp, np.float64)
        if T_base_tcp.shape != (4, 4) or not np.array_equal(T_base_tcp[3], (0, 0, 0, 1)):
            raise UserError(
                f"arm {arm!r}: target.T_base_tcp of shape {T_base_tcp.shape} is no rigid pose; "
                "give (4, 4) with the last row (0, 0, 0, 1)."
            )
        put_pose(message.cartesian.T_base_tcp, T_base_tcp)
    elif isinstance(target, JointTarget):
        message.joints.q_rad.extend(np.asarray(target.q_rad, np.float64).ravel().tolist())
        message.joints.SetInParent()
    elif isinstance(target, WrenchTarget):
        message.wrench.wrench.extend(np.asarray(target.wrench, np.float64).ravel().tolist())
        message.wrench.frame = target.frame
    if command.gripper is not None:
        put_flat(message.gripper, command.gripper)
        message.gripper.SetInParent()


def take_command(message: pb.ArmCommand) -> ArmCommand:
    kind = message.WhichOneof("target")
    target: CartesianTarget | JointTarget | WrenchTarget | None = None
    if kind == "cartesian":
        what = f"arm {message.arm!r}: T_base_tcp"
        target = CartesianTarget(T_base_tcp=take_pose(message.cartesian.T_base_tcp, what))
    elif kind == "joints":
        target = JointTarget(q_rad=take_array(message.joints.q_rad))
    elif kind == "wrench":
        wrench = take_numbers(message.wrench.wrench, 6, f"arm {message.arm!r}: wrench")
        target = WrenchTarget(wrench=wrench, frame=message.wrench.frame)
        if target.frame not in ("base", "tcp"):
            raise UserError(f"wrench frame {target.frame!r} is neither 'base' nor 'tcp'.")
    gripper = None
    if message.HasField("gripper"):
        g = message.gripper
        gripper = GripperTarget(
            width_m=g.width_m,
            force_n=g.force_n if g.HasField("force_n") else None,
            speed_m_per_s=g.speed_m_per_s if g.HasField("speed_m_per_s") else None,
        )
    return ArmCommand(target=target, gripper=gripper)


def take_commands(messages: Iterable[pb.ArmCommand]) -> dict[str, ArmCommand]:
    commands: dict[str, ArmCommand] = {}
    for message in messages:
        if message.arm in commands:
            raise UserError(f"arm {message.arm!r} is commanded twice in one message.")
        commands[message.arm] = take_command(message)
    return commands


def put_clamps(message: pb.Verdict, clamps: Sequence[Clamp]) -> None:
    for clamp in clamps:
        message.clamps.add(limit=clamp.limit, text=clamp.text)


def take_clamps(message: pb.Verdict) -> tuple[Clamp, ...]:
    return tuple(Clamp(limit=c.limit, text=c.text) for c in message.clamps)


def put_description(message: pb.RobotDescription, robot: RobotDescription) -> None:
    for field in fields(robot):
        value = getattr(robot, field.name)
        if isinstance(value, tuple):
            getattr(message, field.name).extend(value)
        elif isinstance(value, str):
            setattr(message, field.name, value)
    if robot.gripper is not None:
        put_flat(message.gripper, robot.gripper)
        message.gripper.SetInParent()


def take_description(message: pb.RobotDescription) -> RobotDescription:
    gripper = None
    if message.HasField("gripper"):
        gripper = take_flat(GripperDescription, message.gripper, "gripper")
    n = len(message.joint_names)

    def joints(name: str) -> tuple[float, ...]:
        return tuple(take_numbers(getattr(message, name), n, name).tolist())

    return RobotDescription(
        name=message.name,
        joint_names=tuple(message.joint_names),
        q_min_rad=joints("q_min_rad"),
        q_max_rad=joints("q_max_rad"),
        dq_max_rad_per_s=joints("dq_max_rad_per_s"),
        tau_max_nm=joints("tau_max_nm"),
        q_home_rad=joints("q_home_rad"),
        gripper=gripper,
    )


def put_limits(message: pb.SafetyLimits, limits: SafetyLimits) -> None:
    for field in fields(limits):
        if field.name != "workspace":
            setattr(message, field.name, getattr(limits, field.name))
    workspace = limits.workspace
    for field in fields(workspace):
        if field.name != "keep_out":
            getattr(message.workspace, field.name).extend(getattr(workspace, field.name))
    for box in workspace.keep_out:
        put_flat(message.workspace.keep_out.add(), box)


def take_limits(message: pb.SafetyLimits, where: str) -> SafetyLimits:
    workspace = message.workspace
    boxes = tuple(take_flat(KeepOut, box, f"{where}: keep_out") for box in workspace.keep_out)
    given = {
        f.name: _taken(getattr(workspace, f.name), f.name, where)
        for f in fields(Workspace)
        if f.name != "keep_out"
    }
    rest = {f.name: getattr(message, f.name) for f in fields(SafetyLimits) if f.name != "workspace"}
    # A field of later versions of the protocol: absent, it is no limit of the sender's.
    absent = {
        f.name: math.inf
        for f in message.DESCRIPTOR.fields
        if f.name in rest and f.has_presence and not message.HasField(f.name)
    }
    return SafetyLimits(workspace=Workspace(**given, keep_out=boxes), **rest | absent)


def put_gains(message: pb.Gains, gains: Gains) -> None:
    put_flat(message, gains)


def take_gains(message: pb.Gains, where: str) -> Gains:
    return take_flat(Gains, message, where)


def take_motion(message: pb.MotionLimits, where: str) -> MotionLimits:
    return take_flat(MotionLimits, message, where)


def take_payload(message: pb.Payload, where: str) -> Payload:
    return take_flat(Payload, message, where)


def take_collision(message: pb.CollisionThresholds, where: str) -> CollisionThresholds:
    return take_flat(CollisionThresholds, message, where)


def refuse_nan(value: Any, where: str) -> None:
    """Raise UserError naming the field of a dataclass, or of one inside it, that holds NaN.

    Infinity passes: as a limit it means none of the client's own.
    """
    for field in fields(value):
        given = getattr(value, field.name)
        numbers = given if isinstance(given, tuple) else (given,)
        for number in numbers:
            if hasattr(number, "__dataclass_fields__"):
                refuse_nan(number, where)
            elif isinstance(number, float) and math.isnan(number):
                raise UserError(f"{where}: {field.name} is not a number; every number must be.")


def _taken(value: Any, name: str, where: str) -> Any:
    if isinstance(value, (float, int, str, bool)):
        return value
    values = tuple(value)
    if name in MAY_BE_ABSENT and not values:
        return None
    length = LENGTHS.get(name, len(values))
    if len(values) != length:
        raise UserError(f"{where}: {name} has {len(values)} numbers; it takes {length}.")
    return values
