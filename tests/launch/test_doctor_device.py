"""`serl doctor --device`: each gesture, told by its axis and sign."""

import io

import pytest
from devices.stands import Terminal

from envs.devices.base import DOF, Reading
from launch import doctor_device
from launch.doctor_device import asked, judged, rest
from launch.main import main


class FakeDevice:
    def __init__(self, readings):
        self._readings = iter(readings)
        self._last = Reading()

    def read(self):
        self._last = next(self._readings, self._last)
        return self._last


def pushed(dof, value, others=0.0):
    twist = [others] * 6
    twist[DOF.index(dof)] = value
    return Reading(twist=tuple(twist))


@pytest.mark.parametrize("dof", DOF)
def test_a_gesture_is_right_in_its_own_axis_and_sign_alone(dof):
    other = DOF[(DOF.index(dof) + 1) % 6]
    assert judged(pushed(dof, 0.5, 0.1), dof) == ""
    assert judged(pushed(dof, -0.5), dof) == "it came with the opposite sign"
    assert judged(pushed(other, -0.5), dof) == f"it came as -{other}"
    assert judged(pushed(dof, 0.5, 0.4), dof) is None
    assert judged(Reading(), dof) is None


def test_the_gripper_s_buttons_are_told_apart():
    assert judged(Reading(gripper=-1.0), "close") == ""
    assert judged(Reading(gripper=-1.0), "open") == "it came as the opposite"
    assert judged(Reading(), "open") is None


def test_what_is_asked_for_is_awaited_and_shown(capsys):
    device = FakeDevice([Reading(), pushed("x", 0.1), pushed("x", -0.7), Reading()])
    check = asked(device, "x", "push it away")
    assert not check.ok
    assert check.text == "it came with the opposite sign"
    assert "push it away" in capsys.readouterr().out
    assert asked(FakeDevice([pushed("x", 0.7), Reading()]), "x", "push it away").ok


def test_nothing_and_a_lost_device_are_told():
    assert "nothing came" in asked(FakeDevice([]), "z", "pull it up", timeout_s=0.1).text
    lost = Reading(live=False, trouble="spacemouse: gone (unplugged).")
    assert asked(FakeDevice([lost]), "z", "pull it up").text == lost.trouble


def test_a_drift_is_seen_while_nobody_touches_it(monkeypatch):
    monkeypatch.setattr(doctor_device, "REST_S", 0.1)
    assert rest(FakeDevice([])).ok
    drifts = rest(FakeDevice([pushed("rz", 0.08)]))
    assert not drifts.ok
    assert "0.08" in drifts.text


def test_the_verb_opens_the_device_and_says_what_each_axis_wants(capfd, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    terminal = Terminal()
    assert main(["doctor", "--device", f"keyboard:{terminal.path}"]) == 0
    told = capfd.readouterr().out
    assert "hold w" in told
    assert "enter success" in told
    terminal.hang_up()


@pytest.mark.parametrize(
    ("device", "words"),
    [("spacemose", "Did you mean 'spacemouse'"), ("keyboard", "does not run in a terminal")],
)
def test_a_device_that_is_not_there_is_one_line(device, words, capfd, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["doctor", "--device", device]) == 1
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("FAIL")
    assert words in line
