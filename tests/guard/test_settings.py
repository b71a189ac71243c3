"""Settings on their way to the backend: within every limit, in order, refused by name."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_servers.config import ArmSettings, RobotConfig, SafetyLimits
from robot_servers.gain_limits import limit_gains
from robot_servers.types import CollisionThresholds, FaultKind, Gains, Mode
from serl.errors import UserError

STIFF = Gains(rotational_stiffness_nm_per_rad=150.0)
big = st.floats(0.0, 1e6)


@given(
    values=st.lists(big, min_size=7, max_size=7),
    clips=st.lists(st.floats(0.0, 3.0), min_size=12, max_size=12),
)
def test_no_gain_and_no_push_is_ever_over_its_limit(values, clips):
    limits = SafetyLimits()
    names = [
        "translational_stiffness_n_per_m",
        "translational_damping_n_s_per_m",
        "rotational_stiffness_nm_per_rad",
        "rotational_damping_nm_s_per_rad",
        "nullspace_stiffness_nm_per_rad",
        "joint1_nullspace_factor",
        "torque_rate_nm_per_s",
    ]
    asked = Gains(
        **dict(zip(names, values, strict=True)),
        translational_clip_m=tuple(clips[:3]),
        translational_clip_neg_m=tuple(clips[3:6]),
        rotational_clip_rad=tuple(clips[6:9]),
        rotational_clip_neg_rad=tuple(clips[9:]),
    )
    gains, words = limit_gains(asked, limits)
    for name in names:
        assert getattr(gains, name) <= getattr(limits, name)
    for side in ("", "_neg"):
        pull = max(getattr(gains, f"translational_clip{side}_m"))
        turn = max(getattr(gains, f"rotational_clip{side}_rad"))
        assert gains.translational_stiffness_n_per_m * pull <= limits.push_n * (1 + 1e-6)
        assert gains.rotational_stiffness_nm_per_rad * turn <= limits.push_nm * (1 + 1e-6)
    assert (gains == asked) == (not words)
    assert limit_gains(gains, limits) == (gains, ())


def test_gains_that_the_backend_refuses_are_refused_before_anything_changes(cells):
    cell = cells()

    def check(name, gains):
        if gains.rotational_stiffness_nm_per_rad > 100.0:
            raise UserError(f"arm {name!r}: rotational_stiffness_nm_per_rad above 100.")

    cell.backend.check_gains = check
    with pytest.raises(UserError, match="above 100"):
        cell.guard.set_gains({"": STIFF})
    cell.backend.tick_for(0.3)
    assert cell.backend.gains[""] == Gains()
    assert cell.state().fault is None


def test_a_backends_own_maximum_lowers_gains_and_is_said(cells):
    cell = cells()
    cell.backend.gain_limits = {"rotational_stiffness_nm_per_rad": 100.0}
    (line,) = cell.guard.set_gains({"": STIFF})[""]
    assert "150 lowered to 100, this backend's maximum" in line
    cell.backend.tick_for(0.3)
    assert cell.backend.gains[""].rotational_stiffness_nm_per_rad == 100.0


def test_gains_that_the_backend_refuses_in_a_ramp_are_no_failure_of_the_guard(cells):
    cell = cells()
    take = cell.backend.set_gains

    def refuse(gains):
        if any(value.rotational_stiffness_nm_per_rad > 100.0 for value in gains.values()):
            raise UserError("the controller goes to 100 N m/rad.")
        take(gains)

    cell.backend.set_gains = refuse
    cell.guard.set_gains({"": STIFF})
    cell.backend.tick_for(0.3)
    state = cell.state()
    assert state.fault.kind is FaultKind.OTHER
    assert "goes to 100" in state.fault.reason
    assert "guard failed" not in state.fault.reason
    cell.guard.set_gains({"": Gains()})
    cell.backend.tick_for(0.3)
    assert cell.guard.recover([""], "anna") == {"": ""}
    cell.backend.tick_for(0.3)
    assert cell.state().mode is Mode.HOLD


def test_settings_reach_the_backend_in_the_order_they_were_made(cells):
    """A tick that was overtaken on its way to the backend used to leave the older gains there."""
    cell = cells()
    take, waiting, go_on = cell.backend.set_gains, threading.Event(), threading.Event()

    def slow(gains):
        cell.backend.set_gains = take
        waiting.set()
        assert go_on.wait(5)
        take(gains)

    cell.backend.set_gains = slow
    cell.guard.set_gains({"": replace(Gains(), translational_stiffness_n_per_m=1000.0)})
    tick = threading.Thread(target=cell.backend.tick, args=(10,))
    tick.start()
    assert waiting.wait(5)
    later = threading.Thread(target=cell.guard._cell.send_settings, args=([""],))
    cell.guard._cell.arms[""].gains.jump(Gains(translational_stiffness_n_per_m=500.0))
    later.start()
    go_on.set()
    later.join(5)
    tick.join(5)
    cell.backend.tick(10)
    assert cell.backend.gains[""].translational_stiffness_n_per_m == 500.0


def test_settings_that_did_not_arrive_are_sent_again(cells):
    cell = cells()
    take, failed = cell.backend.set_gains, []

    def once(gains):
        cell.backend.set_gains = take
        failed.append(gains)
        raise UserError("not now.")

    cell.guard.set_gains({"": Gains(translational_stiffness_n_per_m=1000.0)})
    cell.backend.tick_for(0.15)
    cell.backend.set_gains = once
    cell.backend.tick_for(0.3)
    assert failed
    assert cell.backend.gains[""].translational_stiffness_n_per_m == 1000.0


def test_collision_thresholds_only_go_down_from_robot_tomls(cells):
    own = CollisionThresholds(torque_nm=(20.0,) * 7, wrench=(30.0,) * 6)
    cell = cells(config=RobotConfig(arm=ArmSettings(collision=own)))
    asked = CollisionThresholds(torque_nm=(10.0, *(90.0,) * 6), wrench=(40.0, *(5.0,) * 5))
    cell.guard.set_collision({"": asked})
    assert cell.backend.said("collision")[-1][1][""] == CollisionThresholds(
        torque_nm=(10.0, *(20.0,) * 6), wrench=(30.0, *(5.0,) * 5)
    )
    with pytest.raises(UserError, match=r"6 numbers; robot\.toml's has 7"):
        cell.guard.set_collision({"": replace(asked, torque_nm=(1.0,) * 6)})
