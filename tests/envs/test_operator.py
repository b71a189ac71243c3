"""Who has the arm, which way a hand moves it, and what a person says."""

import dataclasses

import numpy as np
import pytest

from envs.config import ArmConfig
from envs.devices.base import REST, Reading
from envs.operator import Operator, OperatorConfig, operator_config, parse_keys
from serl.errors import UserError

PUSH = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class FakeHand:
    """A device whose readings the test sets."""

    def __init__(self, config):
        self.name, self.config = f"fake {config.address}".strip(), config
        self.reserved = frozenset()
        self.next = Reading()

    def open(self):
        pass

    def close(self):
        pass

    def read(self):
        reading, self.next = self.next, dataclasses.replace(self.next, pressed=())
        return reading


@dataclasses.dataclass(frozen=True, kw_only=True)
class FakeConfig:
    kind = "fake"
    words = {"f1": "success", "f2": "hold", "f3": "take", "f4": "arm"}
    gestures = {}
    address: str = ""

    def make(self):
        return FakeHand(self)


def made(mode="touch", arms=("",), devices=None, **settings):
    config = OperatorConfig(devices=devices or {"": FakeConfig()}, mode=mode, **settings)
    operator = Operator(config, arms)
    return operator, operator.all_devices


def test_in_touch_mode_the_arm_is_the_person_s_while_the_hand_asks_for_something():
    operator, (hand,) = made()
    assert operator() is None
    hand.next = Reading(twist=PUSH, stamp_mono_ns=7)
    assert operator()[""].twist == PUSH
    assert operator()[""].stamp_mono_ns == 7
    hand.next = Reading(gripper=-1.0)
    assert operator()[""].gripper == -1.0
    hand.next = Reading(pressed=("f1",), held=frozenset({"f1"}))
    assert operator() is None  # a word takes nothing
    assert operator.hold_s is None


def test_in_hold_mode_the_arm_is_the_person_s_while_the_key_is_down():
    operator, (hand,) = made("hold")
    hand.next = Reading(twist=PUSH)
    assert operator() is None
    hand.next = Reading(twist=PUSH, held=frozenset({"f2"}))
    assert operator()[""].twist == PUSH
    hand.next = Reading(held=frozenset({"f2"}))
    assert operator() == {}
    hand.next = Reading(twist=PUSH)
    assert operator() is None
    assert operator.hold_s == 0.0


def test_in_toggle_mode_a_press_takes_the_arm_and_another_gives_it_back():
    operator, (hand,) = made("toggle")
    hand.next = Reading(pressed=("f3",))
    assert operator() == {}
    hand.next = Reading(twist=PUSH)
    assert operator()[""].twist == PUSH
    hand.next = Reading(pressed=("f3",))
    assert operator() is None
    hand.next = Reading(pressed=("f3", "f3"))
    assert operator() is None


def test_a_new_episode_begins_with_nobody_at_the_arm():
    operator, (hand,) = made("toggle")
    hand.next = Reading(pressed=("f3",))
    assert operator() == {}
    operator.begin()
    assert operator() is None


def test_always_is_always():
    operator, _ = made("always")
    assert operator() == {}


@pytest.mark.parametrize("mode", ["touch", "hold", "toggle"])
def test_a_device_lost_in_an_intervention_leaves_the_arm_at_rest_then_hands_it_back(
    mode, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr("envs.operator.time.monotonic", lambda: now[0])
    operator, (hand,) = made(mode)
    hand.next = Reading(twist=PUSH, held=frozenset({"f2"}), pressed=("f3",))
    assert operator()
    hand.next = Reading(live=False, trouble="fake: gone (unplugged).")
    assert operator() == {}
    assert operator.trouble() == "fake: gone (unplugged)."
    now[0] += 0.4
    assert operator() == {}
    now[0] += 0.2
    assert operator() is None


def test_a_device_lost_while_the_policy_has_the_arm_changes_nothing():
    operator, (hand,) = made()
    assert operator() is None
    hand.next = Reading(live=False, trouble="gone")
    assert operator() is None


def test_words_are_told_once_in_order_and_none_is_lost():
    operator, (hand,) = made()
    hand.next = Reading(pressed=("f1", "f9", "f1"))
    operator()
    assert operator.words() == ["success", "success"]
    assert operator.words() == []
    hand.next = Reading(pressed=("f1",), twist=PUSH)
    assert operator.listen()  # while nobody steps
    assert operator.words() == ["success"]


def test_keys_can_be_given_other_words_and_lose_their_motion():
    operator, (hand,) = made(keys=(("success", "s"), ("failure", "fake.f3")))
    hand.next = Reading(pressed=("s", "f1", "f3"))
    operator()
    assert operator.words() == ["success", "failure"]
    assert {"s", "f3"} <= hand.reserved
    assert "f1" not in hand.reserved
    assert operator.key_of("success") == "s"


def test_a_keyboard_that_listens_takes_the_plain_names_and_moves_nothing():
    """A pedal that types a key works beside any device."""
    config = operator_config("gamepad", keys="success=a", listen=True)
    operator = Operator(config)
    pad, keyboard = operator._bindings
    assert pad["a"] == "failure"
    assert keyboard["a"] == "success"
    assert [device.name for device, _ in operator._devices] == ["gamepad"]
    assert operator_config("keyboard", listen=True).listens == ()


def test_one_device_for_two_arms_moves_one_at_a_time():
    operator, (hand,) = made(arms=("left", "right"))
    hand.next = Reading(twist=PUSH)
    assert set(operator()) == {"left"}
    hand.next = Reading(twist=PUSH, pressed=("f4",))
    assert set(operator()) == {"right"}
    hand.next = Reading(twist=PUSH, pressed=("f4",))
    assert set(operator()) == {"left"}


def test_two_devices_move_an_arm_each():
    devices = {"left": FakeConfig(address="L"), "right": FakeConfig(address="R")}
    operator, (left, right) = made(arms=("left", "right"), devices=devices)
    right.next = Reading(twist=PUSH)
    assert set(operator()) == {"right"}
    left.next = Reading(twist=PUSH)
    assert set(operator()) == {"left", "right"}
    assert left.name == "fake L"


class Cell:
    """What an operator looks at in an env: where the arms' bases are turned to."""

    def __init__(self, *arms):
        self.unwrapped = self.config = self
        self.arms = arms


@pytest.mark.parametrize(
    ("yaw_deg", "base_yaw_rad", "along"),
    [(0, 0.0, (1, 0)), (180, 0.0, (-1, 0)), (90, 0.0, (0, 1)), (0, np.pi / 2, (0, -1))],
)
def test_away_from_the_person_is_away_wherever_they_stand(yaw_deg, base_yaw_rad, along):
    """A person at the side, or across the table; and a base that looks another way."""
    operator, (hand,) = made(yaw_deg=yaw_deg)
    operator.attach(Cell(ArmConfig(base_yaw_rad=base_yaw_rad)))
    hand.next = Reading(twist=(1.0, 0.0, 0.5, 1.0, 0.0, -0.5))
    twist = operator()[""].twist
    np.testing.assert_allclose(twist, (*along, 0.5, *along, -0.5), atol=1e-12)


def test_rest_stays_rest_from_every_side():
    operator, (hand,) = made("always", yaw_deg=37.0)
    hand.next = Reading(twist=REST, gripper=1.0)
    assert operator()[""].twist == pytest.approx(REST)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: parse_keys("sucess=s"), "Did you mean 'success'"),
        (lambda: parse_keys("success"), "not WORD=KEY"),
        (lambda: made(arms=("left", "right"), devices={"left": FakeConfig()}), "for the arms"),
        (lambda: made("hold", keys=(("take", "f2"),)), "no key of fake says 'hold'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(build, match):
    with pytest.raises(UserError, match=match) as error:
        build()
    assert "\n" not in str(error.value)


def test_devices_are_closed_when_one_cannot_be_opened():
    operator, (left, right) = made(
        arms=("left", "right"),
        devices={"left": FakeConfig(address="L"), "right": FakeConfig(address="R")},
    )
    closed = []

    def refuse():
        raise UserError("not there")

    right.open = refuse
    left.close = lambda: closed.append("L")
    with pytest.raises(UserError, match="not there"), operator:
        pass
    assert closed == ["L"]


def test_a_dead_man_key_needs_a_terminal_that_tells_releases():
    operator, (hand,) = made("hold")
    hand.tells_releases = False
    with pytest.raises(UserError, match="does not tell when a key is let go"), operator:
        pass
    operator, (hand,) = made("toggle")
    hand.tells_releases = False
    with operator:
        pass
