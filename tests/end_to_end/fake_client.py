"""The channel as an actor sees it, without a network: keeps what is sent, and offers version 1."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from serl.stop import FINISHED

PARAMS = {"w": np.zeros(1, np.float32)}


class FakeClient:
    """See the module."""

    def __init__(self, address, contract, spec, spool, **rpc) -> None:
        self.address = address
        self.actor_id = uuid.UUID(int=5).hex
        self.records: list[np.ndarray] = []
        self.reports: list[tuple[str, dict]] = []
        self.labels: list[Any] = []
        self.stop_requested: str | None = None
        self.newest: tuple[int, Any] | None = (1, PARAMS)
        self.credit = True
        self.episode = -1
        self.waited_for_connection = False
        self.pending = 0
        self.stop_after = 10**9

    def connect(self, wait=True, stop=None) -> bool:
        self.waited_for_connection = wait
        return True

    def begin_episode(self) -> int:
        self.episode += 1
        return self.episode

    def send(self, record) -> None:
        self.records.append(record.copy())
        if len(self.records) >= self.stop_after:
            self.stop_requested = FINISHED

    def relabel(self, label) -> None:
        self.labels.append(label)

    def latest(self):
        newest, self.newest = self.newest, None
        return newest

    def wait_for_params(self, timeout_s) -> bool:
        return self.newest is not None

    def wait_for_credit(self, timeout_s) -> bool:
        return self.credit

    def wait_for_space(self, timeout_s) -> bool:
        return True

    def report(self, kind, data) -> None:
        self.reports.append((kind, dict(data)))

    def flush(self, timeout_s) -> bool:
        return True

    def close(self) -> None: ...

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.reports if kind != "episode"]
