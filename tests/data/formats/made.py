"""Episodes of any content, for every format alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serl.data.demos import EpisodeMeta
from serl.data.formats.steps import RATE
from serl.types import ArraySpec, RewardSource, Source, Spec, record_dtype

HZ = 10.0
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
STATE = ArraySpec(
    name="left/state", shape=(3,), dtype="float32", fields=("x [0.1 m]", "y [0.1 m]", "g [m]")
)
FRONT = ArraySpec(name="front", shape=(16, 18, 3), dtype="uint8")
ACTION = ArraySpec(
    name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0, fields=("x", "gripper")
)
PENALTY = ArraySpec(name="grasp_penalty", shape=(), dtype="float32")
ENDS = ("terminated", "truncated", "open")


def spec(*, camera: bool = True, extras: bool = True) -> Spec:
    return Spec(
        observation=(STATE, FRONT) if camera else (STATE,),
        action=ACTION,
        extras=(PENALTY,) if extras else (),
    )


def episode(made: Spec, steps: int, end: str, seed: int, states: Any = None) -> Any:
    """(records, meta) of one episode; everything that can differ between two steps does."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(steps + 1, record_dtype(made))
    rows["index"] = np.arange(steps + 1)
    for array in made.observation:
        shape = (steps + 1, *array.shape)
        if array.dtype == "uint8":
            rows["obs/" + array.name] = rng.integers(0, 256, shape, np.uint8)
        else:
            rows["obs/" + array.name] = rng.normal(size=shape) if states is None else states
    rows["action"][1:] = rng.uniform(-1, 1, (steps, *made.action.shape))
    rows["requested_action"][1:] = rng.uniform(-1, 1, (steps, *made.action.shape))
    rows["reward"][1:] = rng.normal(size=steps)
    if end != "open":
        rows[end][-1] = True
    rows["success"][-1] = end == "terminated"
    rows["clamped"][1:] = rng.random(steps) < 0.5
    rows["weight"] = rng.random(steps + 1)
    rows["source"][1:] = rng.integers(1, max(Source) + 1, steps)
    rows["policy_version"] = rng.integers(-1, 99, steps + 1)
    rows["reward_source"] = rng.integers(0, max(RewardSource) + 1, steps + 1)
    rows["reward_version"] = rng.integers(0, 2**60, steps + 1)
    rows["stamp_mono_ns"] = np.cumsum(rng.integers(1, 10**8, steps + 1))
    rows["stamp_wall_ns"] = rows["stamp_mono_ns"] + 10**18
    for array in made.extras:
        rows["extra/" + array.name][1:] = rng.normal(size=(steps, *array.shape))
    meta = EpisodeMeta(
        experiment="pick",
        task="pick_cube",
        actor="A. Person",
        success=end == "terminated",
        outcome=end,
        seed=seed,
        details={RATE: HZ, "note": "ü"},
    )
    return rows, meta


@st.composite
def episodes(draw: st.DrawFn, made: Spec) -> list[Any]:
    """One to three episodes."""
    found = []
    for k in range(draw(st.integers(1, 3))):
        steps = draw(st.integers(1, 5))
        states = draw(hnp.arrays(np.float32, (steps + 1, *STATE.shape), elements=FLOATS))
        found.append(episode(made, steps, draw(st.sampled_from(ENDS)), 100 * k + steps, states))
    return found
