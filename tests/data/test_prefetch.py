"""Batches drawn ahead: in order, resumable, and never failing in silence."""

import threading

import numpy as np
import pytest

from serl.data.prefetch import Prefetch


def draw(rng: np.random.Generator) -> float:
    return float(rng.random())


def test_batches_come_in_the_order_of_the_generator():
    truth = np.random.default_rng(3)
    with Prefetch(draw, np.random.default_rng(3), depth=3) as ahead:
        assert [ahead.get() for _ in range(20)] == [draw(truth) for _ in range(20)]


def test_a_resumed_generator_draws_what_was_not_taken():
    whole = np.random.default_rng(3)
    truth = [draw(whole) for _ in range(12)]
    for taken in range(7):
        with Prefetch(draw, np.random.default_rng(3), depth=4) as ahead:
            first = [ahead.get() for _ in range(taken)]
            state = ahead.state()
        rng = np.random.default_rng(0)
        rng.bit_generator.state = state
        with Prefetch(draw, rng, depth=2) as ahead:
            assert first + [ahead.get() for _ in range(12 - taken)] == truth


def test_a_failure_in_the_thread_reaches_the_caller_after_the_good_batches():
    calls = iter(range(10))

    def fails(rng: np.random.Generator) -> int:
        k = next(calls)
        if k == 2:
            raise ValueError("disk on fire")
        return k

    with Prefetch(fails, np.random.default_rng(0), depth=5) as ahead:
        assert [ahead.get(), ahead.get()] == [0, 1]
        with pytest.raises(ValueError, match="disk on fire"):
            ahead.get()


def test_no_more_than_depth_batches_are_ahead():
    made = threading.Semaphore(0)

    def count(rng: np.random.Generator) -> int:
        made.release()
        return 0

    with Prefetch(count, np.random.default_rng(0), depth=2) as ahead:
        for _ in range(2):
            assert made.acquire(timeout=30)
        assert not made.acquire(timeout=0.1)
        ahead.get()
        assert made.acquire(timeout=30)


def test_a_wait_ends_and_says_why():
    stuck = threading.Event()
    ahead = Prefetch(lambda rng: stuck.wait(), np.random.default_rng(0))
    with pytest.raises(TimeoutError, match=r"no batch drawn within 0\.05 s"):
        ahead.get(timeout_s=0.05)
    stuck.set()
    ahead.close()
