"""The offset between two clocks comes out right whatever the network does to some messages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from robot_servers.clock import WINDOW_NS, OffsetEstimator

MS = 1_000_000


def exchange(t0, there, work, back, offset):
    """Stamps of one message: `there` and `back` on the way, `work` in the server."""
    t1 = t0 + there + offset
    t2 = t1 + work
    return t0, t1, t2, t2 - offset + back


offsets = st.integers(-(10**13), 10**13)
ways = st.integers(0, 50 * MS)


@given(offsets, st.lists(st.tuples(ways, ways, ways), min_size=1, max_size=40))
def test_the_offset_is_as_good_as_it_claims(offset, spans):
    clock = OffsetEstimator()
    t0 = 10**15
    for there, work, back in spans:
        clock.add(*exchange(t0, there, work, back, offset))
        assert abs(clock.offset_ns - offset) <= clock.error_ns + 1
        t0 += 60 * MS


@given(offsets)
def test_one_fast_exchange_is_believed_over_many_slow_ones(offset):
    clock, t0 = OffsetEstimator(), 10**15
    clock.add(*exchange(t0, 100_000, MS, 100_000, offset))
    for i in range(1, 50):
        clock.add(*exchange(t0 + i * 20 * MS, 0, MS, 30 * MS, offset))  # the way back was busy
    assert abs(clock.offset_ns - offset) <= 100_000


def test_an_exchange_is_forgotten_after_the_window_so_that_drift_is_followed():
    clock, t0 = OffsetEstimator(), 10**15
    clock.add(*exchange(t0, 0, 0, 0, 0))
    drifted = 3 * MS
    clock.add(*exchange(t0 + WINDOW_NS // 2, MS, 0, MS, drifted))
    assert clock.offset_ns == 0
    clock.add(*exchange(t0 + WINDOW_NS + 1, MS, 0, MS, drifted))
    assert clock.offset_ns == drifted


def test_memory_is_bounded_by_the_window():
    clock = OffsetEstimator()
    for i in range(10_000):
        clock.add(*exchange(i * 50 * MS, i, 0, i, 5))
    assert len(clock._rising) <= WINDOW_NS // (50 * MS) + 1


def test_before_the_first_exchange_nothing_is_claimed():
    clock = OffsetEstimator()
    assert clock.best is None
    clock.add(*exchange(0, 5, 5, 5, 77))
    clock.forget()
    assert clock.best is None
