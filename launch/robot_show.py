"""What an operator looks at: the live table, the pose as a config snippet, the box of a motion."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from launch.robot_link import RobotLink, ticks
from robot_servers.control import se3
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import Array, Mode, RobotState
from serl.errors import UserError

REFRESH_HZ = 10.0


class Enter:
    """Whether a person has pressed Enter, without waiting for it. Never, where nobody can."""

    def __enter__(self) -> Enter:
        self._person = sys.stdin is not None and sys.stdin.isatty()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def pressed(self) -> bool:
        if not self._person or not select.select([sys.stdin], [], [], 0.0)[0]:
            return False
        sys.stdin.readline()
        return True


def watch(robot: RobotLink) -> None:
    """The table, live, until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False) as live:
        try:
            about = robot.about()
            for tick, _ in enumerate(ticks(REFRESH_HZ)):
                if tick % round(REFRESH_HZ) == 0:
                    about = robot.about()  # who commands now
                live.update(table(robot.states(), about), refresh=True)
        except KeyboardInterrupt:
            return


def show(robot: RobotLink) -> None:
    """The table, once."""
    from rich.console import Console

    Console().print(table(robot.states(), robot.about()))


def table(states: Mapping[str, RobotState], about: pb.DescribeReply) -> Any:
    """One column per arm."""
    from rich.table import Table
    from rich.text import Text

    commander = about.holder or "nobody"
    title = Text(f"{about.backend}, serl-suite {about.version}; commands: {commander}")
    grid = Table(title=title, title_justify="left")
    grid.add_column("", style="bold")
    for arm in states:
        grid.add_column(Text(arm or about.arms[0].description.name))
    columns = [lines(state) for state in states.values()]
    for name in columns[0]:
        grid.add_row(Text(name), *(Text(column[name]) for column in columns))
    return grid


def lines(state: RobotState) -> dict[str, str]:
    """A sample as words: what, with its unit."""
    position, quat = se3.pose_to_quat(state.T_base_tcp)
    off = 1000 * (state.T_base_ref[:3, 3] - state.T_base_tcp[:3, 3])
    words = {
        "mode": state.mode.name + (" (clamped)" if state.clamped else ""),
        "TCP [m]": _numbers(position, 4),
        "quat xyzw": _numbers(quat, 4),
        "reference - TCP [mm]": _numbers(off, 1),
        "speed [m/s]": f"{np.linalg.norm(state.twist_base_tcp[:3]):.3f}",
        "force on arm [N]": _numbers(state.wrench_base_ext[:3], 1),
        "torque on arm [N m]": _numbers(state.wrench_base_ext[3:], 2),
        "q [rad]": _numbers(state.q_rad, 3),
        "tau [N m]": _numbers(state.tau_nm, 1),
        "gripper [mm]": f"{1000 * state.gripper_width_m:.1f}"
        + (" moving" if state.gripper_moving else ""),
        "age [ms]": f"{(time.monotonic_ns() - state.stamp_mono_ns) / 1e6:.0f}",
        "fault": "-",
    }
    if state.mode is Mode.FAULT and state.fault is not None:
        saved = f" (recording: {state.fault.recording})" if state.fault.recording else ""
        words["fault"] = f"{state.fault.kind.name}: {state.fault.reason}{saved}"
    return words


def snippet(state: RobotState) -> str:
    """The TCP's pose as lines for an experiment's ArmConfig.

    >>> from types import SimpleNamespace
    >>> print(snippet(SimpleNamespace(T_base_tcp=np.diag([1.0, -1.0, -1.0, 1.0]))))
    start_pos_m=(0.0, 0.0, 0.0),
    start_quat_xyzw=(1.0, 0.0, 0.0, 0.0),
    """
    position, quat = se3.pose_to_quat(state.T_base_tcp)
    return f"start_pos_m={_tuple(position, 4)},\nstart_quat_xyzw={_tuple(quat, 6)},"


class Box:
    """Where the TCP has been: positions in base, rotation vectors from the first orientation."""

    def __init__(self, T_base_start: Array) -> None:
        self.T_base_start = T_base_start
        self.low = np.full(6, np.inf)
        self.high = np.full(6, -np.inf)

    def add(self, T_base_tcp: Array) -> None:
        turn = se3.pose_error(T_base_tcp, self.T_base_start)[3:]
        where = np.concatenate([T_base_tcp[:3, 3], turn])
        self.low, self.high = np.minimum(self.low, where), np.maximum(self.high, where)

    def text(self, arm: str, margin_m: float, margin_rad: float) -> str:
        """As an experiment's SafetyBox, and as robot.toml's workspace of that arm."""
        low, high = self.low[:3] - margin_m, self.high[:3] + margin_m
        turn = np.maximum(np.abs(self.low[3:]), np.abs(self.high[3:])) + margin_rad
        quat = se3.quat_from_matrix(self.T_base_start[:3, :3])
        return (
            "# an experiment's ArmConfig\n"
            f"start_quat_xyzw={_tuple(quat, 6)},\n"
            f"box=SafetyBox(low_m={_tuple(low, 3)}, high_m={_tuple(high, 3)}, "
            f"rotation_rad={_tuple(turn, 2)}),\n\n"
            "# robot.toml\n"
            f"[{f'arms.{arm}' if arm else 'arm'}.limits.workspace]\n"
            f"low_m = {_list(low, 3)}\n"
            f"high_m = {_list(high, 3)}\n"
            f"quat_xyzw = {_list(quat, 6)}\n"
            f"rotation_rad = {_list(turn, 2)}"
        )


def bounds(robot: RobotLink, seconds: float | None) -> Box:
    """Watch the TCP until Enter, Ctrl-C or `seconds`, saying where it has been."""
    box = Box(robot.states()[robot.arm].T_base_tcp)
    until = "Enter ends it" if seconds is None else f"for {seconds:g} s"
    print(f"watching the TCP of {robot.robot.name}; move it to every corner ({until}).")
    with Enter() as enter:
        try:
            for tick, elapsed_s in enumerate(ticks(50.0)):
                box.add(robot.states()[robot.arm].T_base_tcp)
                if tick % 10 == 0 and sys.stdout.isatty():
                    size = 100 * (box.high[:3] - box.low[:3])
                    print(
                        f"\r{size[0]:.1f} x {size[1]:.1f} x {size[2]:.1f} cm ", end="", flush=True
                    )
                if enter.pressed() or (seconds is not None and elapsed_s >= seconds):
                    break
        except KeyboardInterrupt:
            pass
    print()
    if not np.isfinite(box.low).all():
        raise UserError("no state came; is the arm's state stream running?")
    return box


def counters(values: Mapping[str, float]) -> str:
    """Counts since the server's start that are not zero, one per line."""
    return "\n".join(f"{name}: {value:g}" for name, value in sorted(values.items()) if value)


def _numbers(values: Array, digits: int) -> str:
    return " ".join(f"{value:+.{digits}f}" for value in values)


def _tuple(values: Array, digits: int) -> str:
    return f"({', '.join(_number(value, digits) for value in values)})"


def _list(values: Array, digits: int) -> str:
    return f"[{', '.join(_number(value, digits) for value in values)}]"


def _number(value: float, digits: int) -> str:
    return repr(round(float(value), digits) + 0.0)
