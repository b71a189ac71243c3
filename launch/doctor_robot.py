"""`serl doctor --robot`: is the robot server there, is its host fit, and does the arm feel right?

Nothing moves, except the gripper with --move. One check asks a person to push.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Iterator

import numpy as np

from launch.connection import client_security
from launch.doctor import Check
from launch.machine import version
from launch.robot_link import patient_states
from robot_servers.client import RemoteBackend
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import ArmCommand, Array, GripperTarget, Mode
from serl.errors import UserError

PINGS = 200
SLOW_P99_S = 0.010
"""A command must not spend half a 20 Hz period on its way."""
CLOCK_ERROR_S = 0.005
WALL_S = 1.0
STREAM_HZ = 1000.0
STREAM_S = 1.0
ENOUGH_RATE = 0.8
"""Of the rate at which the server's backend has samples; a busy client may skip some."""
REST_M_PER_S = 0.005
REST_S = 0.5
RESIDUAL_N = 3.0
"""More than this at rest and the payload or its centre of mass is wrong (robot_servers/guard)."""
PUSH_S = 10.0
PUSH_N = 6.0
MOST_OF_IT = 0.8
"""A push along x has at least this share of its force on x."""
GRIPPER_S = 5.0
OPEN_SHARE = 0.95
SIMULATED = ("mujoco", "mock")


def checks(args: Namespace) -> Iterator[Check]:
    """One line at a time, as they are found."""
    try:
        backend = RemoteBackend(
            args.robot,
            **client_security(args),
            watch=not args.move,
            operator=False,
            state_rate_hz=STREAM_HZ,
        )
        backend.connect()
    except UserError as error:
        yield Check("reach", False, str(error))
        return
    try:
        arms = ", ".join(
            f"{name or 'one arm'}: {robot.name}, {robot.joint_count} joints"
            for name, robot in backend.arms.items()
        )
        yield Check("reach", True, f"{args.robot} answers; {arms}")
        for about in backend.describe().values():
            yield from server(about)
        yield from way(backend)
        for arm in backend.arms:
            yield from arm_checks(backend, arm, args)
    except UserError as error:
        yield Check("robot", False, str(error))
    finally:
        backend.close()


def server(about: pb.DescribeReply) -> Iterator[Check]:
    """One server's software and host."""
    here, there = version(), about.version
    text = f"serl-suite {there} there"
    if here != there:
        text += f", {here} here; install the same on both"
    yield Check("version", here == there, text)
    facts = dict(about.facts)
    simulated = about.backend in SIMULATED
    yield kernel(facts.pop("real-time kernel", "unknown"), simulated)
    yield scheduling(
        facts.pop("real-time priority", "unknown"), facts.pop("governor", ""), simulated
    )
    if not simulated:
        yield firmware(facts.pop("firmware", ""), facts.get("library", ""))
    for name, value in sorted(facts.items()):
        yield Check("there", True, f"{name}: {value}")
    yield Check("lease", None, f"{about.holder or 'nobody'} commands")
    ahead_s = (about.stamp_wall_ns - time.time_ns()) / 1e9
    fix = "" if abs(ahead_s) <= WALL_S else "; set both by NTP (recordings carry this time)"
    yield Check("wall clock", not fix, f"theirs is {ahead_s:+.2f} s of ours{fix}")


def firmware(found: str, library: str) -> Check:
    """The arm's system version, where a backend can read it. libfranka tells it only when it does
    not match; franky and franka_ros2 do not tell it at all."""
    if found:
        return Check("firmware", True, found)
    text = "the arm's system version is not readable from here; Desk shows it (Settings, System)"
    if "accepts" in library:
        text += "; it matches the server's libfranka, or the arm would have refused it"
    return Check("firmware", None, text)


def kernel(found: str, simulated: bool) -> Check:
    """A torque loop at 1 kHz wants PREEMPT_RT; a simulator does not."""
    if found.startswith("yes"):
        return Check("real time", True, "real-time (PREEMPT_RT)")
    if simulated or found == "unknown":
        return Check("real time", None, f"real-time kernel: {found}; this backend can do without")
    return Check("real time", False, "no real-time kernel: install PREEMPT_RT (docs/franka.md)")


def scheduling(priority: str, governor: str, simulated: bool) -> Check:
    """Whether the server may run its loop above everything else, at full clock."""
    text = f"real-time priority {priority}" + (f", governor {governor}" if governor else "")
    if simulated or priority == "unknown":
        return Check("scheduling", None, f"{text}; this backend can do without")
    if priority == "none":
        text += "; add 'USER - rtprio 99' to /etc/security/limits.conf and log in again"
        return Check("scheduling", False, text)
    if governor not in ("", "unknown", "performance"):
        return Check("scheduling", False, f"{text}; set it: cpupower frequency-set -g performance")
    return Check("scheduling", True, text)


def way(backend: RemoteBackend) -> Iterator[Check]:
    """Latency, clocks and the rate of states."""
    spans = backend.ping(PINGS).max(axis=1)
    median, p99 = float(np.median(spans)), float(np.quantile(spans, 0.99))
    fix = (
        ""
        if p99 <= SLOW_P99_S
        else (f"; p99 should be below {1e3 * SLOW_P99_S:g} ms: use a cable, and see what else runs")
    )
    text = f"{PINGS} messages there and back: median {1e3 * median:.2f} ms, p99 {1e3 * p99:.2f} ms"
    yield Check("latency", not fix, text + fix)
    for name, (offset_s, error_s) in backend.clock_offsets_s().items():
        fix = "" if error_s <= CLOCK_ERROR_S else "; stamps are off by that much: use a cable"
        yield Check(
            "clock",
            not fix,
            f"{name + ': ' if name else ''}theirs is {offset_s:+.6f} s of ours, "
            f"known within {1e3 * error_s:.2f} ms{fix}",
        )
    yield states_rate(backend)


def states_rate(backend: RemoteBackend) -> Check:
    """New samples per second as they arrive here, and how old the newest one is."""
    if backend.lockstep:
        return Check("states", None, "lockstep: time moves only when an env steps it")
    stamps: set[int] = set()
    ages = []
    end = time.monotonic() + STREAM_S
    while time.monotonic() < end:
        newest = max(state.stamp_mono_ns for state in patient_states(backend).values())
        ages.append(time.monotonic_ns() - newest)
        stamps.add(newest)
        time.sleep(0.0005)
    rate, wanted = len(stamps) / STREAM_S, min(STREAM_HZ, 1.0 / backend.period_s)
    text = f"{rate:.0f} of {wanted:.0f} per second, newest {np.median(ages) / 1e6:.1f} ms old"
    if rate >= ENOUGH_RATE * wanted:
        return Check("states", True, text)
    return Check("states", rate >= 100.0, f"{text}; this machine or the network is busy")


def arm_checks(backend: RemoteBackend, arm: str, args: Namespace) -> Iterator[Check]:
    """One arm: its mode, its load, its force's sign, its gripper."""
    prefix = f"{arm}: " if arm else ""
    state = patient_states(backend)[arm]
    if state.mode is Mode.FAULT and state.fault is not None:
        yield Check("arm", False, f"{prefix}{state.fault.kind.name}: {state.fault.reason}")
    else:
        yield Check("arm", True, f"{prefix}{state.mode.name}")
    if not backend.lockstep:
        yield payload(backend, arm, prefix)
        yield frames(backend, arm, prefix, ask=not args.no_push)
    yield gripper(backend, arm, prefix, move=args.move)


def payload(backend: RemoteBackend, arm: str, prefix: str) -> Check:
    """The wrench that is felt although nothing touches the arm."""
    forces, speed = watched(backend, arm, REST_S)
    if speed > REST_M_PER_S:
        return Check("payload", None, f"{prefix}the arm moves; its wrench at rest is unknown")
    residual = float(np.linalg.norm(forces.mean(axis=0)))
    text = f"{prefix}{residual:.1f} N are felt at rest (limit {RESIDUAL_N:g} N)"
    if residual <= RESIDUAL_N:
        return Check("payload", True, text)
    return Check("payload", False, f"{text}; set [arm.payload] in robot.toml, or free the arm")


def frames(backend: RemoteBackend, arm: str, prefix: str, *, ask: bool) -> Check:
    """A person pushes along +x; the wrench of the environment on the robot must say +x."""
    if not ask:
        return Check("frames", None, f"{prefix}not asked to push (--no-push)")
    if not sys.stdin.isatty():
        return Check("frames", None, f"{prefix}nobody there to push; run this on a terminal")
    before = watched(backend, arm, REST_S)[0].mean(axis=0)
    print(f"      {prefix}push the hand along +x, away from the base, within {PUSH_S:g} s ...")
    end = time.monotonic() + PUSH_S
    push = np.zeros(3)
    while time.monotonic() < end and np.linalg.norm(push) < PUSH_N:
        push = watched(backend, arm, 0.2)[0].mean(axis=0) - before
    return judged_push(push, prefix)


def judged_push(push: Array, prefix: str = "") -> Check:
    """What the change of force (3,) in base says of axes and sign."""
    size = float(np.linalg.norm(push))
    text = f"{prefix}force on the robot ({push[0]:+.1f}, {push[1]:+.1f}, {push[2]:+.1f}) N"
    if size < PUSH_N:
        return Check("frames", None, f"{text}: no push of {PUSH_N:g} N was felt")
    if push[0] >= MOST_OF_IT * size:
        return Check("frames", True, f"{text}: +x, as it should")
    if push[0] <= -MOST_OF_IT * size:
        return Check("frames", False, f"{text}: the sign is reversed; see the backend's conversion")
    axis = "xyz"[int(np.abs(push).argmax())]
    return Check("frames", False, f"{text}: mostly {axis}; is the base mounted as the config says?")


def gripper(backend: RemoteBackend, arm: str, prefix: str, *, move: bool) -> Check:
    """There, of which type, how far open; with `move` it closes and opens."""
    found = backend.arms[arm].gripper
    if found is None:
        return Check("gripper", None, f"{prefix}none; [arm.gripper] of robot.toml names one")
    state = patient_states(backend)[arm]
    text = (
        f"{prefix}{found.name}, {1e3 * state.gripper_width_m:.1f} of {1e3 * found.width_max_m:g} mm"
    )
    if not move:
        return Check("gripper", True, f"{text}; --move closes and opens it")
    for width in (0.0, found.width_max_m):
        backend.command({arm: ArmCommand(gripper=GripperTarget(width_m=width))})
        end = time.monotonic() + GRIPPER_S
        time.sleep(0.3)
        while patient_states(backend)[arm].gripper_moving and time.monotonic() < end:
            time.sleep(0.05)
    opened = patient_states(backend)[arm].gripper_width_m
    text = f"{prefix}{found.name}, opens to {1e3 * opened:.1f} of {1e3 * found.width_max_m:g} mm"
    if opened >= OPEN_SHARE * found.width_max_m:
        return Check("gripper", True, text)
    return Check("gripper", False, f"{text}; free its fingers, or calibrate it")


def watched(backend: RemoteBackend, arm: str, seconds: float) -> tuple[Array, float]:
    """Forces on the robot in base (n, 3) over a while, and the fastest TCP speed meanwhile."""
    forces, speed = [], 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = patient_states(backend)[arm]
        forces.append(state.wrench_base_ext[:3])
        speed = max(speed, float(np.linalg.norm(state.twist_base_tcp[:3])))
        time.sleep(0.01)
    return np.array(forces), speed
