"""Test trained policies from their checkpoints alone, on seeds they were never trained on.

The policy is deterministic unless --sampled. Several are tested on the same seeds and compared.

examples:
  serl evaluate runs/pick_cube_state/2026-11-20_12-00-00
  serl evaluate runs/pick_cube_state/2026-11-20_12-00-00 --episodes 20 --video
  serl evaluate runs/pick_cube_state/2026-11-20_12-00-00 --backend grpc://127.0.0.1:5600
  serl evaluate runs/pick_cube_state/A runs/pick_cube_state/B --report comparison.html
  serl evaluate policy.safetensors --task pick_cube --save episodes --videos films
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.arguments import Parser, add_experiment, add_supervised, number
from launch.attending import add_person, attended
from launch.comparison import Trial, compared, write_comparison
from launch.evaluate_episodes import Camera, EachFilm, Keeper
from launch.experiments import Selection, need, slug
from launch.processes import stop_on_signals
from launch.result import test_line
from launch.runs import Run, find_run
from serl.attendance import Attendance
from serl.errors import UserError, writing
from serl.evaluation import EpisodeResult, EvaluationResult, evaluate
from serl.metrics import write_json
from serl.person import Person
from serl.seeds import Purpose, episode_seed

if TYPE_CHECKING:
    from serl.experiment import Experiment
    from serl.policy import PolicyInHand


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "checkpoint",
        nargs="+",
        help="a run's folder, one of its checkpoints, a policy.safetensors; several are compared",
    )
    add_experiment(parser)
    parser.add_argument("--episodes", type=number(int, 1, 1 << 24), default=100)
    parser.add_argument("--sampled", action="store_true", help="sample actions, as in training")
    parser.add_argument(
        "--video",
        nargs="?",
        type=Path,
        const=Path("evaluation.mp4"),
        help="film the episodes into this mp4 (evaluation.mp4)",
    )
    parser.add_argument("--videos", type=Path, help="film each episode into an mp4 of this folder")
    parser.add_argument("--save", type=Path, help="keep each episode in this folder, as demos are")
    parser.add_argument("--report", type=Path, help="all that was tested side by side, as HTML")
    parser.add_argument("--backend", metavar="ROBOT", help="mujoco, or grpc://HOST:PORT")
    parser.add_argument("--film-only", action="store_true", help="no result is written")
    add_person(parser)
    add_supervised(parser)


def run(args: Namespace) -> int:
    stop = stop_on_signals(args.watch_fd)
    checkpoints = _checkpoints(args)
    selection = Selection.from_args(args)
    tested: list[Trial] = []
    seeds: list[int] = []
    for checkpoint in checkpoints:
        experiment = on_backend(_experiment(selection, checkpoint), args.backend)
        seeds = seeds or [
            episode_seed(Purpose.FINAL, experiment.seed, k) for k in range(args.episodes)
        ]
        policy = load(experiment, Path(checkpoint))
        name = checkpoint if len(checkpoints) > 1 else ""
        if name:
            print(f"{name}, version {policy.version}", flush=True)
        with attended(args, experiment) as (paced, operator):
            result = _test(args, paced, policy, seeds, operator, stop, name)
        raw = _conclude(args, checkpoint, experiment, policy.version, result)
        tested.append(Trial(checkpoint, experiment, policy.version, raw))
        if len(result.episodes) < args.episodes:
            break
    if len(tested) > 1:
        print("\n".join(compared(tested)))
    if args.report is not None:
        print(f"report {write_comparison(args.report, tested)}")
    complete = len(tested) == len(checkpoints) and tested[-1].result["episodes"] == args.episodes
    return 0 if complete else 130


def _test(
    args: Namespace,
    experiment: Experiment,
    policy: PolicyInHand,
    seeds: list[int],
    operator: Any,
    stop: threading.Event,
    name: str,
) -> EvaluationResult:
    """One policy on the seeds, filmed and kept as asked."""
    films = args.videos is not None or args.video is not None
    person = None if operator is None else Person(operator)
    with ExitStack() as stack:
        with_hand: dict[str, Any] = {} if person is None else {"intervention": person}
        made = experiment.env.make(render=films, **with_hand)
        stack.callback(made.close)
        env = _rewarded(experiment, made, person)
        attendance = Attendance(person, env, stop, judged=False)
        heed = stack.enter_context(attendance.of_a_test(hands_off=False))
        fps = _fps(experiment, env)
        camera = None if args.video is None else Camera(_numbered(args.video, name), fps)
        film = None if camera is None else stack.enter_context(camera)
        each = None if args.videos is None else EachFilm(args.videos / slug(name), fps)
        if each is not None:
            stack.callback(each.close)
        keeper = Keeper(args.save and args.save / slug(name), experiment, policy.version)

        def on_step(env: Any) -> bool:
            for camera in (film, each):
                if camera is not None:
                    camera(env)
            return bool(heed and heed(env))

        def on_reset() -> None:
            policy.begin()
            if each is not None:
                each.begin()

        def on_episode(episode: EpisodeResult) -> None:
            _tell(episode)
            keeper.keep(episode)
            if each is not None:
                each.end(episode)

        result = evaluate(
            lambda obs: policy.choose(obs, deterministic=not args.sampled),
            env,
            seeds,
            on_episode=on_episode,
            on_step=on_step,
            on_reset=on_reset,
            recorder=keeper if args.save else None,
            should_stop=stop.is_set,
        )
    if camera is not None:
        if camera.failure is not None and args.film_only:
            raise camera.failure
        print(f"video {camera.path}" if camera.failure is None else f"no video: {camera.failure}")
    return result


def _checkpoints(args: Namespace) -> list[str]:
    """What is to be tested; a last word that names an experiment is one."""
    words = list(args.checkpoint)
    if len(words) > 1 and args.experiment is None and not Path(words[-1]).is_file():
        from launch.experiments import examples

        last = words[-1]
        if last in examples() or (Path(last) / "experiment.py").is_file():
            args.experiment = words.pop()
    elif len(words) > 1 and words[-1].endswith(".py"):
        args.experiment = words.pop()
    return words


def on_backend(experiment: Experiment, robot: str | None) -> Experiment:
    """The same on another robot, or simulator. Raises UserError for an env without one."""
    if robot is None:
        return experiment
    env: Any = experiment.env
    if not hasattr(env, "robot"):
        raise UserError(f"{type(env).__name__} has no robot; leave --backend out.")
    return dataclasses.replace(experiment, env=dataclasses.replace(env, robot=robot))


def load(experiment: Experiment, path: Path) -> PolicyInHand:
    """A policy file; a run's tested policy, else its best in a gate; else a checkpoint's policy."""
    policy = need("serl.policy", "learner")
    checkpoint = need("serl.checkpoint", "learner")
    spec = experiment.env.spec()
    run = _run_around(path)
    file = path if path.is_file() else find_run(str(path)).policy
    if not file.is_file():
        file = file.with_name("best.safetensors")
    wants_checkpoint = path.is_dir() and path.parent.name == "checkpoints"
    if file.is_file() and not wants_checkpoint:
        stored = checkpoint.load_policy(file, spec)
        agent = _agent(experiment, run, str(stored.meta.get("trunk_name", "")))
        loaded = policy.PolicyInHand(
            agent,
            experiment.seed,
            version=stored.version,
            params=stored.params,
            chunk_steps=experiment.actor.chunk_steps,
        )
        trunk = str(stored.meta.get("trunk", ""))
        loaded.need_trunk(trunk, lambda name: _trunk_files(run, file, name), f"policy {file}")
        return loaded
    step = int(path.name) if wants_checkpoint and path.name.isdigit() else None
    return _from_checkpoint(experiment, _agent(experiment, run), find_run(str(path)), step)


def _run_around(path: Path) -> Run | None:
    """The run that a policy file or checkpoint lies in; None for a policy copied elsewhere."""
    if path.is_file():
        folder = path.parent.parent
        return Run(folder) if (folder / "config.json").is_file() else None
    return find_run(str(path))


def _agent(experiment: Experiment, run: Run | None, trunk: str = "") -> Any:
    """The agent, with the trunk that "auto" was for the policy: `trunk`, else its run's."""
    from serl.sight import with_trunk

    known = run is not None and run.trunk_name.is_file()
    name = run.read(run.trunk_name)["name"] if run is not None and known else None
    return with_trunk(experiment.agent, trunk or name).make(experiment.env.spec())


def _trunk_files(run: Run | None, policy: Path, trunk: str) -> list[Path]:
    """Where a policy's trunk may lie: in its run, or beside the file."""
    beside = policy.with_name("trunk.safetensors")
    return [*(run.trunk_files(trunk) if run is not None else ()), beside]


def _rewarded(experiment: Experiment, env: Any, person: Person | None) -> Any:
    """The env with the experiment's own reward: what judges success in training does so here."""
    from serl.rewards.base import rewarded

    return rewarded(env, getattr(experiment, "reward", "env"), experiment.env.spec(), person)


def _from_checkpoint(
    experiment: Experiment, agent: Any, run: Run, step: int | None
) -> PolicyInHand:
    """The policy within a learner's checkpoint; `step` None is the best, else the newest."""
    import jax

    from serl.checkpoint import Checkpoints
    from serl.policy import PolicyInHand

    if not run.has_checkpoint:
        raise UserError(f"{run.path} has no checkpoint yet; let it train longer.")
    state = agent.init(jax.random.key(experiment.seed))
    with Checkpoints(run.checkpoints) as checkpoints:
        state, extra = checkpoints.restore(checkpoints.best() if step is None else step, state)
    params = jax.tree.map(lambda leaf: jax.device_get(leaf), agent.policy_params(state))
    trunk = None
    if getattr(agent, "encodes", False):
        if not run.trunk.is_file():
            raise UserError(
                f"{run.trunk} is missing: the policies of {run.path} see through it. Copy it from "
                "the folder of the learner's run."
            )
        from serl.trunk import read_trunk

        trunk = read_trunk(run.trunk, agent.image.precision)
    version = extra["version"]
    return PolicyInHand(
        agent,
        experiment.seed,
        version=version,
        params=params,
        trunk=trunk,
        chunk_steps=experiment.actor.chunk_steps,
    )


def _experiment(selection: Selection, checkpoint: str) -> Experiment:
    """As given, else as the run was started, with another seed or reward where given."""
    if not selection.is_empty:
        return selection.load()
    run = find_run(checkpoint)
    stored = run.selection
    difference = stored.difference(dataclasses.replace(selection, reward=None, seed=None))
    if difference:
        raise UserError(f"{run.path} was trained with {difference}. Evaluate it without that word.")
    return dataclasses.replace(
        stored,
        reward=stored.reward if selection.reward is None else selection.reward,
        seed=stored.seed if selection.seed is None else selection.seed,
        overrides=stored.overrides + selection.overrides,
    ).load()


def _fps(experiment: Experiment, env: Any) -> float:
    """As many frames as steps per second, so that the film runs in real time."""
    return getattr(experiment.env, "control_hz", None) or env.metadata.get("render_fps", 30)


def _numbered(path: Path, name: str) -> Path:
    """The film of one of several policies."""
    return path.with_stem(f"{path.stem}_{slug(name)}") if name else path


def _tell(episode: EpisodeResult) -> None:
    judged = episode.success
    success = judged if episode.true_success is None else episode.true_success
    outcome = "success, " if success else "no success, "
    if success != judged:
        outcome += f"judged {'a' if judged else 'no'} success, "
    helped = f", {episode.human_steps} of them a person's" if episode.human_steps else ""
    print(
        f"seed {episode.seed}: {outcome if episode.success_reported else ''}{episode.steps} steps"
        f"{helped}, return {episode.episode_return:.3g}",
        flush=True,
    )


def _conclude(
    args: Namespace,
    checkpoint: str,
    experiment: Experiment,
    version: int,
    result: EvaluationResult,
) -> dict[str, Any]:
    """Print the result, and keep it with its run, its episodes one per line."""
    raw = result.to_json()
    hz = getattr(experiment.env, "control_hz", None)
    raw["mean_cycle_s"] = raw["mean_cycle_steps"] / hz if hz and raw["mean_cycle_steps"] else None
    for episode in raw["per_episode"]:
        episode["cycle_s"] = episode["steps"] / hz if hz else None
    print(test_line(raw))
    if args.film_only or not Path(checkpoint).is_dir():
        return raw
    folder = find_run(checkpoint).path / "evaluations"
    with writing(folder):
        folder.mkdir(exist_ok=True)
    file = folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
    write_json(file, {"policy_version": version, "sampled": args.sampled, **raw})
    lines = file.with_suffix(".jsonl")
    with writing(lines):
        lines.write_text("".join(json.dumps(row) + "\n" for row in raw["per_episode"]))
    print(f"result {file}")
    return raw
