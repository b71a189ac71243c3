"""Kept features: which crop, whose trunk, what survives; the encoder thread; batches of them."""

import contextlib
import importlib.util
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import serl.data.columns
import serl.data.replay
from serl.data.mixing import MixedSampler, encoded
from serl.data.records import BadRecord
from serl.data.replay import NoWindows, Replay
from serl.encoder import Encoder
from serl.errors import UserError
from serl.pixels import shifted

HERE = Path(__file__).parent


def make(kit, folder, capacity=200, layout=None, **options):
    layout = kit.layout() if layout is None else layout
    return Replay(folder, kit.wide_spec(), capacity, features=layout, segment_bytes=2000, **options)


def fill(kit, replay):
    while replay.encode_next(kit.encode):
        pass


def check_features(kit, replay, drawn):
    """Every feature drawn is that of its own row's frame, shifted by its own crop's offset; rows
    tell in obs/state which record they are."""
    keys = drawn.obs["state"].astype(int)
    for column, camera in enumerate(("front", "wrist")):
        crops = drawn.crops[camera]
        stacked = keys.ndim - 1 > crops.ndim
        crops = np.broadcast_to(crops[..., None] if stacked else crops, keys.shape[:-1])
        expected = np.empty(drawn.obs[camera].shape, drawn.obs[camera].dtype)
        for place in np.ndindex(*crops.shape):
            actor, episode, index = keys[place]
            frame = kit.records(kit.image_spec(), actor, episode, index, 1)[f"obs/{camera}"]
            seq = replay.rows_of(f"actor-{actor}", episode)
            assert len(seq), "evicted meanwhile"
            first = replay_index(replay, seq[0])
            offsets = replay.crop_offsets(seq[index - first : index - first + 1])
            features = kit.encode(frame, offsets[:, column, crops[place]])
            expected[place] = features[0].view(ml_dtypes.bfloat16)
        np.testing.assert_array_equal(drawn.obs[camera], expected)


def replay_index(replay, seq):
    return int(replay._columns.take("index", np.array(seq)))


def test_the_first_crop_is_the_frame_as_it_is_and_others_are_shifts(kit, folder):
    with make(kit, folder) as replay:
        replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 30))
        with pytest.raises(NoWindows):
            replay.sample(np.random.default_rng(0), (5,), features=True)
        assert replay.encode_next(kit.encode, 40, first_only=True) == 60
        assert replay.encode_next(kit.encode, 40, first_only=True) == 0
        drawn = replay.sample(np.random.default_rng(0), (50,), features=True)
        assert drawn.obs["front"].dtype == ml_dtypes.bfloat16
        assert drawn.obs["front"].shape == (50, 2, 2, 2, 3)
        assert not drawn.crops["front"].any()
        frames = replay.sample(np.random.default_rng(0), (50,), fields=("obs/front",)).obs["front"]
        whole = kit.encode(frames.reshape(-1, 6, 5, 3), np.ones((100, 2), np.int32))
        np.testing.assert_array_equal(
            drawn.obs["front"].reshape(-1, 2, 2, 3).view(np.uint16), whole
        )
        fill(kit, replay)
        drawn = replay.sample(np.random.default_rng(0), (300,), features=True)
        check_features(kit, replay, drawn)
        for camera in ("front", "wrist"):
            counts = np.bincount(drawn.crops[camera].ravel())
            assert (abs(counts - 200) < 60).all(), counts
        apart = drawn.crops["front"] != drawn.crops["wrist"]
        assert apart.any()
        assert (drawn.crops["front"][:, 0] != drawn.crops["front"][:, 1]).any()


def test_an_actors_features_are_used_only_if_its_trunk_is_the_learners(kit, folder):
    rows = kit.records(kit.image_spec(), 0, 0, 0, 10)
    with make(kit, folder) as replay:
        replay.append("actor-0", kit.wide(rows, kit.layout().number))
        assert replay.transitions == 9
        replay.append("actor-1", kit.wide(rows, kit.layout().number + 1, right=False))
        assert replay.transitions == 9
        assert replay.steps_ready == 9
        check_features(kit, replay, replay.sample(np.random.default_rng(0), (50,), features=True))


@pytest.mark.parametrize("bits", [0x7F80, 0xFF80, 0x7FC1])
def test_features_that_are_not_finite_are_refused_by_name(kit, folder, bits):
    rows = kit.wide(kit.records(kit.image_spec(), 0, 0, 0, 10), kit.layout().number)
    rows["extra/feature.wrist"][4, 1, 0, 2] = bits
    with make(kit, folder) as replay:
        with pytest.raises(BadRecord, match=r"feature\.wrist is not finite in episode 0, index 4"):
            replay.append("actor-0", rows)
        assert len(replay) == 0
        rows["extra/feature.trunk"] += 1
        assert replay.append("actor-0", rows) == 10


def test_without_a_layout_features_are_dropped_and_the_folder_fits_any_trunk(kit, folder):
    rows = kit.records(kit.image_spec(), 0, 0, 0, 10)
    with Replay(folder, kit.wide_spec(), 200) as replay:
        assert replay.append("actor-0", kit.wide(rows, 1, right=False)) == 10
        assert replay.transitions == replay.steps_ready == 9
        with pytest.raises(UserError, match="keeps no features"):
            replay.sample(np.random.default_rng(0), (5,), features=True)
        (episode,) = replay.iter_episodes()
        assert not episode.records["extra/feature.front"].any()
    with Replay(folder, kit.image_spec(), 200) as replay:
        assert len(replay) == 10
    with make(kit, folder) as replay:
        assert (replay.transitions, replay.ready, replay.backlog) == (0, 0, 60)


def test_an_unknown_camera_is_refused(kit, folder):
    with pytest.raises(UserError, match="'side'"):
        make(kit, folder, layout=kit.layout(cameras=("front", "side")))


@pytest.mark.parametrize("change", [{"crops": 2}, {"shift_px": 2}, {"trunk": "bb"}, None])
def test_features_of_another_layout_are_made_anew(kit, folder, change):
    with make(kit, folder) as replay:
        replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 10))
        fill(kit, replay)
    with make(kit, folder, layout=kit.layout(**(change or {}))) as replay:
        assert (replay.transitions == 0) == (change is not None)
        assert len(replay) == 10


@pytest.mark.parametrize("crash", [False, True], ids=["restarted", "crashed"])
def test_a_host_that_went_down_costs_features_and_one_that_was_shut_down_does_not(
    kit, folder, monkeypatch, crash
):
    replay = make(kit, folder / "a")
    replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 10))
    fill(kit, replay)
    replay.sync()
    if crash:
        shutil.copytree(folder / "a", folder / "b")
    replay.close()
    monkeypatch.setattr(serl.data.replay, "boot_id", lambda: "another boot")
    with make(kit, folder / ("b" if crash else "a")) as replay:
        assert len(replay) == 10
        assert replay.transitions == (0 if crash else 9)


def test_what_a_kill_cut_off_is_never_taken_for_later_rows_features(kit, folder):
    """Also when the rows that take its place are committed without features."""
    replay = make(kit, folder / "a", sync_s=100.0)
    replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 5))
    cut = (folder / "a" / "journal.log").stat().st_size
    replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 5, 5))
    fill(kit, replay)
    shutil.copytree(folder / "a", folder / "b")
    replay.close()
    with (folder / "b" / "journal.log").open("r+b") as file:
        file.truncate(cut)
    with Replay(folder / "b", kit.wide_spec(), 200, segment_bytes=2000) as replay:
        replay.append("actor-1", kit.records(kit.image_spec(), 1, 3, 0, 5))
    with make(kit, folder / "b") as replay:
        assert replay.ready == 5
        fill(kit, replay)
        check_features(kit, replay, replay.sample(np.random.default_rng(0), (50,), features=True))


def test_a_stack_shows_one_crop_in_all_its_frames(kit, folder):
    with make(kit, folder / "loose") as replay:
        replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 3))
        with pytest.raises(UserError, match="per_episode"):
            replay.sample(np.random.default_rng(0), (4,), features=True, stack=3)
    with make(kit, folder / "r", layout=kit.layout(per_episode=True)) as replay:
        for episode in range(3):
            replay.append("actor-0", kit.records(kit.image_spec(), 0, episode, 0, 7))
        for _ in range(8):
            replay.encode_next(kit.encode, 10)  # rows with 2 and with 3 crops
        drawn = replay.sample(np.random.default_rng(0), (80,), features=True, stack=3, ends=True)
        assert drawn.obs["front"].shape == (80, 2, 3, 2, 2, 3)
        assert drawn.crops["front"].shape == (80, 2)
        assert set(drawn.crops["front"].ravel()) == {0, 1, 2}
        check_features(kit, replay, drawn)
        batch = MixedSampler(replay, None, features=True, stack=3).sample(
            np.random.default_rng(0), 2, 8
        )
        assert batch["obs"]["front"].shape == (2, 8, 3, 2, 2, 3)
        assert batch["obs"]["state"].shape == (2, 8, 3, 3)


def test_batches_hold_features_instead_of_frames(kit, folder):
    demos = make(kit, folder / "demos")
    online = make(kit, folder / "online")
    with demos, online:
        demos.append("demos", kit.records(kit.image_spec(), 9, 0, 0, 8))
        online.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 8))
        fill(kit, demos)
        fill(kit, online)
        batch = MixedSampler(online, demos, features=True).sample(np.random.default_rng(0), 3, 8)
    for side in ("obs", "next_obs"):
        assert batch[side]["front"].shape == (3, 8, 2, 2, 3)
        assert batch[side]["wrist"].dtype == ml_dtypes.bfloat16
        assert batch[side]["state"].dtype == np.float32
    assert batch["extra"] == {}


def test_a_batch_encoded_when_drawn_has_a_shift_per_sample_side_and_camera(kit, folder):
    with Replay(folder, kit.wide_spec(), 200) as replay:
        replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 40))
        frames = MixedSampler(replay, None, stack=2).sample(np.random.default_rng(0), 3, 8)
    seen = []

    def encode(views, offsets):
        seen.append(offsets)
        return kit.encode(views, offsets)

    rng = np.random.default_rng(1)
    batch = encoded(rng, frames, ("front", "wrist"), encode, shift_px=1)
    assert batch["obs"]["front"].shape == (3, 8, 2, 2, 2, 3)
    assert frames["obs"]["front"].dtype == np.uint8
    np.testing.assert_array_equal(batch["obs"]["state"], frames["obs"]["state"])
    assert len(seen) == 4
    for offsets in seen:
        pairs = offsets.reshape(24, 2, 2)  # (U x B, T, row and column)
        np.testing.assert_array_equal(pairs[:, 0], pairs[:, 1])
        assert len(np.unique(pairs[:, 0], axis=0)) > 5
    assert not any((a == b).all() for k, a in enumerate(seen) for b in seen[:k])
    flat = shifted(frames["next_obs"]["wrist"].reshape(48, 4, 4, 3), seen[3], 1)
    expected = kit.encode(flat, np.ones((48, 2), np.int32)).view(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(
        batch["next_obs"]["wrist"], expected.reshape(batch["next_obs"]["wrist"].shape)
    )


def test_the_encoder_gives_every_row_its_first_crop_before_any_its_second(kit, folder):
    calls: list[int] = []
    with make(kit, folder / "a") as online, make(kit, folder / "b") as demos:
        online.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 10))
        demos.append("demos", kit.records(kit.image_spec(), 9, 0, 0, 10))

        def encode(frames, offsets):
            calls.append(int((offsets != 1).any()))
            return kit.encode(frames, offsets)

        with Encoder(encode, (online, demos), rows=4) as encoder:
            wait_until(lambda: online.backlog + demos.backlog == 0, encoder)
            metrics = encoder.metrics()
        assert calls[:12] == [0] * 12  # 3 calls for each camera of each replay
        assert sum(calls[12:]) > 0
        assert online.transitions == demos.transitions == 9
    assert metrics["encoder/backlog_crops"] == metrics["encoder/rows_waiting"] == 0
    assert metrics["encoder/crops_per_s"] > 0


def test_demonstrations_get_all_crops_and_are_cached_while_online_rows_keep_coming(kit, folder):
    """On two cores the online backlog stands for the whole run: demos kept one crop for ever."""
    written = []

    class Cache:
        def write_one(self):
            done = not written and demos.backlog == 0
            written.extend([True] * done)
            return done

    with make(kit, folder / "a") as online, make(kit, folder / "b") as demos:
        demos.append("demos", kit.records(kit.image_spec(), 9, 0, 0, 10))
        online.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 10))
        waiting = []

        def encode(frames, offsets):
            if not waiting and written:
                waiting.append(online.backlog)
            return kit.encode(frames, offsets)

        with Encoder(encode, (online, demos), caches=[Cache()], rows=4) as encoder:  # pyright: ignore
            wait_until(lambda: online.backlog + demos.backlog == 0, encoder)
        assert waiting[0] >= 10, "the demos were full and on disk before any second crop online"


def test_what_the_encoder_fails_with_reaches_the_main_loop(kit, folder):
    def encode(frames, offsets):
        raise UserError("the trunk is broken")

    with make(kit, folder) as replay, Encoder(encode, (replay,)) as encoder:
        encoder.check()
        replay.append("actor-0", kit.records(kit.image_spec(), 0, 0, 0, 10))
        with pytest.raises(UserError, match="trunk is broken"):
            wait_until(lambda: replay.ready == 10, encoder)


def test_features_are_right_while_two_actors_write_and_the_encoder_runs(kit, folder):
    """The ring goes round several times. What is drawn may be evicted before it is compared, so
    offsets come from the frame's key here too."""
    told: list[int] = []
    with make(kit, folder, 150, on_ready=told.append, sync_s=0.02) as replay:
        with Encoder(kit.encode, (replay,), rows=8) as encoder:
            writers = [
                threading.Thread(target=write, args=(kit, replay, actor)) for actor in range(2)
            ]
            for writer in writers:
                writer.start()
            rng = np.random.default_rng(0)
            while any(writer.is_alive() for writer in writers):
                encoder.check()
                with contextlib.suppress(NoWindows):  # the writers are a ring ahead
                    drawn = replay.sample(rng, (20,), 2, features=True)
                    keys = drawn.obs["state"]
                    assert (np.diff(keys[..., 2]) == 1).all()
                    unshifted = drawn.crops["front"] == 0
                    frames = [
                        kit.records(kit.image_spec(), int(a), int(e), int(i), 1)["obs/front"][0]
                        for a, e, i in keys[unshifted]
                    ]
                    if frames:
                        expected = kit.encode(np.array(frames), np.ones((len(frames), 2), int))
                        found = drawn.obs["front"][unshifted].view(np.uint16)
                        np.testing.assert_array_equal(found, expected)
            wait_until(lambda: replay.backlog == 0, encoder)
        assert replay.records_committed == replay.ready == 2 * 60 * 20
        assert sum(told) == replay.steps_ready == 2 * 60 * 19


def write(kit, replay, actor):
    for episode in range(60):
        rows = kit.records(kit.image_spec(), actor, episode, 0, 20)
        for k in range(0, 20, 5):
            replay.append(f"actor-{actor}", rows[k : k + 5])


def wait_until(done, encoder, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not done():
        encoder.check()
        assert time.monotonic() < deadline
        time.sleep(0.002)


WRITER = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import test_features as t

kit = t.load_kit()
with t.make(kit, sys.argv[2], 150, sync_s=0.02) as replay:
    with t.Encoder(kit.encode, (replay,), rows=8) as encoder:
        print("up", flush=True)
        done = replay.high_water("actor-0") or (0, -1)
        for episode in range(done[0] + 1, 10**6):
            rows = kit.records(kit.image_spec(), 0, episode, 0, 20)
            for k in range(0, 20, 5):
                replay.append("actor-0", rows[k : k + 5])
            while replay.records_committed - replay.ready > 20:
                encoder.check()
"""


def load_kit():
    """The fixture `kit` where there is no pytest."""
    spec = importlib.util.spec_from_file_location("kit", HERE / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.kit.__wrapped__()


def test_a_killed_learner_leaves_only_whole_features(kit, folder):
    rng = np.random.default_rng(0)
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(HERE), str(folder / "r")]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"up\n"
            time.sleep(rng.uniform(0.0, 0.4))
            writer.send_signal(signal.SIGKILL)
        with make(kit, folder / "r", 150) as replay:
            if replay.transitions > 5:
                assert replay.records_committed - replay.ready <= 100
                drawn = replay.sample(np.random.default_rng(0), (100,), features=True)
                check_features(kit, replay, drawn)
    assert replay.ready > 0


def test_a_disk_that_is_full_for_features_loses_nothing(kit, folder, monkeypatch):
    allocate, full = serl.data.columns._allocate, True

    def refuse(file, size):
        if full and "features" in str(file):
            raise OSError(28, "No space left on device")
        allocate(file, size)

    monkeypatch.setattr(serl.data.columns, "GROWTH_BYTES", 1)
    rows = kit.records(kit.image_spec(), 0, 0, 0, 150)
    with make(kit, folder, sync_s=100.0) as replay:  # with room for 64 rows
        monkeypatch.setattr(serl.data.columns, "_allocate", refuse)
        replay.append("actor-0", rows[:50])
        with pytest.raises(UserError, match="free disk space"):
            replay.append("actor-0", rows[50:])
        assert replay.records_committed == 50
        fill(kit, replay)
        full = False
        assert replay.append("actor-0", rows) == 100
        fill(kit, replay)
        assert replay.transitions == 149
        check_features(kit, replay, replay.sample(np.random.default_rng(0), (50,), features=True))


def test_features_stay_within_the_frames_budget_too(kit, folder):
    layout = kit.layout(crops=200)  # 9600 B a row, of which the frames are 138
    with make(kit, folder, layout=layout, frames_budget_bytes=100_000) as replay:
        for episode in range(20):
            replay.append("actor-0", kit.records(kit.image_spec(), 0, episode, 0, 7))
            assert replay.encode_next(kit.encode) == 14
        assert len(replay) == 10
        assert replay.ready == 140
        check_features(kit, replay, replay.sample(np.random.default_rng(0), (50,), features=True))
