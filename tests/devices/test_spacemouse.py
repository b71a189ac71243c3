"""The SpaceMouse from its raw reports on, through pyspacemouse's own device class."""

import time
from pathlib import Path

import numpy as np
import pytest
from devices.stands import FakeHid, until

pytest.importorskip("pyspacemouse")

from envs.devices import reader, spacemouse
from envs.devices.base import REST, DeviceLost
from envs.devices.spacemouse import SpaceMouse, SpaceMouseConfig
from serl.errors import UserError

FULL = 350
PRO, ENTERPRISE, RECEIVER = (0x46D, 0xC62B), (0x256F, 0xC633), (0x256F, 0xC652)


@pytest.fixture
def plugged(monkeypatch):
    """HID devices that are plugged in; a test adds to them."""
    there = [FakeHid()]
    monkeypatch.setattr(spacemouse, "_enumerate", lambda: list(there))
    monkeypatch.setattr(reader, "AGAIN_S", (0.02, 0.05))
    monkeypatch.setattr(spacemouse, "LAPSE_S", 60.0)  # a busy machine is no silent puck
    return there


@pytest.fixture
def mouse(plugged):
    device = SpaceMouse(SpaceMouseConfig(deadband=0.0))
    device.open()
    yield device
    device.close()


@pytest.mark.parametrize(
    ("move", "turn", "element", "sign"),
    [
        ((0, -FULL, 0), (0, 0, 0), 0, 1),  # away from the person
        ((-FULL, 0, 0), (0, 0, 0), 1, 1),  # to the left
        ((0, 0, -FULL), (0, 0, 0), 2, 1),  # up
        ((0, 0, 0), (0, -FULL, 0), 3, 1),  # about the way ahead: to the right
        ((0, 0, 0), (-FULL, 0, 0), 4, 1),  # about the left: its top goes away
        ((0, 0, 0), (0, 0, -FULL), 5, 1),  # about up: counter-clockwise
        ((FULL, 0, 0), (0, 0, 0), 1, -1),
        ((0, 0, 0), (0, 0, FULL), 5, -1),
    ],
)
def test_the_puck_s_motion_is_the_operator_s(plugged, mouse, move, turn, element, sign):
    plugged[0].puck(move, turn)
    reading = until(lambda: (r := mouse.read()).twist[element] and r)
    expected = np.zeros(6)
    expected[element] = sign
    np.testing.assert_allclose(reading.twist, expected, atol=1e-6)


def test_across_the_table_the_axes_are_those_of_serl(plugged, mouse):
    """SERL: (-y, x, z, -roll, -pitch, -yaw) of pyspacemouse's state, over full scale."""
    from envs.operator import turned

    counts = np.array([70, -140, 210, -35, 105, 175])
    plugged[0].puck(counts[:3], counts[3:])
    until(lambda: all(mouse.read().twist))
    state = mouse._mouse._state
    serl = (-state.y, state.x, state.z, -state.roll, -state.pitch, -state.yaw)
    plugged[0].puck(counts[:3], counts[3:])
    reading = until(lambda: all((r := mouse.read()).twist) and r)
    np.testing.assert_allclose(turned(reading.twist, np.pi), serl, atol=1e-9)


def test_at_rest_it_is_zero_and_within_the_deadband_too(plugged, mouse):
    assert mouse.read().twist == REST
    mouse.close()
    eased = SpaceMouse(SpaceMouseConfig(deadband=0.1))
    eased.open()
    plugged[0].puck((34, -34, 3 * FULL))
    assert until(lambda: (t := eased.read().twist)[2] and t) == (0.0, 0.0, -1.0, 0.0, 0.0, 0.0)
    eased.close()


@pytest.mark.parametrize(
    ("model", "bit", "name"),
    [((0x256F, 0xC635), 1, "right"), (PRO, 12, "btn_1"), (ENTERPRISE, 26, None), (PRO, 0, "menu")],
)
def test_a_model_may_have_any_number_of_buttons(plugged, model, bit, name):
    """SERL unpacked exactly two: another model ended the reader, and the puck stood still."""
    plugged[0] = FakeHid(*model)
    device = SpaceMouse(SpaceMouseConfig())
    device.open()
    plugged[0].press(bit)
    plugged[0].puck((0, -FULL, 0))
    reading = until(lambda: (r := device.read()).twist[0] and r)
    assert reading.live
    if name is not None:
        assert reading.held == {name}
    device.close()


def test_its_buttons_close_and_open_the_gripper(plugged, mouse):
    plugged[0].press(0)
    assert until(lambda: mouse.read().gripper) == -1.0
    plugged[0].press(1)
    assert until(lambda: (r := mouse.read()).gripper == 1.0 and r).held == {"right"}
    plugged[0].press()
    until(lambda: mouse.read().gripper is None)


def test_a_press_between_two_readings_is_not_lost(plugged, mouse):
    """LeRobot polled its devices, and a short press fell between two polls (P-9)."""
    for bits in ((1,), (), (0,), (), (1,), ()):
        plugged[0].press(*bits)
    until(plugged[0].reports.empty)
    reading = until(lambda: (r := mouse.read()).pressed and r)
    assert (*reading.pressed, *mouse.read().pressed) == ("right", "left", "right")
    assert reading.gripper is not None
    assert mouse.read().gripper is None


def test_a_burst_of_reports_is_shown_at_once_and_never_runs_behind(plugged, mouse):
    """pyspacemouse takes one report per read: a slow reader saw the puck of seconds ago."""
    for k in range(500):
        plugged[0].puck((0, -(k % 300), 0))
    plugged[0].puck((0, -FULL, 0))
    until(plugged[0].reports.empty)
    assert until(lambda: mouse.read().twist[0] == 1.0)


def test_a_puck_that_falls_silent_while_deflected_counts_as_let_go(plugged, mouse):
    plugged[0].puck((0, -FULL, 0))
    until(lambda: mouse.read().twist[0])
    time.sleep(0.05)
    assert mouse.read().twist[0]
    mouse.latch._lapse_ns = 50_000_000
    assert mouse.read().twist == REST


def test_unplugged_it_is_at_rest_and_says_so_and_replugged_it_goes_on(plugged, mouse):
    plugged[0].puck((0, -FULL, 0))
    until(lambda: mouse.read().twist[0])
    gone = plugged.pop()
    gone.plugged = False
    reading = until(lambda: not (r := mouse.read()).live and r)
    assert reading.twist == REST
    assert reading.held == frozenset()
    assert "Check its cable" in reading.trouble
    assert "\n" not in reading.trouble
    plugged.append(FakeHid(path="/dev/hidraw-fake7"))
    until(lambda: mouse.read().live)
    plugged[0].puck((0, -FULL, 0))
    until(lambda: mouse.read().twist[0] == 1.0)


def test_two_alike_are_told_apart_by_path_or_serial_number(plugged):
    """SERL took them in the order of enumeration: after a restart left was right."""
    plugged[:] = [
        FakeHid(path="/dev/hidraw-fake0", serial="L1"),
        FakeHid(path="/dev/hidraw-fake1", serial="R2"),
    ]
    left = SpaceMouse(SpaceMouseConfig(address="L1"))
    right = SpaceMouse(SpaceMouseConfig(address="/dev/hidraw-fake1"))
    for device in (right, left):
        device.open()
    plugged[0].puck((0, -FULL, 0))
    until(lambda: left.read().twist[0])
    assert right.read().twist == REST
    plugged.reverse()
    left.close(), right.close()
    left.open()
    plugged[1].puck((0, 0, -FULL))
    until(lambda: left.read().twist[2])
    left.close()


def test_two_alike_without_a_name_are_refused_in_one_line_that_lists_both(plugged):
    plugged.append(FakeHid(path="/dev/hidraw-fake1", serial="R2"))
    with pytest.raises(DeviceLost, match=r"2 are plugged in: .*fake0 \(.*fake1 \(.*serial R2"):
        SpaceMouse(SpaceMouseConfig()).open()
    with pytest.raises(DeviceLost, match="none at 'X9'; there is /dev/hidraw-fake0"):
        SpaceMouse(SpaceMouseConfig(address="X9")).open()


def test_a_receiver_s_other_interfaces_are_no_mice(plugged):
    plugged[:] = [FakeHid(*RECEIVER, path=f"/dev/hidraw-fake{k}") for k in range(3)]
    plugged[0].usage, plugged[2].usage_page = 6, 0xFF00
    device = SpaceMouse(SpaceMouseConfig())
    device.open()
    assert plugged[1].is_open
    device.close()


def test_without_a_mouse_it_is_one_line(plugged):
    plugged.clear()
    with pytest.raises(DeviceLost, match="none is plugged in"):
        SpaceMouse(SpaceMouseConfig()).open()


def test_without_permission_the_udev_rule_is_told(plugged, tmp_path, monkeypatch):
    path = tmp_path / "hidraw3"
    path.touch()
    plugged[:] = [FakeHid(path=str(path))]
    monkeypatch.setattr(spacemouse.os, "access", lambda path, mode: False)
    with pytest.raises(DeviceLost, match=r"no permission on .*hidraw3") as error:
        SpaceMouse(SpaceMouseConfig()).open()
    assert spacemouse.UDEV in str(error.value)
    assert "udevadm trigger" in str(error.value)
    assert "\n" not in str(error.value)


def test_without_its_library_it_is_one_line(monkeypatch):
    def missing():
        raise AttributeError("function/symbol 'hid_enumerate' not found")

    monkeypatch.setattr(spacemouse, "_enumerate", missing)
    with pytest.raises(UserError, match="apt-get install libhidapi-hidraw0"):
        SpaceMouse(SpaceMouseConfig()).open()


def test_a_button_the_model_has_not_is_refused_with_those_it_has(plugged):
    with pytest.raises(UserError, match=r"no button 'middle'; it has left, right"):
        SpaceMouse(SpaceMouseConfig(close="middle")).open()
    assert not plugged[0].is_open


def test_a_reader_that_dies_is_told_and_leaves_nothing_moving(plugged, mouse):
    plugged[0].puck((0, -FULL, 0))
    until(lambda: mouse.read().moves)
    plugged[0].puck((0, -FULL, 0))
    until(plugged[0].reports.empty)
    mouse._stop.set()
    mouse._thread.join()
    reading = mouse.read()
    assert not reading.live
    assert "its reader has ended" in reading.trouble
    assert reading.twist == REST


def test_the_rule_is_the_same_in_the_message_the_setup_and_the_document():
    root = Path(spacemouse.__file__).parents[2]
    for name in ("tools/setup_usb.sh", "docs/teleoperation.md"):
        text = (root / name).read_text()
        assert spacemouse.UDEV in text, name
        assert spacemouse.UDEV_FILE in text, name
