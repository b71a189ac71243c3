"""The Franka Hand over franky, at the arm's own address.

libfranka's gripper calls block until the fingers have arrived, so a thread of its own gives them
and reads the state. A new target stops the one under way: the newest wins.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from robot_servers.grippers.base import GRIPPERS, GripperState
from robot_servers.types import GripperDescription, GripperTarget
from serl.errors import UserError

POLL_S = 0.02
"""Between two states; the hand sends one every millisecond or two."""

FORCE_N = 40.0
"""Grasping force when a target gives none; as in simulation."""

ANY_WIDTH_M = 0.08
"""Tolerance of a grasp on both sides: whatever the fingers meet counts as grasped."""

TRIES = 3
"""A target that failed is given so many times more; then only the error stands."""

ARRIVED_M = 0.002
"""This near to the target it has arrived."""

HOMED_M = 0.01
"""A hand that knows a smaller largest opening than this has not been homed."""


@GRIPPERS.register("franka_hand")
class FrankaHand:
    """Args: `address`: the arm's."""

    description = GripperDescription(
        name="franka_hand", width_max_m=0.08, force_max_n=70.0, speed_max_m_per_s=0.1
    )

    def __init__(self, *, address: str) -> None:
        self._address = address
        self._thread: threading.Thread | None = None

    def connect(self) -> None:
        """Homes the hand if it has not been homed since it was switched on: its fingers move."""
        try:
            import franky
        except ImportError as error:
            raise UserError(
                f"the Franka Hand needs {error.name or 'franky'}; install it with: pip install "
                "'serl-suite[franky]'"
            ) from error
        try:
            self._hand: Any = franky.Gripper(self._address)
            if self._hand.max_width < HOMED_M:
                self._hand.homing()
            width, _ = self._read()
        except Exception as error:  # NetworkException, CommandException, versions
            text = " ".join(str(error).split()).rstrip(".!")
            raise UserError(
                f"no Franka Hand at {self._address} ({text}). Check that it is mounted and set as "
                "end effector in Desk, or set type = 'none' in robot.toml's [arm.gripper]."
            ) from error
        self._wanted: GripperTarget | None = None
        self._last: GripperTarget | None = None
        self._target_m = width
        self._news = threading.Event()
        self._stopping = False
        self._under_way: Any = None
        self._tries = 0
        self._state = self._sample()
        self._thread = threading.Thread(target=self._run, name="franka_hand", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The fingers stay as they are: a grasp holds on."""
        if self._thread is None:
            return
        self._stopping = True
        self._news.set()
        self._thread.join(5.0)
        self._thread = None
        self._hand = None

    def command(self, target: GripperTarget) -> None:
        self._tries = 0
        self._wanted = target
        self._target_m = target.width_m
        self._state = replace(self._state, target_m=target.width_m, moving=True)
        self._news.set()

    def state(self) -> GripperState:
        return self._state

    def _run(self) -> None:
        while not self._stopping:
            self._news.wait(POLL_S)
            self._news.clear()
            target, self._wanted = self._wanted, None
            lost = self._last if target is None and self._under_way is not None else target
            try:
                if target is not None:
                    self._go(target)
                self._state = self._sample()
            except Exception as error:  # the hand is gone: said in the state, tried again
                self._last = None
                self._state = self._sample_of_error(error)
                self._pause()
                self._try_again(lost)

    def _try_again(self, target: GripperTarget | None) -> None:
        """A target that got lost is given again, a few times, unless there is a newer one."""
        if target is not None and self._wanted is None and self._tries < TRIES:
            self._tries += 1
            self._wanted = target

    def _pause(self) -> None:
        """Do not hammer on a hand that does not answer."""
        deadline = time.monotonic() + 1.0
        while not self._stopping and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _go(self, target: GripperTarget) -> None:
        """Give the command, without waiting for its end. The same target again changes nothing: a
        finished grasp goes on pressing."""
        if target == self._last:
            return
        if self._under_way is not None and not self._under_way.wait(0.0):
            self._hand.stop()
            self._finish()
        self._last = target
        width, _ = self._read()
        speed = target.speed_m_per_s or self.description.speed_max_m_per_s
        if target.width_m < width - ARRIVED_M or target.force_n is not None:
            force = FORCE_N if target.force_n is None else target.force_n
            self._under_way = self._hand.grasp_async(
                target.width_m, speed, force, ANY_WIDTH_M, ANY_WIDTH_M
            )
        else:
            open_m = min(target.width_m, self._hand.max_width)
            self._under_way = self._hand.move_async(open_m, speed)

    def _finish(self) -> None:
        """Take the result: a command that was interrupted ends with an exception."""
        under_way, self._under_way = self._under_way, None
        try:
            under_way.get()
        except Exception as error:
            if "abort" not in str(error).lower():
                raise

    def _read(self) -> tuple[float, bool]:
        state = self._hand.state
        return float(state.width), bool(state.is_grasped)

    def _sample(self) -> GripperState:
        if self._under_way is not None and self._under_way.wait(0.0):
            self._finish()
        width, grasped = self._read()
        return GripperState(
            stamp_mono_ns=time.monotonic_ns(),
            width_m=width,
            target_m=self._target_m,
            moving=self._under_way is not None or self._wanted is not None,
            holding=grasped and width > ARRIVED_M,
        )

    def _sample_of_error(self, error: Exception) -> GripperState:
        last = self._state
        text = " ".join(str(error).split())
        return GripperState(
            stamp_mono_ns=time.monotonic_ns(),
            width_m=last.width_m,
            target_m=self._target_m,
            moving=False,
            holding=last.holding,
            error=f"Franka Hand at {self._address}: {text}",
        )
