"""Record demonstrations, one atomic file each; a second call goes on where the first stopped.

examples:
  serl record --task pick_cube --demos 20
  serl record pick_cube_state --demos 50 --into demos/pick_cube --all
  serl record --task pick_cube --demos 20 --device spacemouse
  serl record --task pick_cube --pixels --device gamepad --keys success=y,failure=a
  serl record --task reach --device keyboard --judge person --begin ready
  serl record --task pick_cube --pixels --device browser
"""

from __future__ import annotations

import dataclasses
import threading
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from launch.arguments import Parser, add_experiment, add_supervised, number
from launch.console.beside import add_console, console_beside
from launch.experiments import Selection, slug
from launch.processes import stop_on_signals
from launch.record_set import DemoSet, Progress
from launch.teleop_hand import add_hand
from serl.data.demos import EpisodeMeta
from serl.errors import UserError
from serl.metrics import write_status
from serl.records import RecordBuilder, Records
from serl.rewards.base import ENV, rewarded, unjudged
from serl.seeds import Purpose, episode_seed
from serl.types import EnvConfig, Source

SCRIPTED = "scripted"
"""The task's own expert, in simulation."""
PATIENCE_S = 30.0
"""Time limit of an episode by hand [s]: a person takes several times as long as a script."""


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    parser.add_argument("--demos", type=number(int, 1), default=20, help="how many (20)")
    parser.add_argument("--into", type=Path, help="folder; default demos/<task or experiment>")
    parser.add_argument(
        "--device",
        default=SCRIPTED,
        help="who demonstrates: scripted (the task's expert), or a hand on spacemouse, keyboard, "
        "gamepad ..., as KIND:ADDRESS, or one per arm as left=KIND:ADDRESS,right=...",
    )
    parser.add_argument("--all", action="store_true", help="keep failed episodes too")
    parser.add_argument("--status", type=Path, help="keep a status file here")
    parser.add_argument(
        "--episode-s",
        type=number(float, 1),
        default=PATIENCE_S,
        help=f"by hand: longest episode ({PATIENCE_S:g}) [s]",
    )
    parser.add_argument(
        "--judge",
        choices=("env", "person"),
        default="env",
        help="by hand: who says success, the env (or its learned reward), or the person's key",
    )
    parser.add_argument(
        "--begin",
        choices=("touch", "ready"),
        help="by hand: an episode begins with the first move (touch; in simulation), or when a key "
        "says that the scene is ready (a robot server)",
    )
    add_hand(parser)
    add_console(parser)
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

    meta = EpisodeMeta(
        experiment=_name(selection),
        task=getattr(env_config, "task_name", ""),
        actor=args.device,
        details={"selection": dataclasses.asdict(selection.absolute())},
    )
    if args.device != SCRIPTED:
        return _by_hand(args, selection, env_config, folder, meta, tell, stop)
    _refuse_hand_flags(args)
    done = record(
        env_config,
        folder,
        reward=selection.load_reward(),
        count=args.demos,
        seed=selection.seed or 0,
        keep_failed=args.all,
        meta=meta,
        on_progress=tell,
        stop=stop,
    )
    print(f"{done.stored} demonstrations in {folder} ({done.successes} successes)")
    return 0 if done.stored >= args.demos else 130


def _by_hand(
    args: Namespace,
    selection: Selection,
    env_config: Any,
    folder: Path,
    meta: EpisodeMeta,
    tell: Callable[[Progress], None],
    stop: threading.Event,
) -> int:
    """A person demonstrates; ends with a report on the set."""
    from launch.data_info import report
    from launch.record_by_hand import HandRecorder
    from launch.teleop_hand import hand_env, hand_on, make_operator
    from launch.teleop_view import HandView
    from serl.data.formats.native import open_set

    reward = selection.load_reward()
    env_config = hand_env(env_config, args.backend, episode_s=args.episode_s)
    if args.judge == "person" and reward not in (ENV, "human"):
        raise UserError("--judge person and --reward both say what success is; leave one out.")
    if args.judge == "person" or reward == "human":
        reward, env_config = ENV, unjudged(env_config)
    demos = DemoSet(
        folder, env_config, count=args.demos, reward=reward, keep_failed=args.all, meta=meta
    )
    tell(demos.progress)
    if not demos.complete:
        operator = make_operator(args, env_config, device=args.device)
        person_judges = reward == ENV and env_config.reward == "learned"
        if person_judges:
            _refuse_mute(operator)
        begin = args.begin or ("ready" if env_config.is_remote else "touch")
        with hand_on(env_config, operator, args) as made, HandView(made, operator) as view:
            env = rewarded(made, reward, demos.spec)
            recorder = HandRecorder(
                env,
                operator,
                demos,
                person_judges=person_judges,
                begin=begin,
                seed=selection.seed or 0,
                view=view,
                stop=stop,
            )
            beside = console_beside(args, env, operator, title=lambda: view.title, say=view.say)
            with beside as view.also:
                recorder.run(tell if args.status is not None else lambda progress: None)
    if demos.progress.stored:
        print("\n".join(report(open_set(folder))))
    return 0 if demos.complete else 130


def _refuse_hand_flags(args: Namespace) -> None:
    """What a script would ignore."""
    given = {
        "--mode": args.mode != "always",
        "--yaw-deg": args.yaw_deg != 0,
        "--keys": bool(args.keys),
        "--backend": args.backend is not None,
        "--begin": args.begin is not None,
        "--judge": args.judge != "env",
        "--episode-s": args.episode_s != PATIENCE_S,
        "--console": args.console is not None,
    }
    ignored = [flag for flag, is_given in given.items() if is_given]
    if ignored:
        raise UserError(
            f"{', '.join(ignored)}: for a hand; the scripted expert has no use for it. Say which "
            "device with --device, or leave it out."
        )


def _refuse_mute(operator: Any) -> None:
    """A person who is to judge needs keys for it."""
    missing = [word for word in ("success", "failure") if not operator.key_of(word)]
    if missing:
        raise UserError(
            f"no key says {' or '.join(missing)}, and the person is to judge. Run this in a "
            "terminal, whose keys do, or give --keys success=KEY,failure=KEY."
        )


def record(
    env_config: EnvConfig,
    folder: Path,
    *,
    count: int,
    seed: int,
    reward: str = ENV,
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
            the folder holds demonstrations that do not belong (`DemoSet`).
    """
    demos = DemoSet(
        folder, env_config, count=count, reward=reward, keep_failed=keep_failed, meta=meta
    )
    judge = "" if reward == ENV else ", and the reward with `serl classifier test`"
    on_progress(demos.progress)
    if demos.complete:
        return demos.progress
    with closing(env_config.make()) as made:
        env = rewarded(made, reward, demos.spec)
        expert = _expert(env_config, made, seed)
        builder = RecordBuilder(demos.spec)
        limit = demos.attempt + 10 + 5 * (count - demos.progress.stored)
        while not demos.complete and not (stop is not None and stop.is_set()):
            if demos.attempt >= limit:
                raise UserError(
                    f"the expert failed too often: {demos.progress.stored} of {count} "
                    f"demonstrations after {demos.attempt} attempts. Check the task{judge}, or "
                    "keep failures with --all."
                )
            episode = episode_seed(Purpose.DEMO, seed, demos.attempt)
            records, info = demonstrate(env, expert, builder, demos.attempt, episode)
            success = bool(records["success"].any()) and bool(info.get("env_success", True))
            outcome = "success" if success else "failure"
            on_progress(demos.add(records, outcome=outcome, seed=episode))
    return demos.progress


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
