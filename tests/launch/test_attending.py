"""A person beside a supervised actor: the words that reach it, the terminal it reads, its pace."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from envs.gym import GymEnv
from envs.tasks.reach import ReachConfig
from launch.attending import attended, is_held, paced_for, person_words, without_terminal
from launch.main import parse
from serl.agents.sac import SACConfig
from serl.errors import UserError
from serl.experiment import Experiment

REACH = Experiment(name="x", env=ReachConfig(), agent=SACConfig())


def given(*words: str):
    return parse(["actor", "pick_cube_state", *words]).args


def test_a_supervised_actor_gets_the_same_person():
    words = given("--device", "noisy_expert", "--mode", "touch", "--keys", "success=s")
    again = given(*person_words(words))
    for name in ("device", "mode", "yaw_deg", "keys"):
        assert getattr(again, name) == getattr(words, name)
    assert person_words(given()) == ()


def test_the_terminal_that_was_handed_on_is_the_keyboard_s_and_its_keys_are_words(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("os.ttyname", lambda fd: "/dev/pts/77")
    words = person_words(given("--device", "noisy_expert"))
    assert words[-2:] == ("--terminal", "/dev/pts/77")
    assert "--terminal" not in without_terminal(words)
    from launch.attending import _config

    config = _config(given(*words))
    assert [(d.kind, d.address) for d in config.listens] == [("keyboard", "/dev/pts/77")]
    keyboard = _config(given(*person_words(given("--device", "keyboard"))))
    assert keyboard.devices[""].address == "/dev/pts/77"
    assert not keyboard.listens


def test_somebody_with_a_device_in_hand_gets_the_wall_clock_and_a_script_does_not():
    from launch.attending import _config

    held, script = (_config(given("--device", kind)) for kind in ("gamepad", "noisy_expert"))
    assert (is_held(held), is_held(script)) == (True, False)
    assert paced_for(held, REACH).env.is_realtime
    assert paced_for(script, REACH) is REACH
    assert paced_for(held, REACH).hash == REACH.hash, "pace is placement"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keys", "success=s"], "--device"),
        (["--device", "nosuch"], "no input device named 'nosuch'"),
        (["--device", "gamepad", "--keys", "sucess=s"], "Did you mean 'success'"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_starts(words, said):
    with pytest.raises(UserError) as error:
        person_words(given(*words))
    assert said in str(error.value)


def test_an_env_without_an_arm_takes_no_hand():
    plain = Experiment(name="x", env=GymEnv(), agent=SACConfig())
    with pytest.raises(UserError, match="no arm"), attended(given("--device", "gamepad"), plain):
        pass


def test_the_live_view_tells_the_person_s_share_where_there_is_one():
    from launch.live import State

    status = {"intervention_rate": 0.25, "cycle_s": 2.5, "success_last_20": 3}
    beside, alone = (
        State({"actor": {**said, "episodes_in_window": 5}}, 0.0)
        for said in (status, {"success_last_20": 3})
    )
    assert (("interventions, last 20", "25%"), ("cycle time [s]", "2.50")) in beside.rows()
    assert len(beside.rows()) == len(alone.rows()) + 1
    assert (beside.helped, alone.helped) == (" (25% of steps by hand)", "")
