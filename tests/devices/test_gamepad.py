"""The gamepad through SDL itself: a pad inside SDL, with SDL's own mapping and queue."""

import numpy as np
import pytest
from devices.stands import VirtualPad, until

pytest.importorskip("pygame")

from envs.devices import gamepad, reader
from envs.devices.base import REST, DeviceLost
from envs.devices.gamepad import Gamepad, GamepadConfig
from envs.devices.sticks import BUTTONS


@pytest.fixture
def sdl(monkeypatch):
    monkeypatch.setattr(reader, "AGAIN_S", (0.02, 0.05))
    if gamepad._SDL.found():
        pytest.skip("a gamepad is plugged in")
    return gamepad._SDL


@pytest.fixture
def pad(sdl):
    pad = VirtualPad().plug()
    yield pad
    if sdl.found():
        pad.unplug()
        sdl.pump()


@pytest.fixture
def device(pad):
    device = Gamepad(GamepadConfig())
    device.open()
    yield device
    device.close()


@pytest.mark.parametrize(
    ("axis", "value", "element", "sign"),
    [
        (1, -1, 0, 1),  # left stick away
        (0, -1, 1, 1),  # left stick left
        (3, -1, 2, 1),  # right stick away: up
        (2, -1, 5, 1),  # right stick left: counter-clockwise
        (1, 1, 0, -1),
        (2, 1, 5, -1),
    ],
)
def test_a_stick_s_motion_is_the_operator_s(pad, device, axis, value, element, sign):
    pad.axis(axis, value)
    expected = np.zeros(6)
    expected[element] = sign
    reading = until(lambda: (r := device.read()).twist[element] and r)
    np.testing.assert_allclose(reading.twist, expected, atol=1e-3)
    pad.axis(axis, 0.05)
    until(lambda: device.read().twist == REST)


@pytest.mark.parametrize(
    ("button", "element", "sign"),
    [("dpright", 3, 1), ("dpleft", 3, -1), ("dpup", 4, 1), ("dpdown", 4, -1)],
)
def test_the_cross_tilts_and_a_button_that_is_a_word_moves_nothing(
    pad, device, button, element, sign
):
    pad.button(BUTTONS.index(button), True)
    until(lambda: device.read().twist[element] == sign)
    pad.button(BUTTONS.index(button), False)
    until(lambda: device.read().twist == REST)
    device.reserved = frozenset({button})
    pad.button(BUTTONS.index(button), True)
    assert until(lambda: (r := device.read()).pressed and r).twist == REST


def test_the_triggers_close_and_open(pad, device):
    pad.axis(4, 1.0)
    assert until(lambda: device.read().gripper) == -1.0
    pad.axis(4, -1.0)
    until(lambda: device.read().gripper is None)
    pad.axis(5, 1.0)
    assert until(lambda: device.read().gripper) == 1.0


def test_every_press_between_two_readings_is_there_in_order(pad, device):
    """LeRobot polled the pad twice per step and lost short presses (P-9)."""
    for name in ("y", "a", "y", "back"):
        for down in (True, False):
            pad.button(BUTTONS.index(name), down)
            gamepad._SDL.pump()
    seen = []
    until(lambda: seen.extend(device.read().pressed) or len(seen) >= 4)
    assert seen == ["y", "a", "y", "back"]
    assert device.read().held == frozenset()


def test_events_from_elsewhere_in_the_program_reach_it_too(pad, device):
    import pygame

    pygame.event.post(
        pygame.event.Event(pygame.CONTROLLERBUTTONDOWN, instance_id=device._id, button=3)
    )
    assert until(lambda: device.read().pressed) == ("y",)


def test_unplugged_it_is_at_rest_and_says_so_and_replugged_it_goes_on(sdl, pad, device):
    pad.axis(1, -1.0)
    until(lambda: device.read().twist[0])
    pad.unplug()
    reading = until(lambda: not (r := device.read()).live and r)
    assert reading.twist == REST
    assert "it was unplugged" in reading.trouble
    assert "\n" not in reading.trouble
    pad.plug()
    until(lambda: device.read().live)
    pad.axis(1, -1.0)
    until(lambda: device.read().twist[0])


def test_two_pads_are_refused_in_one_line_and_each_hears_only_its_own(sdl, pad):
    other = VirtualPad().plug()
    with pytest.raises(DeviceLost, match=r"2 are plugged in: gamepad:0 \(.*gamepad:1 "):
        Gamepad(GamepadConfig()).open()
    one, two = (Gamepad(GamepadConfig(address=str(n))) for n in range(2))
    one.open(), two.open()
    other.axis(1, -1.0)
    until(lambda: two.read().twist[0])
    assert one.read().twist == REST
    one.close(), two.close()
    other.unplug()


def test_without_a_pad_it_is_one_line(sdl):
    with pytest.raises(DeviceLost, match="none is plugged in"):
        Gamepad(GamepadConfig()).open()
    with pytest.raises(DeviceLost, match="none is plugged in"):
        Gamepad(GamepadConfig(address="3")).open()
