"""Between ROS messages and our types: pure functions, no rclpy.

Messages are taken and filled by their fields alone, so any object that has those fields will do.
ROS quaternions are (x, y, z, w) as ours; ROS time is the system clock, ours is monotonic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robot_servers.control import se3
from robot_servers.types import Array, CollisionThresholds, Gains, Payload

NANOSECONDS = 1_000_000_000

MAX_AGE_NS = NANOSECONDS
"""A header older than this, or from the future, was stamped by another clock."""

CRISP_UPDATE_HZ = 1000.0
"""Rate of the controller manager (crisp.yaml); CRISP limits torque steps per update."""


def pose_from_msg(pose: Any) -> Array:
    """geometry_msgs/Pose -> T (4, 4). Raises ValueError for a quaternion that is none."""
    p, q = pose.position, pose.orientation
    return se3.pose_from_quat([p.x, p.y, p.z], [q.x, q.y, q.z, q.w])


def fill_pose(pose: Any, T: Array) -> None:
    """Write T (4, 4) into a geometry_msgs/Pose; unit quaternion, w >= 0."""
    (px, py, pz), (qx, qy, qz, qw) = (part.tolist() for part in se3.pose_to_quat(T))
    pose.position.x, pose.position.y, pose.position.z = px, py, pz
    pose.orientation.x, pose.orientation.y = qx, qy
    pose.orientation.z, pose.orientation.w = qz, qw


def joints_from_msg(message: Any, names: Sequence[str]) -> tuple[Array, Array, Array]:
    """Position [rad], velocity [rad/s] and effort [N m] of a sensor_msgs/JointState, each (n,).

    In the order of `names`: a broadcaster orders joints as it likes and may carry fingers as well.
    What the message leaves out, or gives as NaN for want of an interface, is 0 for velocity and
    effort; without any names the order is taken to be ours. Raises ValueError naming a joint that
    is not in it.
    """
    given = list(message.name) or list(names)
    where = {name: i for i, name in enumerate(given)}
    missing = [name for name in names if name not in where]
    if missing:
        raise ValueError(f"{', '.join(missing)} not among {', '.join(given)}")
    index = [where[name] for name in names]

    def pick(values: Sequence[float]) -> Array:
        if len(values) < len(given):
            return np.zeros(len(names))
        return np.array([values[i] for i in index], dtype=np.float64)

    if len(message.position) < len(given):
        raise ValueError(f"{len(message.position)} positions of {len(given)} joints")
    return (
        pick(message.position),
        np.nan_to_num(pick(message.velocity)),
        np.nan_to_num(pick(message.effort)),
    )


def wrench_from_msg(wrench: Any) -> Array:
    """geometry_msgs/Wrench -> force, torque (6,), axes and sign as they are."""
    f, t = wrench.force, wrench.torque
    return np.array([f.x, f.y, f.z, t.x, t.y, t.z], dtype=np.float64)


def to_ns(stamp: Any) -> int:
    """builtin_interfaces/Time -> nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def mono_stamp_ns(stamp_ns: int, ros_now_ns: int, mono_now_ns: int) -> int:
    """When a message was stamped, on this host's monotonic clock.

    Its age is measured on the ROS clock at reception and taken off the monotonic clock. A stamp
    from the future or older than a second was made by a clock that is not ours (another host, a
    stepped system clock, simulated time): then reception is the best estimate.
    """
    age_ns = ros_now_ns - stamp_ns
    return mono_now_ns - age_ns if 0 <= age_ns <= MAX_AGE_NS else mono_now_ns


def crisp_parameters(gains: Gains, joint_names: Sequence[str]) -> dict[str, float]:
    """The parameters of CRISP's CartesianController that render `gains`.

    CRISP's rotational error is log(R_target R^T) in base axes (use_local_jacobian: false), a true
    angle as ours. Damping is always given: with a negative one some versions damp by -1. The
    nullspace has one damping value times each joint's weight, so joint 1, which carries the
    weight, gets SERL's 2 sqrt(k_n) x 2 sqrt(k_1) and the others their share by weight.
    Clips are symmetric; the larger side goes here and the backend limits the reference itself.
    """
    parameters = {}
    for axis in "xyz":
        parameters[f"task.k_pos_{axis}"] = gains.translational_stiffness_n_per_m
        parameters[f"task.d_pos_{axis}"] = gains.translational_damping_n_s_per_m
        parameters[f"task.k_rot_{axis}"] = gains.rotational_stiffness_nm_per_rad
        parameters[f"task.d_rot_{axis}"] = gains.rotational_damping_nm_s_per_rad
    clips = (
        *_larger(gains.translational_clip_m, gains.translational_clip_neg_m),
        *_larger(gains.rotational_clip_rad, gains.rotational_clip_neg_rad),
    )
    for axis, clip in zip(("x", "y", "z", "rx", "ry", "rz"), clips, strict=True):
        parameters[f"task.error_clip.{axis}"] = clip
    k_n, k_1 = gains.nullspace_stiffness_nm_per_rad, gains.joint1_nullspace_factor
    parameters["nullspace.stiffness"] = k_n
    parameters["nullspace.damping"] = max(4.0 * math.sqrt(k_n / k_1) if k_1 > 0 else 0.0, 1e-6)
    for i, name in enumerate(joint_names):
        parameters[f"nullspace.weights.{name}.value"] = k_1 if i == 0 else 1.0
    parameters["max_delta_tau"] = gains.torque_rate_nm_per_s / CRISP_UPDATE_HZ
    return {name: float(value) for name, value in parameters.items()}


def fill_load(request: Any, payload: Payload) -> None:
    """Write a payload into franka_msgs/srv/SetLoad: inertia column by column, ours is by row."""
    request.mass = float(payload.mass_kg)
    request.center_of_mass = [float(x) for x in payload.com_flange_m]
    inertia = np.reshape(payload.inertia_kg_m2, (3, 3))
    request.load_inertia = [float(x) for x in inertia.flatten(order="F")]


def fill_collision(request: Any, thresholds: CollisionThresholds) -> None:
    """Write thresholds into franka_msgs/srv/SetForceTorqueCollisionBehavior.

    Lower and upper alike: below 'lower' libfranka ignores, between the two it reports contact,
    above 'upper' the reflex trips; nobody here acts on a mere contact.
    """
    torque = [float(x) for x in thresholds.torque_nm]
    wrench = [float(x) for x in thresholds.wrench]
    request.lower_torque_thresholds_nominal = torque
    request.upper_torque_thresholds_nominal = list(torque)
    request.lower_force_thresholds_nominal = wrench
    request.upper_force_thresholds_nominal = list(wrench)


def raised(errors: Any) -> list[str]:
    """Names of the flags that are true in a franka_msgs/Errors."""
    fields: Mapping[str, str] = errors.get_fields_and_field_types()
    return [name for name in fields if getattr(errors, name) is True]


def _larger(
    positive: tuple[float, float, float], negative: tuple[float, float, float] | None
) -> tuple[float, ...]:
    return tuple(max(pair) for pair in zip(positive, negative or positive, strict=True))
