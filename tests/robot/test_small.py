"""The plain loops against NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robot_servers.control import small


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 8))
def test_products_are_numpys(seed, m, n):
    rng = np.random.default_rng(seed)
    A, x, y = rng.normal(size=(m, n)), rng.normal(size=n), rng.normal(size=m)
    np.testing.assert_allclose(small.times(A, x), A @ x, atol=1e-12)
    np.testing.assert_allclose(small.transpose_times(A, y), A.T @ y, atol=1e-12)
    np.testing.assert_allclose(small.gram(A, 0.3), A @ A.T + 0.3 * np.eye(m), atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_a_solution_solves_its_equations(seed, n):
    rng = np.random.default_rng(seed)
    A, b = small.gram(rng.normal(size=(n, n)), 0.1), rng.normal(size=n)
    np.testing.assert_allclose(A @ small.solve_positive(A, b), b, atol=1e-9)
