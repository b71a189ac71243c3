"""VICE: the classifier learns success from pictures, and the policy learns from the classifier."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents.pixel_worlds import CAMERAS, SMALL, SPEC, batches_of, first, plain

from serl.agents.base import Batch
from serl.agents.optimizer import OptimizerConfig
from serl.agents.vice import VICE, GoalClassifierConfig, VICEConfig, between_rows, mixed
from serl.errors import SpecMismatch, UserError

KEY = jax.random.key(0)
BEST = np.array([0.4, -0.3], np.float32)


def vice(spec=SPEC, image=(), classifier=(), **changes) -> VICE:
    fields = {k: getattr(SMALL, k) for k in ("hidden", "num_critics", "batch_size", "utd_ratio")}
    return VICEConfig(
        **{**fields, **changes},
        image=replace(SMALL.image, **dict(image)),
        classifier=GoalClassifierConfig(**{"hidden": 16, **dict(classifier)}),
    ).make(spec)


def pictures(rng: np.random.Generator, distance: np.ndarray) -> np.ndarray:
    """Features (*, 2, 2, 128) in which one direction shows a distance (*,), the rest is noise."""
    x = 0.3 * rng.standard_normal((*distance.shape, 2, 2, 128))
    x[..., :64] += np.exp(-4.0 * distance**2)[..., None, None, None]
    return x.astype(jnp.bfloat16)


def bandit(agent: VICE, rng: np.random.Generator) -> Batch:
    """One step long: the picture afterwards shows how near the action came to BEST."""
    batches = batches_of(agent)
    action = rng.uniform(-1.0, 1.0, batches.action.shape).astype(np.float32)
    after = pictures(rng, np.linalg.norm(action - BEST, axis=-1))
    goals = pictures(rng, np.zeros(action.shape[:-1]))
    still = {name: np.zeros_like(x) for name, x in batches.obs.items()}
    return replace(
        batches,
        obs=still,
        next_obs={**still, **dict.fromkeys(CAMERAS, after)},
        action=action,
        reward=np.full(batches.reward.shape, -7.0, np.float32),
        terminated=np.ones_like(batches.reward),
        extra={f"goal/{c}": goals for c in CAMERAS},
    )


def test_the_policy_goes_where_the_pictures_show_success():
    """The batch's own reward, -7 throughout, is never seen."""
    fast = OptimizerConfig(lr=3e-3)
    settings = {"optimizer": fast, "terminations": True, "gradient_penalty": 1.0, "minibatches": 2}
    agent = vice(
        image=(("actor_minibatches", 0),),
        classifier=tuple(settings.items()),
        batch_size=64,
        actor=fast,
        critic=fast,
        alpha=fast,
        temperature=0.1,
    )
    rng, state = np.random.default_rng(0), agent.init(KEY)
    for _ in range(200):
        state, metrics = agent.update(state, bandit(agent, rng))
    obs = {k: v[0, 0] for k, v in bandit(agent, rng).obs.items()}
    action = np.asarray(agent.act_with(agent.policy_params(state), obs, None))
    assert np.linalg.norm(action - BEST) < 0.25
    near, far = (dict.fromkeys(CAMERAS, pictures(rng, x)) for x in (np.zeros(50), np.ones(50)))
    paid = [agent.reward(state.classifier.params, maps) for maps in (near, far)]
    assert paid[0].mean() > paid[1].mean() + 0.3
    assert 0.0 < float(metrics["classifier/reward_mean"]) < 1.0
    strict = vice(classifier=(("reward", "threshold"),))
    np.testing.assert_array_equal(
        strict.reward(state.classifier.params, near), np.asarray(paid[0]) >= 0.5
    )


def test_an_env_that_ends_at_success_tells_nothing():
    agent = vice()
    batches = bandit(agent, np.random.default_rng(0))
    goes_on = replace(batches, terminated=np.zeros_like(batches.terminated))
    (ended, _), (going, _) = (agent.update(agent.init(KEY), b) for b in (batches, goes_on))
    assert all(map(np.array_equal, plain(ended), plain(going)))


def test_the_reward_is_made_anew_in_each_update():
    agent = vice(classifier=(("terminations", True),))
    state, batches = agent.init(KEY), bandit(vice(), np.random.default_rng(0))
    zero = jnp.zeros_like(batches.reward)
    other, _ = agent.update(agent.init(KEY), replace(batches, reward=zero))
    state, metrics = agent.update(state, batches)
    assert all(map(np.array_equal, plain(state), plain(other)))
    assert float(metrics["critic/target_mean"]) == pytest.approx(
        float(metrics["classifier/reward_mean"]), rel=1e-4
    )


def test_labels_are_smoothed_and_rows_mixed_with_their_labels():
    rows = jnp.arange(8.0)[:, None]
    labels = (rows[:, 0] >= 4).astype(float)
    out, mixture = mixed((rows, 2.0 * rows[:, 0]), KEY)
    np.testing.assert_allclose(2.0 * out[:, 0], mixture, rtol=1e-6)
    assert not np.allclose(out, rows)
    agent = vice(classifier=(("mixup", False), ("gradient_penalty", 0.0), ("dropout", 0.0)))
    state = agent.init(KEY)
    maps = {c: jnp.asarray(pictures(np.random.default_rng(1), np.ones(4))) for c in CAMERAS}
    loss, _ = agent.classifier_loss(state.classifier.params, maps, maps, KEY)
    p = np.asarray(jax.nn.sigmoid(agent.logits(state.classifier.params, maps)), np.float64)
    by_hand = -0.5 * np.mean(np.log(p) + np.log(1 - p))  # 0.9 and 0.1 of the same pictures
    assert float(loss) == pytest.approx(by_hand, rel=1e-4)
    assert labels.sum() == 4


def test_the_gradient_penalty_wants_slopes_of_one_between_positives_and_negatives():
    agent = vice()
    params = agent.init(KEY).classifier.params
    rows = {
        c: jnp.asarray(pictures(np.random.default_rng(1), np.ones(3)), jnp.float32) for c in CAMERAS
    }
    slopes = jax.grad(lambda rows: agent.logits(params, rows).sum())(rows)
    norms = np.sqrt(sum(np.sum(np.square(x), axis=(1, 2, 3)) for x in slopes.values()))
    assert float(agent.penalty(params, rows)) == pytest.approx(np.mean((norms - 1) ** 2), rel=1e-3)
    a, b = jnp.zeros((50, 2)), jnp.ones((50, 2))
    points = np.asarray(between_rows(a, b, KEY))
    assert ((points >= 0) & (points <= 1)).all()
    np.testing.assert_array_equal(points[:, 0], points[:, 1])


def test_stacks_are_judged_by_their_newest_frame():
    agent = vice(image=(("stack", 3),))
    params = agent.init(KEY).classifier.params
    rng = np.random.default_rng(0)
    stack = pictures(rng, np.ones((4, 3)))
    newest = dict.fromkeys(CAMERAS, stack)
    changed = np.array(stack)
    changed[:, 0] += 1
    np.testing.assert_array_equal(
        agent.reward(params, newest), agent.reward(params, dict.fromkeys(CAMERAS, changed))
    )
    changed[:, -1] += 1
    assert not np.array_equal(
        agent.reward(params, newest), agent.reward(params, dict.fromkeys(CAMERAS, changed))
    )
    jax.eval_shape(agent.update, jax.eval_shape(agent.init, KEY), batches_of(agent))


def test_more_or_fewer_pictures_of_success_than_rows_will_do():
    agent = vice()
    batches = batches_of(agent)
    for count in (1, 4, 9):
        goals = {k: np.resize(v, (2, count, 2, 2, 128)) for k, v in batches.extra.items()}
        jax.eval_shape(agent.update, jax.eval_shape(agent.init, KEY), replace(batches, extra=goals))


def test_it_refuses_to_run_without_pictures_of_success_or_without_a_camera():
    agent = vice()
    with pytest.raises(SpecMismatch, match=r"given no pictures of success.*goal/front"):
        agent.update(agent.init(KEY), replace(batches_of(agent), extra={}))
    with pytest.raises(UserError, match="vice judges camera frames, and this experiment observes"):
        vice(spec=replace(SPEC, observation=SPEC.observation[:1]))
    with pytest.raises(UserError, match="vice needs a frozen trunk"):
        vice(image=(("frozen", False),))


def test_the_classifier_has_heads_of_its_own():
    agent = vice()
    state, batches = agent.init(KEY), batches_of(agent)
    after, _ = jax.jit(agent.update_classifier)(state, batches)
    assert all(map(np.array_equal, plain(after.critic), plain(state.critic)))
    moved = zip(plain(after.classifier.params), plain(state.classifier.params), strict=True)
    assert all(not np.array_equal(a, b) for a, b in moved)
    assert first(batches).reward.shape == (6,)
