"""The robot server: one arm interface, with limits and a watchdog, over a simulator or a real arm.

It runs on the robot PC, needs no JAX, and moves nothing by itself. Beyond this machine it listens
only with a token and TLS, or with a token and --insecure-lan on a network you trust. What the arm
may do at most stands in --config; without that file, cautious defaults hold.

examples:
  serl robot-server --backend mujoco
  serl robot-server --backend mujoco --lockstep --bind 127.0.0.1:0
  serl robot-server --backend mock --http 127.0.0.1:5000
  serl robot-server --backend franky --robot-ip 172.16.0.2 --robot fr3 --config robot.toml
  serl robot-server --backend ros2 --robot fr3 --gripper franka_hand --config robot.toml
"""

from __future__ import annotations

import inspect
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from launch.arguments import Parser, add_security, add_supervised, address
from launch.connection import server_security
from launch.processes import stop_on_signals
from serl.errors import UserError

SWITCH_S = 0.0005
"""How long one thread may keep the interpreter from another. Python's own 5 ms is five periods of
a 1 kHz loop."""

OURS = ("mujoco", "franky", "ros2", "mock")
"""Backends with flags of their own here. Any other registered one starts as well: it is made with
`arms`, and with `gripper` and `robot_ip` where it takes them."""

NEAREST_M = 0.2
"""Bases of two arms are no nearer than this: an arm's foot is 0.2 m wide."""


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--backend",
        required=True,
        metavar="NAME",
        help="what moves: mujoco, franky, ros2, mock, or one of your own",
    )
    parser.add_argument(
        "--bind",
        type=address,
        default="127.0.0.1:5600",
        metavar="HOST:PORT",
        help="where to listen (127.0.0.1:5600); port 0 takes a free one",
    )
    parser.add_argument("--config", type=Path, help="robot.toml: limits, payload, TCP, gripper")
    arm = parser.add_argument_group("arm")
    arm.add_argument("--robot", metavar="MODEL", help="which arm, as 'fr3'; overrides --config")
    arm.add_argument(
        "--gripper", metavar="NAME", help="franka_hand, robotiq, none, ...; overrides --config"
    )
    arm.add_argument(
        "--robot-ip", metavar="HOST", help="franky, or a backend of your own: the arm's address"
    )
    arm.add_argument(
        "--no-realtime-kernel",
        action="store_true",
        help="franky: start without a real-time kernel, as for franky-sim; a real arm stutters",
    )
    arm.add_argument("--ros-namespace", metavar="NAME", help="ros2: of the arm's nodes")
    arm.add_argument(
        "--ros-state",
        choices=("franka", "joint_states"),
        help="ros2: franka_ros2's robot state (default), or joint states alone",
    )
    arm.add_argument(
        "--lockstep",
        action="store_true",
        help="mujoco: physics steps when a client says so, not on the wall clock",
    )
    http = parser.add_argument_group("SERL's HTTP endpoints, off unless --http is given")
    http.add_argument("--http", type=address, metavar="HOST:PORT", help="serve them here too")
    http.add_argument(
        "--http-flavour",
        choices=("serl", "hil-serl"),
        default="serl",
        help="what gripper_pos means (serl)",
    )
    http.add_argument(
        "--http-recover", action="store_true", help="/clearerr recovers, 2 s after the fault"
    )
    http.add_argument(
        "--http-reset-q",
        type=float,
        nargs="+",
        metavar="RAD",
        help="where /jointreset goes, a number for each joint [rad]; left out, the arm's home",
    )
    http.add_argument(
        "--http-password-file", type=Path, help="file with the password of Basic auth"
    )
    add_security(parser, server=True)
    add_supervised(parser)


def run(args: Namespace) -> int:
    stop = stop_on_signals(args.watch_fd)
    sys.setswitchinterval(SWITCH_S)
    _refuse_idle_flags(args)
    from robot_servers.config import load_config
    from robot_servers.guard import Guard
    from robot_servers.lease import LeaseBook
    from robot_servers.server import RobotServer

    config = load_config(args.config)
    if args.config is None and args.backend == "mujoco":
        config = for_rehearsal(config)
    guard = Guard(make_backend(args, config), config, on_event=_say)
    leases = LeaseBook(on_event=_say)
    with ExitStack() as opened:
        opened.callback(guard.close)
        guard.start()
        server = RobotServer(
            guard, leases, bind=args.bind, backend_name=args.backend, **server_security(args)
        )
        opened.callback(server.close)
        http = _http_face(args, guard, leases)
        if http is not None:
            opened.callback(http.stop)
            http.start()
        server.start()
        print(ready_line(args, server.address, guard, http), flush=True)
        stop.wait()
        print("closing: every arm holds", flush=True)
    return 0


def make_backend(args: Namespace, config: Any) -> Any:
    """The backend of the flags and of robot.toml, not yet connected."""
    from robot_servers.backends.base import BACKENDS

    make: Any = BACKENDS.get(args.backend)
    arms = {name: args.robot or own.robot for name, own in config.arms.items()}
    arms = arms or {"": args.robot or config.arm.robot}
    if args.backend == "mujoco":
        return make(arms=arms, lockstep=args.lockstep, base_poses=_base_poses(arms, config))
    settings = config.settings(next(iter(arms)))
    options = {"gripper": _gripper(args, settings.gripper), **_own_options(args)}
    if args.backend not in OURS:
        takes = inspect.signature(make).parameters
        for name in ("gripper", "robot_ip"):
            if name not in takes and getattr(args, name):
                flag = "--" + name.replace("_", "-")
                raise UserError(f"{flag}: --backend {args.backend} takes no {name}; leave it out.")
        options = {name: value for name, value in options.items() if name in takes}
    return make(arms=arms, **options)


def _base_poses(arms: Mapping[str, str], config: Any) -> dict[str, Any]:
    """T_world_base of every arm that does not stand at the origin; two at one place is refused."""
    import numpy as np

    from robot_servers.control import se3

    poses: dict[str, Any] = {}
    for name in arms:
        own = config.settings(name)
        R = se3.matrix_from_rotvec(np.array([0.0, 0.0, own.base_yaw_rad]))
        T = se3.pose(R, own.base_pos_m)
        for other, T_other in poses.items():
            apart_m = float(((T[:3, 3] - T_other[:3, 3]) ** 2).sum() ** 0.5)
            if apart_m < NEAREST_M:
                raise UserError(
                    f"arms {other!r} and {name!r} stand {apart_m:.2f} m apart; at least "
                    f"{NEAREST_M:g} m are needed. Give each its place in --config: "
                    f"[arms.{name}] base_pos_m = [0.0, 1.0, 0.0]."
                )
        poses[name] = T
    return {name: T for name, T in poses.items() if (np.eye(4) != T).any()}


REHEARSAL_FORCE_N, REHEARSAL_TORQUE_NM = 250.0, 60.0
"""Where a simulated arm faults. An untrained policy leans on the table with the 60 N its spring
gives, and knocks on it harder; nobody is there to recover the arm each time, and nothing breaks."""


def for_rehearsal(config: Any) -> Any:
    """The default limits for an arm that is only simulated."""
    limits = replace(config.arm.limits, force_n=REHEARSAL_FORCE_N, torque_nm=REHEARSAL_TORQUE_NM)
    return replace(config, arm=replace(config.arm, limits=limits))


def ready_line(args: Namespace, where: Any, guard: Any, http: Any) -> str:
    """Address, backend, arms, and where the limits come from."""
    pace = ", lockstep" if guard.backend.lockstep else ", real time"
    arms = ", ".join(
        f"{name!r} a {robot.name}" if name else f"a {robot.name}"
        for name, robot in guard.arms.items()
    )
    limits = f"limits of {args.config}" if args.config else _defaults(args)
    also = f"; SERL's endpoints at {http.url}" if http is not None else ""
    return f"robot server listening on {where} ({args.backend}{pace}): {arms}; {limits}{also}"


def _defaults(args: Namespace) -> str:
    if args.backend == "mujoco":
        return f"default limits, force {REHEARSAL_FORCE_N:g} N for rehearsal (no --config)"
    return "default limits (no --config)"


def _refuse_idle_flags(args: Namespace) -> None:
    """A flag that the backend would not look at is a mistake."""
    if args.backend not in OURS:
        from robot_servers.backends.base import BACKENDS

        BACKENDS.get(args.backend)  # an unknown name is what to say first
    own = () if args.backend in OURS else (args.backend,)
    only: Mapping[str, tuple[str, ...]] = {
        "robot_ip": ("franky", *own),
        "no_realtime_kernel": ("franky",),
        "ros_namespace": ("ros2",),
        "ros_state": ("ros2",),
        "lockstep": ("mujoco",),
        "gripper": ("franky", "ros2", "mock", *own),
    }
    for name, backends in only.items():
        if getattr(args, name) and args.backend not in backends:
            flag = "--" + name.replace("_", "-")
            raise UserError(
                f"{flag} is for --backend {' or '.join(backends)}, not {args.backend}; leave it "
                "out."
            )
    if args.backend == "franky" and not args.robot_ip:
        raise UserError("--backend franky needs --robot-ip, the arm's address in its network.")
    real = args.backend not in ("mujoco", "mock")
    if real and not (args.robot or args.config):
        raise UserError(
            "say which arm it is, for its limits: --robot fr3 or --robot panda, or robot = ... in "
            "--config."
        )
    for name in ("http_recover", "http_password_file", "http_reset_q"):
        if getattr(args, name) and not args.http:
            raise UserError(f"--{name.replace('_', '-')} needs --http HOST:PORT.")


def _gripper(args: Namespace, configured: Any) -> Any:
    """A gripper's name, or its driver where robot.toml gives it settings."""
    from robot_servers.grippers.base import GRIPPERS, make_gripper

    name = args.gripper or configured.type
    GRIPPERS.get(name)  # an unknown name is said here
    options = dict(configured.options) if name == configured.type else {}
    if args.backend == "mock" and name == "franka_hand":
        return "mock"
    if args.backend == "franky" and name == "franka_hand":
        options.setdefault("address", args.robot_ip)
    if name == "robotiq" and "address" not in options:
        raise UserError(
            "the Robotiq gripper needs its address: [arm.gripper] type = 'robotiq', address = "
            "'192.168.1.11:502' (or '/dev/ttyUSB0') in --config."
        )
    return make_gripper(name, **options) if options else name


def _own_options(args: Namespace) -> dict[str, Any]:
    """Keywords that only one backend has."""
    if args.backend == "franky":
        return {
            "robot_ip": args.robot_ip,
            "enforce_realtime": not args.no_realtime_kernel,
        }
    if args.backend == "ros2":
        given = {"namespace": args.ros_namespace, "state": args.ros_state}
        return {name: value for name, value in given.items() if value}
    if args.backend not in OURS and args.robot_ip:
        return {"robot_ip": args.robot_ip}
    return {}


def _http_face(args: Namespace, guard: Any, leases: Any) -> Any:
    if not args.http:
        return None
    from robot_servers.http import HttpFace
    from serl.rpc import read_token

    password = read_token(args.http_password_file) if args.http_password_file else None
    security = server_security(args)
    return HttpFace(
        guard,
        leases,
        args.http,
        flavour=args.http_flavour,
        recover=args.http_recover,
        password=password,
        tls=security["tls"],
        insecure_lan=args.insecure_lan,
        reset_q_rad=tuple(args.http_reset_q) if args.http_reset_q else None,
    )


def _say(line: str) -> None:
    """An event of the arm, as it happens."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
