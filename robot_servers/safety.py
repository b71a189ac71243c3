"""Clamps on what an arm is asked to do: pure functions, no clock, no state.

All of them share one idea: the origin of a step (the last accepted target, or the measured pose)
always stays allowed. Inside the limits the result is inside them; an origin outside may move back
in, or stay, but never further out. What is inside comes back untouched, the very same object.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from robot_servers.config import KeepOut, SafetyLimits, Workspace
from robot_servers.control import se3
from robot_servers.types import (
    Array,
    CartesianTarget,
    GripperDescription,
    GripperTarget,
    JointTarget,
    RobotDescription,
    WrenchTarget,
)

SLACK = 1e-9
"""Rounding allowed before a limit moves anything [m or rad]."""

JOINT_SLACK_RAD = 0.01
"""Joint targets stay this much inside the margin, so that the servo's error is no fault."""


@dataclass(frozen=True, kw_only=True)
class Clamp:
    """One limit that moved a command."""

    limit: str
    """Which: 'workspace', 'rotation', 'keep_out', 'step', 'joint', 'gripper', 'wrench'."""
    text: str
    """What it changed, with both numbers."""


def clamp_cartesian(
    target: CartesianTarget,
    T_base_origin: Array,
    limits: SafetyLimits,
    p_base_ref: Array | None = None,
) -> tuple[CartesianTarget, tuple[Clamp, ...]]:
    """The target within workspace, rotation box, step and keep-outs.

    Args:
        T_base_origin: last accepted target, or the measured TCP where there is none; (4, 4).
        p_base_ref: where the reference is now (3,) [m]. When the way from there to the result
            would cut through a keep-out, the origin's position is kept, whose way was checked.
    """
    T = target.T_base_tcp
    if _surely_inside(T, T_base_origin, limits):
        return target, ()
    clamps: list[Clamp] = []
    p = _clamp_position(T[:3, 3], T_base_origin[:3, 3], limits, p_base_ref, clamps)
    R = _clamp_rotation(T[:3, :3], T_base_origin[:3, :3], limits, clamps)
    if not clamps:
        return target, ()
    return CartesianTarget(T_base_tcp=se3.pose(R, p)), tuple(clamps)


def workspace_rotvec(R: Array, workspace: Workspace) -> Array:
    """Rotation vector (3,) of an orientation from the workspace's reference [rad]."""
    return se3.rotvec_from_matrix(_box_rotation(workspace.quat_xyzw).T @ R)


def outside_m(p: Array, workspace: Workspace) -> float:
    """How far a position is outside the workspace box; 0 inside [m]."""
    gap = np.maximum(np.asarray(workspace.low_m) - p, p - np.asarray(workspace.high_m))
    return float(np.linalg.norm(np.maximum(gap, 0.0)))


def inside_keep_out(p: Array, box: KeepOut) -> bool:
    """Strictly inside: the faces themselves are allowed."""
    return bool((p > np.asarray(box.low_m)).all() and (p < np.asarray(box.high_m)).all())


def entry(p_from: Array, p_to: Array, box: KeepOut) -> tuple[int, float] | None:
    """Where a segment enters a box: (axis, share of the way); None if it never does.

    A start inside the box enters nowhere: from there every way may lead out.
    """
    low, high = np.asarray(box.low_m), np.asarray(box.high_m)
    way = p_to - p_from
    first, last, axis = -np.inf, np.inf, 0
    for i in range(3):
        if abs(way[i]) < 1e-15:
            if not low[i] < p_from[i] < high[i]:
                return None
            continue
        near, far = sorted(((low[i] - p_from[i]) / way[i], (high[i] - p_from[i]) / way[i]))
        if near > first:
            first, axis = near, i
        last = min(last, far)
    # The open box is crossed between `first` and `last`.
    return (axis, float(first)) if 0.0 <= first < min(last, 1.0) else None


def _surely_inside(T: Array, T_origin: Array, limits: SafetyLimits) -> bool:
    """The usual case, cheaply: most commands move a little within a box without keep-outs.

    Angles are told from traces, 1 + 2 cos(angle); no axis of a rotation vector is longer than it.
    """
    box = limits.workspace
    if box.keep_out:
        return False
    far2 = 0.0
    position = zip(T[:3, 3].tolist(), T_origin[:3, 3].tolist(), box.low_m, box.high_m, strict=True)
    for p, origin, low, high in position:
        if not low <= p <= high:
            return False
        far2 += (p - origin) * (p - origin)
    R = T[:3, :3]
    turn = float(np.vdot(R, T_origin[:3, :3]))
    tilt = float(np.vdot(R, _box_rotation(box.quat_xyzw)))
    return (
        far2 <= limits.step_m * limits.step_m
        and turn >= 1.0 + 2.0 * math.cos(min(limits.step_rad, math.pi))
        and tilt >= 1.0 + 2.0 * math.cos(min(box.rotation_rad))
    )


@functools.lru_cache(maxsize=16)
def _box_rotation(quat_xyzw: tuple[float, float, float, float]) -> Array:
    """R_base_box of a workspace; it is asked for with every command."""
    return se3.matrix_from_quat(quat_xyzw)


def _clamp_position(
    p: Array, origin: Array, limits: SafetyLimits, p_ref: Array | None, clamps: list[Clamp]
) -> Array:
    box = limits.workspace
    inside = _within(p, np.asarray(box.low_m), np.asarray(box.high_m), origin)
    if inside is not p:
        clamps.append(_moved("workspace", "position", p, inside, "m"))
    far = float(np.linalg.norm(inside - origin))
    near = inside
    if far > limits.step_m + SLACK:
        near = origin + (limits.step_m / far) * (inside - origin)
        clamps.append(Clamp(limit="step", text=f"step of {far:.3f} m cut to {limits.step_m:g} m"))
    return _clamp_keep_out(near, origin, box, p_ref, clamps)


def _clamp_keep_out(
    p: Array, origin: Array, workspace: Workspace, p_ref: Array | None, clamps: list[Clamp]
) -> Array:
    """No way from the origin into or through a box: it ends on the face it meets, and slides there.

    Sliding: the coordinate that met the face stays on it, the others go on to the target. Stopping
    at the entry point alone (SERL's bin task) would pin an arm that pushes along a wall. Each slide
    brings the point nearer to the origin, so neither step nor workspace is left.
    """
    boxes = workspace.keep_out
    if not boxes:
        return p
    out = p
    for _ in range(2 * len(boxes) + 1):
        hit = _first_hit(origin, out, boxes)
        if hit is None:
            break
        box, axis, _ = hit
        slid = out.copy()
        slid[axis] = box.low_m[axis] if out[axis] > origin[axis] else box.high_m[axis]
        out = slid
    else:
        hit = _first_hit(origin, out, boxes)
        if hit is not None:  # a corner between boxes: stop where the way enters
            box, axis, share = hit
            stop = origin + share * (out - origin)
            stop[axis] = box.low_m[axis] if out[axis] > origin[axis] else box.high_m[axis]
            out = stop if not any(inside_keep_out(stop, b) for b in boxes) else origin.copy()
    out = _leave_by_nearest_face(out, origin, workspace)
    if p_ref is not None and _first_hit(p_ref, out, boxes) is not None:
        out = origin.copy()
    if out is not p and not np.array_equal(out, p):
        clamps.append(_moved("keep_out", "position", p, out, "m"))
        return out
    return p


def _leave_by_nearest_face(p: Array, origin: Array, workspace: Workspace) -> Array:
    """A target in the box that the origin is in too: out by the nearest face in the workspace."""
    for box in workspace.keep_out:
        if not (inside_keep_out(origin, box) and inside_keep_out(p, box)):
            continue
        way = float(np.linalg.norm(p - origin))
        faces = [
            (abs(face - origin[axis]), axis, face)
            for axis in range(3)
            for face in (box.low_m[axis], box.high_m[axis])
            if workspace.low_m[axis] <= face <= workspace.high_m[axis]
        ]
        out = origin.copy()
        if faces:
            depth, axis, face = min(faces)
            out[axis] = face if way >= depth else origin[axis] + np.copysign(way, face - out[axis])
        return out if _first_hit(origin, out, workspace.keep_out) is None else origin.copy()
    return p


def _first_hit(
    p_from: Array, p_to: Array, boxes: tuple[KeepOut, ...]
) -> tuple[KeepOut, int, float] | None:
    hits = [(box, *found) for box in boxes if (found := entry(p_from, p_to, box)) is not None]
    return min(hits, key=lambda hit: hit[2]) if hits else None


def _clamp_rotation(R: Array, R_origin: Array, limits: SafetyLimits, clamps: list[Clamp]) -> Array:
    box = limits.workspace
    R_base_box = _box_rotation(box.quat_xyzw)
    largest = np.asarray(box.rotation_rad)
    r, r_origin = (se3.rotvec_from_matrix(R_base_box.T @ turn) for turn in (R, R_origin))
    inside = _within(r, -largest, largest, r_origin)
    if inside is not r:
        clamps.append(_moved("rotation", "rotation vector", r, inside, "rad"))
        R = R_base_box @ se3.matrix_from_rotvec(inside)
    turn = se3.rotvec_from_matrix(R @ R_origin.T)
    angle = float(np.linalg.norm(turn))
    if angle <= limits.step_rad + SLACK:
        return R
    clamps.append(
        Clamp(limit="step", text=f"turn of {angle:.3f} rad cut to {limits.step_rad:g} rad")
    )
    short = se3.matrix_from_rotvec((limits.step_rad / angle) * turn) @ R_origin
    r_short = se3.rotvec_from_matrix(R_base_box.T @ short)
    if _within(r_short, -largest, largest, r_origin) is r_short:
        return short
    # The shortest turn leaves the box (it is not convex in SO(3)): go straight in rotation vectors.
    # exp never lengthens a way, so a share of step / |way| is a turn of at most step.
    way = inside - r_origin
    share = min(1.0, limits.step_rad / float(np.linalg.norm(way)))
    return R_base_box @ se3.matrix_from_rotvec(r_origin + share * way)


def _within(x: Array, low: Array, high: Array, origin: Array) -> Array:
    """`x` clipped to the interval widened to the origin; the same object if it need not move."""
    low, high = np.minimum(low, origin), np.maximum(high, origin)
    if ((x >= low - SLACK) & (x <= high + SLACK)).all():
        return x
    return np.clip(x, low, high)


def clamp_joints(
    target: JointTarget, robot: RobotDescription, limits: SafetyLimits
) -> tuple[JointTarget, tuple[Clamp, ...]]:
    """Every joint at least the margin away from its ends."""
    margin = limits.joint_margin_rad + JOINT_SLACK_RAD
    low, high = np.asarray(robot.q_min_rad) + margin, np.asarray(robot.q_max_rad) - margin
    q = np.clip(target.q_rad, low, high)
    moved = np.abs(q - target.q_rad) > SLACK
    if not moved.any():
        return target, ()
    text = "; ".join(
        f"{robot.joint_names[i]} {target.q_rad[i]:.3f} to {q[i]:.3f} rad"
        for i in np.flatnonzero(moved)
    )
    return replace(target, q_rad=q), (Clamp(limit="joint", text=text),)


def clamp_wrench(
    target: WrenchTarget, limits: SafetyLimits
) -> tuple[WrenchTarget, tuple[Clamp, ...]]:
    """Each axis of force and torque within its limit."""
    most = np.repeat([limits.wrench_n, limits.wrench_nm], 3)
    wrench = np.clip(target.wrench, -most, most)
    if np.array_equal(wrench, target.wrench):
        return target, ()
    clamp = _moved("wrench", "wrench", target.wrench, wrench, "N, N m")
    return replace(target, wrench=wrench), (clamp,)


def clamp_gripper(
    target: GripperTarget, gripper: GripperDescription
) -> tuple[GripperTarget, tuple[Clamp, ...]]:
    """Opening, force and speed within the gripper's own."""
    most = {
        "width_m": gripper.width_max_m,
        "force_n": gripper.force_max_n,
        "speed_m_per_s": gripper.speed_max_m_per_s,
    }
    changes, words = {}, []
    for name, high in most.items():
        value = getattr(target, name)
        if value is not None and not 0.0 <= value <= high:
            changes[name] = min(max(value, 0.0), high)
            words.append(f"{name} {value:g} to {changes[name]:g}")
    if not changes:
        return target, ()
    return replace(target, **changes), (Clamp(limit="gripper", text="; ".join(words)),)


def _moved(limit: str, what: str, before: Array, after: Array, unit: str) -> Clamp:
    old, new = (np.array2string(x, precision=3, separator=", ") for x in (before, after))
    return Clamp(limit=limit, text=f"{what} {old} to {new} {unit}")
