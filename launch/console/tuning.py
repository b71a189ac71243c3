"""Gains and boxes by slider, within what the experiment and the backend allow.

A gain goes from a quarter to one and a half of the experiment's, and never pushes harder than that;
a robot server lowers it further to its own limits. A box can only be narrower.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from envs.backend import gains
from envs.limits import Window
from serl.errors import UserError

GAINS = {
    "translational_stiffness_n_per_m": "N/m",
    "translational_damping_n_s_per_m": "N s/m",
    "rotational_stiffness_nm_per_rad": "N m/rad",
    "rotational_damping_nm_s_per_rad": "N m s/rad",
}
SPAN = (0.25, 1.5)
"""Least and most of each gain, as a share of the experiment's."""


class Tuning:
    """What may be changed of one env while nothing is kept of it.

    Args:
        core: the RobotEnv.
    """

    def __init__(self, core: Any) -> None:
        self._core = core
        own = gains(core.config)
        unsupported = core.backend.unsupported
        self._own = {name: getattr(own, name) for name in GAINS if name not in unsupported}
        self._gains = dict(self._own)
        self._boxes = {name: limits.box for name, limits in core.limits.items()}

    def settings(self) -> dict[str, Any]:
        """For the sliders: name, unit, least, most and value of each gain; boxes by arm [m]."""
        low, high = SPAN
        rows = [
            [name, GAINS[name], low * own, high * own, self._gains[name]]
            for name, own in self._own.items()
        ]
        boxes = {
            arm: {
                "least": [own.low_m.tolist(), own.high_m.tolist()],
                "now": [
                    self._core.limits[arm].box.low_m.tolist(),
                    self._core.limits[arm].box.high_m.tolist(),
                ],
            }
            for arm, own in self._boxes.items()
        }
        return {"gains": rows, "boxes": boxes}

    def order(self, what: str, values: Mapping[str, Any]) -> str:
        """'gains' {name: value} or 'box' {arm, low_m, high_m}."""
        if what == "gains":
            return self._set_gains(values)
        if what == "box":
            return self._set_box(values)
        raise UserError(f"{what!r} is nothing the console can do.")

    def _set_gains(self, values: Mapping[str, Any]) -> str:
        changed = {k: _number(k, v) for k, v in values.items() if k in self._own}
        if not changed:
            raise UserError(f"no gain of {', '.join(self._own) or 'this backend'} was named.")
        for name, value in changed.items():
            least, most = (share * self._own[name] for share in SPAN)
            if not least <= value <= most:
                raise UserError(
                    f"{name} {value:g} {GAINS[name]} is out of range; from {least:g} to {most:g}."
                )
        asked = {**self._gains, **changed}
        own = dataclasses.replace(gains(self._core.config), **asked)
        stiffer = {
            "translational_clip_m": "translational_stiffness_n_per_m",
            "rotational_clip_rad": "rotational_stiffness_nm_per_rad",
        }
        clips = {}
        for clip, spring in stiffer.items():  # the push stays what the experiment allows
            share = min(1.0, self._own.get(spring, 1.0) / asked.get(spring, 1.0))
            clips[clip] = tuple(share * c for c in getattr(own, clip))
        new = dataclasses.replace(own, **clips)
        self._core.backend.set_gains(dict.fromkeys(self._core.backend.arms, new))
        self._gains = asked
        return ", ".join(f"{name} {value:g} {GAINS[name]}" for name, value in changed.items())

    def _set_box(self, values: Mapping[str, Any]) -> str:
        arm = values.get("arm", "")
        if arm not in self._boxes:
            raise UserError(f"no arm {str(arm)[:40]!r} here; arms: {list(self._boxes)}.")
        own, limits = self._boxes[arm], self._core.limits[arm]
        low, high = _corner(values.get("low_m")), _corner(values.get("high_m"))
        if (low < own.low_m - 1e-9).any() or (high > own.high_m + 1e-9).any():
            raise UserError(
                f"a box from {low.tolist()} to {high.tolist()} m is wider than the experiment's, "
                f"{own.low_m.tolist()} to {own.high_m.tolist()}; it can only be narrower."
            )
        p = self._core.states[arm].T_base_tcp[:3, 3]
        if (p < low).any() or (p > high).any():
            raise UserError(
                f"the TCP at {np.round(p, 3).tolist()} m is outside the box from {low.tolist()} to "
                f"{high.tolist()}; move it in first."
            )
        limits.box = Window(low, high, own.low_rad, own.high_rad)
        return f"box of arm {arm!r} from {low.tolist()} to {high.tolist()} m"


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{name} {str(value)[:40]!r} is no number.")
    return float(value)


def _corner(values: Any) -> Any:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 3:
        raise UserError("a corner of a box is three numbers, in metres.")
    return np.array([_number("corner", v) for v in values])
