"""Lockstep, real time, and the two ways the loop runs."""

from __future__ import annotations

import inspect
import time

import numpy as np
import pytest

from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.control import se3
from robot_servers.simulation import loop
from robot_servers.simulation.realtime import Metronome
from robot_servers.types import RobotState
from serl.errors import UserError


def fields(state: RobotState):
    return {name: np.asarray(value) for name, value in vars(state).items()}


def play(cell):
    """A grasp and a lift: every state on the way."""
    states = [cell.reset(x=0.45, y=0.05)]
    for T, width in (
        (cell.down(0.45, 0.05, 0.06), 0.08),
        (cell.down(0.45, 0.05, 0.02), 0.08),
        (cell.down(0.45, 0.05, 0.02), 0.0),
        (cell.down(0.45, 0.05, 0.2), 0.0),
    ):
        states.append(cell.go(T, width, seconds=0.8))
    return states, cell.cube(), cell.backend.scene.object_twists()["cube"]


def test_the_same_commands_give_the_same_states_bit_for_bit(make_cell):
    first, second = make_cell(), make_cell()
    second.reset(mass_kg=0.3)
    second.wait(0.3)
    (a, cube_a, twist_a), (b, cube_b, twist_b) = play(first), play(second)
    for x, y in zip(a, b, strict=True):
        for name, value in fields(x).items():
            np.testing.assert_array_equal(value, fields(y)[name], err_msg=name)
    np.testing.assert_array_equal(cube_a, cube_b)
    np.testing.assert_array_equal(twist_a, twist_b)


def test_one_long_period_equals_many_short_ones(make_cell):
    ends = []
    for period in (0.1, 0.002):
        cell = make_cell()
        cell.reset()
        ends.append(cell.go(cell.down(0.5, 0.1, 0.3), 0.03, seconds=0.2, period=period))
    for name, value in fields(ends[0]).items():
        np.testing.assert_array_equal(value, fields(ends[1])[name], err_msg=name)


def test_the_compiled_loop_and_the_plain_one_move_alike(make_cell):
    ends = []
    for compiled in (True, False):
        cell = make_cell(compiled=compiled)
        cell.reset()
        T = se3.apply_displacement(
            cell.backend.states()[""].T_base_tcp, np.array([0.05, 0.05, -0.1, 0.2, -0.1, 0.3])
        )
        ends.append(cell.go(T, 0.03, seconds=0.3))
    for name, value in fields(ends[0]).items():
        np.testing.assert_allclose(value, fields(ends[1])[name], atol=1e-7, err_msg=name)


def test_without_numba_the_plain_loop_is_used(monkeypatch):
    monkeypatch.setattr("robot_servers.backends.mujoco.numba_installed", lambda: False)
    with MujocoBackend() as backend:
        assert not hasattr(backend._run_loop, "py_func")
        assert backend.advance(0.01)[""].stamp_mono_ns == 10_000_000


@pytest.mark.parametrize("delay", [0.0, 0.04, 0.1])
def test_a_command_takes_effect_after_the_delay(make_cell, delay):
    cell = make_cell(action_delay_s=delay)
    start = cell.reset(x=0.8).T_base_ref
    T = start.copy()
    T[0, 3] += 0.1
    state = cell.go(T, seconds=0.02, period=0.02)
    moved_after = 0.02
    while np.array_equal(state.T_base_ref, start):
        state = cell.backend.advance(0.002)[""]
        moved_after += 0.002
    np.testing.assert_array_equal(state.T_base_target, T)
    assert moved_after == pytest.approx(max(delay + 0.002, 0.02), abs=1e-9)


def test_a_reset_forgets_commands_still_under_way(make_cell):
    cell = make_cell(action_delay_s=0.1)
    start = cell.reset(x=0.8)
    cell.go(cell.down(0.5, 0, 0.3), seconds=0.05)
    cell.reset(x=0.8)
    np.testing.assert_allclose(cell.wait(0.5).T_base_tcp, start.T_base_tcp, atol=1e-6)


@pytest.mark.parametrize(("period", "steps"), [(0.06, 30), (0.15, 75), (1 / 20, 25)])
def test_a_period_of_whole_steps_is_that_many_steps(make_cell, period, steps):
    """0.06 // 0.002 is 29 in floating point; SERL's simulator floors."""
    cell = make_cell()
    cell.reset()
    assert cell.backend.advance(period)[""].stamp_mono_ns == steps * 2_000_000


@pytest.mark.parametrize("period", [0.05, 0.0333, 0.001, 0.0, -0.05, float("nan"), float("inf")])
def test_a_period_that_is_no_whole_number_of_steps_is_refused_with_both_numbers(period):
    backend = MujocoBackend(physics_dt_s=0.003)
    with pytest.raises(
        UserError, match=r"control period of .* s is not a whole number of 0\.003 s"
    ):
        backend.advance(period)


def test_real_time_stamps_never_repeat_and_every_period_has_its_physics_steps(make_cell):
    cell = make_cell(lockstep=False)
    cell.reset()
    start, stamps = cell.backend.world.ticks, []
    for _ in range(25):
        stamps.append(cell.backend.advance(0.02)[""].stamp_mono_ns)
    late = cell.backend.overruns
    assert (np.diff(stamps) > 0).all()
    ticks = cell.backend.world.ticks - start
    assert ticks >= 10 * (25 - late) + late - 1  # `start` may be read in the middle of a tick


def test_in_real_time_the_arm_reaches_its_target_too(make_cell):
    cell = make_cell(lockstep=False)
    T = cell.reset(x=0.8).T_base_tcp.copy()
    T[0, 3] += 0.03
    state = cell.go(T, seconds=1.5)
    np.testing.assert_allclose(state.T_base_tcp, T, atol=3e-3)


def test_an_overrun_is_counted_and_the_rate_starts_again_from_there():
    metronome = Metronome(0.001, lambda: None)
    metronome.start()
    metronome.wait_ticks(5)
    while metronome.count < 20:  # the caller dawdles
        time.sleep(0.001)
    assert metronome.wait_ticks(5) is True
    behind = metronome.count
    metronome.wait_ticks(200)
    assert metronome.count >= behind + 199
    metronome.sync()
    assert metronome.wait_ticks(200) is False
    metronome.stop()


def test_a_failure_in_the_physics_thread_reaches_the_caller():
    def tick():
        raise FloatingPointError("diverged")

    metronome = Metronome(0.001, tick)
    metronome.start()
    with pytest.raises(RuntimeError, match="physics thread") as raised:
        metronome.wait_ticks(5)
    assert isinstance(raised.value.__cause__, FloatingPointError)
    metronome.stop()


def test_a_name_means_one_function_in_all_modules_of_the_loop():
    """They are bound together by name; two functions of one name would silently be one."""
    names = [
        name
        for module in loop.MODULES
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    assert len(names) == len(set(names))


def test_an_edited_law_is_not_run_from_the_cache(monkeypatch):
    """numba looks at the file of the outermost function only; the digest covers all of them."""
    before = loop._source_digest()
    monkeypatch.setattr(loop, "MODULES", loop.MODULES[:-1])
    assert loop._source_digest() != before
