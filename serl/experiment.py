"""An experiment: one frozen value that actor and learner both load.

An experiment file is Python with `EXPERIMENT = Experiment(...)`. Its `contract` (environment,
agent, spec) is hashed and compared when actor and learner connect; placement (addresses, paths,
budgets, logging) is not part of it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serl.errors import UserError
from serl.rewards.base import ENV, learns_reward, refuse_own_reward, reward_contract
from serl.types import EnvConfig, contract_hash


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """What is kept and how it is sampled."""

    capacity: int = 1_000_000
    """Records kept; the oldest go first."""
    demo_fraction: float = 0.5
    """Share of each batch drawn from demos and interventions (RLPD, arXiv:2302.02948 alg. 1)."""
    n_step: int = 1
    start_records: int = 500
    """Records in the replay before the first update."""
    frames_budget_gb: float = 50.0
    """Disk for camera frames [1e9 bytes], and as much again for their features; the oldest frames
    go, with their records. Demonstrations and the rest each have their own."""

    def __post_init__(self) -> None:
        _refuse_outside("replay", self, capacity=(1, None), demo_fraction=(0, 1))
        _refuse_outside("replay", self, n_step=(1, 1000), start_records=(1, self.capacity))
        _refuse_outside("replay", self, frames_budget_gb=(0.01, 1e6))


@dataclass(frozen=True, kw_only=True)
class RatioConfig:
    """Two-sided limiter between env steps and critic updates (DESIGN decision 11)."""

    updates_per_step: float = 4.0
    """Critic updates per env step that the learner aims at."""
    error_buffer_steps: float = 200.0
    """How far, in env steps, either side may run ahead before it waits."""

    def __post_init__(self) -> None:
        _refuse_outside("ratio", self, updates_per_step=(1e-6, 1e6), error_buffer_steps=(1, None))


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """How the actor explores and when it takes new parameters."""

    random_steps: int = 0
    """Uniform random actions before the policy acts (otherwise the arm waits for a policy). With
    cameras and trunk "auto" a new actor waits for its learner all the same, to see as it does."""
    apply_params: str = "step"
    """'step' or 'episode': when a newer policy is taken up, always in the actor's own thread."""
    chunk_steps: int = 1
    """Actions of a chunk that are made before the policy looks again, for an agent that plans
    several (flow_bc). A person who takes over, and the end of an episode, drop the rest."""
    late_label_s: float = 1.0
    """A verdict that a person gives up to this long into the next episode is still about the one
    before, whose stored last step is then relabelled [s]."""

    def __post_init__(self) -> None:
        _refuse_outside("actor", self, random_steps=(0, None), late_label_s=(0, 60))
        _refuse_outside("actor", self, chunk_steps=(1, 256))
        if self.apply_params not in ("step", "episode"):
            raise UserError(f"actor.apply_params {self.apply_params!r}: it is 'step' or 'episode'.")


@dataclass(frozen=True, kw_only=True)
class PublishConfig:
    """How often the learner publishes its policy; whichever comes first."""

    every_updates: int = 200
    every_s: float = 1.0

    def __post_init__(self) -> None:
        _refuse_outside("publish", self, every_updates=(1, None), every_s=(0.001, None))


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    every_updates: int = 4000
    keep: int = 3
    """The newest this many, and the best, are kept."""

    def __post_init__(self) -> None:
        _refuse_outside("checkpoint", self, every_updates=(1, None), keep=(1, None))


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """When a policy counts as trained, and the final test. Seeds never meet training's."""

    gate_episodes: int = 20
    gate_successes: int = 19
    gate_passes: int = 2
    """One frozen version must pass this many gates, each on its own seeds."""
    trigger_successes: int = 16
    """Successes among the last 20 training episodes that start a gate."""
    retry_episodes: int = 10
    """Training episodes between a failed gate and the next."""
    final_episodes: int = 100

    def __post_init__(self) -> None:
        _refuse_outside("evaluation", self, gate_episodes=(1, None), gate_passes=(1, None))
        _refuse_outside("evaluation", self, gate_successes=(0, self.gate_episodes))
        _refuse_outside("evaluation", self, trigger_successes=(0, None), retry_episodes=(0, None))
        _refuse_outside("evaluation", self, final_episodes=(1, 1 << 24))


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """Training stops at whichever is spent first."""

    wall_s: float = 600.0
    updates: int = 1_000_000
    env_steps: int = 1_000_000

    def __post_init__(self) -> None:
        _refuse_outside("budget", self, wall_s=(1, None), updates=(1, None), env_steps=(1, None))


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything about one learning problem."""

    name: str
    env: EnvConfig
    agent: Any
    """A registered agent config (serl.agents.base.AgentConfig)."""
    demos: int = 20
    """Demonstrations `serl demo` records with the scripted expert; 0 for none."""
    seed: int = 0
    reward: str = "env"
    """"env", or a learned one, 'classifier:PATH', which `--reward` sets (serl.rewards)."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    ratio: RatioConfig = field(default_factory=RatioConfig)
    actor: ActorConfig = field(default_factory=ActorConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    def __post_init__(self) -> None:
        _refuse_outside("experiment", self, demos=(0, None), seed=(0, 65535))
        refuse_own_reward(self.env, self.reward, self.agent)
        if learns_reward(self.agent) and self.replay.n_step != 1:
            raise UserError(
                f"replay.n_step is {self.replay.n_step}, but agent {type(self.agent).__name__} "
                "learns its own reward, of single steps; set it to 1."
            )
        gripper = getattr(getattr(self.env, "action", None), "gripper", None)
        chooses = getattr(self.agent, "needs_gripper", False)
        if chooses and gripper not in (None, "toggle", "three_way"):
            raise UserError(
                f"env.action.gripper is {gripper!r}, but agent {type(self.agent).__name__} chooses "
                "between closing, staying and opening; set it to 'three_way'."
            )

    def contract(self) -> dict[str, Any]:
        """What both sides must agree on, as JSON values."""
        spec = dataclasses.asdict(self.env.spec())
        return {
            "name": self.name,
            "env": self.env.contract(),
            "spec": _jsonable(spec),
            "agent": {
                "type": type(self.agent).__name__,
                **_jsonable(dataclasses.asdict(self.agent)),
            },
            **({} if self.reward == ENV else {"reward": reward_contract(self.reward)}),
        }

    def settings(self) -> dict[str, Any]:
        """Everything else that shapes a run (ratios, budgets, cadence), as JSON values."""
        names = ("replay", "ratio", "actor", "publish", "checkpoint", "evaluation", "budget")
        parts = {name: _jsonable(dataclasses.asdict(getattr(self, name))) for name in names}
        return {"demos": self.demos, "seed": self.seed, **parts}

    @property
    def hash(self) -> str:
        """SHA-256 of the contract, hex."""
        return contract_hash(self.contract())


def load_experiment(path: str | Path) -> Experiment:
    """EXPERIMENT from a Python file. Raises UserError, one line, when it cannot be had."""
    file = Path(path)
    if file.is_dir():
        file = file / "experiment.py"
    if not file.is_file():
        raise UserError(
            f"no experiment file at {file}; give the path of an experiment.py or its folder."
        )
    name = f"_experiment_{file.resolve().parent.name}"
    module_spec = importlib.util.spec_from_file_location(name, file)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises becomes one line
        raise UserError(
            f"experiment {file} does not import: {type(error).__name__}: {error}. Fix the file; "
            f"`python {file}` shows the whole traceback."
        ) from error
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise UserError(
            f"{file} defines no EXPERIMENT = Experiment(...); "
            "see examples/pick_cube_state/experiment.py."
        )
    return experiment


def _refuse_outside(part: str, config: Any, **ranges: tuple[float, float | None]) -> None:
    """UserError for a field that is not within [low, high]; a high of None is no limit."""
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if not low <= value or (high is not None and value > high):
            allowed = f"{low:,} or more" if high is None else f"{low:,} to {high:,}"
            raise UserError(f"{part}.{name} is {value}; it must be {allowed}.")


def _jsonable(value: Any) -> Any:
    """Tuples to lists, so that a contract equals itself after a trip through JSON."""
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(v) for v in value]
    return value
