"""A late verdict on a stored episode: in place, once, and whatever is killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import serl.data.replay
from serl.data.records import BadRecord, Label
from serl.data.replay import Replay
from serl.types import RewardSource

HERE = Path(__file__).parent
WON = Label(episode=0, index=3, reward=1.0, success=True, terminated=True)

WRITER = """
import importlib.util, sys
from serl.data.records import Label
from serl.data.replay import Replay

location, folder, out = sys.argv[1:]
module = importlib.util.spec_from_file_location("kit", location)
kit = importlib.util.module_from_spec(module)
module.loader.exec_module(kit)
spec = kit.state_spec()
replay = Replay(folder, spec, 300, sync_s=0.02)
acks = open(out, "ab", buffering=0)
episode = (replay.high_water("one") or (-1, 0))[0] + 1
acks.write(b"up\\n")
while True:
    replay.append("one", kit.records(spec, 1, episode, 0, 4))
    label = Label(
        episode=episode, index=3, reward=float(episode), success=True, terminated=True
    )
    assert replay.relabel("one", label)
    acks.write(f"{episode}\\n".encode())
    episode += 1
"""


@pytest.fixture
def replay(kit, folder):
    with Replay(folder / "a", kit.state_spec(), 100, sync_s=100.0) as made:
        made.append("one", kit.records(kit.state_spec(), 1, 0, 0, 4))
        made.append("two", kit.records(kit.state_spec(), 2, 0, 0, 5))
        yield made


def last_of(replay: Replay, actor: str = "one", episode: int = 0) -> np.void:
    stored = [e for e in replay.iter_episodes() if (e.actor_id, e.episode) == (actor, episode)]
    return stored[0].records[-1]


def test_only_the_outcome_of_that_one_record_changes(kit, replay):
    before = {a: last_of(replay, a).copy() for a in ("one", "two")}
    assert replay.relabel("one", WON)
    row = last_of(replay)
    assert row["reward"] == 1.0
    assert row["success"]
    assert row["terminated"]
    assert not row["truncated"]
    assert row["reward_source"] == RewardSource.HUMAN
    touched = {"reward", "success", "terminated", "truncated", "reward_source", "reward_version"}
    for name in set(row.dtype.names) - touched:
        np.testing.assert_array_equal(row[name], before["one"][name])
    assert last_of(replay, "two") == before["two"]


def test_a_label_is_for_a_committed_last_record_only(replay):
    for wrong in ({"index": 4}, {"episode": 1}, {"index": 2}, {"reward": float("nan")}):
        with pytest.raises(BadRecord):
            replay.relabel("one", Label(**{**vars(WON), **wrong}))
    with pytest.raises(BadRecord):
        replay.relabel("three", WON)


def test_a_record_that_was_evicted_is_no_error(kit, replay):
    for episode in range(1, 40):
        replay.append("two", kit.records(kit.state_spec(), 2, episode, 0, 5))
    assert not replay.relabel("one", WON)


def test_a_kill_between_journal_and_row_is_made_good(kit, replay, folder, monkeypatch):
    monkeypatch.setattr(replay, "_correct", lambda entry: None)
    replay.relabel("one", WON)
    shutil.copytree(folder / "a", folder / "b")
    monkeypatch.undo()
    with Replay(folder / "b", kit.state_spec(), 100, sync_s=100.0) as again:
        assert last_of(again)["success"]


def test_after_a_host_crash_an_answered_label_is_there(kit, replay, folder, monkeypatch):
    replay.relabel("one", WON)
    shutil.copytree(folder / "a", folder / "b")
    monkeypatch.setattr(serl.data.replay, "boot_id", lambda: "another boot")
    with Replay(folder / "b", kit.state_spec(), 100, sync_s=100.0) as again:
        assert last_of(again)["success"]


def test_a_killed_writer_keeps_every_answered_label(kit, folder):
    rng = np.random.default_rng(0)
    acks = folder / "acks"
    for _ in range(4):
        acks.write_bytes(b"")
        command = [sys.executable, "-c", WRITER, HERE / "conftest.py", folder / "r", acks]
        writer = subprocess.Popen(command, env={**os.environ})
        while b"up" not in acks.read_bytes():
            assert writer.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.3))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        told = [int(line) for line in acks.read_text().split() if line.isdigit()]
        with Replay(folder / "r", kit.state_spec(), 300, sync_s=100.0) as replay:
            ends = {e.episode: e.records[-1] for e in replay.iter_episodes()}
            for episode in set(told) & set(ends):
                assert ends[episode]["success"]
                assert ends[episode]["reward"] == episode
