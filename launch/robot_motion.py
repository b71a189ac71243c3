"""A recorded motion: what the TCP and the gripper did, in a file, and back onto the arm.

The file is an .npz of plain arrays (n samples), never a pickle:

    time_s            since the first sample (n,)
    T_base_tcp        measured (n, 4, 4) [m]
    q_rad             measured (n, joints)
    gripper_target_m  commanded opening (n,)
    robot             name of its description
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from launch.robot_link import CONTROL_HZ, RobotLink, ticks
from launch.robot_moves import move_straight
from launch.robot_show import Enter
from robot_servers.control import se3
from robot_servers.types import ArmCommand, Array, CartesianTarget, GripperTarget
from serl.errors import CorruptFile, UserError, writing

FORMAT = 1
RECORD_HZ = 50.0
START_SPEED_M_PER_S = 0.05
GRIPPER_CHANGE_M = 0.001


@dataclass(frozen=True)
class Motion:
    """See the module."""

    time_s: Array
    T_base_tcp: Array
    q_rad: Array
    gripper_target_m: Array
    robot: str

    @property
    def duration_s(self) -> float:
        return float(self.time_s[-1])

    @property
    def fastest_m_per_s(self) -> float:
        """Over a tenth of a second, so that noise does not count."""
        stride = max(1, round(0.1 * (len(self.time_s) - 1) / max(self.duration_s, 1e-6)))
        way = np.linalg.norm(
            self.T_base_tcp[stride:, :3, 3] - self.T_base_tcp[:-stride, :3, 3], axis=1
        )
        return float((way / (self.time_s[stride:] - self.time_s[:-stride])).max(initial=0.0))

    def at(self, time_s: float) -> tuple[Array, float]:
        """Pose and gripper opening at a time, between samples along the shortest way."""
        k = int(np.clip(np.searchsorted(self.time_s, time_s, "right") - 1, 0, len(self.time_s) - 1))
        if k == len(self.time_s) - 1:
            return self.T_base_tcp[k], float(self.gripper_target_m[k])
        share = (time_s - self.time_s[k]) / (self.time_s[k + 1] - self.time_s[k])
        T = se3.interpolate(self.T_base_tcp[k], self.T_base_tcp[k + 1], float(np.clip(share, 0, 1)))
        return T, float(self.gripper_target_m[k])

    def save(self, path: Path) -> Path:
        path = _npz(path)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(
                path,
                format=np.array(FORMAT),
                time_s=self.time_s,
                T_base_tcp=self.T_base_tcp,
                q_rad=self.q_rad,
                gripper_target_m=self.gripper_target_m,
                robot=np.array(self.robot),
            )
        return path

    @classmethod
    def load(cls, path: Path) -> Motion:
        """Raises CorruptFile, naming what is wrong."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except FileNotFoundError:
            raise UserError(f"no motion {path}; `serl robot record {path}` makes one.") from None
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise CorruptFile(f"{path} is no recorded motion ({error}); record it anew.") from error
        return _checked(path, arrays)


def refuse_existing(path: Path) -> None:
    """Before a recording begins: no motion is written over another."""
    if _npz(path).exists():
        raise UserError(f"{_npz(path)} exists; choose another name, or remove it first.")


def record(robot: RobotLink, seconds: float | None) -> Motion:
    """Until Enter, Ctrl-C or `seconds`; the arm is moved by hand, a device or another client."""
    samples = []
    with Enter() as enter:
        try:
            for elapsed_s in ticks(RECORD_HZ):
                samples.append(robot.states()[robot.arm])
                if enter.pressed() or (seconds is not None and elapsed_s >= seconds):
                    break
        except KeyboardInterrupt:
            print()
    stamps = np.array([state.stamp_mono_ns for state in samples])
    new = np.flatnonzero(np.diff(stamps, prepend=stamps[0] - 1) > 0)  # one of each sample
    if len(new) < 2:
        raise UserError("fewer than two states came; is the arm's state stream running?")
    return Motion(
        time_s=(stamps[new] - stamps[new[0]]) / 1e9,
        T_base_tcp=np.array([samples[i].T_base_tcp for i in new]),
        q_rad=np.array([samples[i].q_rad for i in new]),
        gripper_target_m=np.array([samples[i].gripper_target_m for i in new]),
        robot=robot.robot.name,
    )


def play(robot: RobotLink, motion: Motion, rate: float) -> float:
    """To its start slowly, then as recorded, `rate` times as fast. The largest distance from it."""
    _refuse(robot, motion, rate)
    T, width = motion.at(0.0)
    has_gripper = robot.robot.gripper is not None
    move_straight(robot, T, START_SPEED_M_PER_S)
    gripper = GripperTarget(width_m=width) if has_gripper else None
    worst_m = 0.0
    for elapsed_s in ticks(CONTROL_HZ):
        T, wanted = motion.at(elapsed_s * rate)
        if has_gripper and abs(wanted - width) > GRIPPER_CHANGE_M:
            width, gripper = wanted, GripperTarget(width_m=wanted)
        robot.command(ArmCommand(target=CartesianTarget(T_base_tcp=T), gripper=gripper))
        gripper = None
        off_m = np.linalg.norm(robot.state().T_base_tcp[:3, 3] - T[:3, 3])
        worst_m = max(worst_m, float(off_m))
        if elapsed_s * rate >= motion.duration_s:
            return worst_m
    raise AssertionError("ticks never end")


def _npz(path: Path) -> Path:
    return path if path.suffix == ".npz" else path.with_name(path.name + ".npz")


def _refuse(robot: RobotLink, motion: Motion, rate: float) -> None:
    """A motion of another arm, or one that the server's limits would distort."""
    if motion.robot != robot.robot.name:
        raise UserError(
            f"the motion is of a {motion.robot}, this arm is a {robot.robot.name}; record it here."
        )
    fastest, limit = motion.fastest_m_per_s * rate, robot.motion.linear_speed_m_per_s
    if fastest > limit:
        raise UserError(
            f"the motion goes up to {fastest:.2f} m/s, the server allows {limit:.2f} m/s; "
            f"play it with --rate {0.9 * rate * limit / fastest:.2f}."
        )


def _checked(path: Path, arrays: dict[str, Array]) -> Motion:
    names = ("time_s", "T_base_tcp", "q_rad", "gripper_target_m", "robot")
    missing = [name for name in (*names, "format") if name not in arrays]
    if missing:
        raise CorruptFile(f"{path} lacks {', '.join(missing)}: it is no recorded motion.")
    if int(arrays["format"]) != FORMAT:
        raise CorruptFile(f"{path} has format {arrays['format']}; this version reads {FORMAT}.")
    n = len(arrays["time_s"])
    numbers = [arrays[name] for name in names[:-1]]
    fit = n > 1 and all(len(a) == n and np.isfinite(a).all() for a in numbers)
    if not fit or arrays["T_base_tcp"].shape != (n, 4, 4) or np.diff(arrays["time_s"]).min() <= 0:
        raise CorruptFile(f"{path}: its {n} samples do not fit together; record it anew.")
    if not all(map(se3.is_pose, arrays["T_base_tcp"])):
        raise CorruptFile(f"{path}: a sample's T_base_tcp is no pose; record it anew.")
    return Motion(*numbers, robot=str(arrays["robot"]))
