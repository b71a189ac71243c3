"""What every registered input device must do; being registered holds a new kind to this.

A device that a hand is on gets a stand below: how it is plugged in, pushed along x and let go. A
script (no gestures) is the hand itself; tests/devices/test_scripted.py has it.
"""

import importlib
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from devices.stands import FakeHid, Terminal, VirtualPad, kitty, until

from envs.devices import keys, reader, sticks
from envs.devices.base import DEVICES, DOF, REST, WORDS, DeviceLost, parse_device, parse_devices
from envs.devices.browser import BrowserInput
from serl.errors import UserError

DEVICES.discover()
SCRIPTS = [name for name in DEVICES if not DEVICES.get(name).gestures]


class Stand:
    """A device with a hand on it: `push` along x, `let_go`; `tap` presses a key for a moment."""

    def __init__(self, device, push, let_go, tap, key):
        self.device, self.push, self.let_go, self.tap, self.key = device, push, let_go, tap, key


@contextmanager
def spacemouse(monkeypatch):
    module = importlib.import_module("envs.devices.spacemouse")
    hid = FakeHid()
    monkeypatch.setattr(module, "_enumerate", lambda: [hid])
    monkeypatch.setattr(module, "LAPSE_S", 60.0)  # a busy machine is no silent puck
    yield Stand(
        parse_device("spacemouse").make(),
        lambda: hid.puck((0, -350, 0)),
        lambda: hid.puck(),
        lambda: (hid.press(1), hid.press()),
        "right",
    )


@contextmanager
def gamepad(monkeypatch):
    sdl = importlib.import_module("envs.devices.gamepad")._SDL
    if sdl.found():
        pytest.skip("a gamepad is plugged in")
    pad = VirtualPad().plug()

    def tap():
        for down in (True, False):
            pad.button(3, down)
            sdl.pump()

    yield Stand(
        parse_device("gamepad").make(), lambda: pad.axis(1, -1), lambda: pad.axis(1, 0), tap, "y"
    )
    pad.unplug()
    sdl.pump()


@contextmanager
def keyboard(monkeypatch):
    terminal = Terminal(kitty=True)
    yield Stand(
        parse_device(f"keyboard:{terminal.path}").make(),
        lambda: terminal.type(kitty(119)),
        lambda: terminal.type(kitty(119, 3)),
        lambda: terminal.type(kitty(13) + kitty(13, 3)),
        "enter",
    )
    terminal.hang_up()


@contextmanager
def browser(monkeypatch):
    device = parse_device("browser").make()
    put = device.put

    def keep():  # a page that drives sends about 30 messages a second
        while not stop.wait(0.03):
            put(BrowserInput(keys=frozenset(down)))

    stop, down = threading.Event(), set()
    thread = threading.Thread(target=keep)
    thread.start()
    yield Stand(
        device,
        lambda: down.add("w"),
        down.clear,
        lambda: put(BrowserInput(taps=("enter",))),
        "enter",
    )
    stop.set()
    thread.join()


STANDS = {"spacemouse": spacemouse, "gamepad": gamepad, "keyboard": keyboard, "browser": browser}
NEEDS = {"spacemouse": "pyspacemouse", "gamepad": "pygame"}


def test_every_device_that_a_hand_is_on_has_a_stand():
    assert set(DEVICES) == {*STANDS, *SCRIPTS}


@pytest.fixture(params=sorted(STANDS))
def stand(request, monkeypatch):
    monkeypatch.setattr(reader, "AGAIN_S", (0.02, 0.05))
    if library := NEEDS.get(request.param):
        pytest.importorskip(library)
    with STANDS[request.param](monkeypatch) as stand:
        stand.device.open()
        until(lambda: stand.device.read().live)
        yield stand
        stand.device.close()


def test_at_rest_everything_is_zero(stand):
    time.sleep(0.05)
    reading = until(lambda: (r := stand.device.read()).live and r)
    assert reading.twist == REST
    assert reading.gripper is None
    assert reading.held == frozenset()
    assert reading.pressed == ()
    assert reading.trouble == ""


def test_a_push_moves_along_x_alone_until_it_is_let_go(stand):
    stand.push()
    reading = until(lambda: (r := stand.device.read()).moves and r)
    assert 0.0 < reading.twist[0] <= 1.0
    assert reading.twist[1:] == REST[1:]
    stand.let_go()
    until(lambda: stand.device.read().twist == REST)


def test_the_stamp_is_this_clock_s_and_of_the_input(stand):
    before_ns = time.monotonic_ns()
    stand.push()
    reading = until(lambda: (r := stand.device.read()).moves and r)
    assert before_ns <= reading.stamp_mono_ns <= time.monotonic_ns()


def test_a_short_press_is_never_lost_and_told_once(stand):
    stand.tap()
    stand.tap()
    seen = []
    until(lambda: seen.extend(stand.device.read().pressed) or len(seen) >= 2)
    time.sleep(0.05)
    assert [*seen, *stand.device.read().pressed] == [stand.key, stand.key]


def test_reading_does_not_wait(stand):
    begun = time.monotonic()
    for _ in range(200):
        stand.device.read()
    assert time.monotonic() - begun < 1.0


def test_closed_it_is_at_rest_and_leaves_no_thread_and_can_be_opened_again(stand):
    stand.push()
    until(lambda: stand.device.read().moves)
    stand.device.close()
    stand.device.close()
    reading = stand.device.read()
    assert not reading.live
    assert reading.twist == REST
    assert "not open" in reading.trouble
    assert not any(t.name == f"device {stand.device.name}" for t in threading.enumerate())
    stand.let_go()
    stand.device.open()
    until(lambda: stand.device.read().live)


@pytest.mark.parametrize("name", sorted(DEVICES))
def test_its_settings_say_what_keys_and_gestures_mean(name):
    config = DEVICES.get(name)()
    assert config.kind == name
    assert config.address == ""
    stages = {f"stage {n}" for n in range(1, 10)}
    assert set(config.words.values()) <= {*WORDS, *stages}
    assert set(config.gestures) in (set(), {*DOF, "close", "open"})
    assert config.make().name.startswith(name)


@pytest.mark.parametrize(
    ("library", "kind"), [("pyspacemouse", "spacemouse"), ("pygame", "gamepad")]
)
def test_without_its_library_it_is_one_line_that_names_the_extra(monkeypatch, library, kind):
    monkeypatch.setitem(sys.modules, library, None)
    if kind == "gamepad":
        module = importlib.import_module("envs.devices.gamepad")
        monkeypatch.setattr(module, "_SDL", module._Sdl())
    with pytest.raises(UserError, match=r"pip install 'serl-suite\[devices\]'"):
        parse_device(kind).make().open()


def test_devices_are_named_on_a_command_line():
    assert parse_device("spacemouse:/dev/hidraw3").address == "/dev/hidraw3"
    assert set(parse_devices("left=gamepad:0,right=spacemouse")) == {"left", "right"}
    assert set(parse_devices("keyboard")) == {""}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("space_mouse", "Did you mean 'spacemouse'"),
        ("left=gamepad:0,left=gamepad:1", "each arm once"),
        ("left=gamepad,right=gamepad", "gives two arms the same device"),
        ("left=gamepad,right", "is not ARM=KIND:ADDRESS"),
    ],
)
def test_devices_that_cannot_be_meant_are_refused_in_one_line(text, match):
    with pytest.raises(UserError, match=match) as error:
        parse_devices(text)
    assert "\n" not in str(error.value)


def test_the_words_of_keys_and_of_pads_are_the_same():
    said = {word for word in keys.WORDS.values() if not word.startswith("stage")}
    assert said == set(sticks.WORDS.values()) == set(WORDS)


def test_what_is_lost_is_an_error_a_person_can_act_on():
    assert issubclass(DeviceLost, UserError)
