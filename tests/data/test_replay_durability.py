"""What survives: a killed process, a host crash, a damaged file, a full disk."""

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
from serl.data.frames import write_all
from serl.data.replay import Replay
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.types import record_dtype

HERE = Path(__file__).parent

WRITER = """
import importlib.util, sys, threading
from serl.data.replay import Replay

location, folder, out = sys.argv[1:]
module = importlib.util.spec_from_file_location("kit", location)
kit = importlib.util.module_from_spec(module)
module.loader.exec_module(kit)
spec = kit.image_spec()
replay = Replay(folder, spec, 300, segment_bytes=5000, sync_s=0.02)
acks = open(out, "ab", buffering=0)

def actor(number):
    name = f"actor-{number}"
    episode, index = replay.high_water(name) or (0, -1)
    while True:
        episode, index = (episode + 1, -1) if index > 20 else (episode, index)
        rows = kit.records(spec, number, episode, index + 1, 1 + episode % 3)
        replay.append(name, rows)
        index = int(rows["index"][-1])
        acks.write(f"{number} {episode} {index}\\n".encode())

threads = [threading.Thread(target=actor, args=(n,)) for n in range(3)]
[t.start() for t in threads]
acks.write(b"up\\n")
[t.join() for t in threads]
"""


def test_a_killed_writer_leaves_every_acknowledged_record_and_nothing_else(kit, folder):
    rng = np.random.default_rng(0)
    spec, acks = kit.image_spec(), folder / "acks"
    for _ in range(6):
        acks.write_bytes(b"")
        command = [sys.executable, "-c", WRITER, HERE / "conftest.py", folder / "replay", acks]
        writer = subprocess.Popen(command)
        while b"up" not in acks.read_bytes():
            assert writer.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.4))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        check_against_acknowledged(kit, spec, folder / "replay", acks)


def check_against_acknowledged(kit, spec, folder: Path, acks: Path) -> None:
    newest = {}
    for line in acks.read_text().splitlines():
        if line.count(" ") == 2:
            actor, episode, index = map(int, line.split())
            newest[f"actor-{actor}"] = (episode, index)
    with Replay(folder, spec, 300, segment_bytes=5000, sync_s=100.0) as replay:
        marks = replay.actors()
        assert all(marks[actor] >= mark for actor, mark in newest.items())
        stored = list(replay.iter_episodes())
        assert sum(len(s.records) for s in stored) == len(replay) <= 300
        for s in stored:
            first, count = int(s.records["index"][0]), len(s.records)
            sent = kit.records(spec, int(s.actor_id[-1]), s.episode, first, count)
            for name in sent.dtype.names or ():
                np.testing.assert_array_equal(s.records[name], sent[name], name)


@pytest.mark.parametrize("unflushed", [4, 20])
@pytest.mark.parametrize("images", [False, True], ids=["state", "images"])
def test_after_a_host_crash_all_that_was_flushed_is_there_and_whole(
    kit, folder, monkeypatch, images, unflushed
):
    """Also when more was written since than the ring has room for beside its live rows."""
    spec = kit.image_spec() if images else kit.state_spec()
    replay = Replay(folder / "a", spec, 50, segment_bytes=700, sync_s=100.0)
    model = kit.Naive(50)
    for episode in range(6 + unflushed):
        rows = kit.records(spec, 1, episode, 0, 11)
        replay.append("one", rows)
        model.append("one", rows)
        if episode == 5:
            replay.sync()
    durable, head = replay._durable, replay.records_committed
    assert 66 <= durable < head
    shutil.copytree(folder / "a", folder / "b")
    replay.close()
    scramble_what_was_not_flushed(folder / "b", spec, durable, head - durable, ring=50 + 64)
    monkeypatch.setattr(serl.data.replay, "boot_id", lambda: "another boot")
    del model.rows[durable:]

    with Replay(folder / "b", spec, 50, segment_bytes=700, sync_s=100.0) as replay:
        assert replay.high_water("one") == model.high_water("one")
        assert replay.records_committed == durable
        check_rows(replay, model)
        assert replay.append("one", kit.records(spec, 1, durable // 11, 0, 11)) == 11


@pytest.mark.parametrize(("images", "head"), [(False, 270), (True, 336)], ids=["state", "images"])
def test_a_journal_that_lost_much_leaves_only_rows_that_are_their_own(kit, folder, images, head):
    """More than a kill takes, as after a hand-made repair: rows already written over are gone,
    the others are whole, and the replay goes on from there."""
    spec = kit.image_spec() if images else kit.state_spec()
    model = kit.Naive(50)
    with Replay(folder, spec, 50, segment_bytes=700, sync_s=100.0) as replay:
        for episode in range(60):
            rows = kit.records(spec, 1, episode, 0, 6)
            replay.append("one", rows)
            model.append("one", rows)
        replay.sync()
        replay.compress()
    journal = folder / "journal.log"
    text = journal.read_bytes()
    journal.write_bytes(text[: text.index(b'"rows":[%d,' % head) - 10])
    del model.rows[head:]
    with Replay(folder, spec, 50, segment_bytes=700, sync_s=100.0) as replay:
        assert replay.records_committed == head
        model.capacity = len(replay)
        assert 0 < model.capacity < 50
        check_rows(replay, model)
        rows = kit.records(spec, 1, head // 6, 0, 30)
        replay.append("one", rows)
        model.append("one", rows)
        model.capacity = len(replay)
        check_rows(replay, model)


def test_a_record_that_was_never_committed_leaves_no_trace_in_its_episode(kit, folder):
    """Its place is taken by another actor's record, which must not become its neighbour."""
    spec, journal = kit.state_spec(), folder / "journal.log"
    with Replay(folder, spec, 50, sync_s=100.0) as replay:
        replay.append("one", kit.records(spec, 1, 0, 0, 4))
        replay.append("one", kit.records(spec, 1, 0, 4, 1))
    text = journal.read_bytes()
    journal.write_bytes(text[: text.index(b'"rows":[4,') - 10])
    with Replay(folder, spec, 50, sync_s=100.0) as replay:
        replay.append("two", kit.records(spec, 2, 0, 0, 3))
        drawn = replay.sample(np.random.default_rng(0), (200,), 3, whole=False)
    actors = drawn.obs["state"][..., 0]
    assert (actors == actors[:, :1]).all()
    assert drawn.valid.sum(axis=1).max() == 3


def check_rows(replay: Replay, model) -> None:
    """One actor's rows, in order of arrival, equal the model's."""
    seen = [e.records for e in replay.iter_episodes()]
    kept = np.array([model.rows[s][1] for s in model.live], replay.dtype)
    for name in kept.dtype.names or ():
        found = np.concatenate([kept[name][:0], *[rows[name] for rows in seen]])
        np.testing.assert_array_equal(found, kept[name], name)


def scramble_what_was_not_flushed(folder: Path, spec, first: int, count: int, ring: int) -> None:
    fields = {n: record_dtype(spec)[n].itemsize for n in record_dtype(spec).names or ()}
    fields |= {"prev": 8, "next": 8, "seq": 8, "actor": 4}
    for path in (folder / "columns").iterdir():
        name = path.stem[3:].replace("obs-", "obs/").replace("extra-", "extra/")
        raw, size = bytearray(path.read_bytes()), fields[name]
        for seq in range(first, first + count):
            raw[seq % ring * size : (seq % ring + 1) * size] = os.urandom(size)
        path.write_bytes(raw)
    for path in (folder / "frames").glob("*.raw"):
        row = sum(a.dtype == "uint8" and int(np.prod(a.shape)) for a in spec.observation)
        start = int(path.stem) * (700 // row)
        if start >= first:
            path.write_bytes(b"")


def test_the_journal_is_believed_only_up_to_damage_and_says_where(kit, folder, caplog):
    spec = kit.state_spec()
    with Replay(folder / "a", spec, 100, sync_s=100.0) as replay:
        for episode in range(5):
            replay.append("one", kit.records(spec, 1, episode, 0, 4))
    journal = folder / "a" / "journal.log"
    whole = journal.read_bytes()

    journal.write_bytes(whole + b"\0" * 100)
    with Replay(folder / "a", spec, 100, sync_s=100.0) as replay:
        assert len(replay) == 20
    assert "torn last entry" in caplog.text

    middle = whole.index(b'"rows":[8')
    journal.write_bytes(whole[:middle] + b"x" + whole[middle + 1 :])
    with pytest.raises(CorruptFile, match=r"journal\.log: damaged at byte \d+"):
        Replay(folder / "a", spec, 100, sync_s=100.0)
    journal.write_bytes(b"garbage\n" + whole)
    with pytest.raises(CorruptFile, match="first line"):
        Replay(folder / "a", spec, 100, sync_s=100.0)


@pytest.mark.parametrize("name", ["replay.json", "journal.log"])
def test_a_missing_file_is_named(kit, folder, name):
    with Replay(folder, kit.state_spec(), 100) as replay:
        replay.append("one", kit.records(kit.state_spec(), 1, 0, 0, 4))
    (folder / name).unlink()
    with pytest.raises(CorruptFile, match=name):
        Replay(folder, kit.state_spec(), 100)


def test_missing_columns_are_an_error_and_not_zeros(kit, folder):
    with Replay(folder, kit.state_spec(), 100) as replay:
        replay.append("one", kit.records(kit.state_spec(), 1, 0, 0, 4))
    next((folder / "columns").glob("*action.bin")).unlink()
    with pytest.raises(CorruptFile, match="columns"):
        Replay(folder, kit.state_spec(), 100)


def test_a_damaged_frame_is_reported_and_not_sampled(kit, folder):
    spec = kit.image_spec()
    with Replay(folder, spec, 100, segment_bytes=1000, sync_s=100.0) as replay:
        replay.append("one", kit.records(spec, 1, 0, 0, 40))
        replay.sync()
        replay.compress()
        sealed = sorted((folder / "frames").glob("*.sealed"))
        raw = bytearray(sealed[0].read_bytes())
        raw[-20] ^= 0xFF
        sealed[0].write_bytes(raw)
        with pytest.raises(CorruptFile, match=sealed[0].name):
            list(replay.iter_episodes())


def test_another_spec_or_capacity_is_refused_by_name(kit, folder):
    Replay(folder, kit.state_spec(), 100).close()
    with pytest.raises(SpecMismatch, match="extras"):
        Replay(folder, kit.image_spec(), 100)
    with pytest.raises(UserError, match="capacity 100, not 200"):
        Replay(folder, kit.state_spec(), 200)


def test_a_folder_in_use_is_refused_until_it_is_closed(kit, folder):
    with Replay(folder, kit.state_spec(), 100), pytest.raises(UserError, match="open elsewhere"):
        Replay(folder, kit.state_spec(), 100)
    Replay(folder, kit.state_spec(), 100).close()


def test_a_write_that_is_cut_short_goes_on_where_it_stopped(folder, monkeypatch):
    """The system may write less than it was given."""
    write, sizes = os.pwritev, iter([3, 10, 1, 4, 2, 7] * 100)

    def short(fd: int, buffers: list, offset: int) -> int:
        return write(fd, [b"".join(buffers)[: next(sizes)]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    parts = [os.urandom(n) for n in (5, 9, 1, 20, 4)]
    with (folder / "file").open("wb") as file:
        write_all(file.fileno(), [memoryview(p) for p in parts], 2)
    assert (folder / "file").read_bytes() == b"\0\0" + b"".join(parts)


FULL = """
import importlib.util, resource, sys
from serl.data.replay import Replay
from serl.errors import UserError

location, folder, images = sys.argv[1:]
module = importlib.util.spec_from_file_location("kit", location)
kit = importlib.util.module_from_spec(module)
module.loader.exec_module(kit)
spec = kit.image_spec() if images == "images" else kit.state_spec()
replay = Replay(folder, spec, 5000, segment_bytes=200_000, sync_s=0.05)
limits = [int(x) for x in "LIMITS".split()]
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
episode = refused = 0
for limit in limits:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    before, stop = refused, episode + 2500
    while episode < stop and refused == before:
        try:
            replay.append("one", kit.records(spec, 1, episode, 0, 5))
            episode += 1
        except UserError as error:
            assert "free disk space" in str(error), error
            refused += 1
    assert refused == before + 1, "the limit was never met"
    assert replay.records_committed == 5 * episode
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
for episode in range(episode, episode + 50):
    replay.append("one", kit.records(spec, 1, episode, 0, 5))
seen = 0
for stored in replay.iter_episodes():
    sent = kit.records(spec, 1, stored.episode, 0, 5)
    assert all((stored.records[n] == sent[n]).all() for n in sent.dtype.names)
    seen += 1
assert seen == min(episode + 1, 1000), (seen, episode)
replay.close()
Replay(folder, spec, 5000, segment_bytes=200_000).close()
print("refused", refused)
"""


@pytest.mark.parametrize(
    ("images", "limits"), [("state", "3000 125000"), ("images", "50000 125000 200001")]
)
def test_a_full_disk_loses_nothing_and_work_goes_on_when_there_is_space(folder, images, limits):
    code = FULL.replace("LIMITS", limits)
    command = [sys.executable, "-c", code, HERE / "conftest.py", folder, images]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused", str(len(limits.split()))]
