"""What a person sees while a hand moves the arm: one table on a terminal, a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import IO, Any

import numpy as np

from launch.teleop_hand import bar, heard_words
from serl.timing import Every

AXES = ("x", "y", "z", "rx", "ry", "rz")


class HandView:
    """Shows arms, devices and cameras. Use with `with`, and call it often.

    Args:
        env: the wrapped env.
        operator: whose devices are shown.
        out: the terminal; where it is none, one line comes every `line_every_s`.
    """

    def __init__(
        self, env: Any, operator: Any, *, out: IO[str] | None = None, line_every_s: float = 2.0
    ) -> None:
        self._env, self._operator = env, operator
        self._out = sys.stdout if out is None else out
        self._refresh, self._line = Every(0.1), Every(line_every_s)
        self._messages: deque[str] = deque(maxlen=5)
        self._live: Any = None
        self._pace: dict[str, float] = {}
        self._pace_due = Every(1.0)
        self.also: Any = None
        """A console that is told what is said here."""
        self.title = "starting"
        """What is going on."""

    def __enter__(self) -> HandView:
        if self._out.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._out), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self) -> None:
        """Show the newest state, if it is time to."""
        if self._pace_due():
            self._pace = self._env.unwrapped.metrics()
        if self._live is not None:
            if self._refresh():
                self._live.update(self.panel(), refresh=True)
        elif self._line():
            print(self.line(), file=self._out, flush=True)

    def say(self, text: str) -> None:
        """One message for the person; stays visible for a while."""
        if self.also is not None:
            self.also.say(text)
        if not text:
            return
        if self._live is None:
            print(text, file=self._out, flush=True)
        else:
            self._messages.append(f"{time.strftime('%H:%M:%S')}  {text}")
            self._live.update(self.panel(), refresh=True)

    def line(self) -> str:
        """The state in one plain line."""
        arms = "; ".join(" ".join((label, *cells)).strip() for label, cells in self._arms())
        trouble = self._operator.trouble()
        return f"{self.title}: {arms}; {self._rate()}" + (f"; {trouble}" if trouble else "")

    def panel(self) -> Any:
        """The state as a table: arms, hands, cameras."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        for label, cells in (*self._arms(), *self._hands(), *self._cameras()):
            grid.add_row(Text(label, "dim"), *cells)
        trouble = self._operator.trouble()
        parts: list[Any] = [Text(self.title, "bold"), grid]
        if trouble:
            parts.append(Text(trouble, "red"))
        parts += [Text(text, "dim") for text in self._messages]
        parts.append(Text(f"{self._rate()}   {heard_words(self._operator)}, Ctrl-C ends", "dim"))
        return Panel(Group(*parts), border_style="red" if trouble else "green")

    def _arms(self) -> list[tuple[str, tuple[str, ...]]]:
        """Where each arm is, how it is pushed and how far its gripper is open."""
        rows = []
        for name, state in self._env.unwrapped.states.items():
            x, y, z = state.T_base_tcp[:3, 3]
            force = float(np.linalg.norm(state.wrench_base_ext[:3]))
            held = "clamped" if state.clamped else state.mode.name.lower()
            cells = (
                f"tcp {x:+.3f} {y:+.3f} {z:+.3f} m",
                f"force {force:5.1f} N",
                f"gripper {1000 * state.gripper_width_m:3.0f} mm",
                held,
            )
            rows.append((f"arm {name}".strip(), cells))
        return rows

    def _hands(self) -> list[tuple[str, tuple[str, ...]]]:
        """What each device does."""
        rows = []
        for name, reading in self._operator.readings.items():
            bars = " ".join(f"{a}{bar(v)}" for a, v in zip(AXES, reading.twist, strict=True))
            grip = {None: "", -1.0: "close", 1.0: "open"}.get(reading.gripper, "grip")
            keys = " ".join(sorted(reading.held))
            state = bars if reading.live else "gone"
            rows.append((name, (state, grip, keys)))
        if len(self._operator.arms) > 1:
            rows.append(("moves", (self._operator.active_arm,)))
        return rows

    def _cameras(self) -> list[tuple[str, tuple[str, ...]]]:
        """How much older than the arm's state each camera's frame is."""
        ages = {k: v for k, v in self._pace.items() if k.startswith("camera/")}
        return [
            (key.removesuffix("/skew_s"), (f"frame {1000 * age:+.0f} ms old",))
            for key, age in ages.items()
            if key.endswith("/skew_s")
        ]

    def _rate(self) -> str:
        hz = self._pace.get("achieved_hz")
        return "-" if hz is None else f"{hz:.1f} Hz"
