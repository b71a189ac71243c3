"""The replay against a plain list, for arbitrary segments, wraps, kills, cuts and reloads."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serl.data.records import Label
from serl.data.replay import Replay
from serl.types import RewardSource

MEMORY = Path("/dev/shm")

SEND = st.tuples(st.just("send"), st.integers(0, 2), st.integers(1, 9), st.integers(0, 4))
NEW_EPISODE = st.tuples(st.just("new episode"), st.integers(0, 2), st.just(0), st.just(0))
RELOAD = st.tuples(st.just("reload"), st.just(0), st.just(0), st.just(0))
KILL = st.tuples(st.just("kill"), st.just(0), st.integers(0, 400), st.just(0))
SEAL = st.tuples(st.just("seal"), st.just(0), st.just(0), st.just(0))
RELABEL = st.tuples(st.just("relabel"), st.integers(0, 2), st.integers(0, 3), st.just(0))
OPS = st.lists(
    st.one_of(SEND, SEND, SEND, SEND, NEW_EPISODE, RELOAD, KILL, SEAL, RELABEL),
    min_size=1,
    max_size=30,
)


class Run:
    """The replay and its model, driven side by side."""

    def __init__(self, kit, spec, capacity: int, root: Path) -> None:
        self.kit, self.spec, self.root = kit, spec, root
        self.model = kit.Naive(capacity)
        self.commits: list[int] = []
        self.generation = 0
        self.open()

    def open(self) -> None:
        self.path = self.root / str(self.generation)
        self.replay = Replay(
            self.path, self.spec, self.model.capacity, segment_bytes=700, sync_s=100.0
        )

    def send(self, actor: int, count: int, again: int, new_episode: bool = False) -> None:
        """The next records of an actor, after `again` that were sent before."""
        name = f"actor-{actor}"
        episode, index = self.model.high_water(name) or (0, -1)
        if new_episode:
            episode, index, again = episode + 1, -1, 0
        first = max(0, index + 1 - again)
        rows = self.kit.records(self.spec, actor, episode, first, index + 1 + count - first)
        assert self.replay.append(name, rows) == self.model.append(name, rows) == count
        head = len(self.model.rows)  # more than the capacity is committed in pieces
        self.commits += [*range(head - count, head, self.model.capacity)[1:], head]

    def kill(self, cut: int) -> None:
        """Go on from the files as they lie, with `cut` bytes less of the journal."""
        before = self.path
        self.generation += 1
        shutil.copytree(before, self.root / str(self.generation))
        self.replay.close()
        journal = self.root / str(self.generation) / "journal.log"
        text = journal.read_bytes()
        mark = max(text.rfind(b'"durable"'), text.index(b'"boot"'))  # flushed: a kill leaves it
        journal.write_bytes(text[: max(text.index(b"\n", mark) + 1, len(text) - cut)])
        self.open()
        head = self.replay.records_committed
        assert head in [0, *self.commits]
        assert cut or head == len(self.model.rows)
        del self.model.rows[head:]

    def relabel(self, actor: int, kind: int) -> None:
        """A late verdict on the last record of an actor, told twice as after a lost answer."""
        key = self.model.high_water(f"actor-{actor}")
        if key is None:
            return
        success, terminated = bool(kind & 1), bool(kind & 2)
        label = Label(
            episode=key[0], index=key[1], reward=kind + 0.5, success=success, terminated=terminated
        )
        kept = [self.replay.relabel(f"actor-{actor}", label) for _ in range(2)]
        place = max(s for s, (a, _) in enumerate(self.model.rows) if a == f"actor-{actor}")
        assert kept == [place in self.model.live] * 2
        row = self.model.rows[place][1].copy()
        if kept[0]:
            row["reward"], row["success"] = label.reward, success
            row["terminated"], row["truncated"] = terminated, not terminated
            row["reward_source"], row["reward_version"] = RewardSource.HUMAN, 0
            self.model.rows[place] = (f"actor-{actor}", row)

    def check(self, rng: np.random.Generator) -> None:
        replay, model = self.replay, self.model
        assert replay.records_committed == len(model.rows)
        assert len(replay) == len(model.live)
        for actor in range(3):
            assert replay.high_water(f"actor-{actor}") == model.high_water(f"actor-{actor}")
        stored = list(replay.iter_episodes())
        expected = model.episodes()
        assert [s.actor_id for s in stored] == [model.rows[e[0]][0] for e in expected]
        for episode, seqs in zip(stored, expected, strict=True):
            rows = np.array([model.rows[s][1] for s in seqs])
            for name in rows.dtype.names or ():
                np.testing.assert_array_equal(episode.records[name], rows[name])
        for horizon in (1, 2, 4):
            for where in ("all", "interventions"):
                self.check_windows(rng, horizon, where)
        self.check_cut_windows(rng, 3)

    def check_cut_windows(self, rng: np.random.Generator, horizon: int) -> None:
        """Windows that may end early: one for each transition, as long as its episode lasts."""
        expected = {
            tuple(seqs[k : k + horizon + 1])
            for seqs in self.model.episodes()
            for k in range(len(seqs) - 1)
        }
        if expected:
            shape = (20 * len(expected),)
            drawn = self.replay.sample(rng, shape, horizon, fields=(), whole=False)
            seqs = drawn.seqs.tolist()
            ends = drawn.valid.sum(axis=1) + 1
            assert {tuple(s[:n]) for s, n in zip(seqs, ends, strict=True)} == expected

    def check_windows(self, rng: np.random.Generator, horizon: int, where: str) -> None:
        expected = self.model.windows(horizon, where == "interventions")
        assert self.replay.windows(horizon, where) == len(expected)
        if not expected:
            return
        names = [n for n in self.replay.dtype.names or () if n not in ("episode", "index")]
        drawn = self.replay.sample(rng, (20, len(expected)), horizon, where, names)
        seqs = drawn.seqs.reshape(-1, horizon + 1)
        assert {tuple(w) for w in seqs.tolist()} == expected  # each one, and nothing else
        assert drawn.valid.all()
        rows = np.array([r for _, r in self.model.rows])
        for name in names:
            if name.startswith("obs/"):
                np.testing.assert_array_equal(drawn.obs[name[4:]], rows[name][drawn.seqs])
            else:
                np.testing.assert_array_equal(drawn.steps[name], rows[name][drawn.seqs[..., 1:]])


@pytest.mark.parametrize("images", [False, True], ids=["state", "images"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(capacity=st.integers(3, 40), ops=OPS, seed=st.integers(0, 2**31))
def test_the_replay_equals_a_list(kit, images, capacity, ops, seed):
    spec = kit.image_spec() if images else kit.state_spec()
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as root:
        run = Run(kit, spec, capacity, Path(root))
        for op, actor, count, again in ops:
            if op == "send":
                run.send(actor, count, again)
            elif op == "new episode":
                run.send(actor, 1, 0, new_episode=True)
            elif op == "relabel":
                run.relabel(actor, count)
            elif op == "reload":
                run.replay.close()
                run.open()
            elif op == "seal":
                run.replay.sync()
                run.replay.compress()
            else:
                run.kill(cut=count)
            if rng.random() < 0.3:
                run.check(rng)
        run.check(rng)
        run.replay.close()
