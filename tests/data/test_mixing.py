"""Minibatches: the share of demonstrations, and what a transition holds."""

import numpy as np
import pytest

from serl.data.mixing import MixedSampler, transitions
from serl.data.replay import NoWindows, Replay
from serl.data.windows import Windows
from serl.errors import SpecMismatch, UserError

GAMMA = 0.9


@pytest.fixture
def online(kit, folder):
    """Actors 0 and 1: episodes of 10 steps; human steps in odd episodes."""
    with Replay(folder / "online", kit.state_spec(), 5000, sync_s=100.0) as replay:
        for episode in range(8):
            for actor in range(2):
                rows = kit.records(kit.state_spec(), actor, episode, 0, 11)
                rows["terminated"][-1] = episode % 2 == 0
                rows["truncated"][-1] = episode % 2 == 1
                replay.append(f"actor-{actor}", rows)
        yield replay


@pytest.fixture
def demos(kit, folder):
    """Actor 9: five episodes."""
    with Replay(folder / "demos", kit.state_spec(), 5000, sync_s=100.0) as replay:
        for episode in range(5):
            replay.append("demos", kit.records(kit.state_spec(), 9, 2 * episode, 0, 8))
        yield replay


def test_half_of_every_minibatch_is_from_the_demo_side(online, demos):
    batch = MixedSampler(online, demos, 0.5, discount=GAMMA).sample(
        np.random.default_rng(0), 20, 64
    )
    actor, episode, index = np.moveaxis(batch["next_obs"]["state"], -1, 0)
    assert actor.shape == (20, 64)
    human = (actor != 9) & (index % 3 == 1) & (episode % 2 == 1)
    assert ((actor == 9)[:, :32].sum(axis=1) == 0).all()
    assert ((actor == 9) | human)[:, 32:].all()
    # the demo side is one pool: 35 demonstrated transitions and the interventions
    share = (actor == 9)[:, 32:].mean(axis=1)
    expected = demos.transitions / (demos.transitions + online.interventions)
    assert abs(share.mean() - expected) < 0.1
    assert (share > 0).all()
    assert (share < 1).all()  # both kinds in each minibatch, not sorted into the first ones


def test_interventions_alone_are_a_demo_side(online):
    batch = MixedSampler(online, None).sample(np.random.default_rng(0), 5, 16)
    _, episode, index = np.moveaxis(batch["next_obs"]["state"], -1, 0)
    assert ((index % 3 == 1) & (episode % 2 == 1))[:, 8:].all()


def test_without_demos_or_interventions_the_batch_is_online(kit, folder):
    with Replay(folder, kit.state_spec(), 100) as replay:
        sampler = MixedSampler(replay, None)
        with pytest.raises(NoWindows):
            sampler.sample(np.random.default_rng(0), 2, 8)
        replay.append("one", kit.records(kit.state_spec(), 3, 0, 0, 20))
        batch = sampler.sample(np.random.default_rng(0), 2, 8)
        assert (batch["obs"]["state"][..., 0] == 3).all()


def test_all_from_the_demo_side_is_never_what_a_policy_did(kit, folder):
    """Imitation of the policy by itself would learn nothing, with every sign of success."""
    with Replay(folder, kit.state_spec(), 100) as replay:
        sampler = MixedSampler(replay, None, 1.0)
        replay.append("one", kit.records(kit.state_spec(), 3, 0, 0, 20))  # nobody took over
        with pytest.raises(NoWindows, match="neither demonstrations nor interventions"):
            sampler.sample(np.random.default_rng(0), 2, 8)
        replay.append("one", kit.records(kit.state_spec(), 3, 1, 0, 20))
        batch = sampler.sample(np.random.default_rng(0), 2, 8)
        assert (batch["next_obs"]["state"][..., 2] % 3 == 1).all()


def test_before_anything_is_online_the_batch_is_demonstrations(kit, folder, demos):
    with Replay(folder / "empty", kit.state_spec(), 100) as replay:
        batch = MixedSampler(replay, demos).sample(np.random.default_rng(0), 2, 8)
    assert (batch["obs"]["state"][..., 0] == 9).all()


def test_the_leaves_are_those_of_a_batch(online, demos):
    batch = MixedSampler(online, demos).sample(np.random.default_rng(0), 3, 10)
    shapes = {k: v.shape for k, v in batch.items() if not isinstance(v, dict)}
    assert shapes == {
        "action": (3, 10, 2),
        "reward": (3, 10),
        "terminated": (3, 10),
        "discount": (3, 10),
        "weight": (3, 10),
    }
    assert batch["extra"]["penalty"].shape == (3, 10, 1)
    assert {v.dtype.name for v in batch.values() if not isinstance(v, dict)} == {"float32"}


@pytest.mark.parametrize("n_step", [1, 3, 20])
def test_the_return_stops_where_the_episode_does_with_the_right_power(online, n_step):
    """D-R10: chunks went past the end and dropped the rewards in between. A time-out ends the
    sum too, and still bootstraps: terminated stays 0."""
    sampler = MixedSampler(online, None, 0.0, n_step, GAMMA)
    batch = sampler.sample(np.random.default_rng(0), 4, 100)
    first = batch["obs"]["state"][..., 2].astype(int)
    steps = np.minimum(n_step, 10 - first)
    np.testing.assert_array_equal(batch["next_obs"]["state"][..., 2], first + steps)
    np.testing.assert_array_equal(
        batch["next_obs"]["state"][..., :2], batch["obs"]["state"][..., :2]
    )
    np.testing.assert_allclose(batch["discount"], GAMMA**steps, rtol=1e-6)
    expected = [
        sum(GAMMA**k * (i + 1 + k + 0.25) for k in range(n))
        for i, n in zip(first.ravel(), steps.ravel(), strict=True)
    ]
    np.testing.assert_allclose(batch["reward"].ravel(), expected, rtol=1e-5)
    ended = (first + steps == 10) & (batch["obs"]["state"][..., 1] % 2 == 0)
    np.testing.assert_array_equal(batch["terminated"], ended)
    np.testing.assert_array_equal(batch["action"][..., 1], first + 1)
    np.testing.assert_array_equal(batch["extra"]["penalty"][..., 0], -first - 1)


def test_the_grasp_penalty_is_summed_like_the_reward():
    """Of three steps, the last of which an episode's end cut off; another extra is the first's."""
    windows = Windows(
        seqs=np.zeros((1, 4), np.int64),
        valid=np.array([[True, True, False]]),
        obs={},
        steps={
            "action": np.zeros((1, 3, 2)),
            "reward": np.ones((1, 3)),
            "terminated": np.zeros((1, 3), bool),
            "weight": np.ones((1, 3)),
            "extra/grasp_penalty": np.array([[-0.1, -0.2, -0.4]]),
            "extra/stage": np.array([[3.0, 4.0, 5.0]]),
        },
    )
    batch = transitions(windows, GAMMA)
    np.testing.assert_allclose(batch["reward"], [1.0 + GAMMA])
    np.testing.assert_allclose(batch["extra"]["grasp_penalty"], [-0.1 - 0.2 * GAMMA])
    np.testing.assert_allclose(batch["extra"]["stage"], [3.0])


def test_a_return_over_whole_windows_is_the_same_as_over_cut_ones_where_both_exist(online):
    fields = ("obs/state", "action", "reward", "terminated", "weight")
    rng = np.random.default_rng(0)
    windows = online.sample(rng, (200,), 3, fields=fields, ends=True)
    batch = transitions(windows, GAMMA)
    first = batch["obs"]["state"][:, 2]
    expected = sum(GAMMA**k * (first + 1.25 + k) for k in range(3))
    np.testing.assert_allclose(batch["reward"], expected, rtol=1e-6)


def test_demonstrations_of_another_spec_and_bad_settings_are_refused(kit, folder, online):
    other = Replay(folder / "other", kit.image_spec(), 100)
    with other, pytest.raises(SpecMismatch, match="extras"):
        MixedSampler(online, other)
    with pytest.raises(UserError, match=r"demo_fraction 1\.5"):
        MixedSampler(online, None, 1.5)
    with pytest.raises(UserError, match="n_step 0"):
        MixedSampler(online, None, n_step=0)


def test_the_same_generator_state_draws_the_same_batch(online, demos):
    sampler = MixedSampler(online, demos, n_step=3)
    a = sampler.sample(np.random.default_rng(5), 2, 16)
    b = sampler.sample(np.random.default_rng(5), 2, 16)
    np.testing.assert_array_equal(a["obs"]["state"], b["obs"]["state"])
    np.testing.assert_array_equal(a["reward"], b["reward"])


def test_interventions_evicted_while_sampling_are_replaced_by_other_rows(online, monkeypatch):
    """Between counting and drawing, the last one may go."""
    draw = Replay.sample

    def gone(self, rng, shape, horizon, where, *rest, **options):
        if where == "interventions":
            raise NoWindows("gone")
        return draw(self, rng, shape, horizon, where, *rest, **options)

    monkeypatch.setattr(Replay, "sample", gone)
    batch = MixedSampler(online, None).sample(np.random.default_rng(0), 1, 8)
    assert batch["reward"].shape == (1, 8)
