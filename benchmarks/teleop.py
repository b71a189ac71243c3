"""How long a takeover takes: from the event of an input device until the arm has its command.

A key is pressed on a pseudo-terminal and a puck reports through a HID handle, both at random
moments of the control period, while the loop steps the simulated arm in real time. The wait for the
next step is the control period's; what counts is what comes on top: the command of the step that
acts on the event, minus the first step that began after it.

python -m benchmarks.teleop
"""

from __future__ import annotations

import importlib.util
import os
import pty
import queue
import select
import statistics
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from envs.devices import spacemouse
from envs.devices.base import DeviceConfig, parse_device
from envs.operator import OperatorConfig
from launch.teleop_hand import endless, hand_env

GOAL_MS = 10.0


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows for `serl bench teleop`."""
    trials = 12 if quick else 60
    stands: dict[str, Callable[[], Stand]] = {"keyboard": keyboard_stand}
    if importlib.util.find_spec("pyspacemouse"):
        stands["spacemouse"] = spacemouse_stand
    rows = []
    for name, make in stands.items():
        total, beyond = takeovers(make(), trials)
        rows += [
            row(f"{name}: event to command, median", statistics.median(total)),
            row(
                f"{name}: beyond the period's wait, median",
                statistics.median(beyond),
                f"<= {GOAL_MS:g}",
            ),
            row(f"{name}: beyond the period's wait, p95", float(np.quantile(beyond, 0.95))),
        ]
    return rows


def row(what: str, seconds: float, goal: str | None = None) -> dict[str, Any]:
    return {"what": what, "value": 1e3 * seconds, "unit": "ms", "goal": goal}


@dataclass
class Stand:
    """A device, and what presses and releases it."""

    config: DeviceConfig
    press: Callable[[], None]
    release: Callable[[], None]


@dataclass
class Log:
    """Stamps of the loop, in the order they came [ns]."""

    starts: list[int] = field(default_factory=list)
    commands: list[tuple[int, bool]] = field(default_factory=list)
    """When each command was handed over, and whether a hand asked for it."""


def takeovers(stand: Stand, trials: int) -> tuple[list[float], list[float]]:
    """Latency of each takeover, in all and beyond the wait for the next step [s]."""
    from envs.tasks.reach import ReachConfig

    config = endless(hand_env(ReachConfig(), None, episode_s=3600.0))
    operator = OperatorConfig(devices={"": stand.config}).make()
    log, acts = Log(), [False]

    def hand() -> Any:
        hands = operator()
        acts[0] = bool(hands)
        return hands

    with operator:
        env = config.make(intervention=hand)
        backend = env.unwrapped.backend
        command = backend.command

        def spied(commands: Any) -> None:
            command(commands)
            log.commands.append((time.monotonic_ns(), acts[0]))

        env.reset(seed=0)
        backend.command = spied
        events: list[int] = []
        person = threading.Thread(target=_person, args=(stand, trials, log, events))
        person.start()
        rest = np.zeros(env.action_space.shape, np.float32)
        while person.is_alive():
            log.starts.append(time.monotonic_ns())
            env.step(rest)
        person.join()
        env.close()
    return _latencies(events, log)


def _person(stand: Stand, trials: int, log: Log, events: list[int]) -> None:
    """Press at a random moment, let go once it was acted on, and rest."""
    rng = np.random.default_rng(0)
    for _ in range(trials):
        time.sleep(float(rng.uniform(0.1, 0.2)))
        seen = len(log.commands)
        events.append(time.monotonic_ns())
        stand.press()
        _until(lambda seen=seen: any(asked for _, asked in log.commands[seen:]))
        stand.release()
        time.sleep(0.15)
        _until(lambda: not log.commands[-1][1])


def _until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("a press was not acted on within 5 s")
        time.sleep(0.002)


def _latencies(events: list[int], log: Log) -> tuple[list[float], list[float]]:
    total, beyond = [], []
    asked = np.array([stamp for stamp, is_asked in log.commands if is_asked])
    starts = np.array(log.starts)
    for event in events:
        acted = asked[np.searchsorted(asked, event)]
        due = starts[np.searchsorted(starts, event)]
        total.append((acted - event) / 1e9)
        beyond.append((acted - due) / 1e9)
    return total, beyond


def keyboard_stand() -> Stand:
    """A pseudo-terminal that tells releases."""
    master, slave = pty.openpty()

    def answer() -> None:
        if select.select([master], [], [], 5.0)[0]:
            os.read(master, 4096)
            os.write(master, b"\x1b[?0u\x1b[?62c")

    threading.Thread(target=answer, daemon=True).start()
    return Stand(
        parse_device(f"keyboard:{os.ttyname(slave)}"),
        lambda: (os.write(master, b"\x1b[97;1:1u"), None)[1],
        lambda: (os.write(master, b"\x1b[97;1:3u"), None)[1],
    )


def spacemouse_stand() -> Stand:
    """A puck's reports through pyspacemouse; 125 a second while it is deflected."""
    hid = _Hid()
    spacemouse._enumerate = lambda: [hid]
    return Stand(parse_device("spacemouse"), lambda: hid.push(-150), lambda: hid.push(0))


class _Hid:
    """What easyhid hands out, without a device behind it."""

    path, serial_number = "bench", ""
    vendor_id, product_id, usage_page, usage = 0x256F, 0xC635, 1, 8
    product_string = manufacturer_string = "bench"
    release_number = 1

    def __init__(self) -> None:
        self._reports: queue.Queue[bytes] = queue.Queue()
        self._count = 0
        threading.Thread(target=self._repeat, daemon=True).start()

    def push(self, count: int) -> None:
        self._count = count
        self._reports.put(struct.pack("<Bhhh", 1, 0, count, 0))

    def read(self, size: int, timeout: int = 0) -> bytearray:
        try:
            return bytearray(self._reports.get(timeout=timeout / 1000))
        except queue.Empty:
            return bytearray()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def _repeat(self) -> None:
        while True:
            time.sleep(0.008)
            if self._count:
                self.push(self._count)


def main() -> None:
    from launch.bench import print_rows

    print_rows(run())


if __name__ == "__main__":
    main()
