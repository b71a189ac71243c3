"""The squashed Gaussian against numerical integration and its own samples."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from serl.networks.tanh_gaussian import TanhGaussian

density_of = jax.jit(TanhGaussian.log_prob)
drawn_from = jax.jit(TanhGaussian.sample)


def one_dimensional(mean: float, std: float) -> TanhGaussian:
    return TanhGaussian(jnp.array([mean]), jnp.array([std]))


@settings(max_examples=15, deadline=None)
@given(mean=st.floats(-1.5, 1.5), std=st.floats(0.1, 1.5))
def test_the_density_integrates_to_one_and_gives_the_mean_of_the_samples(mean, std):
    pi = one_dimensional(mean, std)
    u = np.linspace(mean - 7 * std, mean + 7 * std, 4001)
    u = np.clip(u, -8.0, 8.0)  # beyond, float32 has no action inside (-1, 1) left
    a = np.tanh(u.astype(np.float64))
    density = np.exp(np.asarray(density_of(pi, jnp.asarray(a[:, None])), np.float64))
    assert np.trapezoid(density, a) == pytest.approx(1.0, abs=3e-3)
    samples, _ = drawn_from(pi, jax.random.normal(jax.random.key(0), (40_000, 1)))
    expected, _ = quad(
        lambda v: np.tanh(v) * np.exp(-0.5 * ((v - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi)),
        mean - 8 * std, mean + 8 * std,
    )  # fmt: skip
    assert np.trapezoid(density * a, a) == pytest.approx(expected, abs=3e-3)
    assert float(samples.mean()) == pytest.approx(expected, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(mean=st.floats(-2, 2), std=st.floats(0.05, 2), noise=st.floats(-2, 2))
def test_a_sample_has_the_density_that_log_prob_gives_it(mean, std, noise):
    pi = one_dimensional(mean, std)
    action, logp = drawn_from(pi, jnp.array([noise]))
    if abs(float(action[0])) < 0.999:
        assert float(density_of(pi, action)) == pytest.approx(float(logp), abs=2e-2)


def test_elements_are_independent():
    pi = TanhGaussian(jnp.array([0.3, -0.2]), jnp.array([0.5, 1.5]))
    action = jnp.array([0.1, 0.7])
    parts = [TanhGaussian(pi.mean[i : i + 1], pi.std[i : i + 1]) for i in range(2)]
    expected = sum(float(p.log_prob(action[i : i + 1])) for i, p in enumerate(parts))
    assert float(pi.log_prob(action)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mean", [-60.0, -12.0, 12.0, 60.0])
def test_density_and_gradient_stay_finite_when_tanh_saturates(mean):
    def logp(mean, std):
        return TanhGaussian(mean, std).sample(jnp.ones(3))[1]

    value, grads = jax.value_and_grad(logp, argnums=(0, 1))(jnp.full(3, mean), jnp.full(3, 5.0))
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in grads)
    edge = TanhGaussian(jnp.full(3, mean), jnp.ones(3)).log_prob(jnp.array([1.0, -1.0, 0.0]))
    assert np.isfinite(edge)


def test_the_mode_is_the_sample_without_noise():
    pi = TanhGaussian(jnp.array([0.3, -4.0]), jnp.array([0.5, 2.0]))
    np.testing.assert_array_equal(pi.mode(), pi.sample(jnp.zeros(2))[0])
    np.testing.assert_allclose(pi.mode(), np.tanh([0.3, -4.0]), rtol=1e-6)
