"""The policy in hand: a version, its parameters, and the action they choose."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray


class PolicyInHand:
    """Holds one version at a time; changes only when asked, in the caller's thread.

    Args:
        agent: a serl.agents.base.Agent.
        seeds: of the action noise; several actors, and one that goes on, each draw their own.
        version, params: a policy to start with, as from a checkpoint; -1 is none yet.
    """

    def __init__(self, agent: Any, *seeds: int, version: int = -1, params: Any = None) -> None:
        self.agent = agent
        self.version = version
        self.params = params
        self._rng = np.random.default_rng([2, *seeds])
        self._taken = time.monotonic()

    @property
    def age_s(self) -> float:
        """How long this version has been in hand."""
        return time.monotonic() - self._taken

    def take(self, client: Any) -> bool:
        """Take up the newest version the channel has, if newer than the one in hand."""
        newest = client.latest()
        if newest is None:
            return False
        self.version, self.params = newest
        self._taken = time.monotonic()
        return True

    def act(self, obs: dict[str, NDArray[Any]], *, deterministic: bool) -> NDArray[np.float32]:
        """The action (A,) for one observation; sampled unless `deterministic`."""
        size = self.agent.spec.action.shape
        noise = None if deterministic else self._rng.standard_normal(size, np.float32)
        return np.asarray(self.agent.act_with(self.params, obs, noise))
