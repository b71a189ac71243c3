"""A commander killed in mid-control; a module of its own, as a spawned process imports it."""

from __future__ import annotations

import os
import signal

from robot_servers.backends.franky import FrankyBackend
from robot_servers.types import ArmCommand, CartesianTarget


def move_and_die(host: str) -> None:
    """Enter control of the arm at `host`, and be gone without a word."""
    backend = FrankyBackend(robot_ip=host, enforce_realtime=False, gripper="none")
    backend.connect()
    T = backend.advance(0.05)[""].T_base_tcp
    backend.command({"": ArmCommand(target=CartesianTarget(T_base_tcp=T))})
    backend.advance(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
