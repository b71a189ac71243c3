"""Franka's own web page, Desk, from a command line: brakes and FCI.

Unproved on a real arm: no simulator speaks Desk's protocol (robot_servers/backends/franky/desk.py).
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from launch.robot_link import confirm
from serl.errors import UserError


def unlock(args: Namespace) -> int:
    """Brakes open and FCI on; with --lock, brakes closed, which ends the FCI."""
    from robot_servers.backends.franky import desk

    password = read_password(args.password_file)
    api = "legacy" if args.panda else "v1"
    if args.lock:
        confirm(args, f"{args.desk}: close the brakes; the FCI ends.")
        desk.lock(args.desk, args.user, password, api=api)
        print("brakes closed.")
        return 0
    confirm(args, f"{args.desk}: open the brakes and switch the FCI on; the arm may sag.")
    desk.unlock(args.desk, args.user, password, api=api)
    print(
        "brakes open, FCI on; start `serl robot-server`. Should it find the FCI off, activate it "
        "on the Desk page."
    )
    return 0


def read_password(path: Path) -> str:
    """The file's first line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"password file {path} cannot be read: {error.strerror}; give a readable file."
        ) from error
    if not lines or not lines[0].strip():
        raise UserError(f"password file {path} is empty; its first line is Desk's password.")
    return lines[0].strip()
