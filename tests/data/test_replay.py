"""What the replay takes, refuses, keeps and draws."""

import threading
import tracemalloc
import zlib

import numpy as np
import pytest
import zstandard

from serl.data.frames import HEAD, PLAIN, Layout, Segment, differences, undo_differences
from serl.data.index import WindowIndex
from serl.data.records import BadRecord
from serl.data.replay import NoWindows, Replay
from serl.errors import UserError
from serl.types import ArraySpec, Source, Spec, record_dtype


@pytest.fixture
def replay(kit, folder):
    with Replay(folder, kit.state_spec(), 1000, sync_s=100.0) as opened:
        yield opened


def test_what_was_sent_before_is_dropped(kit, replay):
    rows = kit.records(kit.state_spec(), 1, 0, 0, 10)
    assert replay.append("one", rows[:6]) == 6
    assert replay.append("one", rows[:6]) == 0
    assert replay.append("one", rows[2:10]) == 4
    assert replay.high_water("one") == (0, 9)
    assert replay.high_water("two") is None
    assert len(replay) == 10
    assert replay.transitions == 9


def test_a_restarted_actor_loses_nothing_and_repeats_nothing(kit, folder):
    """agentlace numbered items from 0 again after a restart and dropped the first ones (serl.md
    5.5); with learner restarts, everything was sent and stored twice."""
    spec = kit.state_spec()
    sent = [kit.records(spec, 1, e, 0, 5) for e in range(4)]
    with Replay(folder, spec, 100) as replay:
        assert replay.append("one", np.concatenate(sent[:2])) == 10
    with Replay(folder, spec, 100) as replay:  # the learner restarts, the actor sends all again
        assert replay.append("one", np.concatenate(sent)) == 10
        keys = [(e.episode, len(e.records)) for e in replay.iter_episodes()]
    assert keys == [(0, 5), (1, 5), (2, 5), (3, 5)]


def broken(rows: np.ndarray, name: str, at: object, value: object) -> np.ndarray:
    rows = rows.copy()
    rows[name][at] = value
    return rows


@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("obs/state", (3, 1), np.nan, r"obs/state\[1\] is nan in episode 0, index 3"),
        ("action", (2, 0), np.inf, r"action\[0\] is inf"),
        ("requested_action", (2, 0), np.nan, "requested_action"),
        ("reward", 4, np.nan, "reward"),
        ("weight", 4, np.nan, "weight"),
        ("extra/penalty", (1, 0), np.nan, "extra/penalty"),
        ("source", 2, 99, "source: 99 is unknown"),
        ("reward_source", 2, 9, "reward_source: 9 is unknown"),
        ("index", 3, 7, "index: episode 0 has 7 where 3"),
        ("episode", slice(3, None), 1, "index: episode 1 has 3 where 0"),
    ],
)
def test_a_bad_record_is_refused_by_field_and_nothing_is_written(
    kit, replay, name, at, value, message
):
    rows = kit.records(kit.state_spec(), 1, 0, 0, 6)
    with pytest.raises(BadRecord, match=message):
        replay.append("one", broken(rows, name, at, value))
    assert len(replay) == 0
    assert replay.high_water("one") is None
    assert replay.append("one", rows) == 6


def test_a_flag_that_is_neither_true_nor_false_is_refused(kit, replay):
    rows = kit.records(kit.state_spec(), 1, 0, 0, 6)
    rows["terminated"].view(np.uint8)[2] = 7
    with pytest.raises(BadRecord, match="terminated: a flag byte"):
        replay.append("one", rows)


def test_a_gap_after_what_is_known_is_refused(kit, replay):
    spec = kit.state_spec()
    replay.append("one", kit.records(spec, 1, 0, 0, 5))
    with pytest.raises(BadRecord, match="episode 0 has 6 where 5"):
        replay.append("one", kit.records(spec, 1, 0, 6, 2))
    with pytest.raises(BadRecord, match="episode 2 has 1 where 0"):
        replay.append("one", kit.records(spec, 1, 2, 1, 2))
    assert replay.append("one", kit.records(spec, 1, 2, 0, 2)) == 2  # an episode may be skipped


def test_records_of_another_spec_are_refused_by_the_first_field(kit, replay):
    rows = kit.records(kit.image_spec(), 1, 0, 0, 3)
    with pytest.raises(BadRecord, match="extra/penalty: missing"):
        replay.append("one", rows)
    with pytest.raises(BadRecord, match="expected rows of"):
        replay.append("one", np.zeros(3))


def test_an_empty_replay_says_so_and_never_spins(kit, replay):
    """D-R2: rejection sampling span for ever when nothing in a small buffer was valid."""
    rng = np.random.default_rng(0)
    with pytest.raises(NoWindows, match=r"no transitions .* among 0 records"):
        replay.sample(rng, (8,))
    for episode in range(5):  # first observations only: records, but not one transition
        replay.append("one", kit.records(kit.state_spec(), 1, episode, 0, 1))
    with pytest.raises(NoWindows, match="among 5 records"):
        replay.sample(rng, (8,))
    replay.append("one", kit.records(kit.state_spec(), 1, 4, 1, 1))
    assert (replay.sample(rng, (8,)).seqs == [4, 5]).all()  # the only one, at once
    with pytest.raises(NoWindows, match="windows of 2"):
        replay.sample(rng, (8,), horizon=2)
    with pytest.raises(NoWindows, match="chosen by a human"):
        replay.sample(rng, (8,), where="interventions")


def test_waiting_says_what_it_waits_for_and_ends(kit, replay, caplog):
    caplog.set_level("INFO")
    assert not replay.wait_for(3, timeout_s=0.05)
    assert "waiting for 3 transitions for the first update; there are 0" in caplog.text
    rows = kit.records(kit.state_spec(), 1, 0, 0, 9)
    later = threading.Timer(0.1, replay.append, ("one", rows))
    later.start()
    assert replay.wait_for(3, timeout_s=30.0)
    later.join()


def test_every_transition_is_equally_likely(kit, replay):
    """Chi-squared of 40 000 draws over windows that wrap, straddle and interleave."""
    for episode in range(40):
        for actor in range(3):
            rows = kit.records(kit.state_spec(), actor, episode, 0, 5 + episode % 9 + actor)
            replay.append(f"actor-{actor}", rows)
    rng = np.random.default_rng(0)
    for horizon, where in ((1, "all"), (3, "all"), (1, "interventions")):
        n = replay.windows(horizon, where)
        ends = replay.sample(rng, (40_000,), horizon, where, ()).seqs[:, -1]
        counts = np.unique(ends, return_counts=True)[1]
        assert len(counts) == n
        chi2 = ((counts - 40_000 / n) ** 2 / (40_000 / n)).sum()
        assert abs(chi2 - (n - 1)) < 5 * np.sqrt(2 * (n - 1))


def test_a_new_segment_never_starts_with_the_previous_segments_image(kit, folder):
    """D-R1: after a gap, SERL's image buffer paired a transition with the last image of the
    segment before it (state t=20 with image 8)."""
    spec = kit.image_spec()
    with Replay(folder, spec, 60, segment_bytes=700, sync_s=100.0) as replay:
        for episode in range(20):  # segments that end truncated, terminated, or just end
            for actor in range(2):
                replay.append(
                    f"actor-{actor}", kit.records(spec, actor, episode, 0, 2 + episode % 5)
                )
        names = ("obs/front", "obs/wrist", "obs/state")
        drawn = replay.sample(np.random.default_rng(0), (500,), fields=names)
    for image in ("front", "wrist"):
        a, e, i = np.moveaxis(drawn.obs["state"], -1, 0)
        np.testing.assert_array_equal(drawn.obs[image][..., 0, 0, 0], (31 * a + 7 * e + i) % 256)
    assert (np.diff(drawn.obs["state"][..., 2], axis=-1) == 1).all()


def test_a_truncated_last_step_is_never_followed_by_the_next_episode(kit, replay):
    """peers.md 1.16 item 2: LeRobot's next state of a time-out was the next episode's first."""
    for episode in range(10):
        rows = kit.records(kit.state_spec(), 1, episode, 0, 6)
        rows["truncated"][-1] = True
        replay.append("one", rows)
    drawn = replay.sample(np.random.default_rng(0), (400,))
    last = drawn.steps["truncated"][:, 0]
    assert last.any()
    state = drawn.obs["state"]
    assert (state[:, 0, 1] == state[:, 1, 1]).all()  # one episode
    assert (state[last, 1, 2] == 5).all()  # the time-out's own observation


def test_intervention_steps_are_followed_by_what_followed_them(kit, replay):
    """peers.md 1.16 item 1: a buffer of intervention steps alone took the next stored step, from
    another time or episode, as the next state."""
    for episode in range(6):
        replay.append("one", kit.records(kit.state_spec(), 1, episode, 0, 12))
    drawn = replay.sample(np.random.default_rng(0), (300,), where="interventions")
    assert (drawn.steps["source"] == Source.HUMAN).all()
    assert (drawn.obs["state"][:, 1, 2] == drawn.obs["state"][:, 0, 2] + 1).all()
    assert replay.interventions == 3 * 4  # index 1, 4, 7, 10 of odd episodes


def test_windows_cut_short_end_with_their_episode(kit, replay):
    for episode in range(8):
        replay.append("one", kit.records(kit.state_spec(), 1, episode, 0, 4))
    drawn = replay.sample(np.random.default_rng(0), (300,), horizon=5, whole=False)
    first = drawn.obs["state"][:, 0, 2]
    np.testing.assert_array_equal(drawn.valid.sum(axis=1), 3 - first)
    at = drawn.obs["state"][..., 2]
    np.testing.assert_array_equal(at, np.minimum(first[:, None] + np.arange(6), 3))


def test_frames_are_read_only_when_asked_for(kit, folder, monkeypatch):
    spec = kit.image_spec()
    with Replay(folder, spec, 100, sync_s=100.0) as replay:
        replay.append("one", kit.records(spec, 1, 0, 0, 30))
        reads: list[str] = []
        store = replay._frames
        assert store is not None
        read = store.read
        monkeypatch.setattr(store, "read", lambda s, n, p: reads.append(n) or read(s, n, p))
        rng = np.random.default_rng(0)
        assert set(replay.sample(rng, (4,)).obs) == {"state"}
        assert reads == []
        replay.sample(rng, (4,), fields=("obs/front",))
        assert reads == ["obs/front"]
        with pytest.raises(UserError, match="no record field 'obs/wirst'"):
            replay.sample(rng, (4,), fields=("obs/wirst",))


def test_a_frame_is_stored_once_and_not_in_memory(kit, folder):
    """D-R8, D-R7: SERL's actor kept each frame twice in queues and every full-size frame in a
    list. Here 2000 rows of frames are on disk once, and memory does not grow with them."""
    spec = kit.image_spec()
    row = 6 * 5 * 3 + 4 * 4 * 3
    episodes = [kit.records(spec, 1, e, 0, 100) for e in range(20)]
    with Replay(folder, spec, 5000, segment_bytes=20_000, sync_s=100.0) as replay:
        replay.append("one", episodes[0])
        tracemalloc.start()
        for rows in episodes[1:]:
            replay.append("one", rows)
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert replay.nbytes_frames == 2000 * row
        assert grown < 1900 * row / 4


@pytest.mark.parametrize("kind", ["smooth", "random"])
def test_compressed_frames_are_the_same_frames(folder, kind):
    camera = ArraySpec(name="front", shape=(64, 64, 3), dtype="uint8")
    action = ArraySpec(name="action", shape=(1,), dtype="float32")
    spec = Spec(observation=(camera,), action=action)
    rng = np.random.default_rng(0)
    rows = np.zeros(50, record_dtype(spec))
    rows["index"] = np.arange(50)
    ramp = np.add.outer(np.arange(50), np.arange(64) // 2)[:, :, None, None]
    rows["obs/front"] = ramp if kind == "smooth" else rng.integers(0, 256, (50, 64, 64, 3))
    with Replay(folder, spec, 100, segment_bytes=10 * 64 * 64 * 3, sync_s=100.0) as replay:
        replay.append("one", rows)
        before = replay.nbytes_frames
        replay.sync()
        replay.compress()
        assert len(list((folder / "frames").glob("*.sealed"))) == 5
        assert replay.nbytes_frames < before * (0.2 if kind == "smooth" else 1.01)
        (episode,) = replay.iter_episodes()
        np.testing.assert_array_equal(episode.records["obs/front"], rows["obs/front"])


@pytest.mark.parametrize("height", [1, 2, 3, 37, 128])
def test_differences_of_rows_are_undone(height):
    frame = np.random.default_rng(0).integers(0, 256, (height, 5, 3), np.uint8)
    changed = differences(frame)
    np.testing.assert_array_equal(changed[0], frame[0])
    undo_differences(changed)
    np.testing.assert_array_equal(changed, frame)


def test_a_noisy_camera_frame_shrinks_to_within_its_noise(folder):
    """sigma 3 of 255 is 3.6 bits a byte; goal of issue 4: at most 34 kB for 128x128x3."""
    camera = ArraySpec(name="front", shape=(128, 128, 3), dtype="uint8")
    action = ArraySpec(name="action", shape=(1,), dtype="float32")
    spec = Spec(observation=(camera,), action=action)
    rows = np.zeros(20, record_dtype(spec))
    rows["index"] = np.arange(20)
    blocks = np.random.default_rng(0).integers(10, 245, (20, 8, 8, 3))
    noise = np.random.default_rng(1).normal(0, 3, (20, 128, 128, 3))
    rows["obs/front"] = np.clip(blocks.repeat(16, 1).repeat(16, 2) + noise, 0, 255)
    with Replay(folder, spec, 100, segment_bytes=10 * 128 * 128 * 3, sync_s=100.0) as replay:
        replay.append("one", rows)
        replay.sync()
        replay.compress()
        assert replay.nbytes_frames / 20 < 30_000
        (episode,) = replay.iter_episodes()
        np.testing.assert_array_equal(episode.records["obs/front"], rows["obs/front"])


def test_segments_of_the_earlier_format_are_still_read(folder, kit):
    layout = Layout.of(record_dtype(kit.image_spec()), ("obs/front", "obs/wrist"))
    rows = kit.records(kit.image_spec(), 1, 0, 0, 3)
    packed = [
        zstandard.compress(rows[name][k].tobytes()) for k in range(3) for name in layout.fields
    ]
    sizes = np.cumsum([0, *map(len, packed)])
    table = (sizes + HEAD.size + 8 * len(sizes)).astype("<u8").tobytes()
    path = folder / "000000000.sealed"
    path.write_bytes(HEAD.pack(PLAIN, 6, zlib.crc32(table)) + table + b"".join(packed))
    segment, unpack = Segment(path, layout), zstandard.ZstdDecompressor()
    for name in layout.fields:
        frame = np.empty(layout.shapes[name], np.uint8)
        segment.read(2, name, frame, unpack)
        np.testing.assert_array_equal(frame, rows[name][2])


def test_frames_leave_by_whole_segments_when_their_budget_is_spent(kit, folder):
    spec, row = kit.image_spec(), 6 * 5 * 3 + 4 * 4 * 3
    per, budget = 10, 60 * row
    with Replay(folder, spec, 10_000, budget, segment_bytes=per * row, sync_s=100.0) as replay:
        for episode in range(40):
            replay.append("one", kit.records(spec, 1, episode, 0, 7))
            replay.sync()
            assert len(replay) <= 60 + per
            assert replay.nbytes_frames <= budget + per * row
            oldest = replay.records_committed - len(replay)
            assert oldest % per == 0
        assert len(replay) > 60 - per
        drawn = replay.sample(np.random.default_rng(0), (200,), fields=("obs/wrist", "obs/state"))
        a, e, i = np.moveaxis(drawn.obs["state"], -1, 0)
        np.testing.assert_array_equal(drawn.obs["wrist"][..., 0, 0, 0], (31 * a + 7 * e + i) % 256)


def test_reopening_reads_the_journal_and_not_the_rows(kit, folder, monkeypatch):
    spec = kit.state_spec()
    with Replay(folder, spec, 100_000) as replay:
        replay.append("one", kit.records(spec, 1, 0, 0, 50_000))
        count = replay.transitions
    built: list[int] = []
    make = WindowIndex.__init__
    monkeypatch.setattr(
        WindowIndex, "__init__", lambda self, *a, **k: built.append(1) or make(self, *a, **k)
    )
    with Replay(folder, spec, 100_000) as replay:
        assert len(replay) == 50_000
        assert built == []
        assert replay.transitions == count


def test_a_long_journal_is_folded_into_a_snapshot(kit, folder, monkeypatch):
    monkeypatch.setattr("serl.data.replay.JOURNAL_LINES", 20)
    spec = kit.state_spec()
    with Replay(folder, spec, 100, sync_s=100.0) as replay:
        for episode in range(60):
            replay.append(f"actor-{episode % 2}", kit.records(spec, 1, episode, 0, 3))
            replay.sync()
        assert len((folder / "journal.log").read_bytes().splitlines()) <= 24
        marks, episodes = replay.actors(), replay.episodes
    with Replay(folder, spec, 100) as replay:
        assert replay.actors() == marks == {"actor-0": (58, 2), "actor-1": (59, 2)}
        assert replay.episodes == episodes == 60
        assert replay.records_committed == 180


def test_one_thread_appends_while_another_samples(kit, folder):
    """Every drawn window is one episode's, in order, whatever is evicted meanwhile."""
    spec = kit.image_spec()
    with Replay(folder, spec, 200, segment_bytes=2000, sync_s=0.02) as replay:
        replay.append("actor-0", kit.records(spec, 0, 0, 0, 20))
        failures: list[BaseException] = []
        done = threading.Event()

        def write(actor: int) -> None:
            try:
                for episode in range(1, 120):
                    rows = kit.records(spec, actor, episode, 0, 20)
                    for k in range(0, 20, 4):
                        replay.append(f"actor-{actor}", rows[k : k + 4])
            except BaseException as error:
                failures.append(error)
            finally:
                done.set()

        writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
        for thread in writers:
            thread.start()
        rng = np.random.default_rng(0)
        rounds = 0
        while not done.is_set() or rounds < 20:
            drawn = replay.sample(rng, (30,), 2, fields=("obs/state", "obs/front"))
            a, e, i = np.moveaxis(drawn.obs["state"], -1, 0)
            assert (np.diff(a) == 0).all()
            assert (np.diff(e) == 0).all()
            assert (np.diff(i) == 1).all()
            shown = drawn.obs["front"][..., 0, 0, 0]
            np.testing.assert_array_equal(shown, (31 * a + 7 * e + i) % 256)
            rounds += 1
        for thread in writers:
            thread.join()
        assert failures == []


def test_a_failing_background_thread_reaches_the_caller(kit, folder, monkeypatch):
    replay = Replay(folder, kit.state_spec(), 100, sync_s=0.01)
    monkeypatch.setattr(replay._columns, "flush", lambda: 1 / 0)
    replay.append("one", kit.records(kit.state_spec(), 1, 0, 0, 3))
    thread = next(t for t in threading.enumerate() if t.name == "replay-sync")
    thread.join(30.0)
    with pytest.raises(RuntimeError, match="background thread") as caught:
        replay.sample(np.random.default_rng(0), (1,))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    monkeypatch.undo()
    replay.close()


def test_a_closed_replay_says_that_it_is_closed(kit, folder):
    replay = Replay(folder, kit.state_spec(), 100)
    replay.close()
    replay.close()
    with pytest.raises(UserError, match="is closed"):
        replay.append("one", kit.records(kit.state_spec(), 1, 0, 0, 3))
    with pytest.raises(UserError, match="is closed"):
        replay.sample(np.random.default_rng(0), (1,))


def test_nothing_on_disk_is_executable_data(kit, folder):
    """D-R6: SERL kept demos and weights as pickles. Rows and frames here are plain numbers."""
    with Replay(folder, kit.image_spec(), 100) as replay:
        replay.append("one", kit.records(kit.image_spec(), 1, 0, 0, 30))
    names = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert names <= {".bin", ".raw", ".sealed", ".json", ".log", ""}
    assert record_dtype(kit.image_spec()).hasobject is False


def test_an_episode_that_its_actor_left_unfinished_is_closed_as_aborted(kit, replay):
    """A kill in mid-episode leaves a prefix; it is told apart from the one still running."""
    for episode, ending in enumerate(("terminated", "truncated", "", "")):
        rows = kit.records(kit.state_spec(), 0, episode, 0, 3)
        if ending:
            rows[ending][-1] = True
        replay.append("a", rows)
    outcomes = [e.outcome for e in replay.iter_episodes()]
    assert outcomes == ["terminated", "truncated", "aborted", "running"]
