"""The last seconds of one arm: states, commands and events in a ring, written as .npz.

A ring row is plain numbers, preallocated, so that recording costs microseconds in the loop. Files
hold arrays of numbers and of fixed-length text only: never pickle, in either direction.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_servers.types import (
    ArmCommand,
    Array,
    CartesianTarget,
    JointTarget,
    Mode,
    RobotState,
    WrenchTarget,
)
from serl.errors import CorruptFile, UserError, writing

KEEP_S = 5.0
"""How much of the past a recording holds."""

SPARE_S = 1.0
"""The ring is this much longer, so that a copy taken a little late still has all of it."""

EVENTS = 4096
"""Commands and events kept: 5 s at the 400 Hz limit, and refusals beside them."""

TARGET_NAMES = ("none", "cartesian", "joint", "wrench")


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was recorded. N samples, C commands, E events; stamps [ns] on the server's clock."""

    arm: str
    reason: str
    joint_names: NDArray[np.str_]
    stamp_mono_ns: NDArray[np.int64]
    """When each sample was taken (N,)."""
    seen_mono_ns: NDArray[np.int64]
    """When the guard saw it (N,)."""
    mode: NDArray[np.int64]
    """Mode as shown to clients (N,)."""
    q_rad: Array
    dq_rad_per_s: Array
    tau_nm: Array
    T_base_tcp: Array
    """(N, 4, 4), as the next two."""
    T_base_ref: Array
    T_base_target: Array
    twist_base_tcp: Array
    wrench_base_ext: Array
    gripper_width_m: Array
    gripper_target_m: Array
    clamped: NDArray[np.bool_]
    command_mono_ns: NDArray[np.int64]
    """When each command was judged (C,)."""
    command_sequence: NDArray[np.int64]
    command_kind: NDArray[np.str_]
    """'none', 'cartesian', 'joint' or 'wrench' (C,)."""
    command_values: Array
    """The target as passed on, NaN beyond its length: a pose row by row, joints, or a wrench
    (C, 16)."""
    command_gripper_m: Array
    command_verdict: NDArray[np.str_]
    """Empty for accepted as it came, else what was clamped or why it was refused (C,)."""
    event_mono_ns: NDArray[np.int64]
    event: NDArray[np.str_]
    """Faults, holds and the like (E,)."""


class Recorder:
    """The ring of one arm.

    Args:
        joint_names: of the arm.
        rate_hz: samples per second at most.
    """

    def __init__(self, arm: str, joint_names: tuple[str, ...], rate_hz: float) -> None:
        self.arm = arm
        self._joint_names = joint_names
        n = len(joint_names)
        rows = max(16, round((KEEP_S + SPARE_S) * rate_hz))
        self._stamps = np.zeros((rows, 3), np.int64)  # stamp, seen, mode
        self._rows = np.zeros((rows, 3 * n + 3 * 16 + 12 + 3))
        self._written = 0
        self._lock = threading.Lock()
        self._commands: deque[tuple[int, int, str, Array, float, str]] = deque(maxlen=EVENTS)
        self._events: deque[tuple[int, str]] = deque(maxlen=EVENTS)

    def sample(self, state: RobotState, mode: Mode, seen_mono_ns: int) -> None:
        """One state; from the loop's thread only."""
        at = self._written % len(self._rows)
        self._stamps[at] = (state.stamp_mono_ns, seen_mono_ns, mode)
        np.concatenate(
            (
                state.q_rad,
                state.dq_rad_per_s,
                state.tau_nm,
                state.T_base_tcp.ravel(),
                state.T_base_ref.ravel(),
                state.T_base_target.ravel(),
                state.twist_base_tcp,
                state.wrench_base_ext,
                (state.gripper_width_m, state.gripper_target_m, state.clamped),
            ),
            out=self._rows[at],
        )
        self._written += 1

    def command(self, now_ns: int, sequence: int, command: ArmCommand | None, verdict: str) -> None:
        """A command and what became of it."""
        kind, values = _values(command)
        gripper = np.nan
        if command is not None and command.gripper is not None:
            width = command.gripper.width_m
            gripper = float(width) if isinstance(width, (int, float)) else np.nan
        with self._lock:
            self._commands.append((now_ns, sequence, kind, values, gripper, verdict))

    def event(self, now_ns: int, line: str) -> None:
        with self._lock:
            self._events.append((now_ns, line))

    def save(self, folder: Path, name: str, reason: str, until_mono_ns: int) -> Path:
        """Write what happened in the `KEEP_S` before `until_mono_ns`; the file's path.

        From any thread but the loop's. Raises UserError when the disk refuses.
        """
        data = self._snapshot(until_mono_ns)
        data |= {"arm": np.array(self.arm), "reason": np.array(reason)}
        path = folder / f"{name}.npz"
        with writing(path):
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(2, 1000):
                if not path.exists():
                    break
                path = folder / f"{name}_{number}.npz"
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.savez(file, **data)  # pyright: ignore[reportArgumentType]
            part.rename(path)
        return path

    @staticmethod
    def load(path: str | Path) -> Recording:
        """Read a file that `save` wrote."""
        if not Path(path).is_file():
            raise UserError(f"no recording at {path}; recordings end in .npz.")
        try:
            with np.load(path, allow_pickle=False) as file:
                data: dict[str, Any] = {f.name: file[f.name] for f in fields(Recording)}
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise CorruptFile(f"{path} is no recording of a robot server: {error}.") from error
        data["arm"], data["reason"] = str(data["arm"]), str(data["reason"])
        return Recording(**data)

    def _snapshot(self, until_ns: int) -> dict[str, NDArray]:
        written, size = self._written, len(self._rows)
        order = np.arange(max(0, written - size), written) % size
        stamps, rows = self._stamps[order], self._rows[order]
        # Rows that the loop wrote meanwhile belong to a later time and fall out here.
        seen = stamps[:, 1]
        keep = (seen <= until_ns) & (seen > until_ns - round(KEEP_S * 1e9))
        stamps, rows = stamps[keep], rows[keep]
        with self._lock:
            commands = [c for c in self._commands if until_ns - KEEP_S * 1e9 < c[0] <= until_ns]
            events = [e for e in self._events if until_ns - KEEP_S * 1e9 < e[0] <= until_ns]
        n = len(self._joint_names)
        parts = np.split(rows, np.cumsum([n, n, n, 16, 16, 16, 6, 6, 1, 1]), axis=1)
        return {
            "joint_names": np.array(self._joint_names, dtype=np.str_),
            "stamp_mono_ns": stamps[:, 0],
            "seen_mono_ns": stamps[:, 1],
            "mode": stamps[:, 2],
            "q_rad": parts[0],
            "dq_rad_per_s": parts[1],
            "tau_nm": parts[2],
            "T_base_tcp": parts[3].reshape(-1, 4, 4),
            "T_base_ref": parts[4].reshape(-1, 4, 4),
            "T_base_target": parts[5].reshape(-1, 4, 4),
            "twist_base_tcp": parts[6],
            "wrench_base_ext": parts[7],
            "gripper_width_m": parts[8][:, 0],
            "gripper_target_m": parts[9][:, 0],
            "clamped": parts[10][:, 0] > 0,
            "command_mono_ns": np.array([c[0] for c in commands], np.int64),
            "command_sequence": np.array([c[1] for c in commands], np.int64),
            "command_kind": np.array([c[2] for c in commands], np.str_),
            "command_values": np.array([c[3] for c in commands]).reshape(-1, 16),
            "command_gripper_m": np.array([c[4] for c in commands], np.float64),
            "command_verdict": np.array([c[5] for c in commands], np.str_),
            "event_mono_ns": np.array([e[0] for e in events], np.int64),
            "event": np.array([e[1] for e in events], np.str_),
        }


def _values(command: ArmCommand | None) -> tuple[str, Array]:
    """The target's kind and its numbers; what a client sent may be no numbers at all."""
    values = np.full(16, np.nan)
    target = command.target if command is not None else None
    if isinstance(target, CartesianTarget):
        given, kind = target.T_base_tcp, 1
    elif isinstance(target, JointTarget):
        given, kind = target.q_rad, 2
    elif isinstance(target, WrenchTarget):
        given, kind = target.wrench, 3
    else:
        return TARGET_NAMES[0], values
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiu":
        numbers = given.ravel()[:16]
        values[: len(numbers)] = numbers
    return TARGET_NAMES[kind], values
