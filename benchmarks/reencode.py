"""What keeping features costs in learning and saves in time: cache against encoding every batch.

One recorded replay, equal weights, equal draws of rows; 300 updates each. Every tenth episode is
held out: its temporal-difference error tells whether few fixed crops are worse than fresh ones.

    python -m benchmarks.reencode [RUN]        RUN: a finished run from pixels; default the newest
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.learner import row
from launch.experiments import Selection
from launch.runs import RUNS, Run, all_runs, find_run
from serl.agents.base import Batch
from serl.data.mixing import MixedSampler, encoded
from serl.data.replay import Replay
from serl.errors import UserError
from serl.pixels import FeatureLayout, images
from serl.trunk import read_trunk

UPDATES = 300
HELD_OUT = 10
"""Every this many-th episode."""
CASES = (("K 1", 1), ("K 2", 2), ("K 4", 4), ("encoded anew", 0))


def run(quick: bool = False, source: Path | None = None) -> list[dict[str, Any]]:
    """Measure; rows of what, value, unit and goal."""
    found = find_run(str(source)) if source is not None else _newest()
    experiment = Selection.from_json(found.about["selection"]).load()
    trunk = read_trunk(found.path / "trunk.safetensors", experiment.agent.image.precision)
    image = dataclasses.replace(experiment.agent.image, trunk=trunk.name)
    config = dataclasses.replace(experiment.agent, image=image)
    agent = config.make(experiment.env.spec())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        source_folder = Path(folder) / "recorded"
        shutil.copytree(found.path / "replay", source_folder)
        for name, crops in CASES[1::2] if quick else CASES:
            error, rate = _case(agent, trunk, experiment, source_folder, Path(folder), crops)
            what = f"after {UPDATES} updates, {name}"
            rows.append(row(f"held-out TD error {what}", error, "squared"))
            rows.append(row(f"critic updates/s, {name}, median", rate, "1/s"))
    return rows


def _newest() -> Run:
    for candidate in reversed(all_runs(RUNS)):
        if candidate.finished and (candidate.path / "trunk.safetensors").is_file():
            return candidate
    raise UserError("no finished run from pixels under runs/; make one: serl demo --pixels.")


def _case(
    agent: Any, trunk: Any, experiment: Any, recorded: Path, folder: Path, crops: int
) -> tuple[float, float]:
    """Held-out TD error after the updates, and updates per second."""
    spec, config = agent.spec, agent.config
    cameras = tuple(a.name for a in images(spec))
    shift_px = config.image.shift_px

    def encode(frames: Any, offsets: Any) -> Any:
        return trunk.encode(frames, offsets, shift_px)

    def layout(count: int) -> FeatureLayout:
        return FeatureLayout(
            trunk=trunk.id,
            cameras=cameras,
            shape=agent.feature_shape,
            crops=count,
            shift_px=shift_px,
        )

    options = {"demo_fraction": 0.0, "n_step": experiment.replay.n_step}
    options["discount"] = config.discount
    name = f"crops{crops}"
    with (
        Replay(recorded, spec, capacity=experiment.replay.capacity) as source,
        Replay(folder / name, spec, 100_000, features=layout(crops) if crops else None) as train,
        Replay(folder / f"{name}-held", spec, 100_000, features=layout(1)) as held,
    ):
        for count, episode in enumerate(source.iter_episodes()):
            into = held if count % HELD_OUT == 0 else train
            records = episode.records.copy()
            if len(records) > 1 and records["index"][0] == 0:
                records["episode"] = count
                into.append("recorded", np.ascontiguousarray(records))
        for replay in (train, held):
            while replay.layout is not None and replay.backlog:
                replay.encode_next(encode, 64)
        sampler = MixedSampler(train, None, features=bool(crops), **options)
        rng = np.random.default_rng(0)

        def draw() -> Batch:
            rows = sampler.sample(rng, config.utd_ratio, config.batch_size)
            return Batch(**(rows if crops else encoded(rng, rows, cameras, encode, shift_px)))

        state, rate = _learn(agent, draw)
        test = MixedSampler(held, None, features=True, **options)
        batch = Batch(**test.sample(np.random.default_rng(1), 8, config.batch_size))
    return _td_error(agent, state, batch), rate


def _learn(agent: Any, draw: Callable[[], Batch]) -> tuple[Any, float]:
    """The state after the updates, from equal weights, and the median rate."""
    state = agent.init(jax.random.key(0))
    rates = []
    for call in range(UPDATES // agent.config.utd_ratio):
        start = time.perf_counter()
        state, metrics = agent.update(state, draw())
        jax.block_until_ready(metrics)
        if call:
            rates.append(agent.config.utd_ratio / (time.perf_counter() - start))
    return state, statistics.median(rates)


def _td_error(agent: Any, state: Any, batches: Batch) -> float:
    """Mean squared error of the critics against their targets; nothing is learned on the way."""
    unit = dataclasses.replace(batches, action=agent.scale.to_unit(batches.action))
    look = jax.jit(lambda one, key: agent.update_critic(state, (one, key))[1]["critic/loss"])
    errors = [
        float(look(jax.tree.map(lambda leaf, u=u: leaf[u], unit), jax.random.key(u)))
        for u in range(len(batches.reward))
    ]
    return statistics.mean(errors)


if __name__ == "__main__":
    from launch.bench import print_rows

    print_rows(run(source=Path(sys.argv[1]) if sys.argv[1:] else None))
