"""Kept features against frames shifted and encoded on the spot, through wraps, kills, reloads."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serl.data.replay import Replay

MEMORY = Path("/dev/shm")

SEND = st.tuples(st.just("send"), st.integers(0, 2), st.integers(1, 9))
NEW = st.tuples(st.just("new episode"), st.integers(0, 2), st.just(1))
ENCODE = st.tuples(st.just("encode"), st.integers(1, 9), st.booleans())
OTHERS = st.tuples(
    st.sampled_from(["reload", "kill", "seal", "without features", "another trunk"]),
    st.integers(0, 400),
    st.booleans(),
)
OPS = st.lists(st.one_of(SEND, SEND, NEW, ENCODE, ENCODE, OTHERS), min_size=1, max_size=25)


class Run:
    """The replay and its model, driven side by side."""

    def __init__(self, kit, capacity: int, budget: int, root: Path) -> None:
        self.kit, self.root, self.budget = kit, root, budget
        self.model = kit.Naive(capacity)
        self.generation, self.layout, self.told = 0, kit.layout(), 0
        self.replay = self.open()

    def open(self, features: bool = True) -> Replay:
        replay = Replay(
            self.root / str(self.generation),
            self.kit.wide_spec(),
            self.model.capacity,
            self.budget,
            features=self.layout if features else None,
            on_ready=self.hear,
            segment_bytes=700,
            sync_s=100.0,
        )
        self.base, self.told = replay.steps_ready, 0
        return replay

    def hear(self, steps: int) -> None:
        self.told += steps

    def reopen(self, features: bool = True) -> None:
        self.replay.close()
        self.replay = self.open(features)

    def send(self, actor: int, count: int, new_episode: bool) -> None:
        """Actor 0 sends no features, actor 1 the learner's trunk's, actor 2 those of another."""
        name = f"actor-{actor}"
        episode, index = self.model.high_water(name) or (0, -1)
        if new_episode:
            episode, index = episode + 1, -1
        rows = self.kit.records(self.kit.image_spec(), actor, episode, index + 1, count)
        self.model.append(name, rows)
        if actor:
            rows = self.kit.wide(rows, self.layout.number + actor - 1, actor == 1)
        assert self.replay.append(name, rows) == count

    def kill(self, cut: int, features: bool) -> None:
        before = self.counts()
        self.generation += 1
        fresh = self.root / str(self.generation)
        shutil.copytree(self.root / str(self.generation - 1), fresh)
        self.replay.close()
        text = (fresh / "journal.log").read_bytes()
        mark = max(text.rfind(b'"durable"'), text.index(b'"boot"'))
        kept = text[: max(text.index(b"\n", mark) + 1, len(text) - cut)]
        (fresh / "journal.log").write_bytes(kept)
        self.replay = self.open(features)
        del self.model.rows[self.replay.records_committed :]
        if not features:
            self.send_without_features(20)
        elif not cut:
            assert self.counts() == before

    def send_without_features(self, count: int) -> None:
        for _ in range(0, count, 4):
            self.send(1, 4, new_episode=False)
        assert self.replay.ready == self.replay.records_committed
        assert self.replay.encode_next(self.kit.encode) == self.replay.backlog == 0
        self.reopen()

    @property
    def live(self) -> range:
        """By capacity and by the frames' budget, which the plain list does not know."""
        head = self.replay.records_committed
        return range(head - len(self.replay), head)

    def counts(self) -> list[int]:
        assert self.replay._features is not None
        return self.replay._features.counts(np.array(self.live, np.int64)).tolist()

    def check(self, rng: np.random.Generator) -> None:
        replay, model, live = self.replay, self.model, self.live
        assert replay.records_committed == len(model.rows)
        model.capacity, capacity = len(live), model.capacity  # what the budget left
        counts = self.counts()
        assert replay.backlog == sum(3 - n for n in counts) * 2
        unready = [seq for seq, n in zip(live, counts, strict=True) if n == 0]
        assert replay.ready == (unready[0] if unready else live.stop)
        starts = [row["index"] == 0 for _, row in model.rows[: replay.ready]]
        assert replay.steps_ready == replay.ready - sum(starts) == self.base + self.told
        for horizon, where in ((1, "all"), (3, "all"), (2, "interventions")):
            windows = model.windows(horizon, where == "interventions")
            sampleable = {w for w in windows if w[-1] < replay.ready}
            assert replay.windows(horizon, where) == len(sampleable)
            if sampleable:
                drawn = replay.sample(rng, (8, len(sampleable)), horizon, where, features=True)
                seqs = drawn.seqs.reshape(-1, horizon + 1).tolist()
                assert {tuple(w) for w in seqs} <= sampleable
        if replay.transitions:
            self.check_features(replay.sample(rng, (60,), 3, features=True, whole=False), counts)
        model.capacity = capacity

    def check_features(self, drawn, counts) -> None:
        """Also that a row cut short at what is ready shows nothing beyond."""
        for camera in ("front", "wrist"):
            crops = drawn.crops[camera]
            present = np.array(counts)[drawn.seqs - self.live.start]
            assert (crops < present).all()
            frames = np.array([r[f"obs/{camera}"] for _, r in self.model.rows])[drawn.seqs]
            column = self.layout.cameras.index(camera)
            offsets = self.replay.crop_offsets(drawn.seqs)[..., column, :, :]
            at = np.take_along_axis(offsets, crops[..., None, None], axis=-2)[..., 0, :]
            flat = frames.reshape(-1, *frames.shape[-3:])
            expected = self.kit.encode(flat, at.reshape(-1, 2)).view(drawn.obs[camera].dtype)
            np.testing.assert_array_equal(
                drawn.obs[camera], expected.reshape(drawn.obs[camera].shape)
            )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    capacity=st.integers(3, 60),
    budget=st.sampled_from([10**9, 2000]),
    ops=OPS,
    seed=st.integers(0, 2**31),
)
def test_every_sampled_feature_is_that_of_its_row_and_crop(
    monkeypatch, kit, capacity, budget, ops, seed
):
    monkeypatch.setattr("serl.data.features.SLACK", 8)
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
        run = Run(kit, capacity, budget, Path(root))
        for op, a, b in ops:
            if op in ("send", "new episode"):
                run.send(a, b, op == "new episode")
            elif op == "encode":
                made = run.replay.encode_next(kit.encode, a, first_only=b)
                assert made <= 2 * a
            elif op == "reload":
                before = run.counts()
                run.reopen()
                assert run.counts() == before
            elif op == "seal":
                run.replay.sync()
                run.replay.compress()
            elif op == "kill":
                run.kill(a, features=b)
            elif op == "without features":
                run.reopen(features=False)
                run.send_without_features(a % 50)
            else:
                number = run.layout.number
                run.layout = kit.layout(trunk="00000000000000bb-float32")
                run.reopen()
                assert not any(run.counts()) or number == run.layout.number
            if rng.random() < 0.3:
                run.check(rng)
        run.check(rng)
        while run.replay.encode_next(kit.encode, 7):
            pass
        assert run.replay.backlog == 0
        assert set(run.counts()) <= {3}
        run.check(rng)
        run.replay.close()
