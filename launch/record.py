"""Record demonstrations, one atomic file each; a second call goes on where the first stopped.

examples:
  serl record --task pick_cube --demos 20
  serl record pick_cube_state --demos 50 --into demos/pick_cube --all
"""

from __future__ import annotations

import dataclasses
import threading
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.arguments import Parser, add_experiment, add_supervised, number
from launch.experiments import Selection, slug
from launch.processes import stop_on_signals
from serl.data.demos import EpisodeMeta, load_folder, save_episode
from serl.errors import UserError
from serl.metrics import write_status
from serl.records import RecordBuilder, Records
from serl.rewards.base import ENV, reward_contract, rewarded, version_number
from serl.seeds import Purpose, episode_seed
from serl.types import EnvConfig, Source

DEVICES = ("scripted",)
"""Who demonstrates. 'scripted' is the task's own expert, in simulation."""


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    parser.add_argument("--demos", type=number(int, 1), default=20, help="how many (20)")
    parser.add_argument("--into", type=Path, help="folder; default demos/<task or experiment>")
    parser.add_argument("--device", choices=DEVICES, default="scripted", help="who demonstrates")
    parser.add_argument("--all", action="store_true", help="keep failed episodes too")
    parser.add_argument("--status", type=Path, help="keep a status file here")
    add_supervised(parser)


def run(args: Namespace) -> int:
    selection = Selection.from_args(args)
    env_config = selection.load_env()
    stop = stop_on_signals(args.watch_fd)
    folder = args.into or Path("demos") / _name(selection)

    def tell(progress: Progress) -> None:
        if args.status is not None:
            write_status(args.status, {"phase": progress.phase, **dataclasses.asdict(progress)})
        elif progress.line:
            print(progress.line, flush=True)

    done = record(
        env_config,
        folder,
        reward=selection.load_reward(),
        count=args.demos,
        seed=selection.seed or 0,
        keep_failed=args.all,
        meta=EpisodeMeta(
            experiment=_name(selection),
            task=getattr(env_config, "task_name", ""),
            actor=args.device,
            details={"selection": dataclasses.asdict(selection.absolute())},
        ),
        on_progress=tell,
        stop=stop,
    )
    print(f"{done.stored} demonstrations in {folder} ({done.successes} successes)")
    return 0 if done.stored >= args.demos else 130


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far recording has come."""

    wanted: int
    stored: int
    successes: int
    line: str = ""
    """What has just happened."""

    @property
    def phase(self) -> str:
        return f"recording demonstrations {self.stored}/{self.wanted}"


def record(
    env_config: EnvConfig,
    folder: Path,
    *,
    count: int,
    seed: int,
    reward: str = "env",
    keep_failed: bool = False,
    meta: EpisodeMeta,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: threading.Event | None = None,
) -> Progress:
    """Have the scripted expert demonstrate until `folder` holds `count` episodes.

    Each attempt has a seed of its own from the block for demonstrations, stored in the file.

    Args:
        reward: what pays (`serl.rewards.base.rewarded`). An episode is then a success when it was
            judged one, and truly was one where the env can tell.

    Raises:
        UserError: the env has no scripted expert, it fails far more often than it succeeds, or
            another reward pays in the demonstrations that `folder` holds.
    """
    spec = env_config.spec()
    stored, attempt, successes = _already_there(folder, spec, reward)
    progress = Progress(wanted=count, stored=stored, successes=successes)
    judge = "" if reward == ENV else ", and the reward with `serl classifier test`"
    on_progress(progress)
    if stored >= count:
        return progress
    with closing(env_config.make()) as made:
        env = rewarded(made, reward, spec)
        expert = _expert(env_config, made, seed)
        builder = RecordBuilder(spec)
        limit = attempt + 10 + 5 * (count - stored)
        while progress.stored < count and not (stop is not None and stop.is_set()):
            if attempt >= limit:
                raise UserError(
                    f"the expert failed too often: {progress.stored} of {count} demonstrations "
                    f"after {attempt} attempts. Check the task{judge}, or keep failures with --all."
                )
            episode = episode_seed(Purpose.DEMO, seed, attempt)
            records, info = demonstrate(env, expert, builder, attempt, episode)
            success = bool(records["success"].any()) and bool(info.get("env_success", True))
            if success or keep_failed:
                about = dataclasses.replace(
                    meta,
                    seed=episode,
                    success=success,
                    outcome="success" if success else "failure",
                    details={**meta.details, "attempt": attempt},
                )
                path = save_episode(folder, records, spec, about, keep_failures=keep_failed)
                assert path is not None
                progress = Progress(
                    wanted=count,
                    stored=progress.stored + 1,
                    successes=progress.successes + success,
                    line=f"{path.name}: {len(records) - 1} steps, {about.outcome}",
                )
            else:
                progress = dataclasses.replace(progress, line=f"attempt {attempt} failed; not kept")
            on_progress(progress)
            attempt += 1
    return progress


def demonstrate(
    env: Any, expert: Any, builder: RecordBuilder, episode: int, seed: int
) -> tuple[Records, dict[str, Any]]:
    """One episode's records, of length steps + 1, and the info of its end."""
    import numpy as np

    obs, info = env.reset(seed=seed)
    expert.reset()
    rows = [builder.first(episode, obs, info)]
    over = False
    while not over:
        action = expert.act()
        obs, reward, terminated, truncated, info = env.step(action)
        rows.append(
            builder.step(
                action=action,
                obs=obs,
                reward=float(reward),
                terminated=bool(terminated),
                truncated=bool(truncated),
                info={**info, "source": Source.SCRIPTED},
            )
        )
        over = terminated or truncated
    return np.concatenate(rows), info


def _already_there(folder: Path, spec: Any, reward: str) -> tuple[int, int, int]:
    """Episodes stored, the next attempt's number, and successes. Damaged files are not counted.

    Raises UserError for an episode that something other than `reward` paid.
    """
    if not folder.is_dir():
        return 0, 0, 0
    episodes, corrupt = load_folder(folder, spec, successes_only=False)
    pays = 0 if reward == ENV else version_number(reward_contract(reward)["version"])
    if any((e.records["reward_version"][1:] != pays).any() for e in episodes):
        raise UserError(
            f"{folder} holds demonstrations that another reward paid than {reward}. Record into "
            "another folder with --into, or remove these."
        )
    attempts = [e.meta.details.get("attempt", -1) for e in episodes]
    successes = sum(e.meta.success for e in episodes)
    return len(episodes), max(attempts, default=-1) + 1 + len(corrupt), successes


EXPERT_NOISE = 0.1
"""Standard deviation added to each action of the expert: demonstrations that differ teach more."""


def _expert(env_config: Any, env: Any, seed: int) -> Any:
    if not hasattr(env_config, "expert"):
        raise UserError(
            f"{type(env_config).__name__} has no scripted expert, so there is no one to "
            "demonstrate. Train without demonstrations (--demos 0)."
        )
    return env_config.expert(env, noise=EXPERT_NOISE, seed=seed)


def _name(selection: Selection) -> str:
    """What the folder is called; with --task or --env no experiment is loaded."""
    if selection.task is not None:
        return selection.task
    return slug(selection.env) if selection.env is not None else selection.load().name
