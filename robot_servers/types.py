"""What is said to and by an arm. Frozen values; frames, units and signs are in the names.

Frames: `base` is the arm's base, `tcp` the tool centre point, `flange` the last link's end.
`T_a_b` is the pose of b in a, (4, 4) homogeneous, metres. Quaternions are (x, y, z, w), w >= 0.
An arm is addressed by name; a single arm's name is the empty string.
Joint counts come from `RobotDescription`: n below is `len(joint_names)`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Mode(enum.IntEnum):
    """What the arm is doing. A fault is a mode: leaving it is an explicit decision."""

    IDLE = 0
    IMPEDANCE = 1
    """Tracking a Cartesian target as a spring and damper."""
    JOINT = 2
    """Moving to a joint target."""
    HOLD = 3
    """Commands stopped; holding the measured pose. The next valid command leaves it."""
    FAULT = 4
    """Latched; `RobotState.fault` says why. Only `recover` leaves it."""
    WRENCH = 5
    """Pushing with a commanded wrench, damped."""


class FaultKind(enum.IntEnum):
    """Why an arm is in Mode.FAULT."""

    STOP = 1
    """Someone asked for a stop; the arm holds its pose until recovered."""
    ESTOP = 2
    """Emergency stop: control was ended."""
    REFLEX = 3
    """The arm's own collision or limit reflex."""
    USER_STOP = 4
    """The arm's enabling button or user stop is pressed."""
    FORCE = 5
    """The external wrench went over the limit."""
    SPEED = 6
    """The TCP or a joint was faster than its limit."""
    JOINT_LIMIT = 7
    """A joint came nearer to its end than the margin."""
    COMMUNICATION = 8
    """The way to the arm broke: no state, or lost packets."""
    TORQUE_TIMEOUT = 9
    """The torque motion got no torque in time."""
    WORKSPACE = 10
    """The TCP itself, not its target, left the workspace."""
    OTHER = 11


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A latched fault."""

    kind: FaultKind
    reason: str
    """One line for the operator: what happened with the number, and what to do."""
    stamp_mono_ns: int
    recording: str = ""
    """File with the last 5 s, on the robot PC; empty before it is written."""


@dataclass(frozen=True, kw_only=True)
class GripperDescription:
    """A parallel gripper."""

    name: str
    width_max_m: float
    force_max_n: float
    speed_max_m_per_s: float


@dataclass(frozen=True, kw_only=True)
class RobotDescription:
    """Constants of one arm, from its datasheet; the only place that knows its joint count."""

    name: str
    joint_names: tuple[str, ...]
    q_min_rad: tuple[float, ...]
    q_max_rad: tuple[float, ...]
    dq_max_rad_per_s: tuple[float, ...]
    tau_max_nm: tuple[float, ...]
    q_home_rad: tuple[float, ...]
    """Joint configuration of a reset; also the nullspace posture."""

    gripper: GripperDescription | None = None

    @property
    def joint_count(self) -> int:
        return len(self.joint_names)


@dataclass(frozen=True, kw_only=True)
class RobotState:
    """One sample of one arm, with one stamp."""

    stamp_mono_ns: int
    """Host monotonic clock when the sample was taken; simulated time in lockstep [ns]."""

    q_rad: Array
    """Measured joint positions (n,) [rad]."""
    dq_rad_per_s: Array
    """Measured joint velocities (n,) [rad/s]."""
    tau_nm: Array
    """Commanded joint torques without gravity compensation (n,) [N m]."""
    T_base_tcp: Array
    """Measured TCP pose in base (4, 4) [m]."""
    twist_base_tcp: Array
    """TCP twist in base (6,): linear [m/s], angular [rad/s]."""
    wrench_base_ext: Array
    """Wrench the environment exerts ON the robot at the TCP, in base (6,): force [N], torque."""
    T_base_ref: Array
    """The reference the law follows now: the accepted target after the generator (4, 4)."""
    T_base_target: Array
    """The newest accepted target (4, 4)."""
    gripper_width_m: float
    """Finger opening; 0 is closed [m]."""
    gripper_target_m: float
    """Last commanded opening [m]."""
    gripper_moving: bool
    mode: Mode
    clamped: bool
    """The server side moved the last command to keep it within its limits."""
    fault: Fault | None = None
    """Set exactly when `mode` is FAULT."""


@dataclass(frozen=True, kw_only=True)
class Gains:
    """Spring and damper between the TCP and its reference, in the base frame (DESIGN decision 17).

    Rotational stiffness is the small-angle slope and clips are true angles: SERL's 150 and 0.05,
    defined on half the angle, are 75 and 0.1 here (serl_franka_controllers 1f140ef).
    """

    translational_stiffness_n_per_m: float = 2000.0
    translational_damping_n_s_per_m: float = 89.0
    rotational_stiffness_nm_per_rad: float = 75.0
    rotational_damping_nm_s_per_rad: float = 7.0
    translational_clip_m: tuple[float, float, float] = (0.01, 0.01, 0.01)
    """The spring stretches no further than this on each base axis, both signs."""
    rotational_clip_rad: tuple[float, float, float] = (0.1, 0.1, 0.1)
    translational_clip_neg_m: tuple[float, float, float] | None = None
    """The same for a reference on the negative side of the TCP; None: as the positive side."""
    rotational_clip_neg_rad: tuple[float, float, float] | None = None
    nullspace_stiffness_nm_per_rad: float = 0.2
    joint1_nullspace_factor: float = 100.0
    torque_rate_nm_per_s: float = 1000.0


@dataclass(frozen=True, kw_only=True)
class MotionLimits:
    """What the reference generator never exceeds, and its smoothing."""

    filter_time_constant_s: float = 0.0
    """First-order target filter; SERL's 0.005 per 1 kHz tick is 0.2 s. 0 is off."""
    linear_speed_m_per_s: float = 0.5
    angular_speed_rad_per_s: float = 1.5
    linear_acceleration_m_per_s2: float = 5.0
    angular_acceleration_rad_per_s2: float = 15.0


@dataclass(frozen=True, kw_only=True)
class CartesianTarget:
    """Where the TCP should be."""

    T_base_tcp: Array


@dataclass(frozen=True, kw_only=True)
class JointTarget:
    """Where the joints should be (n,) [rad]; reached by a speed- and acceleration-limited move."""

    q_rad: Array
    speed_share: float = 0.5
    """Share of the arm's joint speed limits that the move uses. A robot server lowers it until the
    TCP keeps to its own limits on the way."""
    acceleration_share: float = 1.0
    """Share of the joints' acceleration limit, lowered alike."""


@dataclass(frozen=True, kw_only=True)
class WrenchTarget:
    """Wrench the arm exerts at its TCP (6,): force [N], torque [N m]; held for `WRENCH_HOLD_S`.

    tau = J^T (w + w_box) - D dq: joints are damped, and w_box pulls the TCP back into the
    workspace box. Nothing holds a position.
    """

    wrench: Array
    frame: str = "base"
    """Axes of `wrench`: 'base' or 'tcp'. The point is the TCP."""


WRENCH_HOLD_S = 0.1
"""Without a new command for this long the wrench is zero; damping stays. Source: HIL-SERL."""


@dataclass(frozen=True, kw_only=True)
class GripperTarget:
    """Opening to move to; on the way in, the gripper grasps with `force_n`."""

    width_m: float
    force_n: float | None = None
    speed_m_per_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class ArmCommand:
    """What one arm is asked to do until the next command. None leaves that part as it is."""

    target: CartesianTarget | JointTarget | WrenchTarget | None = None
    gripper: GripperTarget | None = None


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What the arm carries beyond its own hand, as its gravity compensation is told."""

    mass_kg: float = 0.0
    com_flange_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Centre of mass in the flange's frame [m]."""
    inertia_kg_m2: tuple[float, ...] = (0.0,) * 9
    """About the centre of mass, flange axes, row by row."""


@dataclass(frozen=True, kw_only=True)
class CollisionThresholds:
    """Where the arm's own reflex trips: external joint torque and Cartesian wrench."""

    torque_nm: tuple[float, ...]
    """Per joint (n,) [N m]."""
    wrench: tuple[float, float, float, float, float, float]
    """Force [N], torque [N m] at the TCP."""


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """A free body of a task, and where it starts."""

    name: str
    T_base_object: Array = field(default_factory=lambda: np.eye(4))
    mass_kg: float | None = None
    """None keeps the mass of the model."""
    friction: float | None = None
    """Sliding friction coefficient; None keeps the model's."""
