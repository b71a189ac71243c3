"""Move an arm by hand, simulated or real: a SpaceMouse, a keyboard, a gamepad. Nothing is kept.

Ctrl-C, or the key for stop, ends it; the arm holds where it is.

examples:
  serl teleop --device keyboard
  serl teleop --device browser
  serl teleop --task reach --device spacemouse
  serl teleop --task pick_cube --device gamepad --mode hold
  serl teleop --device spacemouse --backend grpc://127.0.0.1:5600 --yaw-deg 180
  serl teleop --task dual_pick --device left=spacemouse:/dev/hidraw3,right=spacemouse:/dev/hidraw4
"""

from __future__ import annotations

import dataclasses
import threading
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from launch.arguments import Parser, add_experiment, number
from launch.console.beside import add_console, console_beside
from launch.experiments import Selection
from launch.processes import stop_on_signals
from launch.teleop_hand import add_hand, endless, hand_env, hand_on, make_operator
from launch.teleop_view import HandView
from serl.errors import Interrupted, UserError

FOREVER_S = 24 * 3600.0
TASK = "reach"
"""Without --task: an arm, a free box to move in, all six axes, and the gripper too."""
WINDOW_HZ = 10.0


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    parser.add_argument(
        "--device",
        required=True,
        help="spacemouse, keyboard, gamepad ..., as KIND:ADDRESS where there are several; or one "
        "per arm, as left=KIND:ADDRESS,right=...",
    )
    parser.add_argument("--window", action="store_true", help="show the simulated scene")
    parser.add_argument("--for-s", type=number(float, 0), help="end by itself after this long [s]")
    add_hand(parser)
    add_console(parser)


def run(args: Namespace) -> int:
    selection = Selection.from_args(args)
    if selection.reward is not None or selection.agent is not None:
        raise UserError("teleop uses the env alone; leave --reward and --agent out.")
    chosen = not selection.is_empty
    if not chosen:
        args.task = TASK
        selection = Selection.from_args(args)
    env_config = endless(
        hand_env(selection.load_env(), args.backend, episode_s=args.for_s or FOREVER_S)
    )
    if not chosen and env_config.action.gripper == "none":
        action = dataclasses.replace(env_config.action, gripper="toggle")
        env_config = dataclasses.replace(env_config, action=action)
    stop = stop_on_signals()
    operator = make_operator(args, env_config, device=args.device)
    with hand_on(env_config, operator, args, render=args.window) as env:
        view = HandView(env, operator)
        beside = console_beside(
            args, env, operator, title=lambda: view.title, say=view.say, tuning=True
        )
        with view, beside as view.also:
            look = _window(env) if args.window else None
            steps = teleoperate(
                env, operator, stop=stop, view=view, look=look, for_s=args.for_s, seed=args.seed
            )
        print(f"{steps} steps; the arm holds where it is.")
    return 0


def teleoperate(
    env: Any,
    operator: Any,
    *,
    stop: threading.Event,
    view: Any = lambda: None,
    look: Callable[[], bool] | None = None,
    for_s: float | None = None,
    seed: int | None = None,
) -> int:
    """Step with the hand's action until told to stop; how many steps.

    Args:
        look: shows the scene; False when the person closed it.
        for_s: at most this long, after the arm is at its start [s].
    """
    say = getattr(view, "say", lambda text: None)
    waiter = env.unwrapped.waiter
    waiter.on_wait, waiter.interrupted = say, stop.is_set
    rest, steps, over = env.get_wrapper_attr("rest"), 0, True
    end_s: float | None = None
    try:
        while not stop.is_set() and (end_s is None or time.monotonic() < end_s):
            if over:
                env.reset(seed=seed)
                over, seed = False, None
                view.title = "move"
                end_s = time.monotonic() + for_s if for_s and end_s is None else end_s
            *_, terminated, truncated, info = env.step(rest())
            steps += 1
            over = terminated or truncated
            if info.get("interrupted"):
                say(str(info["interrupted"]))
            for word in operator.words():
                over = _heed(word, operator, view, stop) or over
            if look is not None and not look():
                stop.set()
            view()
    except Interrupted:  # while the env waited for something outside the program
        stop.set()
    return steps


def _heed(word: str, operator: Any, view: Any, stop: threading.Event) -> bool:
    """Do what was said; True when the arm is to go back to its start."""
    if word == "stop":
        stop.set()
    elif word == "pause":
        operator.paused = not operator.paused
        view.title = f"paused; {operator.key_of('pause')} goes on" if operator.paused else "move"
    elif word == "rerecord":
        return True
    else:
        getattr(view, "say", print)(f"heard {word}")
    return False


def _window(env: Any) -> Callable[[], bool]:
    """Shows the scene ten times a second, where there is a display."""
    from launch.window import Window, can_show
    from serl.timing import Every

    if not can_show():
        raise UserError("--window needs a display, and there is none; leave it out.")
    window, due = Window("the scene: Esc closes"), Every(1.0 / WINDOW_HZ)

    def look() -> bool:
        if due():
            window.show(env.render())
        return window.open

    return look
