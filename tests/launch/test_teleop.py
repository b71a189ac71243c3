"""`serl teleop`: a hand moves the simulated arm, words are heeded, and the end is orderly."""

import io
import signal
import subprocess
import sys
import threading

import pytest
from devices.stands import Terminal, kitty, until

from envs.devices.base import Reading
from envs.operator import OperatorConfig
from envs.tasks.reach import ReachConfig
from launch.main import main
from launch.teleop import teleoperate
from launch.teleop_hand import endless, hand_env
from launch.teleop_view import HandView
from serl.errors import UserError

PUSH = (0.0, 0.5, 0.0, 0.0, 0.0, 0.0)


class FakeHand:
    """A device that plays one reading per step, then rests."""

    name = "fake"
    reserved = frozenset()

    def __init__(self, readings):
        self._readings = iter(readings)

    def open(self):
        pass

    def close(self):
        pass

    def read(self):
        return next(self._readings, Reading())


class Fake:
    kind, words, gestures, address = "fake", {"p": "pause", "x": "stop", "r": "rerecord"}, {}, ""

    def __init__(self, readings):
        self._readings = readings

    def make(self):
        return FakeHand(self._readings)


@pytest.fixture(scope="module")
def lockstep():
    """The env of teleop, but not on the wall clock."""
    held = {}
    config = endless(hand_env(ReachConfig(realtime=False), None, episode_s=60.0))
    env = config.make(intervention=lambda: held["operator"]())
    yield env, held
    env.close()


def moved(lockstep, readings, **options):
    """How far the arm came on y [m], and the steps it took."""
    env, held = lockstep
    operator = held["operator"] = OperatorConfig(
        devices={"": Fake([*readings, Reading(pressed=("x",))])}, mode="always"
    ).make()
    starts = []
    reset = env.reset
    env.reset = lambda **kw: (reset(**kw), starts.append(env.unwrapped.references[""].copy()))
    try:
        view = HandView(env, operator, out=io.StringIO())
        steps = teleoperate(env, operator, stop=threading.Event(), seed=0, view=view, **options)
    finally:
        del env.reset
    return env.unwrapped.references[""][1, 3] - starts[-1][1, 3], steps, len(starts)


def test_the_hand_moves_the_arm_until_it_says_stop(lockstep):
    far, steps, starts = moved(lockstep, [Reading(twist=PUSH)] * 4)
    assert far == pytest.approx(4 * 0.5 * 0.025, abs=2e-3)
    assert (steps, starts) == (5, 1)


def test_paused_it_stays_where_it_is(lockstep):
    push, pause = Reading(twist=PUSH), Reading(pressed=("p",))
    far, *_ = moved(lockstep, [push, pause, push, push, push, pause, push])
    assert far == pytest.approx(2 * 0.5 * 0.025, abs=2e-3)


def test_rerecord_goes_back_to_the_start(lockstep):
    far, _, starts = moved(lockstep, [Reading(twist=PUSH)] * 3 + [Reading(pressed=("r",))])
    assert starts == 2
    assert far == pytest.approx(0.0, abs=1e-6)


def test_the_table_shows_arm_hand_and_trouble(lockstep):
    env, _ = lockstep
    lost = Reading(live=False, trouble="fake: gone (unplugged).")
    operator = OperatorConfig(devices={"": Fake([Reading(twist=PUSH), lost])}).make()
    env.reset(seed=0)
    view = HandView(env, operator, out=io.StringIO())
    operator()
    line = view.line()
    assert "tcp +0." in line
    assert "gripper" in line
    operator()
    assert "fake: gone (unplugged)." in view.line()
    from rich.console import Console

    console = Console(file=io.StringIO(), width=160)
    console.print(view.panel())
    shown = console.file.getvalue()
    assert "fake: gone (unplugged)." in shown
    assert "gone" in shown
    assert "x stop" in shown


def test_without_a_device_there_or_a_terminal_it_is_one_line(capfd, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    for argv, words in (
        ("--device keyboard", "does not run in a terminal"),
        ("--device keybord", "Did you mean 'keyboard'"),
        ("--device keyboard --env Pendulum-v1", "no arm that a hand could move"),
        ("--device left=gamepad,right=keyboard", "this cell's are ''"),
        ("--device keyboard --keys sucess=s", "Did you mean 'success'"),
        ("--device keyboard --agent sac", "leave --reward and --agent out"),
        ("", "required: --device"),
    ):
        assert main(["teleop", *argv.split()]) == 2
        told = capfd.readouterr().err
        assert words in told
        assert told.count("\n") == 1


def test_a_real_arm_does_not_move_unasked(monkeypatch, capfd):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    terminal = Terminal()
    argv = f"teleop --device keyboard:{terminal.path} --backend grpc://127.0.0.1:9"
    assert main(argv.split()) == 2
    assert "nobody is there to answer; add --yes" in capfd.readouterr().err
    terminal.hang_up()


@pytest.mark.parametrize("how", ["signal", "word"])
def test_the_whole_verb_moves_an_arm_from_a_terminal_and_ends_in_order(how):
    """Ctrl-C in SERL's recorders left the terminal raw and the thread running."""
    terminal = Terminal(kitty=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "serl", "teleop", "--device", f"keyboard:{terminal.path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    thread = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))
    thread.start()

    def heights():
        return [float(x.split("tcp ")[1].split()[2]) for x in list(lines) if "tcp " in x]

    try:
        until(lambda: heights(), timeout_s=100.0)
        terminal.type(kitty(ord("e")))
        until(lambda: heights()[-1] > heights()[0] + 0.02, timeout_s=30.0)
        if how == "signal":
            process.send_signal(signal.SIGINT)
        else:
            terminal.type(kitty(ord("x")))
        assert process.wait(30) == 0
    finally:
        process.kill()
        thread.join()
    assert "the arm holds where it is" in lines[-1]
    until(lambda: b"\x1b[<u" in terminal.seen)
    terminal.hang_up()


def test_an_env_of_another_backend_keeps_to_the_wall_clock():
    config = hand_env(ReachConfig(), "grpc://127.0.0.1:9", episode_s=30.0)
    assert config.is_realtime
    assert config.robot == "grpc://127.0.0.1:9"
    with pytest.raises(UserError, match="no arm"):
        hand_env(object(), None, episode_s=1.0)
