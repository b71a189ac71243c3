"""The cell whose loop runs in this process: arms, cameras, devices, and what may be changed.

It looks at what the env and the operator have at hand, and never calls what could wait: states
and frames are replaced as wholes by the loop, so the newest is always a whole one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from launch.console.curves import Curves
from launch.console.feed import NO_FRAMES
from launch.console.hand import Hand
from launch.console.run_feed import health
from launch.console.tuning import Tuning
from launch.runs import Run
from serl.errors import UserError

STOPPED = "emergency stop from the console; press Recover there when it is safe."
PACE_EVERY_S = 2.0


class CellFeed:
    """A live env with its operator.

    Args:
        env: the outermost wrapper.
        title: what is going on, asked again and again.
        run: where there is one, its health and curves are shown too.
        tuning: gains and boxes may be changed: not while something is learned or recorded.
    """

    def __init__(
        self,
        env: Any,
        operator: Any = None,
        *,
        title: Callable[[], str] = lambda: "",
        run: Run | None = None,
        tuning: bool = False,
    ) -> None:
        self._env, self._core, self._operator = env, env.unwrapped, operator
        self._title, self._run = title, run
        self.hand = hand_of(operator)
        self._curves = Curves(run.path / "metrics.jsonl") if run is not None else None
        self._stopped = ""
        self._pace: dict[str, float] = {}
        self._pace_s = 0.0
        has_arm = hasattr(self._core, "gates")
        self._tuning = Tuning(self._core) if tuning and has_arm else None
        if has_arm:
            self._core.gates.append(lambda: self._stopped)

    def state(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"title": self._title(), "stopped": self._stopped}
        if self._run is not None:
            shown |= health(self._run)
        shown["arms"] = [_arm(*item) for item in getattr(self._core, "states", {}).items()]
        shown["pace"] = self._measured_pace()
        shown["judged"] = self._judged()
        if self._tuning is not None:
            shown["tuning"] = self._tuning.settings()
        return {**shown, **_operator(self._operator)}

    def frames(self) -> Mapping[str, NDArray[np.uint8]]:
        return getattr(self._core, "seen", NO_FRAMES)

    def curves(self) -> dict[str, Any]:
        return {} if self._curves is None else self._curves.read()

    def look(self) -> Mapping[str, Any] | None:
        states = getattr(self._core, "states", None)
        if not states:
            return None
        return {"states": states, "objects": self._objects()}

    def order(self, what: str, values: Mapping[str, Any]) -> str:
        if not hasattr(self._core, "gates"):
            raise UserError("this env has no arm.")
        backend = self._core.backend
        if what == "estop":
            self._stopped = STOPPED
            backend.halt(list(backend.arms))
            return "emergency stop: every arm was told to end control"
        if what == "recover":
            backend.recover(list(backend.arms))
            self._stopped = ""
            return "recovered: the arms hold, and take commands again"
        if self._tuning is None:
            raise UserError(
                f"{what} cannot be changed here: what is recorded or learned would no longer be "
                "what the experiment says. `serl teleop --console` may."
            )
        return self._tuning.order(what, values)

    def _objects(self) -> Mapping[str, NDArray[np.float64]]:
        """T_base_object by name, where the simulator is in this process; a remote one is not asked
        behind the loop's back."""
        scene = None if self._core.config.is_remote else self._core.backend.scene
        if scene is None:
            return {}
        try:
            return scene.object_poses()
        except UserError:  # the loop has ended and closed it
            return {}

    def _measured_pace(self) -> dict[str, float]:
        """How well the loop keeps its rate; looked at now and then, it costs the loop a little."""
        pace = getattr(self._core, "pace", None)
        now = time.monotonic()
        if pace is not None and now - self._pace_s > PACE_EVERY_S:
            self._pace_s = now
            with suppress(RuntimeError):  # the loop added a period while we counted
                self._pace = pace.metrics()
        return self._pace

    def _judged(self) -> dict[str, float]:
        """Probability of each stage of a learned reward."""
        try:
            return dict(self._env.get_wrapper_attr("judged"))
        except AttributeError:
            return {}


def hand_of(operator: Any) -> Hand:
    """The hand on the operator's browser, if it has one."""
    from envs.devices.browser import Browser

    for device in getattr(operator, "all_devices", ()):
        if isinstance(device, Browser):
            return Hand(device, operator.words_of(device), operator.moves_with(device))
    return Hand()


def _arm(name: str, state: Any) -> dict[str, Any]:
    """One arm in numbers."""
    fault = state.fault
    return {
        "name": name,
        "pos_m": [round(float(v), 4) for v in state.T_base_tcp[:3, 3]],
        "force_n": round(float(np.linalg.norm(state.wrench_base_ext[:3])), 1),
        "gripper_mm": round(1000 * float(state.gripper_width_m)),
        "mode": "clamped" if state.clamped else state.mode.name.lower(),
        "fault": "" if fault is None else f"{fault.kind.name}: {fault.reason}",
    }


def _operator(operator: Any) -> dict[str, Any]:
    """Devices, and whether the arm is held."""
    if operator is None:
        return {"devices": [], "trouble": "", "paused": False, "drives": False}
    devices = [
        {
            "name": name,
            "live": reading.live,
            "twist": [round(v, 2) for v in reading.twist],
            "gripper": reading.gripper,
        }
        for name, reading in list(operator.readings.items())
    ]
    return {
        "devices": devices,
        "trouble": operator.trouble(),
        "paused": operator.paused,
        "mode": operator.config.mode,
        "moves_arm": operator.active_arm if len(operator.arms) > 1 else "",
        "drives": operator.drives,
    }
