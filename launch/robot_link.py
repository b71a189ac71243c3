"""The operator's way to a robot server: look without the lease, command with it.

Nothing in here sends a command by itself: when a verb ends, is interrupted or dies, its stream
closes and the arm holds where it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from types import TracebackType

from launch.arguments import Parser, add_security
from launch.connection import client_security
from robot_servers.addresses import default_client_name, parse_addresses
from robot_servers.at_once import at_once
from robot_servers.client import RemoteBackend
from robot_servers.errors import RobotFault, StaleState
from robot_servers.link import Link
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import ArmCommand, Gains, Mode, MotionLimits, RobotDescription, RobotState
from serl.errors import UserError, unknown_name

ADDRESS = "127.0.0.1:5600"
STATE_HZ = 100.0
CONTROL_HZ = 20.0
"""Commands per second of a verb that moves."""
VALID_FOR_S = 0.5
"""A command holds for this long: if this process hangs, the arm holds that much later. A straight
move stops by itself one step after its last command; a joint move goes on until then."""
STALL_S = 3.0
"""States older than RemoteBackend's limit are waited for this long."""


def add_link(parser: Parser, *, commands: bool = False) -> None:
    """Where the robot server is; with `commands` also whose lease it may take."""
    parser.add_argument(
        "--address",
        type=robot_address,
        default=ADDRESS,
        help=f"the robot server ({ADDRESS}), or left=HOST:PORT,right=HOST:PORT for several",
    )
    parser.add_argument("--arm", help="which arm, where the server has several")
    if commands:
        parser.add_argument(
            "--operator", action="store_true", help="take the lease over from whoever has it"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask before the arm moves")
    add_security(parser, server=False)


def robot_address(text: str) -> str:
    """HOST:PORT, grpc://HOST:PORT, or NAME=HOST:PORT for each of several servers."""
    try:
        parse_addresses(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


class RobotLink:
    """A robot server, and one of its arms; use with `with`.

    Args:
        args: the flags of `add_link`.
        commands: acquire the lease.
    """

    def __init__(self, args: Namespace, *, commands: bool = False) -> None:
        self._commands = commands
        self.backend = RemoteBackend(
            args.address,
            **client_security(args),
            operator=commands and args.operator,
            watch=not commands,
            state_rate_hz=STATE_HZ,
            valid_for_s=VALID_FOR_S,
        )
        self.address = args.address
        self.backend.connect()
        try:
            self.arm = _chosen(args.arm, self.backend.arms)
            if commands:
                self.refuse_lockstep()
        except BaseException:
            self.backend.close()
            raise

    def __enter__(self) -> RobotLink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.backend.close()

    @property
    def robot(self) -> RobotDescription:
        return self.backend.arms[self.arm]

    @property
    def gains(self) -> Gains:
        """In effect now."""
        return convert.take_gains(self._entry().gains, "gains")

    @property
    def motion(self) -> MotionLimits:
        """In effect now."""
        return convert.take_motion(self._entry().motion, "motion")

    def about(self) -> pb.DescribeReply:
        """What the arm's server says of itself now."""
        replies = self.backend.describe()
        return replies[self.arm] if self.arm in replies else next(iter(replies.values()))

    def states(self) -> Mapping[str, RobotState]:
        """The newest sample of every arm, with this host's stamps."""
        return patient_states(self.backend)

    def state(self) -> RobotState:
        """The newest sample of the chosen arm. Raises RobotFault for a commander."""
        state = self.states()[self.arm]
        if self._commands and state.mode is Mode.FAULT and state.fault is not None:
            raise RobotFault(self.arm, state.fault)
        return state

    def command(self, command: ArmCommand) -> None:
        """Send one command and wait for what becomes of it.

        Raises:
            RobotFault, CommandRefused: the reason in the server's words.
        """
        self.backend.command({self.arm: command})

    def refuse_lockstep(self) -> None:
        """For whatever needs time to pass."""
        if self.backend.lockstep:
            raise UserError(
                f"the robot server at {self.address} simulates in lockstep, where time moves only "
                "when an env steps it; start it without --lockstep."
            )

    def _entry(self) -> pb.ArmReply:
        """The arm among its server's, which may know it by another name when it is the only one."""
        arms = self.about().arms
        return next((entry for entry in arms if entry.arm == self.arm), arms[0])


def patient_states(backend: RemoteBackend) -> Mapping[str, RobotState]:
    """The newest samples; a stall of the network or of this machine is waited out for a while.

    Nothing is sent meanwhile, so an arm that was moving holds.
    """
    end = time.monotonic() + STALL_S
    while True:
        try:
            return backend.states()
        except StaleState:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def stop(args: Namespace, *, emergency: bool = False) -> None:
    """One call to each server and nothing before it: no lease, no description, no state. One that
    hangs does not keep the others waiting."""

    def stop_one(where: str) -> None:
        link = Link(
            where,
            client=default_client_name(),
            operator=False,
            **client_security(args),
            clock=time.monotonic_ns,
            on_states=lambda states: None,
        )
        method = link.robot.EStop if emergency else link.robot.Stop
        try:
            link.call(method, pb.StopRequest(reason=f"asked for by {default_client_name()}"))
        finally:
            link.close()

    at_once(partial(stop_one, where) for where in parse_addresses(args.address).values())


def ticks(hz: float = CONTROL_HZ) -> Iterator[float]:
    """Seconds since the first tick, once a period; the deadline advances, so no drift."""
    period, start = 1.0 / hz, time.monotonic()
    due = start
    while True:
        yield time.monotonic() - start
        due = max(due + period, time.monotonic() - period)
        time.sleep(max(0.0, due - time.monotonic()))


def confirm(args: Namespace, what: str) -> None:
    """Ask before the arm moves; `--yes` answers. Raises UserError when it is not wanted."""
    if args.yes:
        return
    print(f"{what} This moves the arm: is everyone clear of it? [y/N] ", end="", flush=True)
    if not sys.stdin.isatty():
        print()
        raise UserError("nobody is there to answer; add --yes if the arm may move.")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("not moved.")


def _chosen(name: str | None, arms: Mapping[str, object]) -> str:
    if name is not None:
        if name not in arms:
            raise unknown_name("arm", name, [arm or "'' (the only one)" for arm in arms])
        return name
    if len(arms) != 1:
        raise UserError(f"this server has several arms; say --arm {' or --arm '.join(arms)}.")
    return next(iter(arms))
