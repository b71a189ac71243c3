"""A person beside the actor: flags for the device, and how they reach a supervised child.

The actor that `serl train` starts has no terminal of its own, so the path of ours goes with it: a
keyboard is read there, and its keys are words whatever device moves the arm.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from launch.arguments import Parser, number
from serl.errors import UserError

if TYPE_CHECKING:
    from serl.experiment import Experiment

KEYBOARD = "keyboard"


def add_person(parser: Parser) -> None:
    """Which device, when the arm is theirs, where they stand, and which key says what."""
    group = parser.add_argument_group(
        "person", "Someone who may take the arm over while it learns, and say how it went."
    )
    group.add_argument(
        "--device",
        metavar="KIND[:ADDRESS]",
        help="spacemouse, keyboard, gamepad ... (`serl list devices`); or one per arm, as "
        "left=KIND:ADDRESS,right=...",
    )
    group.add_argument(
        "--mode",
        choices=("touch", "hold", "toggle"),
        default="touch",
        help="the arm is theirs at any input, while a key is held, or between two presses (touch)",
    )
    group.add_argument(
        "--yaw-deg",
        type=number(float, -360, 360),
        default=0.0,
        help="where they look, about z: 0 along the arm from behind its base, 180 facing it",
    )
    group.add_argument(
        "--keys",
        default="",
        metavar="WORD=KEY,...",
        help="other keys for words, as success=s,failure=f,stage 1=f1; a pedal types a key too",
    )
    group.add_argument("--terminal", help=argparse.SUPPRESS)


def person_words(args: Namespace) -> tuple[str, ...]:
    """The same as words for a child without a terminal. Raises UserError for a wrong device."""
    if args.device is None:
        if args.keys:
            raise UserError("--keys says which key means what; name the device with --device.")
        return ()
    _config(args)  # a wrong word is refused before anything starts
    words = ["--device", args.device, "--mode", args.mode, "--yaw-deg", f"{args.yaw_deg:g}"]
    words += ["--keys", args.keys] if args.keys else []
    return (*words, *(["--terminal", os.ttyname(0)] if sys.stdin.isatty() else []))


def without_terminal(words: tuple[str, ...]) -> list[str]:
    """Those words as a person would type them again."""
    kept = list(words)
    if "--terminal" in kept:
        at = kept.index("--terminal")
        del kept[at : at + 2]
    return kept


@contextmanager
def attended(args: Namespace, experiment: Experiment) -> Iterator[tuple[Experiment, Any]]:
    """The experiment as a person can follow it, and the operator with devices open; None for
    nobody."""
    if args.device is None:
        yield experiment, None
        return
    arms = getattr(experiment.env, "arms", None)
    if arms is None:
        raise UserError(
            f"{type(experiment.env).__name__} has no arm that a hand could take over; leave "
            "--device out."
        )
    config = _config(args)
    with config.make([arm.name for arm in arms]) as operator:
        yield paced_for(config, experiment), operator


def paced_for(config: Any, experiment: Experiment) -> Experiment:
    """On the wall clock where somebody holds the device: no one can follow a simulator that is
    faster. A script can."""
    env: Any = experiment.env
    if not is_held(config) or env.realtime is not None:
        return experiment
    return dataclasses.replace(experiment, env=dataclasses.replace(env, realtime=True))


def is_held(config: Any) -> bool:
    """Somebody holds the device; otherwise it is a script."""
    return any(device.gestures for device in config.devices.values())


def _config(args: Namespace) -> Any:
    """The operator's config, a keyboard at the terminal that was handed on."""
    from envs.operator import operator_config
    from launch.console.beside import with_page

    terminal = args.terminal
    config = operator_config(
        args.device,
        mode=args.mode,
        yaw_deg=args.yaw_deg,
        keys=args.keys,
        listen=terminal is not None or sys.stdin.isatty(),
    )
    if getattr(args, "console", None) is not None:
        config = with_page(config)
    if terminal is None:
        return config

    def there(device: Any) -> Any:
        alone = device.kind == KEYBOARD and not device.address
        return dataclasses.replace(device, address=terminal) if alone else device

    devices = {arm: there(device) for arm, device in config.devices.items()}
    return dataclasses.replace(
        config, devices=devices, listens=tuple(there(device) for device in config.listens)
    )
