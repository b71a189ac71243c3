"""What the state must say besides what a picture shows: conditions in physical units, as data.

    {"field": "gripper_width", "above": 0.02, "below": 0.06}

A condition names an element of the state as the spec does, without its unit: 'tcp_pos.z',
'left/gripper_width'. The spec's name tells how the stored number becomes metres: 'gripper_width
[0.04 m from 0.04]' is stored as (value - 0.04) / 0.04. An element without a name is 'state[3]'.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serl.errors import UserError, unknown_name
from serl.types import Spec

_NAMED = re.compile(r"(?P<name>\S+) \[(?P<unit>.+?)(?: from (?P<offset>[-+.\deE]+))?\]")
_SCALED = re.compile(r"(?P<scale>[-+.\deE]+) .+")
_SAID = re.compile(r"(\S+)((?: +(?:above|below) +[-+.\deE]+)+)")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Bounds on one element of the state, in its plain unit; both are exclusive."""

    field: str
    above: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if self.above is None and self.below is None:
            raise UserError(f"condition on {self.field!r} has no bound; give above or below.")
        bounds = [b for b in (self.above, self.below) if b is not None]
        if not all(isinstance(b, int | float) and math.isfinite(b) for b in bounds):
            raise UserError(f"condition on {self.field!r}: {bounds} must be finite numbers.")
        if len(bounds) == 2 and bounds[0] >= bounds[1]:
            raise UserError(
                f"condition on {self.field!r}: nothing is above {bounds[0]} and below {bounds[1]}."
            )

    def holds(self, value: float) -> bool:
        return (self.above is None or value > self.above) and (
            self.below is None or value < self.below
        )

    def to_json(self) -> dict[str, Any]:
        bounds = {"above": self.above, "below": self.below}
        return {"field": self.field, **{k: v for k, v in bounds.items() if v is not None}}

    @staticmethod
    def from_json(raw: Any) -> Condition:
        """Inverse of `to_json`. Raises UserError naming what is wrong."""
        if not isinstance(raw, dict) or not isinstance(raw.get("field"), str):
            raise UserError(f'condition {raw!r} must be like {{"field": NAME, "above": NUMBER}}.')
        unknown = raw.keys() - {"field", "above", "below"}
        if unknown:
            raise unknown_name("part of a condition", min(unknown), ("field", "above", "below"))
        return Condition(**raw)

    @staticmethod
    def parse(text: str) -> Condition:
        """From the command line.

        >>> Condition.parse("gripper_width above 0.02 below 0.06")
        Condition(field='gripper_width', above=0.02, below=0.06)
        """
        said = _SAID.fullmatch(text.strip())
        if said is None:
            raise UserError(f"condition {text!r} must be 'FIELD above NUMBER', or below, or both.")
        words = said[2].split()
        try:
            bounds = {w: float(n) for w, n in zip(words[::2], words[1::2], strict=True)}
        except ValueError:
            raise UserError(f"condition {text!r}: its bounds must be numbers.") from None
        return Condition(field=said[1], **bounds)


def reader(spec: Spec, field: str) -> Callable[[Mapping[str, Any]], float]:
    """From an observation to one element of it in its plain unit.

    Raises:
        UserError: the spec has no such element; names the nearest.
    """
    places = elements(spec)
    if field not in places:
        raise unknown_name("state element", field, places)
    array, index, scale, offset = places[field]
    return lambda obs: float(obs[array].reshape(-1)[index]) * scale + offset


def elements(spec: Spec) -> dict[str, tuple[str, int, float, float]]:
    """Every element of every vector observation: name to (array, index, scale, offset)."""
    found: dict[str, tuple[str, int, float, float]] = {}
    for array in spec.observation:
        if len(array.shape) != 1:
            continue
        for index in range(array.shape[0]):
            named = _NAMED.fullmatch(array.fields[index]) if index < len(array.fields) else None
            if named is None:
                found[f"{array.name}[{index}]"] = (array.name, index, 1.0, 0.0)
                continue
            scaled = _SCALED.fullmatch(named["unit"])
            scale = float(scaled["scale"]) if scaled else 1.0
            found[named["name"]] = (array.name, index, scale, float(named["offset"] or 0.0))
    return found


def all_hold(spec: Spec, conditions: Sequence[Condition]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether an observation meets every condition."""
    checks = [(reader(spec, c.field), c) for c in conditions]
    return lambda obs: all(c.holds(read(obs)) for read, c in checks)
