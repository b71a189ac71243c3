"""Kill actors and learner at random points and see whether a record is missing or there twice.

Three actor processes with their spools and a learner process with its replay run on loopback while
one of the four at a time is killed (SIGKILL) and started again. Each actor notes a record's key in
a file of its own before and after sending it. At the end everything is flushed, and the replay must
hold every key noted as sent exactly once, nothing that was never offered, and the right contents.

    python -m benchmarks.kills --kills 1000
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from launch.ports import free_port
from serl.errors import UserError
from serl.types import ArraySpec, Spec, record_dtype

SPEC = Spec(
    observation=(
        ArraySpec(name="state", shape=(6,), dtype="float32"),
        ArraySpec(name="camera", shape=(16, 16, 3), dtype="uint8"),
    ),
    action=ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0),
)
CONTRACT = {"name": "kills"}
DTYPE = record_dtype(SPEC)
ACTORS = ("actor-0", "actor-1", "actor-2")
MAX_PAUSE_S = 0.5
"""Between a restart and the next kill: uniform from 0."""
AT_WORK = 0.7
"""Share of the kills that first wait until the victim works; the others may hit it starting."""
PERIOD_S = 0.002
"""Between records of one actor."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the replay holds, against the actors' own notes."""

    kills: int
    learner_kills: int
    sent: int
    """Keys noted as sent by the actors."""
    missing: int
    """Sent, not in the replay."""
    twice: int
    """More than once in the replay."""
    invented: int
    """In the replay, never offered."""
    damaged: int
    """In the replay with other contents than were sent."""
    versions: int
    """Parameter versions taken by the actors."""
    versions_backwards: int
    """Times an actor process took a version that was not above the last one of its spool."""
    wall_s: float

    @property
    def clean(self) -> bool:
        return not (
            self.missing or self.twice or self.invented or self.damaged or self.versions_backwards
        )


def run(quick: bool = False, kills: int = 1000, seed: int = 0) -> list[dict[str, Any]]:
    """Rows for the bench table."""
    outcome = torture(20 if quick else kills, seed)
    what = f"{outcome.kills} kills, 3 actors, {outcome.sent} records"
    return [
        {"what": f"{what}: missing", "value": outcome.missing, "unit": "", "goal": "0"},
        {"what": f"{what}: twice", "value": outcome.twice, "unit": "", "goal": "0"},
        {
            "what": f"{what}: otherwise wrong",
            "value": outcome.invented + outcome.damaged + outcome.versions_backwards,
            "unit": "",
            "goal": "0",
        },
    ]


def torture(kills: int, seed: int, folder: Path | None = None) -> Outcome:
    """Kill `kills` times at random, then compare. `seed` chooses victims and pauses."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="serl-kills-") as temporary:
            return torture(kills, seed, Path(temporary))
    rng = random.Random(seed)  # victims and pauses; the machine's timing adds its own chance
    began = time.monotonic()
    port = free_port()
    learner_kills = 0
    processes = {name: _start(name, folder, port) for name in ("learner", *ACTORS)}
    try:
        for _ in range(kills):
            victim = rng.choice(("learner", *ACTORS))
            if rng.random() < AT_WORK:
                _wait_for_work(victim, folder)
            time.sleep(rng.uniform(0, MAX_PAUSE_S))
            learner_kills += victim == "learner"
            _kill(processes.pop(victim))
            processes[victim] = _start(victim, folder, port)
        for name in (*ACTORS, "learner"):
            _finish(name, processes[name])
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    found = _compare(folder)
    wall_s = time.monotonic() - began
    return Outcome(kills=kills, learner_kills=learner_kills, wall_s=wall_s, **found)


def _start(name: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.kills", "--role", name]
    return subprocess.Popen(
        [*command, "--folder", str(folder), "--port", str(port)],
        stdin=subprocess.PIPE,
        stderr=open(folder / f"{name}.stderr", "ab"),
    )


def _wait_for_work(name: str, folder: Path) -> None:
    """Until the process writes the notes that it writes when at work."""
    path = folder / ("version" if name == "learner" else f"{name}.notes")

    def stamp() -> int:
        return path.stat().st_mtime_ns if path.exists() else 0

    before, deadline = stamp(), time.monotonic() + 20.0
    while stamp() == before:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} has not begun to work within 20 s; see its stderr file")
        time.sleep(0.005)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    process.stdin.close()
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"{process.args} had ended by itself with {process.returncode}")


def _finish(name: str, process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, by closing its stdin, and see that it ends well."""
    process.communicate(timeout=60)
    if process.returncode:
        raise RuntimeError(f"{name} ended with {process.returncode}; see its stderr file")


def _compare(folder: Path) -> dict[str, int]:
    """Counts for `Outcome`."""
    from serl.data.replay import Replay

    held: Counter[tuple[str, int, int]] = Counter()
    damaged = 0
    with Replay(folder / "replay", SPEC) as replay:
        for stored in replay.iter_episodes():
            for row in stored.records:
                key = (stored.actor_id, int(row["episode"]), int(row["index"]))
                held[key] += 1
                damaged += row.tobytes() != _record(*key).tobytes()
    offered: set[tuple[str, int, int]] = set()
    sent: set[tuple[str, int, int]] = set()
    versions = backwards = 0
    for name in ACTORS:
        actor_id = json.loads((folder / name / "spool.json").read_text())["actor_id"]
        last_version = -1
        for line in (folder / f"{name}.notes").read_text().splitlines():
            what, *numbers = line.split()
            if what == "version":
                versions += 1
                backwards += int(numbers[0]) <= last_version
                last_version = int(numbers[0])
            elif what == "start":
                last_version -= 1  # a new process takes the newest again
            else:
                into = sent if what == "sent" else offered
                into.add((actor_id, int(numbers[0]), int(numbers[1])))
    return {
        "sent": len(sent),
        "missing": len(sent - held.keys()),
        "twice": sum(count > 1 for count in held.values()),
        "invented": len(held.keys() - offered),
        "damaged": damaged,
        "versions": versions,
        "versions_backwards": backwards,
    }


def _record(actor_id: str, episode: int, index: int) -> Any:
    """The record that goes by this key: its contents follow from it."""
    row = np.zeros((), DTYPE)
    row["episode"], row["index"] = episode, index
    seed = zlib.crc32(f"{actor_id} {episode} {index}".encode())
    row["obs/state"] = np.float32(seed % 65521) + np.arange(6, dtype=np.float32)
    row["obs/camera"] = (np.arange(768).reshape(16, 16, 3) + seed) % 251
    return row[()]


def _be_learner(folder: Path, port: int, over: threading.Event) -> None:
    """Serve, and publish a version every 50 ms, its number noted before."""
    from serl.channel.server import ChannelServer
    from serl.data.replay import Replay

    note = folder / "version"
    version = int(note.read_text()) if note.exists() else 0
    with (
        Replay(folder / "replay", SPEC) as replay,
        ChannelServer(f"127.0.0.1:{port}", CONTRACT, SPEC, replay, "kills") as server,
    ):
        while not over.wait(0.05):
            version += 1
            (folder / "version.new").write_text(str(version))
            os.replace(folder / "version.new", note)
            server.publish(version, {"w": np.full(1000, version, np.float32)})


def _be_actor(folder: Path, port: int, name: str, over: threading.Event) -> None:
    """Send episodes of random length, noting each key before and after; flush at the end."""
    from serl.channel.client import ChannelClient

    notes = os.open(folder / f"{name}.notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(text: str) -> None:
        os.write(notes, f"{text}\n".encode())

    with ChannelClient(f"127.0.0.1:{port}", CONTRACT, SPEC, folder / name) as client:
        note("start")
        client.connect(wait=False)
        while not over.is_set():
            episode = client.begin_episode()
            for index in range(random.randint(1, 60)):
                row = _record(client.actor_id, episode, index)
                note(f"offered {episode} {index}")
                client.send(row)
                note(f"sent {episode} {index}")
                newest = client.latest()
                if newest is not None:
                    version, params = newest
                    if (params["w"] != version).any():
                        raise UserError(f"version {version} came with other parameters")
                    note(f"version {version}")
                time.sleep(PERIOD_S)
        if not client.flush(30.0):
            raise UserError(f"{client.pending} records were not acknowledged within 30 s")


def _over_when_stdin_closes() -> threading.Event:
    over = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    return over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--role", choices=("learner", *ACTORS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "learner":
        _be_learner(given.folder, given.port, _over_when_stdin_closes())
    elif given.role is not None:
        _be_actor(given.folder, given.port, given.role, _over_when_stdin_closes())
    else:
        outcome = torture(given.kills, given.seed, given.folder)
        sys.stdout.write(json.dumps({**asdict(outcome), "clean": outcome.clean}) + "\n")
        sys.exit(0 if outcome.clean else 1)


if __name__ == "__main__":
    main()
