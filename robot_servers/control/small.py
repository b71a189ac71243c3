"""Small dense linear algebra as plain loops.

Numba turns these into machine code in a tenth of the time it takes for `@`, `np.linalg.solve` or
broadcasting, and at six by seven they are as fast; compile time is part of a first run.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def times(A: Array, x: Array) -> Array:
    """A x, (m, n) and (n,) -> (m,)."""
    y = np.empty(A.shape[0])
    for i in range(A.shape[0]):
        total = 0.0
        for j in range(A.shape[1]):
            total += A[i, j] * x[j]
        y[i] = total
    return y


def transpose_times(A: Array, x: Array) -> Array:
    """A^T x, (m, n) and (m,) -> (n,)."""
    y = np.empty(A.shape[1])
    for j in range(A.shape[1]):
        total = 0.0
        for i in range(A.shape[0]):
            total += A[i, j] * x[i]
        y[j] = total
    return y


def gram(A: Array, ridge: float) -> Array:
    """A A^T + ridge I, (m, n) -> (m, m)."""
    G = np.empty((A.shape[0], A.shape[0]))
    for i in range(A.shape[0]):
        for j in range(i + 1):
            total = ridge if i == j else 0.0
            for k in range(A.shape[1]):
                total += A[i, k] * A[j, k]
            G[i, j] = total
            G[j, i] = total
    return G


def solve_positive(A: Array, b: Array) -> Array:
    """x of A x = b for a symmetric positive definite A, by Cholesky, (n, n) and (n,) -> (n,)."""
    n = len(b)
    L = np.zeros((n, n))
    x = np.empty(n)
    for i in range(n):
        for j in range(i + 1):
            total = A[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            L[i, j] = math.sqrt(total) if i == j else total / L[j, j]
    for i in range(n):
        total = b[i]
        for k in range(i):
            total -= L[i, k] * x[k]
        x[i] = total / L[i, i]
    for i in range(n - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, n):
            total -= L[k, i] * x[k]
        x[i] = total / L[i, i]
    return x


def turn_between(T_from: Array, T_to: Array) -> Array:
    """R_to R_from^T of the upper left blocks: the rotation from one to the other, (3, 3)."""
    R = np.empty((3, 3))
    for i in range(3):
        for j in range(3):
            R[i, j] = (
                T_to[i, 0] * T_from[j, 0] + T_to[i, 1] * T_from[j, 1] + T_to[i, 2] * T_from[j, 2]
            )
    return R


def copy_into(source: Array, out: Array) -> None:
    """Copy a matrix, element by element."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            out[i, j] = source[i, j]
