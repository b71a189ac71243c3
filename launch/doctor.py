"""Check this machine, one line each with what to do; or the way to a learner, a robot, a device.

examples:
  serl doctor
  serl doctor --learner 127.0.0.1:5488
  serl doctor pick_cube_state --learner gpu.lan:5488 --token-file token --tls-ca ca.pem
  serl doctor --robot 127.0.0.1:5600
  serl doctor --robot robot.lan:5600 --move --token-file token --tls-ca ca.pem
  serl doctor --device spacemouse
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.arguments import Parser, add_experiment, add_security, address
from launch.experiments import Selection
from launch.machine import cpu_name, usable_cores, version
from launch.runs import RUNS
from serl.errors import UserError

DEFAULT_PORT = 5488
MIN_FREE_GB = 5.0
PROBE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, whether it will do, and what to do if not.

    `ok` None: it is not installed here and need not be; another machine's work needs it.
    """

    name: str
    ok: bool | None
    text: str

    def line(self) -> str:
        mark = {True: "ok", False: "FAIL", None: "-"}[self.ok]
        return f"{mark:<4}  {self.name:<12}  {self.text}"


def add_arguments(parser: Parser) -> None:
    add_experiment(parser)
    parser.add_argument("--learner", type=address, metavar="HOST:PORT", help="check the way there")
    parser.add_argument("--robot", metavar="HOST:PORT", help="check a robot server and its arms")
    parser.add_argument(
        "--device", metavar="KIND[:ADDRESS]", help="check an input device: each axis, each way"
    )
    parser.add_argument("--no-push", action="store_true", help="do not ask to push the arm")
    parser.add_argument("--move", action="store_true", help="close and open the gripper")
    parser.add_argument("--spool", type=Path, default=RUNS, help="where an actor would spool")
    add_security(parser, server=False)


def run(args: Namespace) -> int:
    failed = False
    for check in _checks(args):
        print(check.line(), flush=True)
        failed |= check.ok is False
    return 1 if failed else 0


def _checks(args: Namespace) -> Iterable[Check]:
    """What was asked for; without a flag, this machine."""
    if args.robot:
        from launch.doctor_robot import checks

        yield from checks(args)
    if args.learner:
        yield from _learner(args)
    if args.device:
        from launch.doctor_device import checks

        yield from checks(args)
    if not args.robot and not args.learner and not args.device:
        yield from (check() for check in CHECKS)


def python() -> Check:
    """The interpreter is new enough for a robot PC, and for the learner."""
    found = platform.python_version()
    if sys.version_info < (3, 11):
        return Check("Python", None, f"{found} will do on a robot PC; the learner needs 3.11")
    return Check("Python", True, found)


def package() -> Check:
    """Ourselves, and which extras are there."""
    extras = {"learner": "jax", "sim": "mujoco", "log": "tensorboard"}
    missing = [extra for extra, module in extras.items() if not _has(module)]
    text = f"serl-suite {version()}, {cpu_name()}, {usable_cores()} cores"
    if missing:
        text += f"; without {', '.join(missing)}: pip install 'serl-suite[{','.join(missing)}]'"
    return Check("package", True, text)


def jax_device() -> Check:
    """What JAX computes on, and whether an NVIDIA GPU goes unused."""
    if not _has("jax"):
        return Check("JAX device", None, "jax is not installed here; the learner needs it")
    code = "import jax; print(jax.default_backend(), *jax.devices(), sep=', ')"
    ok, text = _in_process(code, {})
    if ok and text.startswith("cpu") and _nvidia_gpu():
        return Check(
            "JAX device",
            False,
            f"{text}, though an NVIDIA GPU answers; pip install 'serl-suite[learner-cuda]'",
        )
    return Check("JAX device", ok, text)


def opengl() -> Check:
    """Whether MuJoCo can draw; only videos and cameras need it."""
    if not _has("mujoco"):
        return Check("OpenGL", None, "mujoco is not installed here; the simulation needs it")
    code = (
        "import mujoco; model = mujoco.MjModel.from_xml_string('<mujoco/>'); "
        "mujoco.Renderer(model, 8, 8).render(); print('MuJoCo draws')"
    )
    chosen = os.environ.get("MUJOCO_GL")
    for name in [chosen] if chosen else ["egl", "osmesa"]:
        ok, _ = _in_process(code, {"MUJOCO_GL": name})
        if ok:
            return Check("OpenGL", True, f"MuJoCo draws with MUJOCO_GL={name}")
    asked = f" with MUJOCO_GL={chosen}" if chosen else ""
    return Check(
        "OpenGL",
        False,
        f"MuJoCo cannot draw{asked}: no videos, no cameras; "
        "apt-get install libegl1 libgles2 libosmesa6",
    )


def port() -> Check:
    """The learner's usual port is free on loopback."""
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError as error:
            text = (
                f"127.0.0.1:{DEFAULT_PORT}: {error.strerror}; start the learner with another --bind"
            )
            return Check("port", False, text)
    return Check("port", True, f"127.0.0.1:{DEFAULT_PORT} is free")


def disk() -> Check:
    """Room for replay, spool and videos where runs go."""
    folder = next(p for p in (RUNS.absolute(), *RUNS.absolute().parents) if p.is_dir())
    free_gb = shutil.disk_usage(folder).free / 1e9
    if not os.access(folder, os.W_OK):
        return Check("disk", False, f"{folder} is not writable; start from another folder")
    text = f"{free_gb:.1f} GB free in {folder}"
    ok = free_gb >= MIN_FREE_GB
    return Check("disk", ok, text if ok else f"{text}; a run with cameras wants {MIN_FREE_GB:g} GB")


CHECKS: tuple[Callable[[], Check], ...] = (python, package, jax_device, opengl, port, disk)


def _learner(args: Namespace) -> list[Check]:
    """The channel's own diagnosis, against the experiment the learner should have."""
    from launch.connection import client_security
    from serl.channel.probe import diagnose

    security = client_security(args)
    experiment = Selection.from_args(args, default="pick_cube_state").load()
    found = diagnose(
        args.learner,
        contract=experiment.contract(),
        spec=_record_spec(experiment, args.learner, security),
        spool_dir=args.spool,
        **security,
    )
    return [Check(check.name, check.ok, check.text) for check in found]


def _record_spec(experiment: Any, learner: str, security: dict[str, Any]) -> Any:
    """What an actor of this experiment sends: features of the learner's trunk too, with cameras."""
    from serl.channel.probe import trunk_name
    from serl.pixels import images
    from serl.sight import with_trunk

    spec = experiment.env.spec()
    if not images(spec):
        return spec
    name = None
    with contextlib.suppress(UserError):  # `diagnose` says what is wrong
        name = trunk_name(learner, **security)
    agent = with_trunk(experiment.agent, name).make(spec)
    return getattr(agent, "record_spec", spec)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _in_process(code: str, env: dict[str, str]) -> tuple[bool, str]:
    """Run a line of Python apart, since a driver that fails may take its process along."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            env={**os.environ, **env},
        )
    except subprocess.TimeoutExpired:
        return False, f"no answer within {PROBE_TIMEOUT_S:g} s"
    output = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    last = output[-1] if output else f"code {done.returncode}"
    return done.returncode == 0, last


def _nvidia_gpu() -> bool:
    if shutil.which("nvidia-smi") is None:
        return False
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode == 0
