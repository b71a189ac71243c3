"""From words on the command line to an Experiment: a file, an example, a task or a Gymnasium id."""

from __future__ import annotations

import dataclasses
import importlib
import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch import overrides
from serl.errors import UserError, unknown_name
from serl.registry import Registry
from serl.types import EnvConfig

if TYPE_CHECKING:
    from serl.experiment import Experiment

PIXEL_TASK = "pick_cube"
"""What --pixels alone means."""

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which experiment, and what was changed in it; words, to be stored and handed to children."""

    experiment: str | None = None
    """Path of an experiment.py or its folder, or the name of an example."""
    task: str | None = None
    env: str | None = None
    """A Gymnasium id."""
    pixels: bool = False
    """The task seen through cameras."""
    agent: str | None = None
    reward: str | None = None
    """Another source of reward: 'classifier:PATH'."""
    seed: int | None = None
    overrides: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(dotted path, words), in the order given."""

    @staticmethod
    def from_args(args: Namespace, default: str | None = None) -> Selection:
        """What `arguments.add_experiment` parsed; `default` when no experiment is named."""
        named = [word for word in (args.experiment, args.task, args.env) if word is not None]
        if len(named) > 1:
            raise UserError(
                f"{' and '.join(named)} both name an experiment; give a file or an example, "
                "or --task, or --env."
            )
        if args.pixels and (args.experiment is not None or args.env is not None):
            raise UserError(
                "--pixels goes with --task: an experiment of its own says which cameras it has."
            )
        return Selection(
            experiment=args.experiment if named or args.pixels else default,
            task=args.task or (PIXEL_TASK if args.pixels else None),
            env=args.env,
            pixels=args.pixels,
            agent=args.agent,
            reward=args.reward,
            seed=args.seed,
            overrides=tuple((path, tuple(words)) for path, words in args.overrides),
        )

    @staticmethod
    def from_json(raw: dict[str, Any]) -> Selection:
        """Inverse of `dataclasses.asdict` and a trip through JSON."""
        changed = tuple((path, tuple(words)) for path, words in raw["overrides"])
        return Selection(**{**raw, "overrides": changed})

    @property
    def is_empty(self) -> bool:
        """Nothing was named: a resumed run may say what it is."""
        return self.experiment is None and self.task is None and self.env is None

    def absolute(self) -> Selection:
        """The same with absolute paths, so that it holds from any folder."""
        experiment, reward = self.experiment, self.reward
        if experiment is not None and Path(experiment).exists():
            experiment = str(Path(experiment).resolve())
        if reward is not None:
            reward = _rewards().absolute(reward)
        return dataclasses.replace(self, experiment=experiment, reward=reward)

    def difference(self, given: Selection) -> str | None:
        """What of `given` contradicts this selection, as '--seed 0, not 1'; None if nothing does.

        Settings (`overrides`) are no contradiction: they may change.
        """
        if not given.is_empty and given._source() != self._source():
            return f"{self._source()}, not {given._source()}"
        if given.seed is not None and given.seed != (seed := self.load().seed):
            return f"--seed {seed}, not {given.seed}"
        if given.agent not in (None, self.agent):
            own = self.load().agent
            if dataclasses.replace(self, agent=given.agent).load().agent != own:
                return f"{self.agent or 'its own agent'}, not --agent {given.agent}"
        if given.reward not in (None, self.reward):
            own, other = self.load().reward, _rewards().absolute(given.reward)
            if own != other:
                return f"reward {own}, not --reward {other}"
        return None

    def _source(self) -> str:
        """What was named, however it was spelled."""
        if self.experiment is None and self.task is not None:
            return f"--task {self.task}" + (" --pixels" if self.pixels else "")
        if self.experiment is None:
            return f"--env {self.env}"
        path = experiment_path(self.experiment).resolve()
        return str(path / "experiment.py" if path.is_dir() else path)

    def argv(self) -> list[str]:
        """The words that parse to this selection."""
        words = [] if self.experiment is None else [self.experiment]
        for flag in ("task", "env", "agent", "reward", "seed"):
            if getattr(self, flag) is not None:
                words += [f"--{flag}", str(getattr(self, flag))]
        words += ["--pixels"] if self.pixels else []
        for path, values in self.overrides:
            words += ["--" + path.replace("_", "-"), *values]
        return words

    def load(self) -> Experiment:
        """The experiment. Imports its file, its env's config and its agent's."""
        experiment = self._base()
        if self.agent is not None:
            experiment = _with_agent(experiment, _agents().get(self.agent)())
        if self.seed is not None:
            experiment = dataclasses.replace(experiment, seed=self.seed)
        if self.reward is not None:
            experiment = _rewards().with_reward(experiment, self.reward)
        return overrides.apply(experiment, self.overrides)

    def load_env(self) -> EnvConfig:
        """The env alone. With --task or --env no JAX is imported: a robot PC has none."""
        if self.task is not None:
            env = tasks().get(self.task)()
            env = env.pixels() if self.pixels else env
        elif self.env is not None:
            env = _gym_env(self.env)
        else:
            return self.load().env
        if self.load_reward() != "env":
            env = _rewards().unjudged(env)
        return overrides.apply(env, self.overrides, root="env")

    def load_reward(self) -> str:
        """What pays, as `serl.rewards.base.rewarded` takes it. As `load_env`, without JAX."""
        if self.task is None and self.env is None:
            return self.load().reward
        return "env" if self.reward is None else _rewards().absolute(self.reward)

    def _base(self) -> Experiment:
        """The experiment as its file or name has it."""
        from serl.experiment import load_experiment

        if self.experiment is not None:
            return load_experiment(experiment_path(self.experiment))
        if self.task is not None:
            return _task_experiment(self.task, pixels=self.pixels)
        if self.env is not None:
            return _gym_experiment(self.env)
        raise UserError(
            "name an experiment: a file, an example (`serl list examples`), --task NAME or "
            "--env GYM_ID."
        )


def experiment_path(text: str) -> Path:
    """Where the experiment called `text` lies: a path as given, else an example's folder."""
    path = Path(text)
    if path.exists():
        return path
    if "/" in text or text.endswith(".py"):
        raise UserError(f"no experiment file at {text}; give an experiment.py, or its folder.")
    if text in examples():
        return EXAMPLES / text
    raise unknown_name("experiment", text, examples())


def examples() -> list[str]:
    """Names of the examples: folders with an experiment.py."""
    return sorted(file.parent.name for file in EXAMPLES.glob("*/experiment.py"))


def tasks() -> Registry[Any]:
    """The registry of tasks, which the `sim` extra brings."""
    return need("envs.tasks.base", "sim").TASKS


def need(module: str, extra: str) -> Any:
    """Import `module`; what is not installed is one line that names the extra."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed; `pip install 'serl-suite[{extra}]'` brings it."
        ) from error


def _task_experiment(task: str, *, pixels: bool) -> Experiment:
    """A task with the settings of its own example; without one, those of `pick_cube`'s."""
    from serl.experiment import load_experiment

    kind = "pixels" if pixels else "state"
    env = tasks().get(task)()
    env = env.pixels() if pixels else env
    own = EXAMPLES / f"{task}_{kind}"
    if own.is_dir():
        return load_experiment(own)
    name = f"{task}_pixels" if pixels else task
    return dataclasses.replace(load_experiment(EXAMPLES / f"pick_cube_{kind}"), name=name, env=env)


HIL_PENALTY = 0.02
"""Of a gripper's change of mind, for an agent that chooses what it does. Source: HIL-SERL."""


def _with_agent(experiment: Experiment, agent: Any) -> Experiment:
    """The experiment with another agent, which keeps what the file set for its own where both have
    it. One that learns its own reward, from single steps, is given none by the env; one that
    chooses what a gripper does has three ways to choose from, and pays HIL-SERL's penalty."""
    agent = dataclasses.replace(agent, **_shared(experiment.agent, agent))
    env: Any = experiment.env
    replay = experiment.replay
    if getattr(agent, "learns_reward", False):
        env = _rewards().unjudged(env)
        replay = dataclasses.replace(replay, n_step=1)
    action: Any = getattr(env, "action", None)
    if getattr(agent, "needs_gripper", False) and getattr(action, "gripper", "none") != "none":
        action = dataclasses.replace(action, gripper="three_way", grasp_penalty=HIL_PENALTY)
        env = dataclasses.replace(env, action=action)
    return dataclasses.replace(experiment, agent=agent, env=env, replay=replay)


def _shared(own: Any, other: Any) -> dict[str, Any]:
    """Settings of `own` that are not its class's defaults and that `other` has too."""
    usual = type(own)()
    names = {f.name for f in dataclasses.fields(own)} & {f.name for f in dataclasses.fields(other)}
    values = {name: getattr(own, name) for name in names}
    return {name: value for name, value in values.items() if value != getattr(usual, name)}


def _gym_experiment(gym_id: str) -> Experiment:
    """Any Gymnasium env: SAC without demonstrations, one update per step."""
    from serl.experiment import ActorConfig, Experiment, RatioConfig, ReplayConfig

    env = _gym_env(gym_id)
    return Experiment(
        name=slug(gym_id),
        env=env,
        agent=need("serl.agents.sac", "learner").GENERIC_SAC,
        demos=0,
        actor=ActorConfig(random_steps=500),
        ratio=RatioConfig(updates_per_step=1.0),
        replay=ReplayConfig(start_records=500, demo_fraction=0.0),
    )


def slug(text: str) -> str:
    """A name for folders.

    >>> slug("Pendulum-v1")
    'pendulum_v1'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _gym_env(gym_id: str) -> EnvConfig:
    return need("envs.gym", "sim").GymEnv(id=gym_id)


def _rewards() -> Any:
    return importlib.import_module("serl.rewards.base")


def _agents() -> Registry[Any]:
    return need("serl.agents.base", "learner").AGENTS
