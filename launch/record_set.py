"""A set of demonstrations that grows, one atomic file per episode; a second call goes on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serl.data.demos import Episode, EpisodeMeta, load_folder, save_episode
from serl.errors import SpecMismatch, UserError
from serl.records import Records
from serl.rewards.base import ENV, reward_contract, version_number
from serl.types import EnvConfig, first_difference

SAME = ("control_hz", "action")
"""Parts of the contract, beside the spec, that all demonstrations of a set share: with another rate
or step the same numbers are another motion."""


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


class DemoSet:
    """The demonstrations in a folder, until there are `count`.

    Raises UserError when the folder holds some that do not belong: another spec, another action or
    rate, or paid by another reward. Damaged files are not counted.
    """

    def __init__(
        self,
        folder: Path,
        env_config: EnvConfig,
        *,
        count: int,
        reward: str = ENV,
        keep_failed: bool = False,
        meta: EpisodeMeta,
    ) -> None:
        self.folder, self.spec = folder, env_config.spec()
        contract = env_config.contract()
        self._shared = {key: contract[key] for key in SAME if key in contract}
        self._keep_failed = keep_failed
        self._meta = meta
        stored, self.attempt, successes = self._already_there(reward)
        """Number of the next attempt; each has a seed of its own."""
        self.progress = Progress(wanted=count, stored=stored, successes=successes)

    @property
    def complete(self) -> bool:
        return self.progress.stored >= self.progress.wanted

    def add(
        self, records: Records, *, outcome: str, seed: int, details: dict[str, Any] | None = None
    ) -> Progress:
        """Store one whole episode, if it is to be kept; the attempt is over either way.

        Args:
            outcome: 'success', 'failure' or 'aborted'.
        """
        success = outcome == "success"
        attempt, before = self.attempt, self.progress
        self.attempt += 1
        if not (success or self._keep_failed):
            line = f"attempt {attempt}: {outcome}; not kept"
            self.progress = dataclasses.replace(before, line=line)
            return self.progress
        about = dataclasses.replace(
            self._meta,
            seed=seed,
            success=success,
            outcome=outcome,
            details={
                **self._meta.details,
                **(details or {}),
                "attempt": attempt,
                "shared": self._shared,
            },
        )
        path = save_episode(self.folder, records, self.spec, about, keep_failures=self._keep_failed)
        assert path is not None
        self.progress = Progress(
            wanted=before.wanted,
            stored=before.stored + 1,
            successes=before.successes + success,
            line=f"{path.name}: {len(records) - 1} steps, {outcome}",
        )
        return self.progress

    def _already_there(self, reward: str) -> tuple[int, int, int]:
        """Episodes stored, the next attempt's number, and successes."""
        if not self.folder.is_dir():
            return 0, 0, 0
        episodes, corrupt = load_folder(self.folder, self.spec, successes_only=False)
        pays = 0 if reward == ENV else version_number(reward_contract(reward)["version"])
        if any((e.records["reward_version"][1:] != pays).any() for e in episodes):
            raise UserError(
                f"{self.folder} holds demonstrations that another reward paid than {reward}. "
                "Record into another folder with --into, or remove these."
            )
        for episode in episodes:
            self._refuse_other(episode)
        attempts = [e.meta.details.get("attempt", -1) for e in episodes]
        successes = sum(e.meta.success for e in episodes)
        return len(episodes), max(attempts, default=-1) + 1 + len(corrupt), successes

    def _refuse_other(self, episode: Episode) -> None:
        """What says of itself that it moved otherwise."""
        difference = first_difference(
            self._shared, episode.meta.details.get("shared", self._shared)
        )
        if difference is not None:
            raise SpecMismatch(
                f"{episode.path} was recorded with another action or rate ({difference}). Record "
                "into another folder with --into."
            )
