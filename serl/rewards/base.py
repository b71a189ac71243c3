"""Reward sources by name, and how one is put around an env."""

from __future__ import annotations

from typing import Any

from serl.registry import Registry

REWARDS: Registry[Any] = Registry("reward source", "serl.rewards")
"""By name ('classifier', ...): called with (path, spec), what judges an observation."""


def rewarded(env: Any, reward: str, spec: Any) -> Any:
    """`env` with its reward from `reward`: 'env', or 'NAME:PATH' of a registered source."""
    if reward == "env":
        return env
    raise NotImplementedError
