"""Lockstep, real time, and the two ways the loop runs."""

from __future__ import annotations

import inspect
import threading
import time

import numpy as np
import pytest

from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.control import se3
from robot_servers.simulation import loop
from robot_servers.simulation.realtime import Metronome
from robot_servers.types import ArmCommand, CartesianTarget, Gains, Mode, RobotState
from serl.errors import UserError


def fields(state: RobotState):
    assert state.fault is None
    return {name: np.asarray(value) for name, value in vars(state).items() if name != "fault"}


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
    late = cell.backend._late_periods
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


def test_in_real_time_physics_steps_at_1_ms_whatever_lockstep_would(make_cell):
    cell = make_cell(lockstep=False, physics_dt_s=0.002)
    assert cell.backend.period_s == 0.001
    assert cell.backend.world.model.opt.timestep == 0.001
    before = cell.backend.world.ticks
    time.sleep(0.5)
    assert 50 < cell.backend.world.ticks - before < 600  # a busy machine gives up lost time
    assert 0.0 <= cell.backend.tick_jitter_p99_s < 0.5
    assert cell.backend.overruns >= 0


def test_a_subscriber_gets_every_sample_once_with_a_stamp_of_its_own(make_cell):
    cell, stamps = make_cell(lockstep=False), []
    cell.backend.subscribe(lambda states: stamps.append(states[""].stamp_mono_ns))
    cell.backend.advance(0.2)
    cell.reset()  # gives no stamp again either
    cell.backend.advance(0.2)
    assert len(stamps) > 100
    assert (np.diff(stamps) > 0).all()
    assert abs(time.monotonic_ns() - stamps[-1]) < 1e9


def test_a_subscribers_error_ends_the_loop_and_reaches_the_caller(make_cell):
    cell = make_cell(lockstep=False)
    cell.go(cell.down(0.5, 0, 0.3), seconds=0.1)

    def fail(states):
        raise FloatingPointError("a limit that cannot be computed")

    cell.backend.subscribe(fail)
    with pytest.raises(RuntimeError, match="physics thread"):
        cell.backend.advance(0.5)
    assert cell.backend.states()[""].mode is Mode.HOLD


def test_a_subscriber_may_take_a_lock_that_a_commander_holds(make_cell):
    """It is called without the backend's own lock: two threads, two locks, no deadlock."""
    cell, lock, seen = make_cell(lockstep=False), threading.Lock(), []

    def watch(states):
        with lock:
            seen.append(states)

    cell.backend.subscribe(watch)
    for _ in range(50):
        with lock:
            time.sleep(0.002)
            cell.backend.command({"": ArmCommand()})
        time.sleep(0.002)
    assert len(seen) > 20


def test_in_lockstep_nobody_is_called(make_cell):
    cell, seen = make_cell(), []
    cell.backend.subscribe(seen.append)
    cell.wait(0.1)
    assert not seen


def test_in_real_time_a_command_is_delayed_as_well(make_cell):
    cell = make_cell(lockstep=False, action_delay_s=0.3)
    T = cell.reset(x=0.8).T_base_tcp.copy()
    T[0, 3] += 0.05
    start = cell.go(T, seconds=0.02, period=0.02)
    np.testing.assert_array_equal(start.T_base_target, T)
    frozen = [cell.backend.advance(0.02)[""].T_base_ref for _ in range(5)]
    np.testing.assert_array_equal(frozen, [start.T_base_ref] * 5)
    assert abs(cell.wait(1.0).T_base_ref[0, 3] - T[0, 3]) < 1e-6


def test_a_simulation_that_diverged_in_real_time_runs_again_after_a_reset(
    make_cell, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warning to a file here
    cell = make_cell(lockstep=False)
    with cell.backend.lock:
        cell.backend.world.data.qvel[:] = 1e12
    with pytest.raises(RuntimeError, match="physics thread"):
        cell.backend.advance(0.5)
    cell.reset()
    first = cell.backend.advance(0.02)[""].stamp_mono_ns
    assert cell.backend.advance(0.02)[""].stamp_mono_ns > first


def test_a_backend_becomes_another_cell_without_closing(make_cell):
    cell = make_cell()
    cell.backend.set_gains({"": Gains(translational_stiffness_n_per_m=500.0)})
    poses = {"right": se3.pose_from_rotvec([0, -0.6, 0], [0, 0, 0.3])}
    cell.backend.reconfigure(
        arms={"left": "panda", "right": "fr3"},
        base_poses=poses,
        physics_dt_s=0.001,
        action_delay_s=0.01,
    )
    assert list(cell.backend.arms) == ["left", "right"]
    assert cell.backend.period_s == 0.001
    assert not cell.backend.scene.object_poses()
    as_made = MujocoBackend(
        arms={"left": "panda", "right": "fr3"},
        base_poses=poses,
        physics_dt_s=0.001,
        action_delay_s=0.01,
    )
    with as_made:
        for backend in (as_made, cell.backend):
            T = backend.states()["right"].T_base_tcp.copy()
            T[2, 3] -= 0.05
            backend.command({"right": ArmCommand(target=CartesianTarget(T_base_tcp=T))})
        a, b = as_made.advance(0.3), cell.backend.advance(0.3)
        for name in a:
            for field, value in fields(a[name]).items():
                np.testing.assert_array_equal(value, fields(b[name])[field], err_msg=field)


def test_a_cell_that_is_refused_leaves_the_one_before(make_cell):
    cell = make_cell()
    with pytest.raises(UserError, match="no robot model named 'pandas'"):
        cell.backend.reconfigure(arms={"": "pandas"})
    with pytest.raises(UserError, match="physics_dt_s"):
        cell.backend.reconfigure(arms={"left": "panda"}, physics_dt_s=1.0)
    assert list(cell.backend.arms) == [""]
    assert cell.reset().stamp_mono_ns == 0
    cell.wait(0.1)


def test_becoming_another_cell_works_on_the_wall_clock_too(make_cell):
    cell, stamps = make_cell(lockstep=False), []
    cell.backend.subscribe(lambda states: stamps.append((len(states), next(iter(states)))))
    cell.backend.reconfigure(arms={"left": "panda", "right": "panda"})
    cell.backend.advance(0.1)
    assert stamps[-1] == (2, "left")
