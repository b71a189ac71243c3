"""SERL's compliance parameters and our gains: the same law, written two ways.

SERL's error is measured minus desired, so its positive clip bounds a reference on the negative side
of the TCP; its rotational error is the vector part of a quaternion, half the angle for small ones,
so stiffness halves and clips double on the way to us (DESIGN decision 17). Damping acts on the
twist in both. Source of keys, defaults and ranges: serl_franka_controllers 1f140ef,
compliance_param.cfg.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from robot_servers.http_reply import Refused, finite
from robot_servers.types import Gains
from serl.errors import unknown_name

AXES = ("x", "y", "z")
HALF_ANGLE = 0.5
"""Vector part of a unit quaternion per radian of a small rotation."""


@dataclass(frozen=True)
class Range:
    """One dynamic_reconfigure key."""

    default: float
    low: float
    high: float


def _clips(name: str, default: float) -> dict[str, Range]:
    keys = [f"{name}_clip_{sign}{axis}" for sign in ("", "neg_") for axis in AXES]
    return {key: Range(default, 0.0, 0.1) for key in keys}


PARAMS: Mapping[str, Range] = {
    "translational_stiffness": Range(2000.0, 0.0, 6000.0),
    "translational_damping": Range(89.0, 0.0, 400.0),
    "rotational_stiffness": Range(150.0, 0.0, 300.0),
    "rotational_damping": Range(7.0, 0.0, 30.0),
    "nullspace_stiffness": Range(0.2, 0.0, 100.0),
    "joint1_nullspace_stiffness": Range(100.0, 0.0, 100.0),
    **_clips("translational", 0.01),
    **_clips("rotational", 0.05),
    "translational_Ki": Range(0.0, 0.0, 100.0),
    "rotational_Ki": Range(0.0, 0.0, 100.0),
}
"""Every key of /update_param, in SERL's units: N/m, N s/m, N m per half angle, m, half angle."""

INTEGRAL = ("translational_Ki", "rotational_Ki")
"""No backend has an integral term; only 0 can be honoured."""

FIELDS: Mapping[str, str] = {
    "translational_stiffness": "translational_stiffness_n_per_m",
    "translational_damping": "translational_damping_n_s_per_m",
    "rotational_stiffness": "rotational_stiffness_nm_per_rad",
    "rotational_damping": "rotational_damping_nm_s_per_rad",
    "nullspace_stiffness": "nullspace_stiffness_nm_per_rad",
    "joint1_nullspace_stiffness": "joint1_nullspace_factor",
}
"""The field of Gains behind each key but the clips."""


def defaults() -> dict[str, float]:
    """What SERL's controller starts with."""
    return {key: span.default for key, span in PARAMS.items()}


def merge(
    current: Mapping[str, float], asked: object, unsupported: Collection[str] = ()
) -> tuple[dict[str, float], list[str], list[str]]:
    """The parameters after an /update_param.

    Args:
        unsupported: fields of Gains that the backend cannot honour.

    Returns:
        The new parameters; a line for each value that was clamped to its range, as
        dynamic_reconfigure does; a line for each key that cannot be honoured. Such a key stays as
        it was and the others are taken: SERL's own presets ask for Ki and never read the reply, and
        would otherwise go on with the stiffness of the preset before.

    Raises:
        Refused: 422, naming a key that is unknown or whose value is no finite number; nothing is
            taken.
    """
    if not isinstance(asked, dict):
        raise Refused(
            400, 'the body must be a JSON object, as in {"translational_stiffness": 2000}.'
        )
    values = {key: _number(key, value) for key, value in asked.items()}
    merged, clamped, refused = dict(current), [], []
    for key, value in values.items():
        span = PARAMS[key]
        if value != span.default and (key in INTEGRAL or FIELDS.get(key) in unsupported):
            refused.append(
                f"{key} {value:g}: this arm's law cannot honour it; send {span.default:g} or leave "
                "it out. The other keys are in effect."
            )
            continue
        merged[key] = min(max(value, span.low), span.high)
        if merged[key] != value:
            clamped.append(f"{key} {value:g} is outside {span.low:g} to {span.high:g}")
    return merged, clamped, refused


def gains_from(params: Mapping[str, float]) -> Gains:
    """Our gains for SERL's parameters; the inverse of `params_from`.

    A negative side equal to the positive one is None, as in `Gains()`: a backend that clips both
    sides alike can honour that.
    """
    m, neg_m = (_triple(params, f"translational_clip_{s}", 1.0) for s in ("neg_", ""))
    rad, neg_rad = (_triple(params, f"rotational_clip_{s}", 1 / HALF_ANGLE) for s in ("neg_", ""))
    return Gains(
        translational_stiffness_n_per_m=params["translational_stiffness"],
        translational_damping_n_s_per_m=params["translational_damping"],
        rotational_stiffness_nm_per_rad=params["rotational_stiffness"] * HALF_ANGLE,
        rotational_damping_nm_s_per_rad=params["rotational_damping"],
        translational_clip_m=m,
        translational_clip_neg_m=None if neg_m == m else neg_m,
        rotational_clip_rad=rad,
        rotational_clip_neg_rad=None if neg_rad == rad else neg_rad,
        nullspace_stiffness_nm_per_rad=params["nullspace_stiffness"],
        joint1_nullspace_factor=params["joint1_nullspace_stiffness"],
    )


def params_from(gains: Gains) -> dict[str, float]:
    """SERL's parameters for our gains."""
    m, rad = gains.translational_clip_m, gains.rotational_clip_rad
    neg_m = gains.translational_clip_neg_m or m
    neg_rad = gains.rotational_clip_neg_rad or rad
    params = {
        "translational_stiffness": gains.translational_stiffness_n_per_m,
        "translational_damping": gains.translational_damping_n_s_per_m,
        "rotational_stiffness": gains.rotational_stiffness_nm_per_rad / HALF_ANGLE,
        "rotational_damping": gains.rotational_damping_nm_s_per_rad,
        "nullspace_stiffness": gains.nullspace_stiffness_nm_per_rad,
        "joint1_nullspace_stiffness": gains.joint1_nullspace_factor,
        "translational_Ki": 0.0,
        "rotational_Ki": 0.0,
    }
    for i, axis in enumerate(AXES):
        params[f"translational_clip_{axis}"] = neg_m[i]
        params[f"translational_clip_neg_{axis}"] = m[i]
        params[f"rotational_clip_{axis}"] = neg_rad[i] * HALF_ANGLE
        params[f"rotational_clip_neg_{axis}"] = rad[i] * HALF_ANGLE
    return params


def _triple(params: Mapping[str, float], prefix: str, factor: float) -> tuple[float, float, float]:
    x, y, z = (params[prefix + axis] * factor for axis in AXES)
    return x, y, z


def _number(key: str, value: Any) -> float:
    if key not in PARAMS:
        raise Refused(422, str(unknown_name("parameter", key, PARAMS)))
    found = finite(value)
    if found is None:
        span, shown = PARAMS[key], str(value)[:40]
        raise Refused(422, f"{key} {shown!r} is no number; give {span.low:g} to {span.high:g}.")
    return found
