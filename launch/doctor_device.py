"""`serl doctor --device`: is it there, is it at rest, and does each axis go the way it should?

On a terminal each gesture is asked for in turn and what comes is shown live; elsewhere only what
needs no hand is checked.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from launch.doctor import Check
from launch.teleop_hand import bar
from serl.errors import UserError

REST_S = 1.0
GESTURE_S = 15.0
"""How long a gesture is waited for."""
ENOUGH = 0.25
"""A gesture counts from here on."""
MOST_OF_IT = 2.0
"""... when its axis is this many times as strong as any other."""
SHOW_S = 0.05


def checks(args: Namespace) -> Iterator[Check]:
    """One line at a time, as they are found."""
    from envs.devices.base import parse_devices

    try:
        configs = parse_devices(args.device)
    except UserError as error:
        yield Check("device", False, str(error))
        return
    for arm, config in configs.items():
        yield from _device_checks(f"{arm} ".lstrip() + config.kind, config)


def _device_checks(name: str, config: Any) -> Iterator[Check]:
    try:
        for found in config.found():
            about = f"{config.kind}:{found.address}" if found.address else config.kind
            yield Check("found", True, f"{about}  {found.about}".rstrip())
        device = config.make()
        device.open()
    except UserError as error:
        yield Check(name, False, str(error))
        return
    try:
        yield Check("open", True, device.name)
        yield rest(device)
        if config.gestures and sys.stdin.isatty() and sys.stdout.isatty():
            for what, gesture in config.gestures.items():
                yield asked(device, what, gesture)
        elif config.gestures:
            words = "; ".join(f"{what}: {gesture}" for what, gesture in config.gestures.items())
            yield Check("axes", None, f"run this in a terminal to try them. {words}")
        words = ", ".join(f"{key} {word}" for key, word in config.words.items())
        yield Check("words", None, words or "none")
    finally:
        device.close()


def rest(device: Any) -> Check:
    """Let go of, a device shows nothing."""
    end = time.monotonic() + REST_S
    worst = 0.0
    while time.monotonic() < end:
        reading = device.read()
        if not reading.live:
            return Check("rest", False, reading.trouble)
        worst = max(worst, *map(abs, reading.twist))
        time.sleep(SHOW_S)
    if worst > 0.0:
        return Check(
            "rest", False, f"it shows {worst:.2f} though nobody moves it; let go, or raise deadband"
        )
    return Check("rest", True, f"nothing in {REST_S:g} s")


def asked(device: Any, what: str, gesture: str, *, timeout_s: float = GESTURE_S) -> Check:
    """Ask for one gesture and see what comes.

    Args:
        what: one of `DOF`, 'close' or 'open'.
    """
    print(f"      {what:<6}{gesture} ...", flush=True)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        reading = device.read()
        if not reading.live:
            return Check(what, False, reading.trouble)
        print(f"\r      {_shown(reading)}\x1b[K", end="", flush=True)
        verdict = judged(reading, what)
        if verdict is not None:
            print("\r\x1b[K", end="", flush=True)
            _until_let_go(device)
            return Check(what, verdict == "", verdict or gesture)
        time.sleep(SHOW_S)
    print("\r\x1b[K", end="", flush=True)
    return Check(what, False, f"nothing came in {timeout_s:g} s for: {gesture}")


def judged(reading: Any, what: str) -> str | None:
    """None while nothing clear is seen; "" when it is what was asked for, else what came."""
    from envs.devices.base import DOF

    wanted = {"close": -1.0, "open": 1.0}.get(what)
    if wanted is not None:
        if reading.gripper is None:
            return None
        return "" if reading.gripper == wanted else "it came as the opposite"
    sizes = sorted(((abs(v), dof, v) for dof, v in zip(DOF, reading.twist, strict=True)))
    (second, _, _), (size, dof, value) = sizes[-2:]
    if size < ENOUGH or size < MOST_OF_IT * second:
        return None
    if dof != what:
        return f"it came as {'+' if value > 0 else '-'}{dof}"
    return "" if value > 0 else "it came with the opposite sign"


def _shown(reading: Any) -> str:
    from envs.devices.base import DOF

    bars = " ".join(f"{dof} {bar(v)}" for dof, v in zip(DOF, reading.twist, strict=True))
    return f"{bars} {' '.join(sorted(reading.held))}"


def _until_let_go(device: Any, timeout_s: float = 3.0) -> None:
    end = time.monotonic() + timeout_s
    while device.read().moves and time.monotonic() < end:
        time.sleep(SHOW_S)
