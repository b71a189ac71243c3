"""The keyboard from the bytes of a terminal on."""

import os
import signal
import termios
import time

import pytest
from devices.stands import Terminal, kitty, until
from hypothesis import given
from hypothesis import strategies as st

from envs.devices import keys
from envs.devices.base import DOF, DeviceLost
from envs.devices.keyboard import Keyboard, KeyboardConfig
from envs.devices.terminal_keys import BLUR, KeyEvent, KeyParser
from serl.errors import UserError

SETTINGS = {"first_pause_s": 5.0, "speed": 1.0}


@pytest.fixture(params=[False, True], ids=["plain terminal", "tells releases"])
def both(request):
    yield from opened(kitty=request.param)


@pytest.fixture
def plain():
    yield from opened(kitty=False)


@pytest.fixture
def telling():
    yield from opened(kitty=True)


def opened(kitty):
    terminal = Terminal(kitty=kitty)
    device = Keyboard(KeyboardConfig(address=terminal.path, **SETTINGS))
    device.open()
    assert device.tells_releases == kitty
    yield terminal, device
    device.close()
    terminal.hang_up()


@pytest.mark.parametrize(("key", "dof"), [("w", "x"), ("a", "y"), ("e", "z"), ("u", "rz")])
def test_a_key_moves_the_way_it_says(both, key, dof):
    terminal, device = both
    terminal.type(kitty(ord(key)) if device.tells_releases else key.encode())
    reading = until(lambda: (r := device.read()).moves and r)
    assert reading.twist == tuple(float(name == dof) for name in DOF)
    assert reading.held == {key}


def test_a_held_key_is_held_until_its_release(telling):
    terminal, device = telling
    terminal.type(kitty(ord("w")))
    until(lambda: device.read().moves)
    time.sleep(0.2)
    assert device.read().moves
    terminal.type(kitty(ord("w"), 3))
    until(lambda: not device.read().moves)


def test_two_held_keys_move_along_both(telling):
    terminal, device = telling
    terminal.type(kitty(ord("w")) + kitty(ord("a")))
    until(lambda: device.read().twist[:2] == (1.0, 1.0))


class Typist:
    """Presses keys of a plain terminal at moments of its own; milliseconds."""

    def __init__(self, **settings):
        self.device = Keyboard(KeyboardConfig(**settings))

    def tap(self, at_ms, key):
        self.device._lapse(at_ms * 1_000_000)
        self.device._event(KeyEvent(key, "tap"), at_ms * 1_000_000)

    def at(self, at_ms):
        self.device._lapse(at_ms * 1_000_000)
        return self.device.latch.take(at_ms * 1_000_000)


@pytest.mark.parametrize(
    ("delay_ms", "every_ms"), [(250, 33), (500, 33), (600, 40), (375, 90)]
)  # Linux console, X and GNOME, KDE, macOS
def test_without_releases_a_key_is_held_from_its_press_until_its_repeats_have_ended(
    delay_ms, every_ms
):
    typist = Typist()
    typist.tap(1, "w")
    repeats = range(1 + delay_ms, 2000, every_ms)
    moving = []
    for now in range(2, 3000, 10):
        for repeat in repeats:
            if now - 10 < repeat <= now:
                typist.tap(repeat, "w")
        moving.append((now, typist.at(now).moves))
    last = max(now for now, moves in moving if moves)
    assert all(moves for now, moves in moving if now <= last)
    assert repeats[-1] + 100 <= last <= repeats[-1] + 170


def test_without_releases_a_tap_ends_by_itself():
    typist = Typist(first_pause_s=0.65)
    typist.tap(1, "w")
    assert typist.at(640).moves
    assert not typist.at(660).moves


def test_without_releases_another_key_ends_the_move():
    typist = Typist()
    typist.tap(1, "w")
    assert typist.at(20).moves
    typist.tap(30, "space")
    reading = typist.at(31)
    assert not reading.moves
    assert reading.pressed == ("space",)


def test_repeats_are_one_press(both):
    terminal, device = both
    terminal.type(
        kitty(13) + 3 * kitty(13, 2) + kitty(13, 3) if device.tells_releases else b"\r\r\r\r"
    )
    pressed = list(until(lambda: device.read().pressed))
    time.sleep(0.05)
    assert [*pressed, *device.read().pressed] == ["enter"]


def test_a_tap_between_two_readings_is_one_step_and_a_press(telling):
    terminal, device = telling
    terminal.type(kitty(ord("w")) + kitty(ord("w"), 3) + kitty(127) + kitty(127, 3))
    reading = until(lambda: (r := device.read()).pressed and r)
    assert reading.twist[0] == 1.0
    assert reading.pressed == ("w", "backspace")
    assert reading.held == frozenset()
    assert not device.read().moves


def test_a_terminal_that_loses_the_focus_releases_every_key(telling):
    """Its release would never come: the arm would go on."""
    terminal, device = telling
    terminal.type(kitty(ord("w")))
    until(lambda: device.read().moves)
    terminal.type(b"\x1b[O")
    until(lambda: not device.read().moves)


def test_ctrl_c_still_interrupts_where_the_terminal_sends_it_as_a_key(telling):
    terminal, _ = telling
    caught = []
    before = signal.signal(signal.SIGINT, lambda *_: caught.append(1))
    try:
        terminal.type(kitty(ord("c"), modifiers=5))
        until(lambda: caught)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_terminal_is_left_as_it_was(both):
    terminal, device = both
    telling = device.tells_releases
    fd = os.open(terminal.path, os.O_RDWR | os.O_NOCTTY)
    raw = termios.tcgetattr(fd)
    device.close()
    after = termios.tcgetattr(fd)
    os.close(fd)
    assert not raw[3] & termios.ECHO
    assert after[3] & termios.ECHO
    if telling:
        until(lambda: b"\x1b[<u" in terminal.seen)
    assert (b"\x1b[<u" in terminal.seen) == telling


def test_a_closed_terminal_is_told(plain):
    terminal, device = plain
    terminal.hang_up()
    reading = until(lambda: not (r := device.read()).live and r)
    assert "terminal" in reading.trouble
    assert "\n" not in reading.trouble


def test_a_key_that_is_a_word_moves_nothing(plain):
    terminal, device = plain
    device.reserved = frozenset({"s"})
    terminal.type(b"s")
    reading = until(lambda: (r := device.read()).pressed and r)
    assert reading.pressed == ("s",)
    assert not reading.moves


def test_without_a_terminal_it_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115
    with pytest.raises(DeviceLost, match="does not run in a terminal"):
        Keyboard(KeyboardConfig()).open()
    with pytest.raises(DeviceLost, match="cannot open /dev/no-such-tty"):
        Keyboard(KeyboardConfig(address="/dev/no-such-tty")).open()
    with pytest.raises(UserError, match=r"speed 2\.0"):
        Keyboard(KeyboardConfig(speed=2.0))


def names(events):
    return [(event.name, event.kind) for event in events]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"wW", [("w", "tap"), ("w", "tap")]),
        (b"\x1b[A\x1bOB\x1b[5~", [("up", "tap"), ("down", "tap"), ("pageup", "tap")]),
        (b"\x1b[119;1:3u", [("w", "release")]),
        (b"\x1b[87;2u", [("w", "press")]),
        (b"\x1b[1;1:2D", [("left", "repeat")]),
        (b"\x1b[6;1:3~", [("pagedown", "release")]),
        (b"\x1b[57441;2:1u", []),  # shift alone
        (b"\x1b[?62;22c\x1b[?11u", []),
        (b"\t\r\n\x7f", [("tab", "tap"), ("enter", "tap"), ("enter", "tap"), ("backspace", "tap")]),
        ("é".encode(), [("é", "tap")]),
    ],
)
def test_bytes_become_keys(data, expected):
    assert names(KeyParser().feed(data)) == expected


def test_an_escape_that_nothing_follows_is_the_escape_key():
    parser = KeyParser()
    assert parser.feed(b"\x1b") == []
    assert parser.pending
    assert names(parser.flush()) == [("esc", "tap")]
    assert names(parser.feed(b"\x1b\x1b[A")) == [("esc", "tap"), ("up", "tap")]


def test_the_focus_going_elsewhere_is_told_from_a_key():
    assert KeyParser().feed(b"\x1b[I\x1b[O") == [BLUR]


@given(st.lists(st.sampled_from([b"w", b"\x1b[A", kitty(97), kitty(97, 3), b"\r"])), st.data())
def test_it_does_not_matter_how_the_bytes_are_cut(pieces, data):
    whole = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    parser, events = KeyParser(), []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        events += parser.feed(whole[begin:end])
    assert events == KeyParser().feed(whole)


@given(st.binary(max_size=40))
def test_no_bytes_stop_the_parser(data):
    parser = KeyParser()
    parser.feed(data)
    parser.flush()
    assert not parser.pending
    assert names(parser.feed(b"w")) == [("w", "tap")]


def test_no_key_has_two_meanings():
    taken = [*keys.MOVES, *keys.GRIPS, *keys.WORDS]
    assert len(set(taken)) == len(taken)
