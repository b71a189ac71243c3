"""Small specs, and records whose every value tells which record it came from."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from serl.pixels import FEATURE, FeatureLayout, bits, record_spec, shifted
from serl.types import ArraySpec, Source, Spec, record_dtype

ACTION = ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0)
STATE = ArraySpec(name="state", shape=(3,), dtype="float32")


def state_spec() -> Spec:
    """A state of three numbers and a two-dimensional action, with one extra array."""
    penalty = ArraySpec(name="penalty", shape=(1,), dtype="float32")
    return Spec(observation=(STATE,), action=ACTION, extras=(penalty,))


def image_spec() -> Spec:
    """Two cameras of different size around the state."""
    front = ArraySpec(name="front", shape=(6, 5, 3), dtype="uint8")
    wrist = ArraySpec(name="wrist", shape=(4, 4, 3), dtype="uint8")
    return Spec(observation=(front, STATE, wrist), action=ACTION)


def records(spec: Spec, actor: int, episode: int, first: int, count: int) -> np.ndarray:
    """Records first, first + 1, ... of an episode; (actor, episode, index) is in every array."""
    rows = np.zeros(count, record_dtype(spec))
    index = np.arange(first, first + count)
    rows["episode"], rows["index"] = episode, index
    key = np.stack([np.full(count, actor), np.full(count, episode), index], axis=1)
    rows["obs/state"] = key
    rows["action"], rows["requested_action"] = key[:, 1:], key[:, :2]
    rows["reward"] = index + 0.25
    rows["weight"] = 1.0
    human = (index % 3 == 1) & (episode % 2 == 1)
    rows["source"] = np.where(human, Source.HUMAN, Source.POLICY)
    rows["source"][index == 0] = Source.NONE
    rows["stamp_mono_ns"] = index
    for name in rows.dtype.names or ():
        shape = rows.dtype[name].shape
        if rows.dtype[name].base == np.uint8 and len(shape) == 3:
            seeds = (31 * actor + 7 * episode + index) % 256
            ramp = np.arange(np.prod(shape)).reshape(shape)
            rows[name] = (seeds[:, None, None, None] + ramp) % 256
        if name.startswith("extra/"):
            rows[name] = -index[:, None]
    return rows


TRUNK = "00000000000000aa-float32"


def layout(crops: int = 3, **changes) -> FeatureLayout:
    """Features of both cameras of `image_spec`, as `encode` makes them."""
    defaults = {"trunk": TRUNK, "cameras": ("front", "wrist"), "shape": (2, 2, 3), "shift_px": 1}
    return FeatureLayout(crops=crops, **{**defaults, **changes})


def encode(frames: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """A trunk that costs nothing: the means of a frame's quarters, of frames shifted by 1 pixel."""
    seen = shifted(frames, offsets, 1).astype(np.float32)
    half = (seen.shape[1] // 2, seen.shape[2] // 2)
    rows = [seen[:, : half[0]], seen[:, half[0] :]]
    means = [
        [part[:, :, : half[1]].mean((1, 2)), part[:, :, half[1] :].mean((1, 2))] for part in rows
    ]
    import ml_dtypes

    return bits(np.moveaxis(np.array(means), 2, 0).astype(ml_dtypes.bfloat16))


def wide(rows: np.ndarray, number: int, right: bool = True) -> np.ndarray:
    """Records of `image_spec` with an actor's features, or with wrong ones."""
    spec = record_spec(image_spec(), (2, 2, 3))
    out = np.full(len(rows), 0, record_dtype(spec))
    for name in rows.dtype.names or ():
        out[name] = rows[name]
    out["extra/feature.trunk"] = number
    for camera in ("front", "wrist"):
        middle = np.ones((len(rows), 2), np.int32)
        out[f"extra/{FEATURE}{camera}"] = encode(rows[f"obs/{camera}"], middle) if right else 12345
    return out


class Naive:
    """A replay as a list: what the real one must equal."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: list[tuple[str, np.void]] = []

    def append(self, actor: str, rows: np.ndarray) -> int:
        mark = self.high_water(actor)
        new = [r for r in rows if mark is None or (r["episode"], r["index"]) > mark]
        self.rows += [(actor, r) for r in new]
        return len(new)

    def high_water(self, actor: str) -> tuple[int, int] | None:
        keys = [(int(r["episode"]), int(r["index"])) for a, r in self.rows if a == actor]
        return max(keys, default=None)

    @property
    def live(self) -> range:
        return range(max(0, len(self.rows) - self.capacity), len(self.rows))

    def episodes(self) -> list[list[int]]:
        """Live sequence numbers, episode by episode, in order of the oldest."""
        groups: dict[tuple[str, int], list[int]] = {}
        for seq in self.live:
            actor, row = self.rows[seq]
            groups.setdefault((actor, int(row["episode"])), []).append(seq)
        return list(groups.values())

    def windows(self, horizon: int, humans: bool = False) -> set[tuple[int, ...]]:
        """Every window of `horizon` steps, as its sequence numbers."""
        found = {
            tuple(seqs[k : k + horizon + 1])
            for seqs in self.episodes()
            for k in range(len(seqs) - horizon)
        }
        if humans:
            found = {w for w in found if self.rows[w[1]][1]["source"] == Source.HUMAN}
        return found


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The helpers of this file, for tests and for hypothesis alike."""
    return SimpleNamespace(
        state_spec=state_spec,
        image_spec=image_spec,
        records=records,
        Naive=Naive,
        layout=layout,
        encode=encode,
        wide=wide,
        wide_spec=lambda: record_spec(image_spec(), (2, 2, 3)),
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where the system has one: flushing it costs nothing."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    yield path
    shutil.rmtree(path)
