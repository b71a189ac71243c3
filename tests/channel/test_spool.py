"""The spool keeps every record it accepted, whatever kills the process or cuts the file."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serl.channel import spool as spool_module
from serl.channel.spool import Spool, SpoolFull
from serl.errors import CorruptFile, UserError

SIZE = 24
SLOT = SIZE + 4


def record(episode: int, index: int) -> bytes:
    return struct.pack("<II", episode, index).ljust(SIZE, b"x")


def contents(spool: Spool) -> list[bytes]:
    """Every record still here."""
    found, position = [], spool.start
    while data := spool.read(position, 5 * SLOT):
        found += [data[i + 4 : i + SLOT] for i in range(0, len(data), SLOT)]
        position = spool.start + len(found)
    return found


def small(path: Path, **kwargs) -> Spool:
    """A spool of 4 records a segment."""
    return Spool(path, SIZE, segment_bytes=4 * SLOT, **kwargs)


def test_what_was_appended_is_read_back_across_segments(tmp_path):
    with small(tmp_path) as spool:
        rows = [record(0, i) for i in range(11)]
        assert [spool.append(row) for row in rows] == list(range(11))
        assert contents(spool) == rows
        assert spool.read(11, 1000) == b""
    with small(tmp_path) as spool:
        assert contents(spool) == rows


@pytest.mark.parametrize("cut", [1, 3, 4, 5, SLOT - 1])
def test_a_torn_tail_is_cut_and_the_rest_kept(tmp_path, cut):
    rows = [record(0, i) for i in range(6)]
    with small(tmp_path) as spool:
        for row in rows:
            spool.append(row)
        spool._state.synced = 0
    _forget_synced(tmp_path)
    last = sorted(tmp_path.glob("*.seg"))[-1]
    os.truncate(last, last.stat().st_size - cut)
    with small(tmp_path) as spool:
        assert contents(spool) == rows[:5]
        assert spool.append(record(1, 0)) == 5
        assert contents(spool) == [*rows[:5], record(1, 0)]


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 12), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_byte_costs_its_record_and_the_later_ones_only(count, where, flip):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        rows = [record(0, i) for i in range(count)]
        with small(path) as spool:
            for row in rows:
                spool.append(row)
        _forget_synced(path)
        offset = int(where * count * SLOT)
        hit, segment = offset // SLOT, offset // (4 * SLOT)
        file = path / f"{4 * segment:015d}.seg"
        data = bytearray(file.read_bytes())
        data[offset - 4 * segment * SLOT] ^= flip
        file.write_bytes(data)
        with small(path) as spool:
            assert contents(spool) == rows[:hit]


@pytest.mark.parametrize("damage", ["flip", "empty"])
def test_damage_to_what_is_acknowledged_costs_nothing_that_is_not(tmp_path, damage):
    """Acknowledged records are not synced: a crash of the machine may leave holes among them."""
    rows = [record(0, i) for i in range(14)]
    with small(tmp_path) as spool:
        for row in rows:
            spool.append(row)
        spool.ack(10)
    hurt = tmp_path / f"{4:015d}.seg"
    data = hurt.read_bytes()
    hurt.write_bytes(b"" if damage == "empty" else b"\xff" + data[1:])
    with small(tmp_path) as spool:
        first = 8 if damage == "empty" else 5
        assert (spool.start, spool.acked, spool.end) == (first, 10, 14)
        assert contents(spool) == rows[first:]
        spool.append(record(0, 14))
        assert contents(spool) == [*rows[first:], record(0, 14)]


def test_what_is_acknowledged_is_not_synced(tmp_path, monkeypatch):
    """With a learner at hand the spool costs memory, not disk: half of all writing saved."""
    synced = []
    with small(tmp_path) as spool:
        for i in range(10):
            spool.append(record(0, i))
        spool.ack(6)
        monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
        spool.sync()
        assert synced == [4 * SLOT, 2 * SLOT]
        spool.sync()
        assert len(synced) == 2
        spool.rewind(3)
        spool.sync()
        assert len(synced) == 5


def test_segments_of_another_size_are_read_all_the_same(tmp_path):
    rows = [record(0, i) for i in range(11)]
    with small(tmp_path) as spool:
        for row in rows[:6]:
            spool.append(row)
    with Spool(tmp_path, SIZE, segment_bytes=SLOT) as spool:
        for row in rows[6:]:
            spool.append(row)
        assert contents(spool) == rows
    with small(tmp_path) as spool:
        assert contents(spool) == rows


def test_records_survive_sigkill(tmp_path):
    script = textwrap.dedent(
        f"""
        import os, struct
        from serl.channel.spool import Spool
        spool = Spool({str(tmp_path)!r}, {SIZE}, segment_bytes={100 * SLOT})
        for episode in range(3):
            number = spool.new_episode()
            for index in range(111):
                spool.append(struct.pack("<II", number, index).ljust({SIZE}, b"x"))
        os.kill(os.getpid(), {int(signal.SIGKILL)})
        """
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    with Spool(tmp_path, SIZE) as spool:
        assert contents(spool) == [record(e, i) for e in range(3) for i in range(111)]
        assert spool.new_episode() > 2


def test_an_episode_number_is_never_given_twice(tmp_path):
    given_out = []
    for life in range(4):
        with small(tmp_path) as spool:
            given_out += [spool.new_episode() for _ in range(70)]
            if life % 2:  # as if killed: what close would save is lost
                state = (tmp_path / "spool.json").read_text()
        if life % 2:
            (tmp_path / "spool.json").write_text(state)
    assert given_out == sorted(set(given_out))


def test_a_number_is_above_what_the_learner_knows(tmp_path):
    with small(tmp_path) as spool:
        assert spool.new_episode(at_least=500) == 500
        assert spool.new_episode() == 501


def test_the_actors_id_and_run_are_kept(tmp_path):
    with small(tmp_path) as spool:
        actor_id = spool.actor_id
        assert spool.run_id == ""
        spool.bind_run("run-7")
    with small(tmp_path) as spool:
        assert (spool.actor_id, spool.run_id) == (actor_id, "run-7")


def test_acknowledged_segments_are_deleted_but_for_the_last_few_seconds(tmp_path, monkeypatch):
    with small(tmp_path) as spool:
        monkeypatch.setattr(spool_module, "RESERVE_RECORDS", 3)
        for i in range(20):
            spool.append(record(0, i))
        spool.ack(15)
        assert spool.start == 12
        assert [int(p.stem) for p in sorted(tmp_path.glob("*.seg"))] == [12, 16]
        assert spool.pending_bytes == 5 * SLOT
        with pytest.raises(ValueError, match="no longer in the spool"):
            spool.read(3, 100)
    with small(tmp_path) as spool:
        assert (spool.start, spool.acked, spool.end) == (12, 15, 20)


def test_a_position_is_found_by_its_key(tmp_path):
    keys = [(0, 0), (0, 1), (4, 0), (4, 1), (4, 2), (9, 0)]
    with small(tmp_path) as spool:
        for key in keys:
            spool.append(record(*key))
        assert spool.position_after(None) == 0
        for i, key in enumerate(keys):
            assert spool.key_at(i) == key
            assert spool.position_after(key) == i + 1
        assert spool.position_after((2, 7)) == 2


def test_a_full_spool_refuses_beyond_the_hard_limit_and_drops_nothing(tmp_path, caplog):
    with small(tmp_path, limit_bytes=20 * SLOT) as spool:
        for i in range(15):
            spool.append(record(0, i))
        assert "80 % full" not in caplog.text
        spool.append(record(0, 15))
        assert "80 % full" in caplog.text
        for i in range(16, 22):
            spool.append(record(0, i))
        assert spool.full
        with pytest.raises(SpoolFull, match="the arm holds until one does"):
            spool.append(record(0, 22))
        assert contents(spool) == [record(0, i) for i in range(22)]
        spool.ack(22)
        assert not spool.full
        spool.append(record(0, 22))


def test_a_full_disk_is_one_line_and_costs_no_record(tmp_path):
    """RLIMIT_FSIZE stands for the full disk: the write ends within a record."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Spool(tmp_path, SIZE) as spool:
        for i in range(40):
            spool.append(record(0, i))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40 * SLOT + 7, before[1]))
            with pytest.raises(SpoolFull, match="cannot store a record: File too large"):
                spool.append(record(0, 40))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        spool.append(record(0, 40))
        assert contents(spool) == [record(0, i) for i in range(41)]


def test_a_spool_is_locked_while_it_is_open(tmp_path):
    with (
        small(tmp_path),
        pytest.raises(UserError, match=f"is in use by process {os.getpid()}"),
    ):
        small(tmp_path)
    small(tmp_path).close()


def test_records_of_another_size_are_refused(tmp_path):
    with small(tmp_path) as spool, pytest.raises(ValueError, match="a record of 23 bytes"):
        spool.append(b"x" * 23)
    with pytest.raises(UserError, match="records of 24 bytes, this experiment's have 32"):
        Spool(tmp_path, 32)


def test_a_damaged_state_file_is_named(tmp_path):
    small(tmp_path).close()
    (tmp_path / "spool.json").write_text("{")
    with pytest.raises(CorruptFile, match=r"spool\.json is damaged"):
        small(tmp_path)


def test_a_spool_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be opened: Not a directory"):
        small(tmp_path / "file" / "spool")


def test_the_timer_brings_records_to_the_medium(tmp_path, until):
    with small(tmp_path, sync_s=0.02) as spool:
        for i in range(6):
            spool.append(record(0, i))
        until(lambda: '"synced": 6' in (tmp_path / "spool.json").read_text(), "the sync")


def test_a_failing_disk_reaches_the_appending_thread(tmp_path, until, monkeypatch):
    with small(tmp_path, sync_s=0.02) as spool:

        def broken(_):
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", broken)
            spool.append(record(0, 0))
            until(lambda: spool._failure is not None, "the failure to be noticed")
        with pytest.raises(UserError, match="cannot be written to disk: Input/output error"):
            spool.append(record(0, 1))


def _forget_synced(path: Path) -> None:
    """As if the process had been killed: nothing says what is safely on the medium."""
    import json

    state = json.loads((path / "spool.json").read_text())
    state["synced"] = 0
    (path / "spool.json").write_text(json.dumps(state))
