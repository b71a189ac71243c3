"""What goes over the wire comes out as it went in, bit for bit."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_servers.config import KeepOut, SafetyLimits, Workspace
from robot_servers.control import se3
from robot_servers.guard import Clamp
from robot_servers.models.base import MODELS, describe
from robot_servers.protocol import convert
from robot_servers.protocol import robot_pb2 as pb
from robot_servers.types import (
    ArmCommand,
    CartesianTarget,
    CollisionThresholds,
    Fault,
    FaultKind,
    Gains,
    GripperDescription,
    GripperTarget,
    JointTarget,
    Mode,
    MotionLimits,
    Payload,
    RobotDescription,
    RobotState,
    WrenchTarget,
)
from serl.errors import UserError

number = st.floats(allow_nan=False, allow_infinity=False, width=64)
positive = st.floats(0.0, 1e6)
names = st.text("abcdefgh_", max_size=8)


def vector(size):
    return st.lists(number, min_size=size, max_size=size).map(np.array)


def triple(elements=number):
    return st.tuples(elements, elements, elements)


@st.composite
def poses(draw):
    rotvec = draw(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
    return se3.pose_from_rotvec(draw(vector(3)), rotvec)


faults = st.builds(
    Fault,
    kind=st.sampled_from(FaultKind),
    reason=names,
    stamp_mono_ns=st.integers(0, 2**62),
    recording=names,
)


@st.composite
def states(draw):
    n = draw(st.integers(1, 8))
    fault = draw(st.none() | faults)
    return RobotState(
        stamp_mono_ns=draw(st.integers(0, 2**62)),
        q_rad=draw(vector(n)),
        dq_rad_per_s=draw(vector(n)),
        tau_nm=draw(vector(n)),
        T_base_tcp=draw(poses()),
        twist_base_tcp=draw(vector(6)),
        wrench_base_ext=draw(vector(6)),
        T_base_ref=draw(poses()),
        T_base_target=draw(poses()),
        gripper_width_m=draw(number),
        gripper_target_m=draw(number),
        gripper_moving=draw(st.booleans()),
        mode=Mode.FAULT if fault else draw(st.sampled_from(Mode)),
        clamped=draw(st.booleans()),
        fault=fault,
    )


commands = st.builds(
    ArmCommand,
    target=st.none()
    | st.builds(CartesianTarget, T_base_tcp=poses())
    | st.builds(JointTarget, q_rad=st.integers(1, 8).flatmap(vector))
    | st.builds(WrenchTarget, wrench=vector(6), frame=st.sampled_from(["base", "tcp"])),
    gripper=st.none()
    | st.builds(
        GripperTarget,
        width_m=number,
        force_n=st.none() | number,
        speed_m_per_s=st.none() | number,
    ),
)


def same(a, b):
    """Equal in every field, arrays bit for bit."""
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


def over_the_wire(message):
    return type(message).FromString(message.SerializeToString())


@given(st.dictionaries(names, states(), max_size=3))
def test_states_come_back_as_they_were_in_their_order(given_states):
    message = pb.States()
    convert.put_states(message, given_states)
    back = convert.take_states(over_the_wire(message))
    assert list(back) == list(given_states)
    assert all(same(given_states[name], back[name]) for name in back)


@given(states(), st.integers(-(2**40), 2**40))
def test_only_stamps_move_with_the_clock(state, offset_ns):
    message = pb.RobotState()
    convert.put_state(message, "", state)
    back = convert.take_state(over_the_wire(message), offset_ns)
    assert back.stamp_mono_ns == state.stamp_mono_ns + offset_ns
    if state.fault is not None:
        assert back.fault.stamp_mono_ns == state.fault.stamp_mono_ns + offset_ns
        back = replace(back, fault=state.fault)
    assert same(replace(back, stamp_mono_ns=state.stamp_mono_ns), state)


@given(commands)
def test_a_command_comes_back_as_it_was(command):
    message = pb.ArmCommand()
    convert.put_command(message, "left", command)
    (back,) = convert.take_commands([over_the_wire(message)]).values()
    assert same(back, command)


@given(
    st.builds(
        Gains,
        **{f.name: positive for f in fields(Gains) if f.type == "float"},
        translational_clip_m=triple(positive),
        rotational_clip_rad=triple(positive),
        translational_clip_neg_m=st.none() | triple(positive),
        rotational_clip_neg_rad=st.none() | triple(positive),
    )
)
def test_gains_come_back_as_they_were(gains):
    message = pb.Gains()
    convert.put_gains(message, gains)
    assert convert.take_gains(over_the_wire(message), "") == gains


@given(
    st.builds(
        SafetyLimits,
        **{f.name: positive for f in fields(SafetyLimits) if f.type == "float"},
        workspace=st.builds(
            Workspace,
            low_m=triple(),
            high_m=triple(),
            quat_xyzw=st.tuples(number, number, number, number),
            rotation_rad=triple(),
            keep_out=st.lists(st.builds(KeepOut, low_m=triple(), high_m=triple()), max_size=3).map(
                tuple
            ),
        ),
    )
)
def test_limits_come_back_as_they_were(limits):
    message = pb.SafetyLimits()
    convert.put_limits(message, limits)
    assert convert.take_limits(over_the_wire(message), "") == limits


@pytest.mark.parametrize("name", MODELS.names())
def test_every_robot_describes_itself_over_the_wire(name):
    message = pb.RobotDescription()
    convert.put_description(message, describe(name))
    assert convert.take_description(over_the_wire(message)) == describe(name)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (MotionLimits(filter_time_constant_s=0.3), pb.MotionLimits()),
        (Payload(mass_kg=0.4, com_flange_m=(0.1, 0.0, -0.2)), pb.Payload()),
        (
            CollisionThresholds(torque_nm=(1.0, 2.0), wrench=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
            pb.CollisionThresholds(),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_flat_comes_back_as_it_was(value, message):
    convert.put_flat(message, value)
    assert convert.take_flat(type(value), over_the_wire(message), "") == value


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (RobotState, pb.RobotState),
        (Fault, pb.Fault),
        (Gains, pb.Gains),
        (MotionLimits, pb.MotionLimits),
        (SafetyLimits, pb.SafetyLimits),
        (Workspace, pb.Workspace),
        (KeepOut, pb.KeepOut),
        (Payload, pb.Payload),
        (CollisionThresholds, pb.CollisionThresholds),
        (RobotDescription, pb.RobotDescription),
        (GripperDescription, pb.GripperDescription),
        (GripperTarget, pb.GripperTarget),
        (WrenchTarget, pb.WrenchTarget),
        (Clamp, pb.Clamp),
    ],
    ids=lambda value: value.__name__,
)
def test_the_wire_has_every_field(cls, message):
    """A field added to types.py is added to robot.proto, or a remote arm would lose it."""
    there = {field.name for field in message.DESCRIPTOR.fields} - {"arm"}
    assert there == {field.name for field in fields(cls)}


@pytest.mark.parametrize(
    ("ours", "theirs"), [(Mode, pb.RobotState.Mode), (FaultKind, pb.Fault.Kind)]
)
def test_enums_mean_the_same_on_both_sides(ours, theirs):
    assert {m.name: m.value for m in ours} == {k: v for k, v in theirs.items() if k != "UNKNOWN"}


def test_wrong_lengths_and_words_are_refused():
    short = pb.ArmCommand(cartesian=pb.CartesianTarget(T_base_tcp=[0.0] * 16))
    with pytest.raises(UserError, match="16 numbers; it takes 12"):
        convert.take_command(short)
    wrench = pb.ArmCommand(wrench=pb.WrenchTarget(wrench=[0.0] * 6, frame="world"))
    with pytest.raises(UserError, match="neither 'base' nor 'tcp'"):
        convert.take_command(wrench)
    with pytest.raises(UserError, match="commanded twice"):
        convert.take_commands([pb.ArmCommand(), pb.ArmCommand()])
    with pytest.raises(UserError, match="translational_clip_m has 2 numbers; it takes 3"):
        convert.take_gains(pb.Gains(translational_clip_m=[1.0, 2.0]), "gains")


def test_nan_is_named():
    with pytest.raises(UserError, match="mass_kg is not a number"):
        convert.refuse_nan(Payload(mass_kg=float("nan")), "payload")
    limits = SafetyLimits(
        workspace=Workspace(
            keep_out=(KeepOut(low_m=(0.0, float("nan"), 0.0), high_m=(1.0, 1.0, 1.0)),)
        )
    )
    with pytest.raises(UserError, match="low_m is not a number"):
        convert.refuse_nan(limits, "limits")
    convert.refuse_nan(SafetyLimits(force_n=float("inf")), "limits")
