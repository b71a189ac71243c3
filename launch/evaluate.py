"""Test a trained policy from its checkpoint alone, on seeds it was never trained on.

The policy is deterministic unless --sampled.

examples:
  serl evaluate runs/pick_cube_state/2026-11-20_12-00-00
  serl evaluate runs/pick_cube_state/2026-11-20_12-00-00 --episodes 20 --video
  serl evaluate policy.safetensors --task pick_cube
"""

from __future__ import annotations

import dataclasses
import time
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.arguments import Parser, add_experiment, add_supervised, number
from launch.experiments import Selection, need
from launch.processes import stop_on_signals
from launch.result import test_line
from launch.runs import Run, find_run
from serl.errors import UserError, writing
from serl.evaluation import EpisodeResult, EvaluationResult, evaluate
from serl.metrics import write_json
from serl.seeds import Purpose, episode_seed

if TYPE_CHECKING:
    from serl.experiment import Experiment
    from serl.policy import PolicyInHand


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "checkpoint", help="a run's folder, one of its checkpoints, or a policy.safetensors"
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
    parser.add_argument("--film-only", action="store_true", help="no result is written")
    add_supervised(parser)


def run(args: Namespace) -> int:
    stop = stop_on_signals(args.watch_fd)
    selection = Selection.from_args(args)
    experiment = _experiment(selection, args.checkpoint)
    policy = load(experiment, Path(args.checkpoint))
    with ExitStack() as stack:
        made = experiment.env.make(render=args.video is not None)
        stack.callback(made.close)
        env = _rewarded(experiment, made)
        camera = None if args.video is None else Camera(args.video, _fps(experiment, env))
        film = None if camera is None else stack.enter_context(camera)
        result = evaluate(
            lambda obs: policy.choose(obs, deterministic=not args.sampled),
            env,
            [episode_seed(Purpose.FINAL, experiment.seed, k) for k in range(args.episodes)],
            on_episode=_tell,
            on_step=film,
            on_reset=policy.begin,
            should_stop=stop.is_set,
        )
    if camera is not None:
        if camera.failure is not None and args.film_only:
            raise camera.failure
        print(f"video {args.video}" if camera.failure is None else f"no video: {camera.failure}")
    _conclude(args, experiment, policy.version, result)
    return 130 if len(result.episodes) < args.episodes else 0


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
            agent, experiment.seed, version=stored.version, params=stored.params
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


def _rewarded(experiment: Experiment, env: Any) -> Any:
    """The env with the experiment's own reward: what judges success in training does so here."""
    from serl.rewards.base import rewarded

    return rewarded(env, getattr(experiment, "reward", "env"), experiment.env.spec())


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
    return PolicyInHand(agent, experiment.seed, version=version, params=params, trunk=trunk)


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


class Camera:
    """Films an evaluation as far as the machine can: without OpenGL the evaluation goes on."""

    def __init__(self, path: Path, fps: float) -> None:
        from launch.video import Film

        self.failure: UserError | None = None
        self._film = Film(path, fps)

    def __call__(self, env: Any) -> None:
        """Add what the env shows now."""
        from gymnasium.error import DependencyNotInstalled

        if self.failure is None:
            try:
                self._film.film(env)
            except UserError as error:
                self.failure = error
            except DependencyNotInstalled as error:
                self.failure = UserError(str(error))

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._film.close()


def _fps(experiment: Experiment, env: Any) -> float:
    """As many frames as steps per second, so that the film runs in real time."""
    return getattr(experiment.env, "control_hz", None) or env.metadata.get("render_fps", 30)


def _tell(episode: EpisodeResult) -> None:
    judged = episode.success
    success = judged if episode.true_success is None else episode.true_success
    outcome = "success, " if success else "no success, "
    if success != judged:
        outcome += f"judged {'a' if judged else 'no'} success, "
    print(
        f"seed {episode.seed}: {outcome if episode.success_reported else ''}{episode.steps} steps, "
        f"return {episode.episode_return:.3g}",
        flush=True,
    )


def _conclude(
    args: Namespace, experiment: Experiment, version: int, result: EvaluationResult
) -> None:
    """Print the result, and keep it with its run."""
    raw = result.to_json()
    hz = getattr(experiment.env, "control_hz", None)
    raw["mean_cycle_s"] = raw["mean_cycle_steps"] / hz if hz and raw["mean_cycle_steps"] else None
    print(test_line(raw))
    if args.film_only or not Path(args.checkpoint).is_dir():
        return
    folder = find_run(args.checkpoint).path / "evaluations"
    with writing(folder):
        folder.mkdir(exist_ok=True)
    file = folder / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}.json"
    write_json(file, {"policy_version": version, "sampled": args.sampled, **raw})
    print(f"result {file}")
