"""The guard over a backend whose time stands still between ticks: every rule, without noise."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest

from robot_servers.config import (
    ArmSettings,
    KeepOut,
    RobotConfig,
    SafetyLimits,
    Workspace,
)
from robot_servers.control import se3
from robot_servers.recorder import Recorder
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
    Payload,
    WrenchTarget,
)
from serl.errors import UserError


def send(cell, target=None, *, name="", valid_for_s=0.1, gripper=None, **options):
    command = ArmCommand(target=target, gripper=gripper)
    return cell.guard.command({name: command}, valid_for_s=valid_for_s, **options)[name]


def home(cell, *offset):
    q = np.array(cell.backend.model.description.q_home_rad)
    q[: len(offset)] += offset
    return JointTarget(q_rad=q)


def moving(cell):
    """The arm tracks a target."""
    assert send(cell, cell.shifted(0.01)).refused == ""
    cell.backend.tick()
    return cell


# --- commands


def test_a_command_inside_the_limits_passes_untouched(cells):
    cell = cells()
    command = ArmCommand(target=cell.shifted(0.02, 0.01), gripper=GripperTarget(width_m=0.04))
    verdict = cell.guard.command({"": command}, valid_for_s=0.1)[""]
    assert verdict.command is command
    assert (verdict.clamps, verdict.refused) == ((), "")
    ((_, passed),) = cell.backend.said("command")
    assert passed[""] is command


def test_a_clamp_is_said_counted_and_shown_in_the_state(cells):
    cell = moving(cells())
    verdict = send(cell, cell.shifted(0.3))
    assert [clamp.limit for clamp in verdict.clamps] == ["step"]
    assert "0.300 m" in verdict.clamps[0].text
    assert cell.guard.counters["clamped/step"] == 1
    assert cell.state().clamped
    send(cell, cell.shifted(0.0))
    assert not cell.state().clamped


BAD_POSE = np.diag([1.0, 1.0, -1.0, 1.0])
SCALED = np.diag([1.01, 1.01, 1.01, 1.0])


@pytest.mark.parametrize(
    ("why", "text", "command"),
    [
        ("nan", "not finite", CartesianTarget(T_base_tcp=np.full((4, 4), np.nan))),
        ("pose", "no rigid pose", CartesianTarget(T_base_tcp=BAD_POSE)),
        ("pose", "no rigid pose", CartesianTarget(T_base_tcp=SCALED)),
        ("length", "(4, 4)", CartesianTarget(T_base_tcp=np.eye(3))),
        ("length", "(7,)", JointTarget(q_rad=np.zeros(6))),
        ("nan", "not finite", JointTarget(q_rad=np.full(7, np.inf))),
        ("length", "(6,)", WrenchTarget(wrench=np.zeros(3))),
        ("nan", "not finite", WrenchTarget(wrench=np.full(6, np.nan))),
        ("kind", "'base' or 'tcp'", WrenchTarget(wrench=np.zeros(6), frame="world")),
        ("kind", "no target", "up"),
        ("length", "(4, 4)", CartesianTarget(T_base_tcp="up")),
        ("path", "outside the workspace", JointTarget(q_rad=np.zeros(7))),
    ],
)
def test_what_is_no_command_is_refused_with_the_reason_and_the_arm_goes_on(
    cells, why, text, command
):
    cell = moving(cells())
    before = len(cell.backend.said("command"))
    verdict = send(cell, command)
    assert text in verdict.refused
    assert cell.guard.counters[f"refused/{why}"] == 1
    assert verdict.command is None
    assert len(cell.backend.said("command")) == before
    assert cell.state().mode is Mode.IMPEDANCE


@pytest.mark.parametrize(
    "gripper",
    [GripperTarget(width_m=math.nan), GripperTarget(width_m=0.0, force_n=math.inf)],
)
def test_a_gripper_target_that_is_not_finite_is_refused(cells, gripper):
    assert "finite" in send(cells(), gripper=gripper).refused


def test_a_backend_without_wrench_mode_or_gripper_refuses_them_by_name(cells):
    cell = cells()
    cell.backend.unsupported = frozenset({"wrench", "gripper"})
    assert "wrench mode" in send(cell, WrenchTarget(wrench=np.zeros(6))).refused
    assert "no gripper" in send(cell, gripper=GripperTarget(width_m=0.0)).refused


def test_an_unknown_arm_refuses_the_whole_command(cells):
    cell = cells(("left", "right"))
    commands = {"left": ArmCommand(target=cell.shifted(0.01)), "rihgt": ArmCommand()}
    verdicts = cell.guard.command(commands, valid_for_s=0.1)
    assert "Did you mean 'right'" in verdicts["rihgt"].refused
    assert "'rihgt'" in verdicts["left"].refused
    assert cell.backend.said("command") == []


def test_an_old_command_is_refused_as_stale(cells):
    cell = cells()
    sent = cell.backend.now_ns - 150_000_000
    assert "0.150 s old" in send(cell, cell.shifted(0.01), sent_mono_ns=sent).refused
    assert send(cell, cell.shifted(0.01), sent_mono_ns=sent + 100_000_000).refused == ""
    future = cell.backend.now_ns + 2_000_000_000
    assert "future" in send(cell, cell.shifted(0.01), sent_mono_ns=future).refused
    assert cell.guard.counters["refused/stale"] == 2


@pytest.mark.parametrize("valid_for_s", [0.0, -1.0, math.nan, math.inf, 60.0])
def test_a_command_must_lapse_within_a_sensible_time(cells, valid_for_s):
    cell = cells()
    assert "valid_for_s" in send(cell, cell.shifted(0.01), valid_for_s=valid_for_s).refused


def test_sequence_numbers_grow_within_a_session(cells):
    cell = cells()
    assert send(cell, cell.shifted(0.01), sequence=5).refused == ""
    assert "must grow" in send(cell, cell.shifted(0.01), sequence=5).refused
    assert "must grow" in send(cell, cell.shifted(0.01), sequence=4).refused
    assert send(cell, cell.shifted(0.01), sequence=0).refused == ""
    cell.guard.begin_session()
    assert send(cell, cell.shifted(0.01), sequence=1).refused == ""


def test_commands_faster_than_the_limit_are_refused_and_the_rest_get_through(cells):
    limits = SafetyLimits(command_hz=100.0)
    cell = cells(config=RobotConfig(arm=ArmSettings(limits=limits)))
    refused = 0
    for _ in range(1000):  # 1 s at 1 kHz
        refused += bool(send(cell, cell.shifted(0.0)).refused)
        cell.backend.tick()
    assert 1000 - refused == pytest.approx(100 + 10, abs=2)
    assert cell.guard.counters["refused/rate"] == refused
    cell.backend.tick_for(0.1)
    assert send(cell, cell.shifted(0.0)).refused == ""


def test_a_joint_target_under_way_is_not_given_to_the_backend_again(cells):
    cell = cells()
    for _ in range(3):
        verdict = send(cell, home(cell, 0.1))
        assert verdict.refused == ""
        assert isinstance(verdict.command.target, JointTarget)
        cell.backend.tick(50)
    assert len(cell.backend.said("command")) == 1
    assert cell.state().mode is Mode.JOINT
    send(cell, home(cell, 0.2))
    assert len(cell.backend.said("command")) == 2


def test_a_joint_target_is_given_again_after_a_hold(cells):
    cell = cells()
    send(cell, home(cell, 0.1))
    cell.backend.tick_for(0.2)
    assert cell.state().mode is Mode.HOLD
    send(cell, home(cell, 0.1))
    assert len(cell.backend.said("command")) == 2


def test_a_target_in_a_keep_out_is_moved_out(cells):
    box = KeepOut(low_m=(0.2, -0.2, 0.2), high_m=(0.4, 0.2, 0.47))
    limits = SafetyLimits(workspace=Workspace(keep_out=(box,)))
    cell = cells(config=RobotConfig(arm=ArmSettings(limits=limits)))
    verdict = send(cell, cell.shifted(0, 0, -0.05))
    assert verdict.command.target.T_base_tcp[2, 3] == 0.47
    assert [clamp.limit for clamp in verdict.clamps] == ["keep_out"]


def test_a_wrench_is_clamped_per_axis_and_the_backend_gets_the_box(cells):
    cell = cells()
    verdict = send(cell, WrenchTarget(wrench=np.array([50.0, 0, -50, 0, 9, 0])))
    np.testing.assert_array_equal(verdict.command.target.wrench, [20, 0, -20, 0, 5, 0])
    assert verdict.command.target.frame == "base"
    workspace = SafetyLimits().workspace
    assert cell.backend.boxes[""] == (workspace.low_m, workspace.high_m)


# --- watchdog and hold


def test_without_a_newer_command_the_arm_holds_after_valid_for_s(cells):
    cell = moving(cells())
    cell.backend.tick_for(0.098)
    assert cell.state().mode is Mode.IMPEDANCE
    cell.backend.tick_for(0.003)
    assert cell.state().mode is Mode.HOLD
    assert cell.state().fault is None
    assert cell.backend.said("hold") == [("hold", ("",))]
    assert cell.guard.counters["held/watchdog"] == 1
    cell.backend.tick_for(1.0)
    assert len(cell.backend.said("hold")) == 1


def test_commands_in_time_keep_it_moving_and_one_without_a_target_does_too(cells):
    cell = moving(cells())
    for _ in range(10):
        cell.backend.tick_for(0.08)
        send(cell, gripper=GripperTarget(width_m=0.02))
    assert cell.state().mode is Mode.IMPEDANCE


def test_a_command_without_a_target_does_not_leave_hold(cells):
    cell = cells()
    send(cell, gripper=GripperTarget(width_m=0.02))
    cell.backend.tick()
    assert cell.state().mode is Mode.HOLD
    assert len(cell.backend.said("command")) == 1


def test_an_arm_that_is_not_commanded_holds_while_the_other_moves(cells):
    cell = cells(("left", "right"))
    both = {name: ArmCommand(target=cell.shifted(0.01)) for name in ("left", "right")}
    cell.guard.command(both, valid_for_s=0.1)
    for _ in range(5):
        cell.backend.tick_for(0.05)
        send(cell, cell.shifted(0.0), name="left")
    assert cell.state("left").mode is Mode.IMPEDANCE
    assert cell.state("right").mode is Mode.HOLD


def test_a_refused_command_does_not_feed_the_watchdog(cells):
    cell = moving(cells())
    for _ in range(4):
        cell.backend.tick_for(0.03)
        send(cell, JointTarget(q_rad=np.zeros(6)))
    assert cell.state().mode is Mode.HOLD


def test_release_holds_at_once_and_is_no_fault(cells):
    cell = moving(cells())
    cell.guard.release("the client is gone")
    assert cell.state().mode is Mode.HOLD
    assert cell.state().fault is None
    assert cell.backend.said("hold") == [("hold", ("",))]
    assert cell.guard.counters["held/release"] == 1
    cell.guard.flush()
    assert cell.events[-1] == "holds: the client is gone."
    cell.guard.release("again")
    assert len(cell.backend.said("hold")) == 1


def test_out_of_hold_a_jump_is_refused_or_clamped_as_asked(cells):
    cell = cells()
    assert "0.250 m" in send(cell, cell.shifted(0.25)).refused
    assert cell.guard.counters["refused/jump"] == 1
    verdict = send(cell, cell.shifted(0.25), jump="clamp")
    assert verdict.command.target.T_base_tcp[0, 3] - cell.T[0, 3] == pytest.approx(0.1)


def test_leaving_hold_is_a_soft_start(cells):
    cell = cells()
    cell.guard.set_motion({"": MotionLimits(linear_speed_m_per_s=0.5)})
    shares = []
    for _ in range(70):
        send(cell, cell.shifted(0.0))
        shares.append(cell.backend.limits[""].linear_speed_m_per_s / 0.5)
        cell.backend.tick(10)
    assert shares[0] == pytest.approx(0.2)
    assert (np.diff(shares) >= 0).all()
    assert shares[24] == pytest.approx(0.6, abs=0.03)
    assert shares[-1] == 1.0
    assert cell.backend.limits[""].linear_acceleration_m_per_s2 == 5.0


def stiffness(cell):
    return cell.backend.gains[""].translational_stiffness_n_per_m


def test_after_two_seconds_in_hold_the_arm_gets_softer_and_comes_back_by_ramp(cells):
    cell = moving(cells())
    cell.backend.tick_for(0.1 + 1.95)
    assert stiffness(cell) == 2000
    cell.backend.tick_for(0.55)
    assert stiffness(cell) == pytest.approx(2000 * 0.65, rel=0.05)
    cell.backend.tick_for(1.0)
    assert stiffness(cell) == pytest.approx(600)
    assert cell.backend.gains[""].translational_damping_n_s_per_m == 89
    send(cell, cell.shifted(0.01))
    assert stiffness(cell) == pytest.approx(600, rel=0.02)
    for _ in range(6):
        cell.backend.tick_for(0.09)
        send(cell, cell.shifted(0.0))
    assert stiffness(cell) == 2000


def test_an_arm_whose_payload_is_not_verified_never_gets_softer(cells):
    cell = cells(config=RobotConfig(arm=ArmSettings(payload_verified=False)))
    moving(cell)
    cell.backend.tick_for(5.0)
    assert cell.state().mode is Mode.HOLD
    assert stiffness(cell) == 2000


def test_an_arm_that_measures_no_wrench_has_an_unverified_payload(cells):
    """A wrench that is always zero passed the check, and HOLD went soft on an unknown load."""
    cell = cells(unsupported=frozenset({"wrench_measured"}))
    moving(cell)
    cell.backend.tick_for(5.0)
    assert stiffness(cell) == 2000


# --- faults


def push(cell, force_n, name=""):
    cell.backend.set(name, wrench_base_ext=np.array([force_n, 0, 0, 0, 0, 0.0]))


def test_a_force_over_the_limit_faults_latches_and_holds(cells):
    cell = moving(cells())
    push(cell, 90.0)
    cell.backend.tick(20)
    state = cell.state()
    assert state.mode is Mode.FAULT
    assert state.fault.kind is FaultKind.FORCE
    assert "90.0 N" in state.fault.reason
    assert cell.backend.said("hold") == [("hold", ("",))]
    push(cell, 0.0)
    cell.backend.tick_for(3.0)
    assert cell.state().mode is Mode.FAULT
    assert "FORCE" in send(cell, cell.shifted(0.0)).refused
    assert cell.guard.counters["refused/fault"] == 1
    assert cell.guard.counters["faults/force"] == 1


def test_a_spike_shorter_than_ten_milliseconds_is_no_fault(cells):
    cell = moving(cells())
    for _ in range(5):
        push(cell, 300.0)
        cell.backend.tick(5)
        push(cell, 10.0)
        cell.backend.tick(5)
    assert cell.state().fault is None


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (FaultKind.FORCE, {"wrench_base_ext": np.array([0, 0, 0, 0, 30.0, 0])}),
        (FaultKind.SPEED, {"twist_base_tcp": np.array([0, 1.6, 0, 0, 0, 0.0])}),
        (FaultKind.SPEED, {"twist_base_tcp": np.array([0, 0, 0, 0, 4.6, 0.0])}),
        (FaultKind.SPEED, {"dq_rad_per_s": np.array([0, 0, 0, 0, 0, 0, 4.0])}),
        (FaultKind.OTHER, {"q_rad": np.full(7, np.nan)}),
    ],
)
def test_each_limit_of_the_state_faults_by_its_name(cells, kind, values):
    cell = moving(cells())
    cell.backend.set("", **values)
    cell.backend.tick(20)
    assert cell.state().fault.kind is kind


def test_a_joint_nearer_to_its_end_than_the_margin_faults(cells):
    cell = moving(cells())
    q = np.array(cell.backend.model.description.q_home_rad)
    q[3] = -0.0698 - 0.04
    cell.backend.set("", q_rad=q)
    cell.backend.tick()
    assert cell.state().fault.kind is FaultKind.JOINT_LIMIT
    assert "joint4 is 0.040 rad" in cell.state().fault.reason


def place(cell, x):
    T = cell.T.copy()
    T[0, 3] = x
    cell.backend.set("", T_base_tcp=T)


def test_a_tcp_outside_the_workspace_faults_beyond_two_centimetres(cells):
    cell = moving(cells())
    cell.backend.follow = False
    place(cell, 0.865)
    cell.backend.tick()
    assert cell.state().fault is None
    place(cell, 0.875)
    cell.backend.tick()
    assert cell.state().fault.kind is FaultKind.WORKSPACE


def test_an_arm_found_outside_may_come_back_in_but_not_go_further(cells):
    for step, kind in ((-0.02, None), (0.02, FaultKind.WORKSPACE)):
        cell = cells()
        cell.backend.follow = False
        place(cell, 0.95)
        cell.backend.tick(10)
        assert cell.state().fault is None
        send(cell, cell.shifted(-0.03))
        cell.backend.tick(2)
        place(cell, 0.95 + step)
        cell.backend.tick(2)
        fault = cell.state().fault
        assert (fault.kind if fault else None) is kind


def test_the_vendors_own_fault_latches_and_ends_control(cells):
    cell = moving(cells())
    reflex = Fault(kind=FaultKind.REFLEX, reason="collision.", stamp_mono_ns=1)
    cell.backend.set("", fault=reflex)
    cell.backend.tick()
    assert cell.state().fault.kind is FaultKind.REFLEX
    assert cell.backend.said("halt") == [("halt", ("",))]
    cell.backend.set("", fault=None)
    cell.backend.tick(10)
    assert cell.state().fault.kind is FaultKind.REFLEX


def test_a_fault_of_one_arm_stops_the_other_and_names_it(cells):
    cell = cells(("left", "right"))
    both = {name: ArmCommand(target=cell.shifted(0.01)) for name in ("left", "right")}
    cell.guard.command(both, valid_for_s=0.1)
    push(cell, 100.0, "left")
    cell.backend.tick(20)
    assert cell.state("left").fault.kind is FaultKind.FORCE
    assert cell.state("right").fault.kind is FaultKind.STOP
    assert "'left'" in cell.state("right").fault.reason
    assert set(cell.backend.said("hold")[0][1]) == {"left", "right"}


def test_silence_is_a_fault(cells, monkeypatch):
    cell = moving(cells())
    cell.backend.now_ns += 600_000_000
    for _ in range(200):
        if cell.state().fault is not None:
            break
        threading.Event().wait(0.02)
    assert cell.state().fault.kind is FaultKind.COMMUNICATION
    assert cell.state().mode is Mode.FAULT


def test_stop_latches_and_holds_and_estop_halts_even_after_it(cells):
    cell = moving(cells())
    cell.guard.stop("the operator asked")
    assert cell.state().fault.kind is FaultKind.STOP
    assert cell.backend.said("hold") == [("hold", ("",))]
    cell.guard.estop("the button")
    assert cell.state().fault.kind is FaultKind.ESTOP
    assert cell.backend.said("halt") == [("halt", ("",))]
    cell.guard.stop("again")
    assert cell.state().fault.reason == "the button"


def test_a_stop_does_not_wait_for_a_slow_command_and_wins_over_it(cells):
    cell = cells()
    entered, let_go = threading.Event(), threading.Event()

    def slow():
        entered.set()
        assert let_go.wait(10)

    cell.backend.during_command = slow
    target = cell.shifted(0.01)
    commander = threading.Thread(target=lambda: send(cell, target))
    commander.start()
    assert entered.wait(10)
    cell.guard.stop("now")
    assert cell.state().fault.kind is FaultKind.STOP
    let_go.set()
    commander.join(10)
    assert cell.backend.calls[-1] == ("hold", ("",))
    assert cell.backend.states()[""].mode is Mode.HOLD


def test_an_arm_that_moves_although_it_should_hold_is_told_again(cells):
    cell = moving(cells())
    cell.guard.stop("now")
    cell.backend.set("", mode=Mode.IMPEDANCE)
    cell.backend.tick_for(0.06)
    assert len(cell.backend.said("hold")) == 2
    assert cell.backend.states()[""].mode is Mode.HOLD


def test_an_exception_in_a_tick_holds_the_arms_and_is_seen(cells, monkeypatch):
    cell = moving(cells())
    monkeypatch.setattr(
        cell.guard._cell.arms[""].checks,
        "look",
        lambda *_, **__: (_ for _ in ()).throw(KeyError("x")),
    )
    cell.backend.tick(3)
    assert cell.state().fault.kind is FaultKind.OTHER
    assert "KeyError" in cell.state().fault.reason
    assert cell.backend.said("hold") == [("hold", ("",))]


def test_a_backend_that_fails_on_a_command_is_a_fault(cells):
    cell = cells()
    cell.backend.fails = RuntimeError("the cable")
    assert "the cable" in send(cell, cell.shifted(0.01)).refused
    assert cell.state().fault.kind is FaultKind.OTHER


def test_a_command_that_the_backend_refuses_is_refused_and_the_arm_holds(cells):
    cell = moving(cells())
    cell.backend.refuses = "not now."
    assert send(cell, cell.shifted(0.01)).refused == "not now."
    assert cell.state().mode is Mode.HOLD
    assert cell.state().fault is None


# --- recover


def test_only_recover_leaves_a_fault_and_it_leaves_into_hold(cells):
    cell = moving(cells())
    cell.guard.stop("now")
    assert cell.guard.recover([""], "anna") == {"": ""}
    cell.backend.tick_for(0.35)
    state = cell.state()
    assert state.mode is Mode.HOLD
    assert state.fault is None
    cell.guard.flush()
    assert "recovered by anna from STOP." in cell.events
    assert send(cell, cell.shifted(0.01)).refused == ""


def test_recover_names_what_still_stands_in_the_way(cells):
    cell = moving(cells())
    push(cell, 90.0)
    cell.backend.tick(20)
    assert "90.0 N" in cell.guard.recover([""], "anna")[""]
    assert cell.state().mode is Mode.FAULT
    push(cell, 0.0)
    cell.backend.recovery = "the user stop is pressed."
    assert cell.guard.recover([""], "anna")[""] == "the user stop is pressed."
    cell.backend.recovery = ""
    assert cell.guard.recover([""], "anna") == {"": ""}
    assert "no arm named 'x'" in cell.guard.recover(["x"], "anna")["x"]


def test_an_emergency_stop_during_a_recovery_wins(cells):
    cell = moving(cells())
    cell.guard.stop("now")
    recover = cell.backend.recover

    def slow(arms):
        cell.backend.now_ns += 1
        cell.guard.estop("the button")
        recover(arms)

    cell.backend.recover = slow
    assert "ESTOP: the button" in cell.guard.recover([""], "anna")[""]
    assert cell.state().fault.kind is FaultKind.ESTOP
    assert cell.backend.calls[-1] == ("halt", ("",))
    assert cell.backend.states()[""].mode is Mode.IDLE


@pytest.mark.parametrize("second", ["stop", "estop"])
@pytest.mark.parametrize("first", ["stop", "estop", "force"])
def test_a_stop_during_a_recovery_is_never_lost(cells, first, second):
    cell = moving(cells())
    if first == "force":
        push(cell, 90.0)
        cell.backend.tick(20)
        push(cell, 0.0)
    else:
        getattr(cell.guard, first)("the first")
    recover = cell.backend.recover

    def slow(arms):
        recover(arms)
        getattr(cell.guard, second)("the second")  # in the same nanosecond

    cell.backend.recover = slow
    assert cell.guard.recover([""], "anna")[""]
    cell.backend.tick_for(0.35)
    assert cell.state().mode is Mode.FAULT
    assert "fault" in send(cell, cell.shifted(0.01)).refused
    halted = "estop" in (first, second)
    assert cell.backend.states()[""].mode is (Mode.IDLE if halted else Mode.HOLD)
    assert cell.guard.stopped_by_person
    cell.guard.flush()
    assert any("the second" in line for line in cell.events)
    cell.backend.recover = recover
    assert cell.guard.recover([""], "anna") == {"": ""}
    assert not cell.guard.stopped_by_person


@pytest.mark.parametrize("order", ["stop first", "reflex first"])
def test_a_program_does_not_recover_what_a_person_stopped_whatever_the_fault_shown(cells, order):
    cell = cells(("left", "right"))
    reflex = Fault(kind=FaultKind.REFLEX, reason="a push.", stamp_mono_ns=cell.backend.now_ns)
    if order == "stop first":
        cell.guard.stop("now")
    cell.backend.set("left", fault=reflex)
    cell.backend.tick()
    if order == "reflex first":
        cell.guard.stop("now")
    assert cell.state("left").fault.kind is FaultKind.REFLEX
    for arm, problem in cell.guard.recover(["left", "right"], "an env", operator=False).items():
        assert "a person stopped" in problem, arm
    assert cell.guard.recover(["left", "right"], "anna") == {"left": "", "right": ""}


def test_a_program_may_recover_a_reflex_and_the_arms_that_stopped_with_it(cells):
    cell = cells(("left", "right"))
    reflex = Fault(kind=FaultKind.REFLEX, reason="a push.", stamp_mono_ns=cell.backend.now_ns)
    cell.backend.set("left", fault=reflex)
    cell.backend.tick()
    assert cell.state("right").fault.kind is FaultKind.STOP
    found = cell.guard.recover(["left", "right"], "an env", operator=False)
    assert found == {"left": "", "right": ""}


def test_after_recover_the_wrench_at_rest_is_checked_anew(cells):
    cell = moving(cells())
    cell.guard.stop("now")
    push(cell, 5.0)
    cell.guard.recover([""], "anna")
    assert "not measured yet" in send(cell, cell.shifted(0.01)).refused
    cell.backend.tick_for(0.35)
    assert "5.0 N" in send(cell, cell.shifted(0.01)).refused


def test_an_arm_beyond_its_joint_margin_can_be_recovered_and_moved_back(cells):
    cell = moving(cells())
    q = np.array(cell.backend.model.description.q_home_rad)
    q[3] = -0.0698 - 0.04
    cell.backend.set("", q_rad=q)
    cell.backend.tick()
    assert cell.state().fault is not None
    assert cell.guard.recover([""], "anna") == {"": ""}
    cell.backend.tick_for(0.35)
    assert send(cell, cell.shifted(0.01)).refused == ""
    q = q.copy()
    q[3] -= 0.03
    cell.backend.set("", q_rad=q)
    cell.backend.tick(5)
    assert cell.state().fault is None


# --- payload


def test_more_than_three_newtons_at_rest_refuse_motion_and_say_payload(cells):
    settings = ArmSettings(payload=Payload(mass_kg=0.2))
    cell = cells(ready=False, config=RobotConfig(arm=settings))
    push(cell, 4.0)
    assert "not measured yet" in send(cell, cell.shifted(0.01)).refused
    cell.backend.tick_for(0.35)
    text = send(cell, cell.shifted(0.01)).refused
    assert "payload: at rest 4.0 N" in text
    assert "0.2 kg" in text
    assert send(cell, gripper=GripperTarget(width_m=0.0)).refused == ""
    push(cell, 1.0)
    cell.backend.tick_for(0.7)
    assert send(cell, cell.shifted(0.01)).refused == ""
    assert cell.backend.said("payload") == [("payload", {"": Payload(mass_kg=0.2)})]


def test_noise_around_a_small_residual_passes(cells):
    cell = cells(ready=False)
    rng = np.random.default_rng(0)
    for _ in range(350):
        cell.backend.set("", wrench_base_ext=np.append(rng.normal(0, 5, 3), np.zeros(3)))
        cell.backend.tick()
    assert send(cell, cell.shifted(0.01)).refused == ""


def test_a_payload_is_set_at_rest_only_and_checked_anew(cells):
    cell = cells()
    cell.backend.set("", dq_rad_per_s=np.full(7, 0.3))
    cell.backend.tick()
    with pytest.raises(UserError, match=r"0\.30 rad/s"):
        cell.guard.set_payload({"": Payload(mass_kg=1.0)})
    cell.backend.set("", dq_rad_per_s=np.zeros(7))
    cell.backend.tick()
    cell.guard.set_payload({"": Payload(mass_kg=1.0)})
    assert "not measured" in send(cell, cell.shifted(0.01)).refused
    cell.backend.tick_for(0.35)
    assert send(cell, cell.shifted(0.01)).refused == ""


def test_settings_that_the_backend_does_not_have_are_refused_by_name(cells):
    cell = cells()
    cell.backend.unsupported = frozenset({"payload", "collision", "joint1_nullspace_factor"})
    with pytest.raises(UserError, match="payload"):
        cell.guard.set_payload({"": Payload()})
    with pytest.raises(UserError, match="collision"):
        cell.guard.set_collision({"": CollisionThresholds(torque_nm=(1,) * 7, wrench=(1,) * 6)})
    with pytest.raises(UserError, match=r"joint1_nullspace_factor = 50"):
        cell.guard.set_gains({"": Gains(joint1_nullspace_factor=50.0)})
    cell.guard.set_gains({"": Gains()})


# --- gains, motion, limits


def test_gains_are_reached_linearly_over_a_fifth_of_a_second(cells):
    cell = cells()
    cell.guard.set_gains({"": Gains(translational_stiffness_n_per_m=1000.0)})
    seen = []
    for _ in range(25):
        cell.backend.tick(10)
        seen.append(stiffness(cell))
    assert seen[9] == pytest.approx(1500, abs=60)
    assert seen[20] == 1000
    assert (np.diff(seen) <= 0).all()


def test_gains_changed_in_mid_ramp_go_on_from_where_they_are(cells):
    cell = cells()
    seen = []
    for goal in (1000.0, 3000.0, 500.0):
        cell.guard.set_gains({"": Gains(translational_stiffness_n_per_m=goal)})
        for _ in range(20):
            cell.backend.tick(5)
            seen.append(stiffness(cell))
    assert np.abs(np.diff(seen)).max() < 80  # of 2500 in 200 ms, every 5 ms


def test_a_box_narrowed_around_a_moving_arm_is_no_fault(cells):
    cell = moving(cells())
    x = float(cell.T[0, 3])
    box = Workspace(low_m=(x + 0.1, -0.6, 0.0), high_m=(0.85, 0.6, 0.9))
    cell.guard.narrow({"": SafetyLimits(workspace=box)})
    cell.backend.tick(20)
    assert cell.state().fault is None
    assert send(cell, cell.shifted(0.02)).clamps == ()


def test_stiffness_and_push_are_limited_and_said(cells):
    cell = cells()
    words = cell.guard.set_gains(
        {"": Gains(translational_stiffness_n_per_m=9000.0, translational_clip_m=(0.1, 0.1, 0.01))}
    )[""]
    goal = cell.guard.gains[""]
    assert goal.translational_stiffness_n_per_m == 4000
    assert goal.translational_clip_m == (150 / 4000, 150 / 4000, 0.01)
    assert len(words) == 2
    assert "150 N" in words[1]


def test_motion_is_limited_and_said(cells):
    cell = cells()
    words = cell.guard.set_motion({"": MotionLimits(linear_speed_m_per_s=2.0)})[""]
    assert words == ("linear_speed_m_per_s 2 lowered to 1",)
    assert cell.guard.motion[""].linear_speed_m_per_s == 1.0


@pytest.mark.parametrize(
    "gains", [Gains(nullspace_stiffness_nm_per_rad=math.nan), Gains(torque_rate_nm_per_s=-1.0)]
)
def test_gains_that_are_no_gains_are_refused(cells, gains):
    with pytest.raises(UserError, match="finite and 0 or more"):
        cells().guard.set_gains({"": gains})


def test_a_session_narrows_and_the_next_one_starts_from_the_absolute_limits(cells):
    cell = cells()
    absolute = SafetyLimits()
    asked = replace(absolute, step_m=0.03, force_n=500.0, linear_speed_m_per_s=0.2)
    effective = cell.guard.narrow({"": asked})[""]
    assert (effective.step_m, effective.force_n) == (0.03, absolute.force_n)
    assert cell.guard.motion[""].linear_speed_m_per_s == 0.2
    assert "0.03" in send(cell, cell.shifted(0.05)).refused
    cell.guard.begin_session()
    assert cell.guard.limits[""] == absolute
    assert cell.guard.motion[""].linear_speed_m_per_s == 0.5
    with pytest.raises(UserError, match="no arm named"):
        cell.guard.narrow({"x": asked})


# --- simulation


def test_in_lockstep_nothing_depends_on_time(cells):
    cell = cells(lockstep=True)
    command = ArmCommand(target=cell.shifted(0.02))
    for _ in range(100):
        verdict = cell.guard.command({"": command}, valid_for_s=0.0, sent_mono_ns=0)[""]
        assert verdict.command is command
    cell.backend.tick_for(10.0)
    assert cell.state().mode is Mode.IMPEDANCE
    assert cell.backend.limits[""] == MotionLimits()
    cell.guard.set_gains({"": Gains(translational_stiffness_n_per_m=500.0)})
    assert stiffness(cell) == 500


def test_a_reset_scene_is_no_jump(cells):
    cell = moving(cells())
    T = se3.apply_displacement(cell.T, np.array([0.2, 0.2, 0, 0, 0, 0]))
    cell.backend.set("", mode=Mode.HOLD, T_base_tcp=T, T_base_ref=T)
    cell.guard.was_reset()
    assert cell.state().mode is Mode.HOLD
    np.testing.assert_array_equal(cell.state().T_base_tcp, T)
    verdict = send(cell, cell.shifted(0.05))
    assert (verdict.refused, verdict.clamps) == ("", ())


def test_a_rebuilt_cell_has_new_arms_and_keeps_a_persons_stop(cells):
    cell = cells()
    cell.guard.stop("now")
    cell.backend.arms = dict.fromkeys(("left", "right"), cell.backend.model.description)
    q = np.array(cell.backend.model.description.q_home_rad)
    cell.backend._states = {name: cell.backend._at(q) for name in ("left", "right")}
    cell.guard.rebuilt()
    assert cell.guard.states().keys() == {"left", "right"}
    assert cell.state("left").fault is None
    cell.guard.stop("again")
    cell.guard.rebuilt()
    assert cell.state("left").fault.kind is FaultKind.STOP


def test_a_fault_stays_and_is_enforced_through_a_rebuilt_and_a_reset_cell(cells):
    cell = moving(cells())
    push(cell, 90.0)
    cell.backend.tick(20)
    cell.guard.rebuilt()
    assert cell.state().fault.kind is FaultKind.FORCE
    cell.guard.estop("the button")
    for again in (cell.guard.rebuilt, cell.guard.was_reset):
        cell.backend.set("", mode=Mode.HOLD)  # as a reset of a world leaves every arm
        again()
        assert cell.state().fault.kind is FaultKind.ESTOP
        assert cell.backend.states()[""].mode is Mode.IDLE


# --- watching, recording


def test_watchers_get_each_sample_once_and_a_slow_one_skips(cells):
    cell = cells()
    stamp, states = cell.guard.wait_newer(0, 1.0)
    assert states[""].stamp_mono_ns == stamp
    assert cell.guard.wait_newer(stamp, 0.01) is None
    found = []
    watchers = [
        threading.Thread(target=lambda: found.append(cell.guard.wait_newer(stamp, 10.0)))
        for _ in range(5)
    ]
    for watcher in watchers:
        watcher.start()
    cell.backend.tick(3)
    for watcher in watchers:
        watcher.join(10)
    assert len(found) == 5
    assert all(got is not None and got[0] > stamp for got in found)


def test_a_clock_that_is_ahead_stamps_states_ahead(tmp_path, cells):
    cell = cells()
    from robot_servers.guard import Guard

    shifted = Guard(
        cell.backend,
        RobotConfig(recordings=tmp_path),
        clock=lambda: cell.backend.now_ns + 3_200_000_000,
        settle_s=0.0,
    )
    shifted.start()
    cell.backend.tick(3)
    assert shifted.states()[""].stamp_mono_ns == cell.backend.now_ns + 3_200_000_000
    shifted.close()


def test_a_fault_is_recorded_with_states_commands_and_events(cells):
    cell = cells()
    for _ in range(120):
        send(cell, cell.shifted(0.001), sequence=0)
        cell.backend.tick_for(0.05)
    send(cell, JointTarget(q_rad=np.zeros(7)))
    push(cell, 90.0)
    cell.backend.tick(20)
    assert cell.guard.flush()
    path = cell.state().fault.recording
    assert any(path in event for event in cell.events)
    recording = Recorder.load(path)
    assert "90.0 N" in recording.reason
    seconds = (recording.stamp_mono_ns[-1] - recording.stamp_mono_ns[0]) * 1e-9
    assert seconds == pytest.approx(5.0, abs=0.02)
    assert (np.diff(recording.stamp_mono_ns) == 1_000_000).all()
    assert recording.T_base_tcp.shape == (len(recording.stamp_mono_ns), 4, 4)
    assert recording.q_rad.shape[1] == len(recording.joint_names) == 7
    assert recording.wrench_base_ext[-1, 0] == 90.0
    assert list(recording.command_kind[-2:]) == ["cartesian", "joint"]
    assert "outside the workspace" in recording.command_verdict[-1]
    np.testing.assert_allclose(recording.command_values[-2].reshape(4, 4)[3], [0, 0, 0, 1])
    assert set(recording.mode[:-1]) == {Mode.IMPEDANCE}
    assert "FORCE" in recording.event[-1]


def test_close_holds_before_it_lets_go(cells):
    cell = moving(cells())
    cell.guard.close()
    assert [call[0] for call in cell.backend.calls[-2:]] == ["hold", "close"]


def test_a_closed_guard_leaves_the_arms_to_the_next_one(cells):
    """It used to go on holding arms that the next guard moved."""
    cell = moving(cells())
    on_tick = cell.backend.on_tick
    cell.guard.close()
    before = len(cell.backend.calls)
    cell.backend.set("", mode=Mode.IMPEDANCE)
    for _ in range(100):
        cell.backend.now_ns += 1_000_000
        on_tick(cell.backend.states())
    assert len(cell.backend.calls) == before


def test_a_robot_toml_with_arms_that_are_not_there_is_refused(cells):
    with pytest.raises(UserError, match="lefft"):
        cells(("left",), config=RobotConfig(arms={"lefft": ArmSettings()}))


def test_a_tcp_that_the_backend_cannot_set_is_refused(cells):
    settings = ArmSettings(tcp_pos_m=(0.0, 0.0, 0.1))
    with pytest.raises(UserError, match="cannot set tcp_pos_m"):
        cells(config=RobotConfig(arm=settings))
