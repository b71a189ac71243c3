"""Where the TCP goes during a joint move, checked before the move begins.

A joint move is a straight line in joint space on every backend. The line is sampled by forward
kinematics: the TCP must stay in the workspace, its rotation box, and out of the keep-outs. A start
outside may come back in, as long as no sample is further out than the one before.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np

from robot_servers.backends.joint_line import ACCELERATION_RAD_PER_S2
from robot_servers.config import SafetyLimits, Workspace
from robot_servers.control import se3
from robot_servers.models.base import MODELS
from robot_servers.safety import entry, inside_keep_out, outside_m, workspace_rotvec
from robot_servers.types import Array, JointTarget, RobotDescription

SAMPLE_RAD = 0.02
"""Largest joint step between two samples: at most 2 cm of TCP way at 1 m from a joint's axis."""

SLACK_M = 1e-4
SLACK_RAD = 1e-3


def refuse_path(
    q_from_rad: Array,
    q_to_rad: Array,
    robot: RobotDescription,
    workspace: Workspace,
    T_flange_tcp: Array | None = None,
) -> str:
    """Why this joint move may not be made, in one line with the point; empty when it may."""
    if robot.name not in MODELS.names():
        return (
            f"joint moves need a model of {robot.name!r} to check the TCP's way; known are "
            f"{', '.join(MODELS.names())}."
        )
    T = _samples(q_from_rad, q_to_rad, robot, T_flange_tcp)
    way = T[:, :3, 3]
    out = [outside_m(p, workspace) for p in way]
    least = out[0]
    for i in range(1, len(way)):
        if out[i] > least + SLACK_M:
            return (
                f"this joint move would take the TCP to {_point(way[i])} m, {100 * out[i]:.1f} cm "
                f"outside the workspace {workspace.low_m} to {workspace.high_m}; move elsewhere "
                "first, or widen robot.toml."
            )
        least = min(least, out[i])
        for box in workspace.keep_out:
            if entry(way[i - 1], way[i], box) is not None:
                return (
                    f"this joint move would take the TCP through {_point(way[i])} m, in the "
                    f"keep-out {box.low_m} to {box.high_m}; move around it first."
                )
    ends_in = any(inside_keep_out(way[-1], box) for box in workspace.keep_out)
    if ends_in or SLACK_M < out[-1] > out[0] - SLACK_M:
        return (
            f"this joint move would leave the TCP at {_point(way[-1])} m, outside the workspace "
            "or in a keep-out; choose another posture."
        )
    return _refuse_turn(T, workspace)


def _refuse_turn(T: Array, workspace: Workspace) -> str:
    """As for the box of positions: out of the rotation box no further, and at the end not outside
    unless nearer than at the start."""
    most = np.asarray(workspace.rotation_rad)
    r = np.array([workspace_rotvec(each[:3, :3], workspace) for each in T])
    out = np.linalg.norm(np.maximum(np.abs(r) - most, 0.0), axis=1)
    further = out[1:] > np.minimum.accumulate(out)[:-1] + SLACK_RAD
    worst = int(further.argmax()) + 1 if further.any() else len(T) - 1
    if further.any() or SLACK_RAD < out[-1] > out[0] - SLACK_RAD:
        return (
            f"this joint move would turn the TCP to {_point(r[worst])} rad at "
            f"{_point(T[worst][:3, 3])} m, outside the rotation box of +-{workspace.rotation_rad} "
            "rad; choose another posture, or widen robot.toml."
        )
    return ""


def slowed_joints(
    target: JointTarget,
    q_from_rad: Array,
    robot: RobotDescription,
    limits: SafetyLimits,
    T_flange_tcp: Array | None = None,
) -> JointTarget:
    """The same move, slow enough for the TCP's linear and angular speed and acceleration limits.

    With s the share of the way, 0 to 1, and p(s) the TCP:

        speed          p' ds/dt
        acceleration   p'' (ds/dt)^2 + p' d2s/dt2, each term at most half the limit

    At the joints' own limits the line takes max(|dq| / dq_max) seconds, so ds/dt is the speed share
    over that, and d2s/dt2 the acceleration share x min(acceleration / |dq|). Angles alike.
    """
    way = np.abs(target.q_rad - q_from_rad)
    least_s = float(np.max(way / np.asarray(robot.dq_max_rad_per_s)))
    if least_s < 1e-9:
        return target
    T = _samples(q_from_rad, target.q_rad, robot, T_flange_tcp)
    turns = [se3.rotvec_from_matrix(b[:3, :3] @ a[:3, :3].T) for a, b in pairwise(T)]
    speed_share, acceleration_share = target.speed_share, target.acceleration_share
    fastest_per_s2 = float(np.min(ACCELERATION_RAD_PER_S2 / np.maximum(way, 1e-6)))
    for steps, speed, acceleration in (
        (np.diff(T[:, :3, 3], axis=0), *_limits(limits, "linear", "m")),
        (np.array(turns), *_limits(limits, "angular", "rad")),
    ):
        slope = (len(T) - 1) * _longest(steps)
        bend = (len(T) - 1) ** 2 * _longest(np.diff(steps, axis=0))
        speed_share = min(
            speed_share,
            least_s * speed / max(slope, 1e-9),
            least_s * math.sqrt(acceleration / 2 / max(bend, 1e-9)),
        )
        acceleration_share = min(
            acceleration_share, acceleration / 2 / max(slope * fastest_per_s2, 1e-9)
        )
    slowed = replace(target, speed_share=speed_share, acceleration_share=acceleration_share)
    same = (target.speed_share, target.acceleration_share) == (speed_share, acceleration_share)
    return target if same else slowed


def softly_started(
    target: JointTarget, q_from_rad: Array, robot: RobotDescription, within_s: float
) -> JointTarget:
    """The same move, which comes to its full speed in `within_s` at the soonest."""
    way = np.maximum(np.abs(target.q_rad - q_from_rad), 1e-6)
    full_per_s = target.speed_share * float(np.min(np.asarray(robot.dq_max_rad_per_s) / way))
    most_per_s2 = float(np.min(ACCELERATION_RAD_PER_S2 / way))
    share = full_per_s / within_s / most_per_s2
    if share >= target.acceleration_share:
        return target
    return replace(target, acceleration_share=share)


def _limits(limits: SafetyLimits, kind: str, unit: str) -> tuple[float, float]:
    """Speed and acceleration of the TCP."""
    return (
        getattr(limits, f"{kind}_speed_{unit}_per_s"),
        getattr(limits, f"{kind}_acceleration_{unit}_per_s2"),
    )


def _longest(rows: Array) -> float:
    return float(np.linalg.norm(rows, axis=1).max(initial=0.0))


def _samples(
    q_from_rad: Array, q_to_rad: Array, robot: RobotDescription, T_flange_tcp: Array | None
) -> Array:
    """T_base_tcp at even steps of the line, both ends included; (N, 4, 4)."""
    largest = float(np.abs(q_to_rad - q_from_rad).max())
    shares = np.linspace(0.0, 1.0, 2 + math.ceil(largest / SAMPLE_RAD))
    q = q_from_rad + shares[:, None] * (q_to_rad - q_from_rad)
    return MODELS.get(robot.name).T_base_tcp(q, T_flange_tcp)


def _point(p: Array) -> str:
    return f"({p[0]:.3f}, {p[1]:.3f}, {p[2]:.3f})"
