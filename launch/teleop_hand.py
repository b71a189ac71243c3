"""What teleoperation and recording by hand share: flags for the hand, and an env it can move."""

from __future__ import annotations

import dataclasses
import math
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from launch.arguments import Parser, number
from launch.robot_link import confirm
from serl.errors import UserError

EXAMPLE_KEYS = "success=s,failure=f"


def add_hand(parser: Parser) -> None:
    """Which device, who has the arm when, where the person stands, and which key says what."""
    group = parser.add_argument_group("hand")
    group.add_argument(
        "--mode",
        choices=("always", "hold", "toggle"),
        default="always",
        help="when the hand moves the arm: always, while a dead-man key is held, or between two "
        "presses of a key",
    )
    group.add_argument(
        "--yaw-deg",
        type=number(float, -360, 360),
        default=0.0,
        help="where you look, about z: 0 along the arm from behind its base, 180 facing it",
    )
    group.add_argument(
        "--keys",
        default="",
        metavar="WORD=KEY,...",
        help=f"other keys for words, as {EXAMPLE_KEYS}; a pedal types a key too",
    )
    group.add_argument(
        "--backend", metavar="ROBOT", help="mujoco, or grpc://HOST:PORT of a robot server"
    )
    group.add_argument("--yes", action="store_true", help="do not ask before a real arm moves")


def hand_env(env_config: Any, backend: str | None, *, episode_s: float) -> Any:
    """The env a hand moves: on the wall clock, with time enough for a person.

    Raises UserError for an env that has no arm.
    """
    if not hasattr(env_config, "arms"):
        raise UserError(
            f"{type(env_config).__name__} has no arm that a hand could move; take a task "
            "(`serl list tasks`)."
        )
    if backend is not None:
        env_config = dataclasses.replace(env_config, robot=backend)
    realtime = True if env_config.realtime is None else env_config.realtime
    return dataclasses.replace(env_config, realtime=realtime, episode_s=episode_s)


def endless(env_config: Any) -> Any:
    """The same without an end: no success, and nothing observed that only a simulator knows."""
    felt = tuple(name for name in env_config.state if name not in env_config.task_fields)
    return dataclasses.replace(env_config, reward="learned", state=felt or ("tcp_pos",))


def make_operator(args: Namespace, env_config: Any, *, device: str) -> Any:
    """The operator of this env's arms, devices not yet open; where this program has a terminal,
    its keys are words too."""
    from envs.operator import operator_config
    from launch.console.beside import with_page

    config = operator_config(
        device,
        mode=args.mode,
        yaw_deg=args.yaw_deg,
        keys=args.keys,
        listen=sys.stdin.isatty(),
    )
    if getattr(args, "console", None) is not None:
        config = with_page(config)
    return config.make([arm.name for arm in env_config.arms])


@contextmanager
def hand_on(env_config: Any, operator: Any, args: Namespace, *, render: bool = False) -> Iterator:
    """Devices open, then the env; the other way round at the end. A real arm only moves once a
    person has agreed."""
    if env_config.is_remote:
        confirm(args, f"The arm at {env_config.robot} goes to the task's start.")
    with operator:
        env = env_config.make(render=render, intervention=operator)
        try:
            yield env
        finally:
            env.close()


def heard_words(operator: Any) -> str:
    """The keys and what they say, for a prompt: 'enter success, backspace failure'."""
    words = ("success", "failure", "rerecord", "pause", "ready", "stop")
    return ", ".join(f"{key} {word}" for word in words if (key := operator.key_of(word)))


def bar(value: float, width: int = 10) -> str:
    """A number within +-1 as a bar around its middle.

    >>> bar(0.5, 4), bar(-1.0, 4), bar(0.0, 4)
    ('  |# ', '##|  ', '  |  ')
    """
    half = width // 2
    count = min(half, math.ceil(abs(value) * half - 1e-9))
    left = "#" * count if value < 0 else ""
    right = "#" * count if value > 0 else ""
    return f"{left:>{half}}|{right:<{half}}"
