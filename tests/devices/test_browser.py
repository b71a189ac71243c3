"""The mailbox that the console fills: silence is a release, and nothing pressed is lost."""

import time

from hypothesis import given
from hypothesis import strategies as st

from envs.devices.base import REST
from envs.devices.browser import Browser, BrowserConfig, BrowserInput
from envs.devices.latch import Latch
from envs.devices.sticks import Sticks


def opened(silence_s=60.0):
    device = Browser(BrowserConfig(speed=1.0, silence_s=silence_s))
    device.open()
    return device


def test_silence_is_a_release_and_told_with_its_length():
    device = opened(silence_s=5.0)
    device.put(BrowserInput(keys=frozenset("w")))
    assert device.read().twist[0] == 1.0
    device.put(BrowserInput(keys=frozenset("w")), time.monotonic_ns() - 6_000_000_000)
    reading = device.read()
    assert reading.twist == REST
    assert not reading.live
    assert "(limit 5.00 s)" in reading.trouble
    device.put(BrowserInput(keys=frozenset("w")))
    assert device.read().live


def test_a_late_message_is_as_old_as_it_says():
    device = opened(silence_s=0.15)
    device.put(BrowserInput(keys=frozenset("w")), time.monotonic_ns() - 200_000_000)
    assert not device.read().moves


def test_no_page_is_no_hand():
    device = opened()
    assert "open the console" in device.read().trouble
    device.put(BrowserInput(keys=frozenset("w")))
    device.release()
    assert not device.read().moves


def test_keys_and_sticks_add_up_within_full_scale():
    device = opened()
    device.put(BrowserInput(keys=frozenset("w"), sticks=Sticks(left_y=-1.0, right_x=-0.5)))
    twist = device.read().twist
    assert twist[0] == 1.0
    assert 0.0 < twist[5] < 1.0


def test_a_pad_s_buttons_have_names_of_their_own():
    """'a' is a key that moves to the left and a button that says failure."""
    device = opened()
    device.put(BrowserInput(buttons=frozenset({"a", "dpup"}), sticks=Sticks(right_trigger=1.0)))
    reading = device.read()
    assert reading.twist == (0, 0, 0, 0, 1, 0)
    assert reading.gripper == 1.0
    assert reading.held == {"pad_a", "pad_dpup"}
    assert BrowserConfig.words["pad_a"] == "failure"
    assert "a" not in BrowserConfig.words


def test_a_tap_inside_one_message_is_a_press():
    device = opened()
    device.put(BrowserInput(taps=("enter",)))
    device.put(BrowserInput())
    assert device.read().pressed == ("enter",)


def test_a_latch_s_stamp_is_of_the_oldest_input_not_yet_shown():
    latch = Latch()
    for stamp in (100, 200, 300):
        latch.put(stamp, twist=(0.1, 0, 0, 0, 0, 0))
    assert latch.take(400).stamp_mono_ns == 100
    assert latch.take(500).stamp_mono_ns == 300
    latch.put(600)
    latch.put(700)
    assert latch.take(800).stamp_mono_ns == 600


@given(st.lists(st.sampled_from(["down a", "up a", "down b", "up b", "tap c", "read"])))
def test_every_press_is_in_exactly_one_reading_in_order(events):
    """However readings fall between them; LeRobot lost what fell between two (P-9)."""
    latch, down, expected, seen = Latch(), set(), [], []
    for stamp, event in enumerate(events, 1):
        what, _, key = event.partition(" ")
        if what == "read":
            reading = latch.take(stamp)
            seen += reading.pressed
            assert reading.held == down
            continue
        if what == "tap" or (what == "down" and key not in down):
            expected.append(key)
        if what != "tap":
            (down.add if what == "down" else down.discard)(key)
        latch.put(stamp, held=down, taps=[key] if what == "tap" else [])
    assert [*seen, *latch.take(len(events) + 1).pressed] == expected


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=8))
def test_a_motion_between_two_readings_is_shown_once_then_what_is_held(values):
    latch = Latch()
    for stamp, value in enumerate(values, 1):
        latch.put(stamp, twist=(value, 0, 0, 0, 0, 0))
    moved = [value for value in values if value] or [0.0]
    shown = values[-1] if values[-1] else moved[-1]
    assert latch.take(99).twist[0] == shown
    assert latch.take(99).twist[0] == values[-1]
