"""What the channel carries: records with two cameras, from `send` to the learner's acknowledgement.

An actor process with its spool on disk and a learner process with a real replay on disk, on
loopback. Frames are drawn, not filmed: a shaded table, coloured boxes that move, and (in a second
row) the noise of a camera sensor, which compresses badly.

    python -m benchmarks.channel
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.types import ArraySpec, Source, Spec, record_dtype

SIDE_PX = 128
EPISODE = 100
SPEC = Spec(
    observation=(
        ArraySpec(name="state", shape=(24,), dtype="float32"),
        ArraySpec(name="front", shape=(SIDE_PX, SIDE_PX, 3), dtype="uint8"),
        ArraySpec(name="wrist", shape=(SIDE_PX, SIDE_PX, 3), dtype="uint8"),
    ),
    action=ArraySpec(name="action", shape=(7,), dtype="float32", low=-1.0, high=1.0),
)
CONTRACT = {"name": "bench channel"}


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure; rows of what, value, unit and goal."""
    count = 1000 if quick else 6000
    clean = [_throughput(count, noise=0) for _ in range(1 if quick else 3)]
    noisy = [_throughput(count, noise=4) for _ in range(1 if quick else 3)]
    wire, round_trip_ms = _wire(50 if quick else 300)
    two = "two 128x128 cameras, loopback, spool + commit + ack"
    return [
        _row(f"records/s, {two}", statistics.median(clean), "1/s", ">= 2000"),
        _row(f"records/s, {two}, sensor noise", statistics.median(noisy), "1/s", ">= 2000"),
        _row("bytes on the wire per step, both ways", wire, "B", "<= 101000"),
        _row("request round trip, median", round_trip_ms, "ms", ""),
    ]


def frames(count: int, noise: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """`count` drawn pictures (count, 128, 128, 3): a shaded table and three moving boxes.

    Args:
        noise: standard deviation of the sensor noise, in grey levels.
    """
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32) / SIDE_PX
    pictures = np.empty((count, SIDE_PX, SIDE_PX, 3), np.float32)
    pictures[:] = (90 + 80 * y + 30 * x)[..., None] * np.array([1.0, 0.9, 0.8], np.float32)
    colours = rng.uniform(40, 230, (3, 3))
    places = rng.uniform(10, 90, (3, 2))
    for k in range(count):
        for colour, place in zip(colours, places, strict=True):
            row, column = (place + 8 * np.sin(0.1 * k + place)).astype(int)
            pictures[k, row : row + 24, column : column + 24] = colour * (
                0.7 + 0.3 * y[:24, :24, None]
            )
    if noise:
        pictures += rng.normal(0, noise, pictures.shape)
    return pictures.clip(0, 255).astype(np.uint8)


def records(noise: int) -> NDArray[np.void]:
    """One episode of records, (100,); the key is set on sending."""
    rng = np.random.default_rng(0)
    rows = np.zeros(EPISODE, record_dtype(SPEC))
    rows["obs/front"] = frames(EPISODE, noise, rng)
    rows["obs/wrist"] = frames(EPISODE, noise, rng)
    rows["obs/state"] = rng.normal(size=(EPISODE, 24))
    rows["action"] = rows["requested_action"] = rng.uniform(-1, 1, (EPISODE, 7))
    rows["index"] = np.arange(EPISODE)
    rows["source"][1:] = Source.POLICY
    return rows


def _row(what: str, value: float, unit: str, goal: str) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "goal": goal}


def _throughput(count: int, noise: int) -> float:
    """Records per second from the first `send` to the last acknowledgement."""
    with tempfile.TemporaryDirectory(prefix="serl-bench-") as folder, _Learner(folder) as port:
        return _actor(folder, port, "--count", str(count), "--noise", str(noise))["records_per_s"]


def _wire(count: int) -> tuple[float, float]:
    """TCP payload bytes per record, each acknowledged before the next, and round trip [ms]."""
    with tempfile.TemporaryDirectory(prefix="serl-bench-") as folder, _Learner(folder) as port:
        with _CountingProxy(port) as proxy:
            _actor(folder, proxy.port, "--count", str(count), "--paced")
        return proxy.count / count, _actor(folder, port, "--count", "0")["round_trip_ms"]


def _actor(folder: str, port: int, *arguments: str) -> dict[str, float]:
    """Run an actor process to its end; what it measured."""
    command = [sys.executable, "-m", "benchmarks.channel", "--actor", str(port), "--folder", folder]
    done = subprocess.run([*command, *arguments], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


class _Learner:
    """A learner process in a with block: a server over a replay; gives its port."""

    def __init__(self, folder: str) -> None:
        command = [sys.executable, "-m", "benchmarks.channel", "--learner", "--folder", folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closing its stdin ends it


class _CountingProxy:
    """Passes TCP on to `port` and counts the bytes of both directions."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> _CountingProxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            far = socket.create_connection(("127.0.0.1", self._target))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(1 << 18):
            with self._lock:
                self.count += len(data)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def _be_learner(folder: Path) -> None:
    from serl.channel.server import ChannelServer
    from serl.data.replay import Replay

    with (
        Replay(folder / "replay", SPEC, 100_000) as replay,
        ChannelServer("127.0.0.1:0", CONTRACT, SPEC, replay, "bench") as server,
    ):
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        sys.stdin.read()


def _be_actor(port: int, folder: Path, count: int, noise: int, paced: bool) -> dict[str, float]:
    from serl.channel.client import ChannelClient

    rows = records(noise)
    with ChannelClient(f"127.0.0.1:{port}", CONTRACT, SPEC, folder / "spool") as client:
        client.connect()
        began = time.perf_counter()
        for k in range(count):
            if k % EPISODE == 0:
                rows["episode"] = client.begin_episode()
            client.send(rows[k % EPISODE])
            if paced:
                client.flush()
        client.flush()
        spent_s = time.perf_counter() - began
        return {"records_per_s": count / spent_s, "round_trip_ms": client.round_trip_s() * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--learner", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--actor", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--noise", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--paced", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.learner:
        _be_learner(given.folder)
    elif given.actor is not None:
        result = _be_actor(given.actor, given.folder, given.count, given.noise, given.paced)
        sys.stdout.write(json.dumps(result))
    else:
        for row in run(given.quick):
            sys.stdout.write(
                f"{row['what']:<70} {row['value']:10.4g} {row['unit']:4} {row['goal']}\n"
            )


if __name__ == "__main__":
    main()
