"""Chunks of actions against a plain list: never past an episode, nor past a human's last step."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serl.data.mixing import CHUNK_ACTION, CHUNK_VALID, MixedSampler
from serl.data.replay import Replay
from serl.errors import UserError
from serl.types import Source

MEMORY = Path("/dev/shm")
GAMMA = 0.9

EPISODE = st.tuples(st.integers(0, 2), st.lists(st.booleans(), min_size=1, max_size=9))
"""Who acts, and of each step whether a human chose it."""


def fill(kit, replay: Replay, episodes: list[tuple[int, list[bool]]], offset: int) -> list[dict]:
    """Episodes into the replay, some in two halves with others between; and the steps as a list."""
    steps, late = [], []
    for number, (who, humans) in enumerate(episodes):
        actor, count = who + offset, len(humans) + 1
        rows = kit.records(kit.state_spec(), actor, number, 0, count)
        rows["source"][1:] = [Source.HUMAN if human else Source.POLICY for human in humans]
        rows["terminated"][-1] = number % 2 == 0
        again = any(w == who for w, _ in episodes[number + 1 :])
        half = count if again else count // 2 + 1  # an actor's newest episode may be cut in two
        replay.append(f"actor-{actor}", rows[:half])
        late.append((f"actor-{actor}", rows[half:]))
        steps += [
            {"key": (actor, number, k), "row": rows[k], "human": humans[k - 1]}
            for k in range(1, count)
        ]
    for name, rows in late:
        if len(rows):
            replay.append(name, rows)
    return steps


def naive(steps: list[dict], at: int, horizon: int, of_humans: bool) -> list[dict]:
    """The steps of the chunk that begins at a step of the list."""
    actor, episode, _ = steps[at]["key"]
    chunk = []
    for step in steps[at : at + horizon]:
        if step["key"][:2] != (actor, episode) or (of_humans and not step["human"]):
            break
        chunk.append(step)
    return chunk


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    online=st.lists(EPISODE, min_size=0, max_size=5),
    demos=st.lists(EPISODE, min_size=1, max_size=3),
    horizon=st.integers(2, 6),
    seed=st.integers(0, 1000),
)
def test_a_chunk_is_what_a_list_says_it_is(kit, online, demos, horizon, seed):
    """The demo side alone, as an imitation agent draws it."""
    spec = kit.state_spec()
    root = MEMORY if MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=root) as folder,
        Replay(Path(folder) / "online", spec, 500, sync_s=100.0) as ours,
        Replay(Path(folder) / "demos", spec, 500, sync_s=100.0) as theirs,
    ):
        lists = (fill(kit, ours, online, 0), fill(kit, theirs, demos, 10))
        sampler = MixedSampler(ours, theirs, 1.0, discount=GAMMA, chunk=horizon)
        batch = sampler.sample(np.random.default_rng(seed), 2, 40)
        known = {step["key"]: (steps, at) for steps in lists for at, step in enumerate(steps)}
        keys = batch["obs"]["state"].reshape(-1, 3).astype(int)
        drawn = set()
        for row, (actor, episode, index) in enumerate(keys.tolist()):
            of_humans = actor < 10
            steps, at = known[actor, episode, index + 1]
            drawn.add((actor, episode, index + 1))
            assert steps[at]["human"] or not of_humans
            chunk = naive(steps, at, horizon, of_humans)
            whole = naive(steps, at, horizon, False)
            valid = batch["extra"][CHUNK_VALID].reshape(-1, horizon)[row]
            assert valid.tolist() == [k < len(chunk) for k in range(horizon)]
            actions = batch["extra"][CHUNK_ACTION].reshape(-1, horizon, 2)[row]
            np.testing.assert_array_equal(
                actions[: len(chunk)], [step["row"]["action"] for step in chunk]
            )
            np.testing.assert_array_equal(actions[0], batch["action"].reshape(-1, 2)[row])
            rewards = [GAMMA**k * step["row"]["reward"] for k, step in enumerate(whole)]
            assert batch["reward"].reshape(-1)[row] == pytest.approx(sum(rewards), rel=1e-5)
            ended = bool(whole[-1]["row"]["terminated"])
            assert batch["terminated"].reshape(-1)[row] == ended
            assert batch["discount"].reshape(-1)[row] == pytest.approx(GAMMA ** len(whole))
            np.testing.assert_array_equal(
                batch["next_obs"]["state"].reshape(-1, 3)[row], whole[-1]["row"]["obs/state"]
            )
        assert drawn <= set(known)


def test_without_chunks_a_batch_has_none_and_with_them_returns_are_as_long(kit, folder):
    with Replay(folder, kit.state_spec(), 100) as replay:
        replay.append("one", kit.records(kit.state_spec(), 3, 0, 0, 20))
        plain = MixedSampler(replay).sample(np.random.default_rng(0), 1, 8)
        assert set(plain["extra"]) == {"penalty"}
        batch = MixedSampler(replay, chunk=4).sample(np.random.default_rng(0), 2, 8)
        assert batch["extra"][CHUNK_ACTION].shape == (2, 8, 4, 2)
        assert batch["extra"][CHUNK_VALID].dtype == bool
        with pytest.raises(UserError, match=r"chunk 4, n_step 3; .* set n_step to 1"):
            MixedSampler(replay, n_step=3, chunk=4)
        with pytest.raises(UserError, match="chunk 0"):
            MixedSampler(replay, chunk=0)
