"""Robotiq 2F-85 over Modbus: TCP by its controller, or RTU by a serial (USB, RS-485) adapter.

Registers, bits and ranges: Robotiq, "2F-85 & 2F-140 Instruction Manual", section 4 (Control). A
thread of its own writes the newest target and reads the status; nobody waits for the fingers.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from robot_servers.grippers.base import GRIPPERS, GripperState
from robot_servers.types import GripperDescription, GripperTarget
from serl.errors import UserError

POLL_S = 0.02
"""Between two status reads; the gripper updates its registers at 200 Hz."""

ACTIVATION_S = 10.0
"""An activation opens and closes the fingers once, in about 3 s."""

STROKE_M = 0.085
OPEN_COUNT, CLOSED_COUNT = 3, 230
"""gPO at the mechanical ends, of 255; differs by a few counts from one gripper to the next, so what
lies beyond is clipped."""

SPEED_M_PER_S = (0.02, 0.15)
FORCE_N = (20.0, 235.0)
"""rSP and rFR go from 0 to 255 over these (manual, section 6, specifications)."""

DEFAULT_FORCE_N = 40.0

ACTIVATE, GO_TO = 0x01, 0x08
"""rACT and rGTO in the action request byte."""

WORDS = 3
"""16-bit registers each way."""

ACTIVE = 3
"""gSTA: activation is completed."""

OBJECT = {0: "moving", 1: "stopped opening", 2: "stopped closing", 3: "arrived"}
"""gOBJ."""

FAULTS = {
    5: "an action was asked for before activation",
    7: "the activation bit was not set",
    8: "it is too hot",
    9: "no communication for a second",
    10: "its voltage is too low",
    11: "automatic release is under way",
    12: "internal fault",
    13: "activation failed: something is in the way of the fingers",
    14: "over-current",
    15: "automatic release has finished",
}
"""gFLT."""


class Registers(Protocol):
    """Three 16-bit registers each way; the wire is behind it."""

    def read(self) -> list[int]: ...

    def write(self, values: list[int]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Status:
    """The input registers, decoded."""

    active: bool
    going: bool
    """gGTO: it follows the position request."""
    object: str
    fault: int
    requested: int
    """gPR: echo of the position request."""
    position: int

    @staticmethod
    def of(words: list[int]) -> Status:
        state, fault, echo, position = words[0] >> 8, words[1] >> 8, words[1] & 0xFF, words[2] >> 8
        return Status(
            active=(state >> 4) & 0x3 == ACTIVE,
            going=bool(state & GO_TO),
            object=OBJECT[(state >> 6) & 0x3],
            fault=fault & 0xF,
            requested=echo,
            position=position,
        )

    @property
    def width_m(self) -> float:
        share = (CLOSED_COUNT - self.position) / (CLOSED_COUNT - OPEN_COUNT)
        return STROKE_M * min(max(share, 0.0), 1.0)


def request(target: GripperTarget) -> list[int]:
    """The output registers that send an active gripper to `target`.

    >>> [hex(word) for word in request(GripperTarget(width_m=0.0, force_n=235.0))]
    ['0x900', '0xff', '0xffff']
    """
    force = DEFAULT_FORCE_N if target.force_n is None else target.force_n
    speed = SPEED_M_PER_S[1] if target.speed_m_per_s is None else target.speed_m_per_s
    position = _byte(STROKE_M - target.width_m, (0.0, STROKE_M))
    word = (_byte(speed, SPEED_M_PER_S) << 8) | _byte(force, FORCE_N)
    return [(ACTIVATE | GO_TO) << 8, position, word]


def _byte(value: float, ends: tuple[float, float]) -> int:
    share = (value - ends[0]) / (ends[1] - ends[0])
    return round(255 * min(max(share, 0.0), 1.0))


@GRIPPERS.register("robotiq")
class Robotiq:
    """One 2F-85.

    Args:
        address: '192.168.1.11' or '192.168.1.11:502' for Modbus TCP, '/dev/ttyUSB0' for RTU at
            115200 baud.
        unit: Modbus unit; 9 is the gripper's own.
        output_register, input_register: of the request and the status; None: 0 and 0 behind
            Robotiq's TCP controller, 1000 and 2000 on the gripper itself (RTU).
    """

    description = GripperDescription(
        name="robotiq_2f85",
        width_max_m=STROKE_M,
        force_max_n=FORCE_N[1],
        speed_max_m_per_s=SPEED_M_PER_S[1],
    )

    def __init__(
        self,
        *,
        address: str,
        unit: int = 9,
        output_register: int | None = None,
        input_register: int | None = None,
    ) -> None:
        serial = address.startswith("/") or address.upper().startswith("COM")
        self._address = address
        self._serial = serial
        self._unit = unit
        ours, theirs = (1000, 2000) if serial else (0, 0)
        self._output = ours if output_register is None else output_register
        self._input = theirs if input_register is None else input_register
        self._thread: threading.Thread | None = None

    def connect(self) -> None:
        """Activates the gripper if it is not active: its fingers move."""
        self._registers: Registers = ModbusRegisters(
            self._address, self._serial, self._unit, self._output, self._input
        )
        try:
            status = self._activate()
        except BaseException:
            self._registers.close()
            raise
        self._target_m = status.width_m
        self._wanted: GripperTarget | None = None
        self._expected: int | None = None
        self._error = ""
        self._state = self._state_of(status)
        self._news = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="robotiq", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The fingers stay as they are."""
        if self._thread is None:
            return
        self._stopping = True
        self._news.set()
        self._thread.join(5.0)
        self._thread = None
        self._registers.close()

    def command(self, target: GripperTarget) -> None:
        self._wanted, self._target_m = target, target.width_m
        self._news.set()

    def state(self) -> GripperState:
        return self._state

    def _activate(self) -> Status:
        status = Status.of(self._registers.read())
        if status.active and status.fault == 0:
            return status
        self._registers.write([0, 0, 0])  # a rising edge of rACT activates, and clears faults
        self._registers.write([ACTIVATE << 8, 0, 0])
        deadline = time.monotonic() + ACTIVATION_S
        while not (status := Status.of(self._registers.read())).active:
            if time.monotonic() > deadline or status.fault >= 8:
                why = FAULTS.get(status.fault, f"no answer in {ACTIVATION_S:g} s")
                raise UserError(
                    f"the Robotiq gripper at {self._address} does not activate: {why}. Clear the "
                    "fingers, check its 24 V, and connect again."
                )
            time.sleep(POLL_S)
        return status

    def _run(self) -> None:
        while not self._stopping:
            self._news.wait(POLL_S)
            self._news.clear()
            target, self._wanted = self._wanted, None
            try:
                if target is not None:
                    words = request(target)
                    self._registers.write(words)
                    self._expected = words[1] & 0xFF
                status = Status.of(self._registers.read())
                self._error = self._complaint(status)
            except Exception as error:  # whatever the wire brings: said in the state, tried again
                what = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
                self._error = f"{what}{' '.join(str(error).split())}"
                self._wanted = self._wanted or target
                status = None
            self._state = self._state_of(status)

    def _complaint(self, status: Status) -> str:
        if status.fault in (0, 11, 15) and status.active:
            return ""
        why = FAULTS.get(status.fault, "it is not active")
        return f"Robotiq at {self._address}: {why}; restart the server to activate it again."

    def _state_of(self, status: Status | None) -> GripperState:
        if status is None:
            width, moving, holding = self._state.width_m, False, self._state.holding
        else:
            # The status speaks of our request once it echoes it.
            heard = self._expected is None or status.requested == self._expected
            moving = self._wanted is not None or not heard or status.object == "moving"
            moving = moving and (status.going or self._expected is not None)
            width, holding = status.width_m, heard and status.object.startswith("stopped")
        return GripperState(
            stamp_mono_ns=time.monotonic_ns(),
            width_m=width,
            target_m=self._target_m,
            moving=moving,
            holding=holding,
            error=self._error,
        )


class ModbusRegisters:
    """`Registers` over pymodbus."""

    def __init__(
        self, address: str, is_serial: bool, unit: int, output_register: int, input_register: int
    ) -> None:
        try:
            from pymodbus import ModbusException
            from pymodbus.client import ModbusSerialClient, ModbusTcpClient

            if is_serial:
                import serial as _pyserial  # noqa: F401  (pymodbus asks for it only when it connects)
        except ImportError as error:
            raise UserError(
                f"a Robotiq gripper needs {error.name}; install it with: pip install "
                "'serl-suite[robotiq]'"
            ) from error
        self._address, self._unit = address, unit
        self._output, self._input = output_register, input_register
        self._error = ModbusException
        self._client: Any
        if is_serial:
            self._client = ModbusSerialClient(address, baudrate=115200, timeout=0.5, retries=1)
        else:
            host, port = split_address(address)
            self._client = ModbusTcpClient(host, port=port, timeout=1.0, retries=1)
        if not self._client.connect():
            raise UserError(
                f"no Modbus server at {address}. Check the Robotiq controller's power and address, "
                "or the adapter's name, or set type in robot.toml's [arm.gripper]."
            )

    def read(self) -> list[int]:
        reply = self._do(self._client.read_input_registers, self._input, count=WORDS)
        words = list(reply.registers)
        if len(words) != WORDS:
            raise UserError(
                f"{self._address} answers with {len(words)} registers instead of {WORDS}; check "
                "the wiring, and what else is on this bus."
            )
        return words

    def write(self, values: list[int]) -> None:
        self._do(self._client.write_registers, self._output, values)

    def close(self) -> None:
        self._client.close()

    def _do(self, call: Any, *arguments: Any, **options: Any) -> Any:
        try:
            reply = call(*arguments, device_id=self._unit, **options)
        except (self._error, OSError) as error:
            raise UserError(
                f"Robotiq at {self._address}: {' '.join(str(error).split())}"
            ) from error
        if reply.isError():
            raise UserError(
                f"{self._address} answers, but not as a Robotiq gripper ({reply}); check unit "
                f"{self._unit} and the registers {self._output} and {self._input}."
            )
        return reply


def split_address(address: str) -> tuple[str, int]:
    """Host and port of 'host' or 'host:port'; 502 is Modbus's own.

    >>> split_address("192.168.1.11")
    ('192.168.1.11', 502)
    """
    host, colon, port = address.partition(":")
    if colon and not port.isdigit():
        raise UserError(f"'{address}' is no address; give 'host', 'host:port' or '/dev/tty...'.")
    return host, int(port) if colon else 502
