"""What franky and libfranka complain about, as one line for the operator.

The texts are libfranka's (0.21.2); what matters in them is matched, never their wording as a whole.
"""

from __future__ import annotations

import time

from robot_servers.types import Fault, FaultKind
from serl.errors import UserError

DOCS = "see docs/franka.md"

BY_TEXT = (
    ("communication_constraints_violation", FaultKind.COMMUNICATION),
    ("joint_position_limits_violation", FaultKind.JOINT_LIMIT),
    ("joint_velocity_violation", FaultKind.SPEED),
    ("cartesian_velocity_violation", FaultKind.SPEED),
    ("activated safety function", FaultKind.USER_STOP),
    ("user stop", FaultKind.USER_STOP),
    ("reflex", FaultKind.REFLEX),
    ("udp receive", FaultKind.COMMUNICATION),
    ("tcp ", FaultKind.COMMUNICATION),
    ("net exception", FaultKind.COMMUNICATION),
)
"""Parts of an exception's text, the first that is found decides."""

ADVICE = {
    FaultKind.REFLEX: "free the arm of what it touches, then recover",
    FaultKind.USER_STOP: "release the user stop (or the enabling button), then recover",
    FaultKind.COMMUNICATION: "check the cable and what else runs on this PC, then recover",
    FaultKind.TORQUE_TIMEOUT: "what computes torques stalled; find out why, then recover",
    FaultKind.JOINT_LIMIT: "move the joint away from its end by hand, then recover",
    FaultKind.SPEED: "lower gains or speed limits, then recover",
    FaultKind.OTHER: "look into Desk, then recover",
}


def fault_of(kind: FaultKind, text: str) -> Fault:
    """`text` and what to do, in one line."""
    line = " ".join(text.replace("libfranka: ", "").split())
    return Fault(
        kind=kind,
        reason=f"{line.rstrip('.!')}; {ADVICE[kind]}.",
        stamp_mono_ns=time.monotonic_ns(),
    )


def fault_from_exception(error: BaseException) -> Fault:
    """Why a motion ended."""
    name, text = type(error).__name__, str(error).split("control_command_success_rate")[0]
    if name == "TorqueSignalTimeoutException":
        return fault_of(FaultKind.TORQUE_TIMEOUT, text)
    if name == "NetworkException":
        return fault_of(FaultKind.COMMUNICATION, text)
    lower = text.lower()
    kind = next((kind for part, kind in BY_TEXT if part in lower), FaultKind.OTHER)
    return fault_of(kind, text)


def fault_from_mode(mode: str, errors: str) -> Fault | None:
    """Why the arm accepts no motion, from its robot mode's name; None when it does."""
    if mode == "UserStopped":
        return fault_of(FaultKind.USER_STOP, "the user stop is pressed")
    if mode == "Reflex":
        return fault_of(FaultKind.REFLEX, f"the arm is in reflex {errors}")
    if mode == "Guiding":
        return fault_of(FaultKind.USER_STOP, "someone is guiding the arm by hand")
    if mode == "Other":
        return fault_of(FaultKind.OTHER, "the arm is not ready (brakes locked, or starting up)")
    return None


def cannot_connect(error: BaseException, robot_ip: str) -> UserError:
    """Why there is no connection, and what to do about it."""
    name, text = type(error).__name__, " ".join(str(error).replace("libfranka: ", "").split())
    text = text.rstrip(".!")
    if name == "IncompatibleVersionException":
        return UserError(
            f"{robot_ip}: {text}: the arm's system and franky's libfranka do not match. Install "
            f"the franky wheel for this system version; {DOCS}."
        )
    if name == "RealtimeException":
        return UserError(
            f"{text}: this PC must run a PREEMPT_RT kernel, and the user be in a group with "
            f"real-time limits; {DOCS}. For franky-sim only: --no-realtime-kernel."
        )
    if name == "TimeoutError":
        return UserError(
            f"{robot_ip}: {text}: another program may hold the arm. End it, then connect again."
        )
    if name == "NetworkException" and "refused" in text:
        return UserError(
            f"{robot_ip} refuses the FCI: activate it in Desk (serl robot unlock), check that no "
            "other program controls the arm, and that this is the arm's address."
        )
    if name == "NetworkException":
        return UserError(
            f"no arm at {robot_ip} ({text}). Check the cable, the arm's power, and that this PC "
            "has an address in the arm's network."
        )
    return UserError(f"{robot_ip}: {name}: {text}. Look into Desk, then connect again.")
