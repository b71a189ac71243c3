"""What a trunk must make readable: numbers that the simulator knows of each sample, and masks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pretrain_data import Data
from benchmarks.pretrain_eye import CLASSES, PX
from benchmarks.pretrain_scenes import LOOKS

Array = NDArray[Any]
Targets = Mapping[str, Array]

UNIT_M = 0.1
"""Lengths are given to the heads in this unit."""
SEEN = 0.0004
"""Share of a frame that shows a thing, from which on it counts as visible: 6 pixels."""
POINTS = ("cube", "goal", "tcp")


def targets(data: Data) -> Targets:
    """Float32 arrays with a leading axis of samples; a mask is 1 where its target holds.

    frame (n, 2, 9): column and row in -1 ... 1 and log depth of each of POINTS, per camera.
    pair (n, 15): cube, TCP, cube in TCP axes (UNIT_M each), cos and sin of the TCP's yaw and of
    four times the cube's about the TCP, opening, whether the cube is in the hand.
    reach (n, 9): goal, TCP, goal in TCP axes.
    """
    look = np.asarray(data["look"])
    T_tcp, T_cube, T_goal = (np.asarray(data[f"T_base_{name}"]) for name in ("tcp", "cube", "goal"))
    share = np.asarray(data["segments"], np.float32).mean(axis=(2, 3)) / 255.0  # (n, 2, 5)
    seen = {name: share[..., CLASSES.index(name)] > SEEN for name in ("cube", "goal")}
    poses = {"cube": T_cube, "goal": T_goal, "tcp": T_tcp}
    frame, frame_mask = [], []
    for name in POINTS:
        at, inside = _in_image(data, poses[name][:, :3, 3])
        frame.append(at)
        frame_mask.append(np.repeat((inside & seen.get(name, True))[..., None], 3, axis=-1))
    pick = look == LOOKS.index("pick")
    cube_seen = (pick & seen["cube"].any(axis=1))[:, None]
    pair_mask = np.repeat(cube_seen, 15, axis=1)
    pair_mask[:, [3, 4, 5, 9, 10, 13]] = pick[:, None]
    reach = look == LOOKS.index("reach")
    reach_mask = np.repeat((reach & seen["goal"].any(axis=1))[:, None], 9, axis=1)
    reach_mask[:, 3:6] = reach[:, None]
    goal = [T_goal[:, :3, 3] / UNIT_M, T_tcp[:, :3, 3] / UNIT_M, _in_axes(T_tcp, T_goal)]
    values = {
        "frame": np.concatenate(frame, axis=-1),
        "frame_mask": np.concatenate(frame_mask, axis=-1),
        "pair": _pair(data, T_tcp, T_cube),
        "pair_mask": pair_mask,
        "reach": np.concatenate(goal, axis=1),
        "reach_mask": reach_mask,
    }
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def _in_axes(T_base_tcp: Array, T_base_thing: Array) -> Array:
    """Position of a thing in TCP axes (n, 3) [UNIT_M]."""
    offset = T_base_thing[:, :3, 3] - T_base_tcp[:, :3, 3]
    return np.einsum("nj,nji->ni", offset, T_base_tcp[:, :3, :3]) / UNIT_M


def _pair(data: Data, T_tcp: Array, T_cube: Array) -> Array:
    offset = _in_axes(T_tcp, T_cube)
    side = np.einsum("nj,nji->ni", T_cube[:, :3, 0], T_tcp[:, :3, :3])
    yaw, yaw4 = np.arctan2(T_tcp[:, 1, 0], T_tcp[:, 0, 0]), 4 * np.arctan2(side[:, 1], side[:, 0])
    width = np.asarray(data["width_m"])
    held = (np.linalg.norm(offset, axis=1) * UNIT_M < 0.02) & (np.abs(width - 0.04) < 0.002)
    angles = np.stack([np.cos(yaw), np.sin(yaw), np.cos(yaw4), np.sin(yaw4)], axis=1)
    rest = np.stack([width / 0.04 - 1.0, held], axis=1)
    return np.concatenate(
        [T_cube[:, :3, 3] / UNIT_M, T_tcp[:, :3, 3] / UNIT_M, offset, angles, rest], axis=1
    )


def _in_image(data: Data, p_base: Array) -> tuple[Array, Array]:
    """Where a point (n, 3) is in both frames: (n, 2, 3) column, row, log depth; whether inside."""
    T = np.asarray(data["T_base_camera"])  # (n, 2, 4, 4)
    p = np.einsum("ncj,ncji->nci", p_base[:, None] - T[..., :3, 3], T[..., :3, :3])
    depth = np.maximum(-p[..., 2], 0.02)
    scale = np.asarray(data["focal_px"]) / (PX / 2) / depth
    column, row = p[..., 0] * scale, -p[..., 1] * scale
    inside = (np.abs(column) < 1.0) & (np.abs(row) < 1.0) & (p[..., 2] < -0.02)
    return np.stack([column, row, np.log(depth / math.sqrt(0.1))], axis=-1), inside
