"""A small experiment, a sink in memory, and servers and clients that are closed after each test."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from serl.channel.client import ChannelClient
from serl.channel.server import ChannelServer
from serl.data.records import check_order, check_records
from serl.types import ArraySpec, Spec, record_dtype

SPEC = Spec(
    observation=(ArraySpec(name="state", shape=(5,), dtype="float32"),),
    action=ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0),
)


class MemorySink:
    """Keeps the keys it commits, per actor; holds to the replay's contract."""

    def __init__(self) -> None:
        self.keys: dict[str, list[tuple[int, int]]] = {}
        self.problem: Exception | None = None
        self.delay_s = 0.0
        self._lock = threading.Lock()

    def append(self, actor_id: str, records: NDArray) -> int:
        if self.problem is not None:
            raise self.problem
        time.sleep(self.delay_s)
        with self._lock:
            rows = check_records(records, record_dtype(SPEC))
            last = self.high_water(actor_id)
            keys = list(zip(rows["episode"].tolist(), rows["index"].tolist(), strict=True))
            new = [k for k in keys if last is None or k > last]
            if new:
                tail = rows[-len(new) :]
                check_order(tail["episode"], tail["index"], last)
                self.keys.setdefault(actor_id, []).extend(new)
            return len(new)

    def high_water(self, actor_id: str) -> tuple[int, int] | None:
        keys = self.keys.get(actor_id)
        return keys[-1] if keys else None

    def all_keys(self) -> list[tuple[int, int]]:
        return [key for keys in self.keys.values() for key in keys]


class Kit:
    """What the tests of this folder build on."""

    spec = SPEC
    contract = {"name": "test", "agent": {"discount": 0.97}}
    dtype = record_dtype(SPEC)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink = MemorySink()
        self._open: list[Any] = []

    def server(self, bind: str = "127.0.0.1:0", **kwargs: Any) -> ChannelServer:
        settings = {"contract": self.contract, "spec": self.spec, "run_id": "run-1", **kwargs}
        server = ChannelServer(bind, sink=self.sink, **settings)
        self._open.append(server)
        return server.start()

    def client(
        self, server: ChannelServer | int, spool: str = "spool", **kwargs: Any
    ) -> ChannelClient:
        port = server if isinstance(server, int) else server.port
        settings = {"contract": self.contract, "spec": self.spec, **kwargs}
        client = ChannelClient(f"127.0.0.1:{port}", spool_dir=self.folder / spool, **settings)
        self._open.append(client)
        return client

    def record(self, episode: int, index: int, value: float = 0.0) -> Any:
        row = np.zeros((), self.dtype)
        row["episode"], row["index"], row["obs/state"] = episode, index, value
        return row[()]

    def slots(self, *records: Any) -> bytes:
        """Records as they travel."""
        import zlib

        raw = [r.tobytes() for r in records]
        return b"".join(zlib.crc32(r).to_bytes(4, "little") + r for r in raw)

    def send_episode(self, client: ChannelClient, length: int) -> list[tuple[int, int]]:
        """Send one whole episode; its keys."""
        episode = client.begin_episode()
        for index in range(length):
            client.send(self.record(episode, index))
        return [(episode, index) for index in range(length)]

    def close(self) -> None:
        for thing in reversed(self._open):
            thing.close()


@pytest.fixture
def kit(tmp_path: Path) -> Any:
    made = Kit(tmp_path)
    yield made
    made.close()


def until(condition: Any, what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition that must come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.005)


@pytest.fixture(name="until")
def until_fixture() -> Any:
    return until
