"""The policy in hand: a version, its parameters, what it sees, and the action it chooses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.sight import Seen, Sight, find_trunk


class PolicyInHand:
    """Holds one version at a time; changes only when asked, in the caller's thread.

    Args:
        agent: a serl.agents.base.Agent.
        seeds: the run's, then more for the action noise: several actors, and one that goes on,
            each draw their own.
        version, params: a policy to start with, as from a checkpoint; -1 is none yet.
        trunk: what an agent on features sees through, where it is known already.
        chunk_steps: actions of a chunk that are made before it plans again; the observations of
            those steps are not looked at. Raises UserError for more than the agent plans.
    """

    def __init__(
        self,
        agent: Any,
        *seeds: int,
        version: int = -1,
        params: Any = None,
        trunk: Any = None,
        chunk_steps: int = 1,
    ) -> None:
        planned = getattr(agent, "chunk", 1)
        if chunk_steps > planned:
            raise UserError(
                f"actor.chunk_steps is {chunk_steps}, but this agent plans {planned} action(s) at "
                f"once; set it to at most {planned}, or take an agent with longer chunks."
            )
        self.chunk_steps = chunk_steps
        self._planned: list[NDArray[np.float32]] = []
        """What is left of the chunk begun."""
        self.agent = agent
        self.version = version
        self.params = params
        self.sight = Sight(agent, trunk)
        self.seed = seeds[0] if seeds else 0
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
        if self.sight.encodes:
            self._take_trunk(client)
        self._taken = time.monotonic()
        return True

    @property
    def trunk(self) -> str:
        """Id of the trunk it sees through; empty for none."""
        return self.sight.trunk.id if self.sight.trunk is not None else ""

    def _take_trunk(self, client: Any) -> None:
        """The trunk that the version just taken needs, unless it is in hand."""
        wanted = str(getattr(client, "trunk", ""))
        if wanted:
            files, who = [client.trunk_file(wanted)], f"version {self.version} of the learner"
            self.need_trunk(wanted, lambda trunk: files, who)

    def need_trunk(self, wanted: str, files: Callable[[str], list[Path]], who: str) -> None:
        """See through the trunk of this id, found in `files(id)` or made here; '' is any."""
        if self.sight.encodes and wanted and wanted != self.trunk:
            self.sight.use(find_trunk(self.agent, self.seed, wanted, files(wanted), who))

    def begin(self) -> None:
        """A new episode begins: call before its first observation is seen."""
        self.drop_chunk()
        self.sight.begin()

    def drop_chunk(self) -> None:
        """What was planned is no longer right: someone else had the arm."""
        self._planned.clear()

    def see(self, obs: Mapping[str, NDArray[Any]]) -> Seen:
        """The next observation of the episode as the policy sees it; once for each."""
        return self.sight.see(obs)

    def choose(self, obs: Mapping[str, NDArray[Any]], *, deterministic: bool) -> NDArray[Any]:
        """`see`, then `act`."""
        return self.act(self.see(obs).obs, deterministic=deterministic)

    def act(self, obs: Mapping[str, NDArray[Any]], *, deterministic: bool) -> NDArray[np.float32]:
        """The action (A,) for one observation that was seen; sampled unless `deterministic`."""
        if self._planned:
            return self._planned.pop(0)
        size = self.agent.spec.action.shape
        noise = None if deterministic else self._rng.standard_normal(size, np.float32)
        if self.chunk_steps == 1:
            return np.asarray(self.agent.act_with(self.params, obs, noise))
        chunk = np.asarray(self.agent.act_chunk(self.params, obs, noise))
        self._planned = list(chunk[1 : self.chunk_steps])
        return chunk[0]
