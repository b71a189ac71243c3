"""The update-to-data limiter: neither side beyond its buffer, never both waiting."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serl.data.limiter import RatioLimiter
from serl.errors import UserError


@settings(max_examples=100, deadline=None)
@given(
    ratio=st.floats(0.05, 20.0),
    buffer=st.floats(1.0, 50.0),
    start=st.integers(0, 40),
    chunk=st.integers(1, 16),
    turns=st.lists(st.booleans(), min_size=20, max_size=200),
)
def test_neither_side_runs_beyond_the_buffer_and_one_can_always_go_on(
    ratio, buffer, start, chunk, turns
):
    if chunk > ratio * (2 * buffer - 1):
        with pytest.raises(UserError, match="error buffer of at least"):
            RatioLimiter(ratio, buffer, start).may_update(chunk)
        return
    limiter = RatioLimiter(ratio, buffer, start)
    for learner_first in turns:
        may_update, may_step = limiter.may_update(chunk), limiter.step_allowance() > limiter.steps
        assert may_update or may_step
        if may_update and (learner_first or not may_step):
            limiter.on_updates(chunk)
        else:
            limiter.on_steps(1)
        ahead = limiter.updates / ratio - max(0, limiter.steps - start)  # [steps]
        assert limiter.updates == 0 or limiter.steps >= start
        assert -buffer - 1e-6 <= ahead <= buffer + 1e-6
        assert limiter.steps <= limiter.step_allowance() + 1e-6


def test_no_update_comes_before_the_start():
    limiter = RatioLimiter(4.0, 10.0, start_records=100)
    limiter.on_steps(99)
    assert not limiter.may_update(1)
    limiter.on_steps(1)
    assert limiter.may_update(1)
    assert limiter.step_allowance() == 110


def test_in_the_long_run_the_ratio_is_kept_by_the_slower_side():
    limiter = RatioLimiter(4.0, 20.0, start_records=50)
    while limiter.steps < 1000:
        if limiter.steps < limiter.step_allowance():
            limiter.on_steps(1)
        elif limiter.may_update(8):
            limiter.on_updates(8)
    assert limiter.updates == pytest.approx(4.0 * (1000 - 50 - 20), abs=8)


def test_in_real_time_steps_pass_the_allowance_and_the_shortfall_says_by_how_much():
    limiter = RatioLimiter(4.0, 10.0, start_records=0)
    limiter.on_steps(100)
    limiter.on_updates(240)
    assert limiter.shortfall == pytest.approx(160.0)
    assert limiter.ratio == pytest.approx(2.4)
    assert limiter.step_allowance() == 70
    assert RatioLimiter(4.0, 10.0, 5).shortfall == 0.0


def test_nothing_moves_while_the_actor_is_away():
    limiter = RatioLimiter(1.0, 5.0, 0)
    limiter.on_steps(10)
    while limiter.may_update(1):
        limiter.on_updates(1)
    assert limiter.updates == 15
    assert not limiter.wait_may_update(1, timeout_s=0.05)


def test_a_waiting_learner_is_woken_by_a_step():
    limiter = RatioLimiter(1.0, 1.0, 5)
    timer = threading.Timer(0.05, limiter.on_steps, (5,))
    timer.start()
    assert limiter.wait_may_update(1, timeout_s=30.0)
    timer.join()


def test_a_restored_limiter_goes_on_where_it_was():
    limiter = RatioLimiter(2.0, 5.0, 3)
    limiter.on_steps(20)
    limiter.on_updates(31)
    again = RatioLimiter(2.0, 5.0, 3)
    again.restore(limiter.state())
    assert (again.steps, again.updates) == (20, 31)
    assert again.step_allowance() == limiter.step_allowance()


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="updates_per_step 0"):
        RatioLimiter(0, 5.0)
    with pytest.raises(UserError, match=r"error_buffer_steps 0\.5"):
        RatioLimiter(1.0, 0.5)
