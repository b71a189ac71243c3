"""Reward sources by name, and how one is put around an env.

A source is named 'NAME:PATH' ('classifier:runs/pick/classifier.safetensors'), or 'NAME' where
nothing lies on disk ('human'). `with_reward` gives an experiment such a source, `rewarded` puts it
around the env that actor and evaluation step, and `reward_contract` is what actor and learner
compare: the source's hash, not where it lies.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol, TypeVar

from serl.errors import UserError
from serl.registry import Registry
from serl.types import Spec

E = TypeVar("E")

ENV = "env"
"""The reward is the env's own."""

LEARNED = "learned"
"""`env.reward` of an env whose own success neither pays nor ends an episode."""


class RewardSource(Protocol):
    """A kind of reward that is not the env's, registered under its name.

    One without a file has `takes_path = False`.
    """

    def version(self, path: Path) -> str:
        """Hash of what lies there, hex, 16 digits or more. No JAX: the learner asks too."""
        ...

    def wrap(self, env: Any, path: Path, spec: Spec) -> Any:
        """`env` with its reward, success and end judged. Raises UserError where it does not fit."""
        ...


REWARDS: Registry[RewardSource] = Registry("reward source", "serl.rewards")


def rewarded(env: Any, reward: str, spec: Spec, person: Any = None) -> Any:
    """`env` with its reward from `reward`: 'env', or 'NAME:PATH' of a registered source.

    Args:
        person: a serl.person.Person who judges where the reward is theirs, and may veto a success
            where it is learned; None for nobody.

    A judged env pays 1 and terminates at success as the source sees it. Its info has `success`
    (judged), `env_success` (the task's own, where the task can tell: never used for the reward),
    `reward_source` and `reward_version` (the source's hash as a number).
    """
    if reward == ENV:
        return env
    name, path = parse(reward)
    refuse_own_reward(getattr(env.unwrapped, "config", None), reward)
    judged = REWARDS.get(name).wrap(env, path, spec)
    if person is None:
        return judged
    from serl.rewards.human_veto import attended

    return attended(judged, person)


def with_reward(experiment: E, reward: str) -> E:
    """The experiment with another reward source; its env is told not to judge for itself.

    Args:
        experiment: a serl.experiment.Experiment.
        reward: as for `rewarded`; a path is made absolute, so that child processes find it.
    """
    raw: Any = experiment
    if reward == ENV:
        if raw.reward != ENV:
            raise UserError(f"this experiment's reward is {raw.reward}; change its file for 'env'.")
        return experiment
    return dataclasses.replace(raw, env=unjudged(raw.env), reward=absolute(reward))


def unjudged(env_config: Any) -> Any:
    """The env's config, told neither to pay nor to end at success where it can be told so."""
    if dataclasses.is_dataclass(env_config) and LEARNED in getattr(env_config, "weights", dict)():
        return dataclasses.replace(env_config, reward=LEARNED)  # type: ignore[type-var]
    return env_config


def absolute(reward: str) -> str:
    """The same source with an absolute path."""
    if reward == ENV:
        return ENV
    name, path = parse(reward)
    return f"{name}:{path.resolve()}" if _takes_path(name) else name


def reward_contract(reward: str) -> dict[str, str]:
    """What actor and learner must agree on, as JSON values."""
    name, path = parse(reward)
    return {"source": name, "version": REWARDS.get(name).version(path)}


def parse(reward: str) -> tuple[str, Path]:
    """Name and path of a source. Raises UserError for an unknown name, no path, or one too many."""
    name, colon, path = reward.partition(":")
    if not _takes_path(name):
        if colon:
            raise UserError(f"reward {reward!r} has no path; write {name!r}.")
        return name, Path()
    if not colon or not path:
        raise UserError(f"reward {reward!r} needs a path: {name}:PATH, or 'env' for the env's own.")
    return name, Path(path).expanduser()


def _takes_path(name: str) -> bool:
    return bool(getattr(REWARDS.get(name), "takes_path", True))


def learns_reward(agent: Any) -> bool:
    """Whether an agent's config makes its own reward, as VICE's: the env must then give none."""
    return bool(getattr(agent, "learns_reward", False))


def refuse_own_reward(env_config: Any, reward: str, agent: Any = None) -> None:
    """An env that ends at its own success would tell the agent what only the source may tell."""
    own = getattr(env_config, "reward", None)
    if reward != ENV and own not in (LEARNED, None):
        raise UserError(
            f"reward is {reward} but env.reward is {own!r}: the task's own success would end "
            "episodes. Set env.reward to 'learned'; the flag --reward does."
        )
    if reward != ENV and learns_reward(agent):
        raise UserError(
            f"agent {type(agent).__name__} learns its own reward, and reward is {reward}; leave "
            "one of them out."
        )
    if learns_reward(agent) and own not in (LEARNED, None):
        raise UserError(
            f"agent {type(agent).__name__} learns its own reward, but env.reward is {own!r}: the "
            "task's own success would end episodes. Set env.reward to 'learned'."
        )
    if reward == ENV and own == LEARNED and not learns_reward(agent):
        raise UserError(
            "env.reward is 'learned' but no reward source is given: nothing would ever be paid. "
            "Give --reward classifier:PATH, or env.reward another value."
        )


def version_number(version: str) -> int:
    """A hash as the `reward_version` of a record: its first 15 hex digits."""
    return int(version[:15], 16)
