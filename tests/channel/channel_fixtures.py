"""A small experiment, a sink in memory, and a server and client on loopback."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.channel.client import ChannelClient
from serl.channel.server import ChannelServer
from serl.data.records import check_order, check_records
from serl.types import ArraySpec, Spec, record_dtype

SPEC = Spec(
    observation=(ArraySpec(name="state", shape=(5,), dtype="float32"),),
    action=ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0),
)
CONTRACT: dict[str, Any] = {"name": "test", "agent": {"discount": 0.97}}
DTYPE = record_dtype(SPEC)


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
            last = self.high_water(actor_id)
            rows = check_records(records, DTYPE)
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


def record(episode: int, index: int, value: float = 0.0) -> np.void:
    """One record of SPEC."""
    row = np.zeros((), DTYPE)
    row["episode"], row["index"] = episode, index
    row["obs/state"] = value
    return row[()]


def make_server(sink: MemorySink, bind: str = "127.0.0.1:0", **kwargs: Any) -> ChannelServer:
    settings = {"contract": CONTRACT, "spec": SPEC, "run_id": "run-1", **kwargs}
    return ChannelServer(bind, sink=sink, **settings).start()


def make_client(server: ChannelServer | int, spool_dir: Any, **kwargs: Any) -> ChannelClient:
    port = server if isinstance(server, int) else server.port
    settings = {"contract": CONTRACT, "spec": SPEC, **kwargs}
    return ChannelClient(f"127.0.0.1:{port}", spool_dir=spool_dir, **settings)


def send_episode(client: ChannelClient, length: int) -> list[tuple[int, int]]:
    """Send one whole episode; its keys."""
    episode = client.begin_episode()
    for index in range(length):
        client.send(record(episode, index))
    return [(episode, index) for index in range(length)]
