"""robot.toml: what this robot PC allows, and what its arms carry.

Absolute: nothing over the network widens it (DESIGN decision 13). A key that is not known, of the
wrong type or out of range is refused in one line that names the file, the table and what is
allowed. An arm without a table of its own has the values of [arm].

    [arm]
    robot = "panda"
    [arm.workspace]
    low_m = [0.25, -0.4, 0.0]
    ...
    [arms.left.workspace]     # where arms have names
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from robot_servers.control import se3
from robot_servers.toml_tables import TableReader
from robot_servers.types import CollisionThresholds, Payload
from serl.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, kw_only=True)
class KeepOut:
    """A box in base that no TCP target may be in [m]."""

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where a TCP target may be, on every motion."""

    low_m: tuple[float, float, float] = (0.2, -0.6, -0.02)
    high_m: tuple[float, float, float] = (0.85, 0.6, 0.9)
    quat_xyzw: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """Reference orientation of the rotation box; the default looks straight down."""
    rotation_rad: tuple[float, float, float] = (1.7, 1.7, 1.7)
    """Largest rotation vector from it, on each of its axes, both signs [rad]."""
    keep_out: tuple[KeepOut, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SafetyLimits:
    """Absolute limits of one arm. An experiment may narrow each, never widen."""

    workspace: Workspace = field(default_factory=Workspace)
    step_m: float = 0.1
    """A target may be this far from the last accepted one, or from the TCP out of HOLD [m]."""
    step_rad: float = 0.5
    linear_speed_m_per_s: float = 1.0
    angular_speed_rad_per_s: float = 3.0
    linear_acceleration_m_per_s2: float = 12.0
    angular_acceleration_rad_per_s2: float = 45.0
    force_n: float = 80.0
    """External force beyond which the arm faults [N]."""
    torque_nm: float = 25.0
    joint_margin_rad: float = 0.05
    """No joint comes nearer to its end than this."""
    push_n: float = 150.0
    """Stiffness x clip may not exceed this on any axis [N]."""
    translational_stiffness_n_per_m: float = 4000.0
    rotational_stiffness_nm_per_rad: float = 300.0
    push_nm: float = 40.0
    """Rotational stiffness x clip may not exceed this on any axis [N m]. SERL's stiffest, 300 and
    0.1 on half the angle, is 30."""
    translational_damping_n_s_per_m: float = 400.0
    """This and the next three: what SERL's controller takes at most; twice that for rotation."""
    rotational_damping_nm_s_per_rad: float = 60.0
    nullspace_stiffness_nm_per_rad: float = 100.0
    joint1_nullspace_factor: float = 100.0
    torque_rate_nm_per_s: float = 1000.0
    """Franka's own limit on the rate of a torque [N m/s]."""
    wrench_n: float = 20.0
    """Largest commanded force and, below, torque in wrench mode, per axis. Source: HIL-SERL."""
    wrench_nm: float = 5.0
    command_hz: float = 400.0
    """Commands arriving faster are refused."""


HIGHEST: Mapping[str, float] = {
    "step_m": 1.0,
    "step_rad": math.pi,
    "linear_speed_m_per_s": 3.0,
    "angular_speed_rad_per_s": 5.0,
    "linear_acceleration_m_per_s2": 13.0,
    "angular_acceleration_rad_per_s2": 50.0,
    "force_n": 500.0,
    "torque_nm": 200.0,
    "joint_margin_rad": 1.0,
    "push_n": 500.0,
    "translational_stiffness_n_per_m": 10000.0,
    "rotational_stiffness_nm_per_rad": 1000.0,
    "push_nm": 100.0,
    "translational_damping_n_s_per_m": 1000.0,
    "rotational_damping_nm_s_per_rad": 100.0,
    "nullspace_stiffness_nm_per_rad": 100.0,
    "joint1_nullspace_factor": 100.0,
    "torque_rate_nm_per_s": 1000.0,
    "wrench_n": 100.0,
    "wrench_nm": 50.0,
    "command_hz": 1000.0,
}
"""No robot.toml allows more: a slip of the decimal point is refused. Speeds and accelerations are
what fits an arm of this size (Franka's own Cartesian limits are 3.0 m/s and 9.0 m/s^2 for the FR3,
1.7 m/s and 13 m/s^2 for the Panda, 2.5 rad/s and 25 rad/s^2); the rest is our own."""

HEAVIEST_KG = 20.0

FARTHEST_M = 10.0
"""No base stands farther from the cell's origin."""


@dataclass(frozen=True, kw_only=True)
class GripperConfig:
    """Which gripper driver, and how to reach it."""

    type: str = "franka_hand"
    """A name from `robot_servers.grippers`, or 'none'."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further keywords of the driver, such as address = '192.168.1.11:502'."""


@dataclass(frozen=True, kw_only=True)
class ArmSettings:
    """One arm's table."""

    robot: str = "panda"
    limits: SafetyLimits = field(default_factory=SafetyLimits)
    payload: Payload = field(default_factory=Payload)
    payload_verified: bool = True
    """False: start although the wrench at rest is above 3 N; HOLD then never softens."""
    tcp_pos_m: tuple[float, float, float] | None = None
    """T_flange_tcp; None: the model's own, between the Franka Hand's finger tips."""
    tcp_quat_xyzw: tuple[float, float, float, float] | None = None
    collision: CollisionThresholds | None = None
    gripper: GripperConfig = field(default_factory=GripperConfig)
    base_pos_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Simulator: where the arm's base stands in the cell, and turned how far about z. A real arm
    stands where it stands, and is told nothing."""
    base_yaw_rad: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """The whole file."""

    arm: ArmSettings = field(default_factory=ArmSettings)
    arms: Mapping[str, ArmSettings] = field(default_factory=dict)
    recordings: Path = Path("recordings")
    """Where fault recordings go."""

    def settings(self, arm: str) -> ArmSettings:
        return self.arms.get(arm, self.arm)


def load_config(path: Path | None) -> RobotConfig:
    """robot.toml as a RobotConfig; without a file, the defaults. Raises UserError in one line."""
    if path is None:
        return RobotConfig()
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no TOML: {error}.") from error
    return _read(TableReader(Path(path)), table)


def narrowed(absolute: SafetyLimits, asked: SafetyLimits) -> SafetyLimits:
    """What both allow: boxes intersected, the smaller of each number, keep-outs of either.

    Raises UserError where the boxes have nothing in common, or where their rotation boxes stand
    about different orientations and the asked one is not surely inside the absolute one.
    """
    changes: dict[str, Any] = {"workspace": _narrowed_box(absolute.workspace, asked.workspace)}
    for item in fields(SafetyLimits):
        if item.name == "workspace":
            continue
        both = getattr(absolute, item.name), getattr(asked, item.name)
        if not math.isfinite(both[1]) or both[1] < 0:
            raise UserError(f"{item.name} is {both[1]}; it must be a finite number, 0 or more.")
        changes[item.name] = max(both) if item.name == "joint_margin_rad" else min(both)
    return replace(absolute, **changes)


def _narrowed_box(absolute: Workspace, asked: Workspace) -> Workspace:
    low = tuple(max(pair) for pair in zip(absolute.low_m, asked.low_m, strict=True))
    high = tuple(min(pair) for pair in zip(absolute.high_m, asked.high_m, strict=True))
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise UserError(
            f"the workspace {asked.low_m} to {asked.high_m} m has nothing in common with the "
            f"robot's, {absolute.low_m} to {absolute.high_m} m. Move the experiment's box into it."
        )
    quat, rotation = _narrowed_rotation(absolute, asked)
    more = tuple(box for box in asked.keep_out if box not in absolute.keep_out)
    return Workspace(
        low_m=low,  # type: ignore[arg-type]
        high_m=high,  # type: ignore[arg-type]
        quat_xyzw=quat,
        rotation_rad=rotation,
        keep_out=absolute.keep_out + more,
    )


def _narrowed_rotation(
    absolute: Workspace, asked: Workspace
) -> tuple[tuple[float, float, float, float], tuple[float, float, float]]:
    """Two boxes of rotation vectors about one orientation intersect in a box; about two, in no box.

    Then the asked box is taken as it is, when it surely lies in the absolute one: angles add up at
    most, so its farthest corner is no further from the absolute orientation than the angle between
    the two plus its own diagonal. Everything else is refused, as keeping both would leave a region
    in which no clamp finds the nearest point.
    """
    R, R_asked = (se3.matrix_from_quat(box.quat_xyzw) for box in (absolute, asked))
    apart = float(np.linalg.norm(se3.rotvec_from_matrix(R.T @ R_asked)))
    if apart <= 1e-6:
        both = zip(absolute.rotation_rad, asked.rotation_rad, strict=True)
        return absolute.quat_xyzw, tuple(min(pair) for pair in both)  # type: ignore[return-value]
    farthest = apart + float(np.linalg.norm(asked.rotation_rad))
    if farthest <= min(absolute.rotation_rad):
        return asked.quat_xyzw, asked.rotation_rad
    raise UserError(
        f"the rotation box stands about an orientation {apart:.3f} rad from the robot's and its "
        f"corners are up to {farthest:.2f} rad from there; {min(absolute.rotation_rad):g} rad is "
        "allowed. Make it smaller, or use the quat_xyzw of robot.toml's workspace."
    )


def _read(reader: TableReader, table: Mapping[str, Any]) -> RobotConfig:
    arm = reader.table("arm", ArmSettings, table.get("arm", {}), ArmSettings())
    arms = {
        name: reader.table(
            f"arms.{name}", ArmSettings, own, arm
        )  # what it leaves out is as in [arm]
        for name, own in reader.mapping("arms", table.get("arms", {})).items()
    }
    rest = {key: value for key, value in table.items() if key not in ("arm", "arms")}
    config = reader.table("", RobotConfig, rest, RobotConfig(arm=arm, arms=arms))
    for where, settings in {"arm": arm, **{f"arms.{n}": a for n, a in arms.items()}}.items():
        for key, problem in _problems(settings):
            raise reader.error(f"{where}.{key}", problem)
    return config


def _problems(arm: ArmSettings) -> Iterator[tuple[str, str]]:
    """Values out of range: the key, and what is wrong with it."""
    limits = arm.limits
    for item in fields(SafetyLimits):
        value = getattr(limits, item.name)
        if item.name != "workspace" and not 0.0 < value <= HIGHEST[item.name]:
            if item.name == "joint_margin_rad" and value == 0.0:
                continue
            text = f"is {value:g}; it must be above 0 and at most {HIGHEST[item.name]:g}."
            yield f"limits.{item.name}", text
    yield from _box_problems("limits.workspace", limits.workspace)
    if not 0.0 <= arm.payload.mass_kg <= HEAVIEST_KG:
        yield (
            "payload.mass_kg",
            f"is {arm.payload.mass_kg:g}; it must be 0 to {HEAVIEST_KG:g} kg.",
        )
    if not all(abs(x) <= FARTHEST_M for x in (*arm.base_pos_m, arm.base_yaw_rad)):
        yield "base_pos_m", f"or base_yaw_rad is not between -{FARTHEST_M:g} and {FARTHEST_M:g}."
    if arm.tcp_quat_xyzw is not None:
        yield from _quat_problems("tcp_quat_xyzw", arm.tcp_quat_xyzw)
        if arm.tcp_pos_m is None:
            yield "tcp_pos_m", "is missing; tcp_quat_xyzw needs it."
    if arm.collision is not None and min(*arm.collision.torque_nm, *arm.collision.wrench) <= 0:
        yield "collision", "holds a threshold of 0 or less; each must be above 0."


def _box_problems(key: str, box: Workspace) -> Iterator[tuple[str, str]]:
    boxes: list[tuple[str, Workspace | KeepOut]] = [(key, box)]
    boxes += [(f"{key}.keep_out[{i}]", keep_out) for i, keep_out in enumerate(box.keep_out)]
    for name, one in boxes:
        for axis, low, high in zip("xyz", one.low_m, one.high_m, strict=True):
            if not low < high:
                text = f"is {low:g} in {axis}; it must be below high_m, which is {high:g}."
                yield f"{name}.low_m", text
    yield from _quat_problems(f"{key}.quat_xyzw", box.quat_xyzw)
    if not all(0.0 <= angle <= math.pi for angle in box.rotation_rad):
        yield f"{key}.rotation_rad", f"is {box.rotation_rad}; each must be 0 to pi (3.1416)."


def _quat_problems(key: str, quat: tuple[float, ...]) -> Iterator[tuple[str, str]]:
    length = math.sqrt(sum(x * x for x in quat))
    if abs(length - 1.0) > 1e-3:
        yield key, f"has length {length:.4f}; a quaternion must have length 1."
