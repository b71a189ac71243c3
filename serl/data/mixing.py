"""Minibatches for the learner: online and demonstration transitions in a fixed share.

RLPD (arXiv:2302.02948, alg. 1) draws half of each batch from the demonstrations. Here the demo side
is the demonstrations together with the online interventions, drawn as one pool; without either the
whole batch is online, unless all of it was to come from the demo side, as for imitation. NumPy
only: the learner moves the arrays to its device.

Cameras come as frames, or as a frozen trunk's features: kept ones, or made from the frames drawn
(`encoded`), which costs a pass of the trunk over every batch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.features import Encode, encode_views, without_features
from serl.data.replay import NoWindows, Replay, Windows
from serl.errors import SpecMismatch, UserError
from serl.types import Source, first_difference

GRASP_PENALTY = "grasp_penalty"
"""The extra that only a grasp critic is paid: at most 0, summed over n steps as the reward is."""

CHUNK_ACTION, CHUNK_VALID = "chunk/action", "chunk/valid"
"""The extras that hold the actions of a chunk, (H, A), and which of them there are, (H,) bool."""

NOTHING_TO_IMITATE = (
    "demo_fraction is 1, and there are neither demonstrations nor interventions; record some, or "
    "take over during training."
)

Minibatches = dict[str, Any]
"""The fields of serl.agents.base.Batch; leaves (U, B, ...), `obs`, `next_obs`, `extra` by name."""


class MixedSampler:
    """Draws U minibatches of B transitions from `online` and the demo side.

    Args:
        online: what the actors did.
        demos: demonstrations of the same spec, or None.
        demo_fraction: share of each minibatch from the demo side, rounded to whole rows.
        n_step: steps of the return; cut short at the end of an episode.
        discount: gamma per step.
        features: cameras as kept features, bfloat16 (h, w, C); the replays were made with a layout.
        stack: T; above 1 every observation is the last T of its episode, (T, ...) oldest first.
        chunk: H; above 1 every transition carries the next H actions of its episode (`chunks`) and
            is itself H steps long, for a chunk is one decision.
    """

    def __init__(
        self,
        online: Replay,
        demos: Replay | None = None,
        demo_fraction: float = 0.5,
        n_step: int = 1,
        discount: float = 0.97,
        *,
        features: bool = False,
        stack: int = 1,
        chunk: int = 1,
    ) -> None:
        if not 0.0 <= demo_fraction <= 1.0:
            raise UserError(f"demo_fraction {demo_fraction}; it must lie in [0, 1].")
        if n_step < 1 or not 0.0 <= discount <= 1.0:
            raise UserError(
                f"n_step {n_step}, discount {discount}; n_step is at least 1, discount in [0, 1]."
            )
        if chunk < 1 or (chunk > 1 and n_step not in (1, chunk)):
            raise UserError(
                f"chunk {chunk}, n_step {n_step}; chunk is at least 1, and a chunk has a return of "
                "its own length: set n_step to 1."
            )
        specs = [without_features(r.spec) for r in (online, demos) if r is not None]
        if specs[0] != specs[-1]:
            here, there = (json.loads(spec.to_json()) for spec in specs)
            raise SpecMismatch(
                f"demonstrations and experiment differ ({first_difference(here, there)}). Record "
                "demos with this experiment."
            )
        self.online = online
        self.demos = demos
        self.demo_fraction = demo_fraction
        self.n_step = max(n_step, chunk)
        self.chunk = chunk
        self.discount = discount
        self._options: dict[str, Any] = {"whole": False, "ends": True, "features": features}
        self._options["stack"] = stack if stack > 1 else None
        spec = specs[0]
        self._fields = (
            *(f"obs/{a.name}" for a in spec.observation),
            "action",
            "reward",
            "terminated",
            "weight",
            *(("source",) if chunk > 1 else ()),
            *(f"extra/{a.name}" for a in spec.extras),
        )

    def sample(self, rng: np.random.Generator, utd: int, batch: int) -> Minibatches:
        """U x B transitions. Each minibatch holds round(B x demo_fraction) from the demo side.

        While nothing is online yet, all come from the demo side, and the other way round.
        """
        demos = self.demos.transitions if self.demos is not None else 0
        humans = self.online.interventions
        if self.demo_fraction == 1.0 and not demos + humans:
            raise NoWindows(NOTHING_TO_IMITATE)
        share = round(batch * self.demo_fraction) if demos + humans else 0
        if self.online.transitions == 0 and demos:
            share = batch
        parts: list[tuple[Replay, str, int]] = [(self.online, "all", utd * (batch - share))]
        if share:
            drawn = int(rng.binomial(utd * share, demos / (demos + humans)))
            parts.append((self.online, "interventions", utd * share - drawn))
            if self.demos is not None:
                parts.append((self.demos, "all", drawn))
        places = _places(rng, utd, batch, share)
        out: Minibatches = {}
        done = 0
        for replay, where, count in parts:
            if count:
                rows = self._draw(rng, replay, where, count)
                _scatter(out, rows, places[done : done + count], (utd, batch))
                done += count
        return out

    def _draw(self, rng: np.random.Generator, replay: Replay, where: str, count: int) -> Any:
        try:
            windows = replay.sample(
                rng, (count,), self.n_step, where, self._fields, **self._options
            )
        except NoWindows:
            if where == "all" or (self.demo_fraction == 1.0 and self.demos is None):
                raise
            # the last intervention was evicted since it was counted
            return self._draw(rng, self.demos or self.online, "all", count)
        rows = transitions(windows, self.discount)
        if self.chunk > 1:
            rows["extra"] |= chunks(windows, of_humans=where == "interventions")
        return rows


def transitions(windows: Windows, discount: float) -> Minibatches:
    """N windows of H steps as N transitions over n <= H steps.

        reward = sum_{k < n} gamma^k r_k,  discount = gamma^n

    The grasp penalty is summed likewise; other extras are the first step's.
    n counts the steps that exist: the sum ends where the episode does, and with it the power.
    """
    steps, valid = windows.steps, windows.valid
    n = valid.sum(axis=-1)  # (N,)
    last = (np.arange(len(n)), n - 1)
    powers = (discount ** np.arange(valid.shape[-1])).astype(np.float32)  # (H,)

    def summed(x: NDArray[Any]) -> NDArray[np.float32]:
        return (x * powers * valid).sum(axis=-1, dtype=np.float32)

    extra = {k.removeprefix("extra/"): x for k, x in steps.items() if k.startswith("extra/")}
    return {
        "obs": {name: x[:, 0] for name, x in windows.obs.items()},
        "action": steps["action"][:, 0],
        "reward": summed(steps["reward"]),
        "next_obs": {name: x[:, 1] for name, x in windows.obs.items()},
        "terminated": steps["terminated"][last].astype(np.float32),
        "discount": (discount**n).astype(np.float32),
        "weight": steps["weight"][:, 0],
        "extra": {k: summed(x) if k == GRASP_PENALTY else x[:, 0] for k, x in extra.items()},
    }


def chunks(windows: Windows, *, of_humans: bool) -> dict[str, NDArray[Any]]:
    """The actions of N windows of H steps, and which of them there are.

    They end where the episode does; `of_humans`, where the human let go as well: what the policy
    did next is nothing to imitate. After the end an action repeats the last one.
    """
    valid = windows.valid
    if of_humans:
        human = windows.steps["source"] == Source.HUMAN
        valid = valid & np.logical_and.accumulate(human, axis=-1)
    return {CHUNK_ACTION: windows.steps["action"], CHUNK_VALID: valid}


def encoded(
    rng: np.random.Generator,
    batch: Minibatches,
    cameras: Sequence[str],
    encode: Encode,
    shift_px: int,
) -> Minibatches:
    """`batch` with each camera's frames (U, B, [T,] H, W, 3) shifted at random and encoded.

    Obs and next_obs, and each camera, have shifts of their own; a stack of T frames shares one.
    """
    import ml_dtypes

    out = dict(batch)
    for side in ("obs", "next_obs"):
        frames = [batch[side][camera] for camera in cameras]
        views = [x.reshape(-1, *x.shape[-3:]) for x in frames]
        offsets = []
        for x, view in zip(frames, views, strict=True):
            drawn = rng.integers(0, 2 * shift_px + 1, (*x.shape[:2], 2), dtype=np.int32)
            offsets.append(drawn.reshape(-1, 2).repeat(len(view) // drawn[..., 0].size, axis=0))
        made = encode_views(encode, views, offsets)
        features = {
            camera: found.view(ml_dtypes.bfloat16).reshape(*x.shape[:-3], *found.shape[1:])
            for camera, x, found in zip(cameras, frames, made, strict=True)
        }
        out[side] = {**batch[side], **features}
    return out


def _places(rng: np.random.Generator, utd: int, batch: int, share: int) -> NDArray[np.int64]:
    """Where rows go in the flattened (U, B): first the online ones, then the demo side in random
    order, so that its two sources are spread over all U minibatches."""
    grid = np.arange(utd * batch).reshape(utd, batch)
    online, demo = grid[:, : batch - share].reshape(-1), grid[:, batch - share :].reshape(-1)
    return np.concatenate([online, rng.permutation(demo)])


def _scatter(
    out: Minibatches, rows: Minibatches, places: NDArray[np.int64], shape: tuple[int, int]
) -> None:
    """Copy N rows of every leaf to their places in leaves of shape (U, B, ...), made if absent."""
    for name, value in rows.items():
        if isinstance(value, dict):
            _scatter(out.setdefault(name, {}), value, places, shape)
            continue
        if name not in out:
            out[name] = np.empty((*shape, *value.shape[1:]), value.dtype)
        out[name].reshape(shape[0] * shape[1], *value.shape[1:])[places] = value
