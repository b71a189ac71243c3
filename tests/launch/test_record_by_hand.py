"""Demonstrations by hand: what is kept, what is thrown away, and who says how it went."""

import contextlib
import dataclasses
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from devices.stands import Terminal, kitty, until

from envs.config import ActionConfig
from envs.devices.base import Reading, parse_device
from envs.operator import OperatorConfig
from envs.tasks.reach import ReachConfig
from launch.data_info import report
from launch.main import main
from launch.record_by_hand import HandRecorder
from launch.record_set import DemoSet
from launch.teleop_hand import hand_env
from serl.data.demos import EpisodeMeta, list_episodes, load_episode
from serl.data.formats.native import open_set
from serl.errors import SpecMismatch
from serl.rewards.base import unjudged
from serl.seeds import Purpose, episode_seed
from serl.types import RewardSource, Source

META = EpisodeMeta(experiment="reach", task="reach", actor="fake")
PUSH = Reading(twist=(0.0, 0.4, 0.0, 0.0, 0.0, 0.0))
REST = Reading()


def said(word):
    return Reading(pressed=(word,))


class FakeHand:
    """A device that plays one reading each time it is read, then rests."""

    name = "fake"
    reserved = frozenset()

    def __init__(self, readings):
        self.readings = iter(readings)

    def open(self):
        pass

    def close(self):
        pass

    def read(self):
        return next(self.readings, REST)


class Fake:
    """Its keys are called as the words they say."""

    kind, gestures, address = "fake", {}, ""
    words = {
        w: w
        for w in ("success", "failure", "rerecord", "pause", "stop", "ready", "stage 1", "stage 2")
    }

    def __init__(self, readings):
        self._readings = readings

    def make(self):
        return FakeHand(self._readings)


CONFIG = hand_env(ReachConfig(realtime=False), None, episode_s=1.0)
JUDGED = unjudged(CONFIG)


@pytest.fixture(scope="module")
def cells():
    """An env that knows success and one that leaves it to the person; a test puts a hand in."""
    held, stack = {}, contextlib.ExitStack()

    class Hand:
        def __call__(self):
            return held["operator"]()

        def begin(self):
            held["operator"].begin()

    made = {config.reward: config.make(intervention=Hand()) for config in (CONFIG, JUDGED)}
    for env in made.values():
        stack.callback(env.close)
    with stack:
        yield made, held


@pytest.fixture
def recorded(cells, tmp_path):
    """Record into one folder with a hand that plays what it is given; what became of it."""
    made, held = cells

    def record(readings, *, config=JUDGED, count=1, begin="touch", all_=False, device=None):
        operator = held["operator"] = OperatorConfig(
            devices={"": device or Fake(readings)},
            listens=(Fake(readings),) if device else (),
            mode="always",
        ).make()
        env = made[config.reward]
        if device:
            operator.attach(env.env.env.env)
        demos = DemoSet(tmp_path, config, count=count, keep_failed=all_, meta=META)
        stop = threading.Event()
        timer = threading.Timer(60.0, stop.set)
        timer.start()
        person = config is not CONFIG
        HandRecorder(env, operator, demos, person_judges=person, begin=begin, stop=stop).run()
        timer.cancel()
        episodes = [load_episode(path, config.spec()) for path in list_episodes(tmp_path)]
        return demos.progress, episodes

    return record


def test_the_env_s_own_success_keeps_the_episode_and_says_so(recorded):
    _, (episode,) = recorded([], config=CONFIG, device=parse_device("scripted"))
    assert episode.meta.success
    assert episode.records["success"][-1]
    assert episode.records["terminated"][-1]
    assert set(episode.records["source"][1:]) == {Source.HUMAN}
    assert set(episode.records["reward_source"]) == {RewardSource.ENV}
    assert episode.meta.seed == episode_seed(Purpose.DEMO, 0, episode.meta.details["attempt"])


def test_a_person_s_success_is_the_last_record_s(recorded):
    _, (episode,) = recorded([PUSH, PUSH, PUSH, PUSH, said("success")])
    last = episode.records[-1]
    assert episode.meta.success
    assert (last["success"], last["terminated"], last["truncated"]) == (True, True, False)
    assert (last["reward"], last["reward_source"]) == (1.0, RewardSource.HUMAN)
    assert not episode.records["success"][:-1].any()
    assert not episode.records["reward"][:-1].any()


def test_the_env_s_truth_is_not_overruled_by_a_key(recorded):
    progress, episodes = recorded(
        [PUSH, PUSH, said("success"), PUSH, said("stop")], config=CONFIG, all_=True
    )
    assert (progress.stored, episodes) == (0, [])


def test_a_failure_is_kept_only_when_asked_for_and_is_no_end_of_the_task(recorded):
    readings = [PUSH, PUSH, said("failure"), PUSH, PUSH, said("stop")]
    assert recorded(readings)[0].stored == 0
    _, (episode,) = recorded(readings, all_=True)
    last = episode.records[-1]
    assert episode.meta.outcome == "failure"
    assert (last["terminated"], last["truncated"], last["success"]) == (False, True, False)


def test_rerecord_throws_away_and_starts_the_same_again(recorded):
    """In LeRobot the flag ended the episode, and its steps were sent all the same."""
    _, (episode,) = recorded(
        [PUSH, PUSH, PUSH, PUSH, said("rerecord"), PUSH, PUSH, said("success")]
    )
    assert len(episode.records) == 3
    assert episode.meta.seed == episode_seed(Purpose.DEMO, 0, 0)
    assert episode.meta.details["attempt"] == 0


def test_stop_keeps_what_is_done_and_nothing_of_the_one_in_progress(recorded):
    progress, episodes = recorded(
        [PUSH, PUSH, said("success"), PUSH, PUSH, PUSH, said("stop")], count=3
    )
    assert (progress.stored, len(episodes)) == (1, 1)
    progress, episodes = recorded([PUSH, PUSH, said("success")] * 2, count=3)
    assert progress.stored == 3
    seeds = [episode.meta.seed for episode in episodes]
    assert seeds == [episode_seed(Purpose.DEMO, 0, k) for k in range(3)]


def test_when_time_is_up_the_person_still_says_how_it_went(recorded):
    steps = CONFIG.max_steps
    _, (episode,) = recorded([PUSH] * (steps + 1) + [REST] * 3 + [said("success")])
    assert len(episode.records) == steps + 1
    last = episode.records[-1]
    assert (last["success"], last["terminated"], last["truncated"]) == (True, True, False)
    assert last["reward_source"] == RewardSource.HUMAN


def test_an_episode_begins_with_the_first_move(recorded):
    _, (episode,) = recorded([REST] * 5 + [PUSH, PUSH, PUSH, said("success")])
    assert np.abs(episode.records["action"][1]).max() > 0.3


def test_a_scene_that_must_be_ready_is_waited_for_whatever_the_hand_does(recorded):
    _, (episode,) = recorded(
        [PUSH, PUSH, said("ready"), PUSH, PUSH, said("success")], begin="ready"
    )
    assert len(episode.records) == 4


def test_while_paused_nothing_is_recorded(recorded):
    _, (episode,) = recorded(
        [PUSH, PUSH, said("pause"), PUSH, PUSH, PUSH, said("pause"), PUSH, said("success")]
    )
    assert len(episode.records) == 5
    np.testing.assert_allclose(episode.records["action"][2], 0.0, atol=1e-6)


def test_stages_are_told_with_their_step(recorded):
    _, (episode,) = recorded([PUSH, PUSH, said("stage 1"), PUSH, said("stage 2"), said("success")])
    assert episode.meta.details["stages"] == [[2, 1], [4, 2]]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"control_hz": 10.0}, r"control_hz: 10\.0 here, 20\.0 there"),
        (
            {"action": dataclasses.replace(CONFIG.action, translation_step_m=0.01)},
            r"action\.translation_step_m: 0\.01 here, 0\.025 there",
        ),
        ({"action": ActionConfig()}, "another spec"),
        ({"state": ("tcp_pos",)}, "another spec"),
    ],
)
def test_a_folder_of_another_spec_action_or_rate_is_refused_with_the_first_difference(
    recorded, tmp_path, change, match
):
    recorded([PUSH, PUSH, said("success")])
    with pytest.raises(SpecMismatch, match=match) as error:
        DemoSet(tmp_path, dataclasses.replace(JUDGED, **change), count=2, meta=META)
    assert "\n" not in str(error.value)
    assert "episode_000000.npz" in str(error.value)


def test_the_report_tells_lengths_dead_time_and_ranges(recorded, tmp_path):
    recorded([PUSH] * 7 + [REST, REST, said("success")], count=1)
    recorded([PUSH, PUSH, PUSH, said("failure")], count=2, all_=True)
    (tmp_path / "episode_000009.npz").write_bytes(b"PK")
    text = "\n".join(report(open_set(tmp_path)))
    assert "2 episodes, 12 steps; lengths 3 to 9" in text
    assert "success: 1 of 2" in text
    assert "dead time: 33.3% of steps" in text
    assert "human 100%" in text
    assert "left out" in text
    (line,) = (x for x in text.splitlines() if x.startswith("action y"))
    assert "-0.4 to 0," in line or "0 to 0.4," in line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("--device keybord", "Did you mean 'keyboard'"),
        ("--mode hold", "scripted expert has no use for it"),
        ("--device gamepad --keys success=", "not WORD=KEY"),
        ("--device scripted --begin ready", "leave it out"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(argv, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["record", "--task", "reach", *argv.split()]) == 2
    told = capfd.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_the_whole_verb_records_from_a_terminal(tmp_path):
    terminal = Terminal(kitty=True)
    argv = f"record --task reach --device keyboard:{terminal.path} --reward human --demos 1"
    process = subprocess.Popen(
        [sys.executable, "-m", "serl", *argv.split(), "--into", str(tmp_path / "demos")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = []
    thread = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")))
    thread.start()
    try:
        until(lambda: any("move when you are ready" in x for x in list(lines)), timeout_s=100.0)
        terminal.type(kitty(ord("e")))
        time.sleep(1.5)
        terminal.type(kitty(13))
        assert process.wait(30) == 0, "".join(lines)
    finally:
        process.kill()
        thread.join()
        terminal.hang_up()
    text = "".join(lines)
    assert "success: 1 of 1" in text
    (path,) = list_episodes(tmp_path / "demos")
    episode = load_episode(path)
    assert episode.meta.actor.startswith("keyboard:")
    assert episode.records["success"][-1]
    tcp_z = episode.records["obs/state"][:, 2]  # in the reset pose's axes: down
    assert tcp_z[-1] < tcp_z[0] - 0.1
