"""The Robotiq driver against a Modbus server on loopback that behaves as the manual says."""

from __future__ import annotations

import asyncio
import os
import pty
import threading
import time
import tty

import pytest

from robot_servers.grippers.base import make_gripper
from robot_servers.grippers.robotiq import Robotiq, Status, request, split_address
from robot_servers.types import GripperTarget
from serl.errors import UserError

pytest.importorskip("pymodbus")


class Fingers:
    """Registers and mechanics of a 2F-85: activation, motion at a speed, an object in the way."""

    def __init__(self, output=0, input_=0):
        self.output, self.input = output, input_
        self.words = [0, 0, 0]
        self.active_at = 0.0
        self.position, self.start, self.since = 120.0, 120.0, 0.0
        self.object_at = 255
        self.fault = 0
        self.writes = 0

    def write(self, values):
        now = time.monotonic()
        self.writes += 1
        self.position = self._now()
        activate, before = values[0] >> 8 & 1, self.words[0] >> 8 & 1
        if activate and not before:
            self.active_at, self.fault = now + 0.1, 0
        self.words, self.start, self.since = list(values), self.position, now

    def read(self):
        active = self.words[0] >> 8 & 1 and time.monotonic() >= self.active_at
        going, wanted = self.words[0] >> 11 & 1, self.words[1] & 0xFF
        position = self._now()
        found = 0
        if going and abs(position - min(max(wanted, 3), 230)) < 0.5:
            found = 3
        elif going and position >= self.object_at:
            found = 2
        state = found << 6 | (3 if active else 1) << 4 | going << 3 | (self.words[0] >> 8 & 1)
        return [state << 8, self.fault << 8 | wanted, round(position) << 8]

    def _now(self):
        if not self.words[0] >> 11 & 1:
            return self.position
        wanted = min(max(self.words[1] & 0xFF, 3), 230)
        if wanted > self.start:
            wanted = min(wanted, max(self.object_at, self.start))
        counts_per_s = 255 * (0.02 + 0.13 * (self.words[2] >> 8) / 255) / 0.085
        way = counts_per_s * (time.monotonic() - self.since)
        if wanted > self.start:
            return min(self.start + way, wanted)
        return max(self.start - way, wanted)


@pytest.fixture
def serve():
    """Run a pymodbus server over `Fingers`; stopped at the end."""
    from pymodbus.datastore import ModbusServerContext

    class Context(ModbusServerContext):
        def __init__(self, fingers):
            self.fingers, self.simdevices, self.old_simulator = fingers, [], True

        async def async_getValues(self, device_id, func_code, address, count):
            assert (func_code, address, count) == (4, self.fingers.input, 3)
            return self.fingers.read()

        async def async_setValues(self, device_id, func_code, address, values):
            assert (func_code, address) == (16, self.fingers.output)
            self.fingers.write(values)

        def device_ids(self):
            return [9]

    loops = []

    def run(make_server, fingers):
        loop, up = asyncio.new_event_loop(), threading.Event()
        made = {}

        async def main():
            made["server"] = make_server(Context(fingers))
            await made["server"].serve_forever(background=True)
            up.set()

        def work():
            asyncio.set_event_loop(loop)
            loop.run_until_complete(main())
            loop.run_forever()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert up.wait(10)

        def stop():
            asyncio.run_coroutine_threadsafe(made["server"].shutdown(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)

        loops.append(stop)
        return made["server"]

    yield run
    for stop in loops:
        stop()


@pytest.fixture
def fingers():
    return Fingers()


@pytest.fixture
def gripper(serve, fingers):
    from pymodbus.server import ModbusTcpServer

    server = serve(lambda context: ModbusTcpServer(context, address=("127.0.0.1", 0)), fingers)
    port = server.transport.sockets[0].getsockname()[1]
    gripper = make_gripper("robotiq", address=f"127.0.0.1:{port}")
    gripper.connect()
    yield gripper
    gripper.close()


def until(gripper, condition, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not condition(state := gripper.state()):
        assert time.monotonic() < deadline, state
        time.sleep(0.01)
    return state


def test_it_activates_opens_and_closes_without_anyone_waiting(gripper, fingers):
    start = time.monotonic()
    gripper.command(GripperTarget(width_m=0.085))
    assert time.monotonic() - start < 0.05
    state = until(gripper, lambda s: not s.moving and s.target_m == 0.085)
    assert state.width_m >= 0.95 * 0.085
    assert not state.holding
    gripper.command(GripperTarget(width_m=0.0, speed_m_per_s=0.05))
    assert until(gripper, lambda s: s.moving).target_m == 0.0
    state = until(gripper, lambda s: not s.moving)
    assert state.width_m <= 0.05 * 0.085
    assert state.error == ""


def test_an_object_between_the_fingers_is_held(gripper, fingers):
    fingers.object_at = 150
    gripper.command(GripperTarget(width_m=0.0, force_n=50.0))
    state = until(gripper, lambda s: s.holding)
    assert state.width_m == pytest.approx(0.085 * (230 - 150) / 227, abs=1e-3)
    gripper.command(GripperTarget(width_m=0.085))
    until(gripper, lambda s: s.width_m > 0.08 and not s.holding)


def test_the_newest_target_wins(gripper, fingers):
    before = fingers.writes
    for width in (0.0, 0.02, 0.04, 0.085):
        gripper.command(GripperTarget(width_m=width))
    until(gripper, lambda s: not s.moving and s.width_m > 0.08)
    assert fingers.writes - before <= 4


def test_a_fault_of_the_gripper_is_said_in_its_state(gripper, fingers):
    fingers.fault = 10
    assert "voltage" in until(gripper, lambda s: s.error).error
    fingers.fault = 0
    until(gripper, lambda s: not s.error)


def test_a_short_or_strange_reply_is_said_and_the_gripper_goes_on(gripper, fingers, monkeypatch):
    read = gripper._registers.read
    client = gripper._registers._client
    whole = client.read_input_registers

    def short(*arguments, **options):
        reply = whole(*arguments, **options)
        reply.registers = reply.registers[:1]
        return reply

    monkeypatch.setattr(client, "read_input_registers", short)
    assert "1 registers instead of 3" in until(gripper, lambda s: s.error).error
    monkeypatch.setattr(gripper._registers, "read", list)
    assert "IndexError" in until(gripper, lambda s: "IndexError" in s.error).error
    gripper.command(GripperTarget(width_m=0.02))
    monkeypatch.setattr(client, "read_input_registers", whole)
    monkeypatch.setattr(gripper._registers, "read", read)
    state = until(gripper, lambda s: not s.error and abs(s.width_m - 0.02) < 2e-3)
    assert state.target_m == 0.02


def test_over_a_serial_line_it_speaks_rtu_with_the_grippers_own_registers(serve):
    pytest.importorskip("serial")
    from pymodbus.server import ModbusSerialServer

    ends = [pty.openpty(), pty.openpty()]
    for master, slave in ends:
        tty.setraw(master)
        tty.setraw(slave)
    for (one, _), (other, _) in (ends, ends[::-1]):
        threading.Thread(target=copy, args=(one, other), daemon=True).start()
    ours, theirs = (os.ttyname(slave) for _, slave in ends)
    fingers = Fingers(output=1000, input_=2000)
    serve(lambda context: ModbusSerialServer(context, port=theirs, baudrate=115200), fingers)
    gripper = Robotiq(address=ours)
    gripper.connect()
    try:
        gripper.command(GripperTarget(width_m=0.085))
        until(gripper, lambda s: s.width_m >= 0.95 * 0.085)
    finally:
        gripper.close()


def copy(source, sink):
    try:
        while data := os.read(source, 256):
            os.write(sink, data)
    except OSError:  # closed at the end of the test run
        return


def test_nobody_there_and_a_bad_address_are_one_line():
    with pytest.raises(UserError, match=r"no Modbus server at 127.0.0.1:1\. Check"):
        Robotiq(address="127.0.0.1:1").connect()
    with pytest.raises(UserError, match="is no address"):
        split_address("127.0.0.1:abc")
    with pytest.raises(UserError, match=r"no Modbus server at /dev/no-such|pip install"):
        Robotiq(address="/dev/no-such").connect()


def test_requests_are_the_manuals_bytes():
    """Section 4.8's example closes at full speed and force: 09 00 00 FF FF FF."""
    closing = request(GripperTarget(width_m=0.0, force_n=235.0, speed_m_per_s=0.15))
    assert closing == [0x0900, 0x00FF, 0xFFFF]
    assert request(GripperTarget(width_m=0.085))[1] == 0
    status = Status.of([0xB900, 0x00FF, 0xBD00])  # the same example's answer: it has an object
    assert status.active
    assert status.object == "stopped closing"
    assert (status.requested, status.position) == (0xFF, 0xBD)
