"""Stacks of frames against a plain list, for several actors and a replay that evicts."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serl.data.mixing import transitions
from serl.data.replay import Replay
from serl.errors import UserError

MEMORY = Path("/dev/shm")
SENDS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(2, 7), st.booleans()), min_size=1, max_size=15
)
"""(actor, records, whether they begin an episode)"""


def naive(model, seq, count):
    """Sequence numbers of the stack that ends at `seq`, from the list of everything sent."""
    (episode,) = (rows for rows in model.episodes() if seq in rows)
    place = episode.index(seq)
    return [episode[max(0, place - back)] for back in range(count - 1, -1, -1)]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sends=SENDS,
    capacity=st.integers(8, 60),
    count=st.integers(1, 5),
    horizon=st.integers(1, 3),
    images=st.booleans(),
    ends=st.booleans(),
)
def test_a_stack_is_the_last_frames_of_its_episode_the_first_one_repeated(
    kit, sends, capacity, count, horizon, images, ends
):
    spec = kit.image_spec() if images else kit.state_spec()
    root = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    model = kit.Naive(capacity)
    try:
        with Replay(root / "r", spec, capacity, segment_bytes=700, sync_s=100.0) as replay:
            for actor, number, begins in sends:
                episode, index = model.high_water(f"actor-{actor}") or (0, -1)
                if begins:
                    episode, index = episode + 1, -1
                rows = kit.records(spec, actor, episode, index + 1, number)
                replay.append(f"actor-{actor}", rows)
                model.append(f"actor-{actor}", rows)
            if not model.windows(1):
                return
            names = [f"obs/{a.name}" for a in spec.observation]
            windows = replay.sample(
                np.random.default_rng(0),
                (4, 5),
                horizon,
                fields=names,
                whole=False,
                ends=ends,
                stack=count,
            )
    finally:
        shutil.rmtree(root)
    seqs = windows.seqs[..., [0, -1]] if ends else windows.seqs
    for name in names:
        found = windows.obs[name[4:]]
        assert found.shape[: 2 + 2] == (4, 5, seqs.shape[-1], count)
        for place, seq in np.ndenumerate(seqs):
            expected = [model.rows[k][1][name] for k in naive(model, int(seq), count)]
            np.testing.assert_array_equal(found[place], expected)


def test_transitions_take_stacks_as_they_take_frames(kit, folder):
    with Replay(folder, kit.state_spec(), 100) as replay:
        replay.append("one", kit.records(kit.state_spec(), 3, 0, 0, 6))
        fields = ("obs/state", "action", "reward", "terminated", "weight")
        draw = {"fields": fields, "whole": False, "ends": True}
        windows = replay.sample(np.random.default_rng(0), (50,), 2, **draw, stack=3)
        with pytest.raises(UserError, match="stack of 0"):
            replay.sample(np.random.default_rng(0), (50,), 2, **draw, stack=0)
    batch = transitions(windows, 0.9)
    index = batch["obs"]["state"][..., 2]
    last = index[:, -1:]
    np.testing.assert_array_equal(index, np.maximum(0, last + np.array([-2, -1, 0])))
    np.testing.assert_array_equal(
        batch["next_obs"]["state"][:, -1, 2], np.minimum(5, last[:, 0] + 2)
    )
