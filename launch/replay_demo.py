"""Play a stored episode's actions in its env, from its own seed, and compare what happens.

In lockstep simulation the difference is zero. What differs tells that the task, the model or the
control changed since the episode was recorded.

examples:
  serl replay-demo demos/pick_cube/episode_000003.npz
  serl replay-demo demos/pick_cube/episode_000003.npz --video replay.mp4
"""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launch.arguments import Parser, add_experiment
from launch.experiments import Selection
from serl.data.demos import EpisodeMeta, load_episode
from serl.errors import UserError
from serl.records import Records
from serl.rewards.base import rewarded
from serl.types import Spec


def add_arguments(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="an episode from `serl record`")
    add_experiment(parser)
    parser.add_argument("--video", type=Path, help="film it into this mp4")


def run(args: Namespace) -> int:
    episode = load_episode(args.file)
    given = Selection.from_args(args)
    selection = _selection(given, episode.meta, args.file)
    env_config = selection.load_env()
    seed = episode.meta.seed
    if seed is None:
        raise UserError(
            f"{args.file} does not say from which seed it was recorded, so its start cannot be "
            "had again. Record it with `serl record`."
        )
    episode = load_episode(args.file, env_config.spec())
    with ExitStack() as stack:
        made = env_config.make(render=args.video is not None)
        stack.callback(made.close)
        env = rewarded(made, selection.load_reward(), env_config.spec())
        film = None
        if args.video is not None:
            from launch.video import Film

            fps = getattr(env_config, "control_hz", 20)
            film = stack.enter_context(Film(args.video, fps)).film
        replay = play(env, episode.records, seed, env_config.spec(), film)
    print(replay.text())
    if args.video is not None:
        print(f"video {args.video}")
    return 0


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How a replayed episode compares with the stored one."""

    steps: int
    stored_steps: int
    difference: dict[str, float]
    """Largest absolute difference of each observation over the episode."""
    first_step: int | None
    """First step at which any observation differs; None when none does."""
    stored_success: bool
    success: bool

    def text(self) -> str:
        """Two lines for a person."""
        largest = ", ".join(f"{name} {value:.3g}" for name, value in self.difference.items())
        where = "nowhere" if self.first_step is None else f"first at step {self.first_step}"
        outcome = {True: "success", False: "no success"}
        return (
            f"{self.steps} of {self.stored_steps} steps; success then and now: "
            f"{outcome[self.stored_success]}, {outcome[self.success]}\n"
            f"largest difference: {largest} ({where})"
        )


def play(env: Any, records: Records, seed: int, spec: Spec, on_step: Any = None) -> Replay:
    """Execute the stored actions from the stored seed; ends early where the env does."""
    obs, _ = env.reset(seed=seed)
    difference = {array.name: 0.0 for array in spec.observation}
    first_step, success, steps, over = None, False, 0, False
    for k, record in enumerate(records):
        if over:
            break
        if k:
            obs, _, terminated, truncated, info = env.step(record["requested_action"])
            success = success or bool(info.get("success", False))
            steps, over = k, terminated or truncated
        if on_step is not None:
            on_step(env)
        for name in difference:
            stored = record["obs/" + name].astype(np.float64)
            gap = float(np.max(np.abs(np.asarray(obs[name], np.float64) - stored), initial=0.0))
            difference[name] = max(difference[name], gap)
            if gap > 0 and first_step is None:
                first_step = k
    return Replay(
        steps=steps,
        stored_steps=len(records) - 1,
        difference=difference,
        first_step=first_step,
        stored_success=bool(records["success"].any()),
        success=success,
    )


def _selection(given: Selection, meta: EpisodeMeta, file: Path) -> Selection:
    """The env as given, else as the file says it was recorded with."""
    if not given.is_empty:
        return given
    if "selection" not in meta.details:
        raise UserError(f"{file} does not say its task; name it: --task NAME or an experiment.")
    return Selection.from_json(meta.details["selection"])
