"""A simulator in another process is the same simulator, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from envs.robot_env import RobotEnv
from envs.tasks.pick_cube import PickCubeConfig
from envs.tasks.reach import ReachConfig
from robot_servers.backends.base import BACKENDS
from robot_servers.control import se3
from robot_servers.types import ArmCommand, CartesianTarget, Gains, Mode, SceneObject
from serl.errors import UserError

CUBE = """<mujoco><body name="cube"><freejoint/>
<geom type="box" size="0.02 0.02 0.02" mass="0.1"/></body></mujoco>"""


def remote_config(server, config):
    return replace(config, robot=f"grpc://{server.address}", realtime=False)


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert np.asarray(a[name]).tobytes() == np.asarray(b[name]).tobytes(), name


@pytest.mark.parametrize("make", [PickCubeConfig, ReachConfig])
def test_remote_lockstep_equals_in_process_bit_for_bit(kit, make):
    local = make()
    remote = remote_config(kit.simulator(), local)
    envs = [RobotEnv(config, config.make_task()) for config in (local, remote)]
    try:
        rng = np.random.default_rng(5)
        for seed in (7, 8):
            ours, theirs = (env.reset(seed=seed)[0] for env in envs)
            same(ours, theirs)
            for _ in range(100):
                action = rng.uniform(-1, 1, envs[0].action_space.shape)
                a, b = (env.step(action) for env in envs)
                same(a[0], b[0])
                assert a[1:4] == b[1:4]
                same(a[4]["reward_terms"], b[4]["reward_terms"])
                assert a[4]["stamp_mono_ns"] == b[4]["stamp_mono_ns"]
                assert a[4]["clamped"] == b[4]["clamped"]
    finally:
        for env in envs:
            env.close()


def test_two_arms_in_one_cell_are_served_by_name(kit):
    arms = {"left": "panda", "right": "panda"}
    bases = {"right": se3.pose_from_rotvec((0.0, 0.9, 0.0), (0.0, 0.0, 0.3))}
    local = BACKENDS.get("mujoco")(arms=arms, base_poses=bases)
    local.connect()
    remote = kit.remote(kit.simulator(), arms=arms, base_poses=bases)
    try:
        assert list(remote.arms) == ["left", "right"]
        states = []
        for backend in (local, remote):
            backend.scene.load(CUBE)
            backend.scene.reset([SceneObject(name="cube")])
            T = backend.states()["right"].T_base_tcp.copy()
            T[2, 3] += 0.05
            backend.command({"right": ArmCommand(target=CartesianTarget(T_base_tcp=T))})
            states.append(backend.advance(0.2))
        for name in arms:
            for field in ("q_rad", "T_base_tcp", "T_base_ref", "wrench_base_ext"):
                a, b = (getattr(s[name], field) for s in states)
                assert a.tobytes() == b.tobytes()
        same(local.scene.object_poses(), remote.scene.object_poses())
        same(local.scene.object_twists(), remote.scene.object_twists())
    finally:
        local.close()


def test_a_command_is_seen_at_once_and_not_only_after_the_next_period(kit, offset):
    remote = kit.remote(kit.simulator(), arms={"": "panda"})
    command = offset(remote.states()[""], x=0.02)
    remote.command({"": command})
    np.testing.assert_array_equal(remote.states()[""].T_base_target, command.target.T_base_tcp)
    assert remote.states()[""].stamp_mono_ns == 0


def test_frames_are_the_same(kit):
    local = BACKENDS.get("mujoco")()
    local.connect()
    remote = kit.remote(kit.simulator(), arms={"": "panda"})
    try:
        for backend in (local, remote):
            backend.scene.load(CUBE)
            backend.scene.reset([SceneObject(name="cube")])
        frames = [b.scene.render("front", 96, 128) for b in (local, remote)]
        assert frames[1].shape == (96, 128, 3)
        np.testing.assert_array_equal(*frames)
        with pytest.raises(UserError, match="no camera named 'frnt'"):
            remote.scene.render("frnt", 96, 128)
        with pytest.raises(UserError, match="ask for smaller"):
            remote.scene.render("front", 4000, 4000)
    finally:
        local.close()


def test_a_push_is_felt(kit):
    remote = kit.remote(kit.simulator(), arms={"": "panda"})
    remote.scene.push(np.array([10.0, 0, 0, 0, 0, 0]))
    state = remote.advance(0.5)[""]
    assert state.wrench_base_ext[0] == pytest.approx(10.0, abs=0.5)
    with pytest.raises(UserError, match="wrench_base has 3 numbers"):
        remote.scene.push(np.zeros(3))


def test_a_bad_scene_is_refused_in_one_line_and_the_old_one_stays(kit):
    remote = kit.remote(kit.simulator(), arms={"": "panda"})
    remote.scene.load(CUBE)
    with pytest.raises(UserError, match="not well-formed"):
        remote.scene.load("<mujoco>")
    with pytest.raises(UserError, match="no object"):
        remote.scene.reset([SceneObject(name="cub")])
    assert list(remote.scene.object_poses()) == ["cube"]


def test_a_simulator_takes_on_the_experiments_arms_and_step(kit):
    server = kit.simulator(arms={"only": "panda"})
    remote = kit.remote(server, arms={"a": "panda", "b": "fr3"}, physics_dt_s=0.001)
    assert [robot.name for robot in remote.arms.values()] == ["panda", "fr3"]
    assert remote.period_s == 0.001
    remote.advance(0.003)
    with pytest.raises(UserError, match="whole number"):
        remote.advance(0.0005)


def test_without_arms_a_client_takes_the_simulator_as_it_is(kit):
    server = kit.simulator(arms={"left": "panda", "right": "panda"})
    before = server.guard.states()
    remote = kit.remote(server)
    assert list(remote.arms) == ["left", "right"]
    assert remote.lockstep
    for name, state in remote.states().items():
        np.testing.assert_array_equal(state.q_rad, before[name].q_rad)


def test_lockstep_and_real_time_do_not_mix_and_the_line_says_what_to_change(kit):
    with pytest.raises(
        UserError, match=r"start the server with --lockstep, or set env.realtime true"
    ):
        kit.remote(kit.simulator(lockstep=False), lockstep=True)
    with pytest.raises(UserError, match=r"without --lockstep, or set env.realtime false"):
        kit.remote(kit.simulator(), lockstep=False)
    with pytest.raises(UserError, match="moves real arms, which know no lockstep"):
        kit.remote(kit.serve(), lockstep=True)


def test_a_refused_command_lets_no_time_pass(kit, offset):
    remote = kit.remote(kit.simulator(), arms={"": "panda"})
    bad = offset(remote.states()[""], x=0.02)
    bad.target.T_base_tcp[0, 3] = np.nan
    remote.command({"": bad})
    with pytest.raises(UserError, match=r"finite|number"):
        remote.advance(0.05)
    assert remote.states()[""].stamp_mono_ns == 0
    remote.advance(0.05)
    assert remote.states()[""].stamp_mono_ns == 50_000_000


def test_hold_comes_after_what_was_commanded_before_it(kit, offset):
    remote = kit.remote(kit.simulator(), arms={"": "panda"})
    remote.command({"": offset(remote.states()[""], x=0.02)})
    remote.hold([""])
    assert remote.advance(0.05)[""].mode is Mode.HOLD


def test_gains_over_the_wire_act_as_in_process(kit):
    remote = kit.remote(kit.simulator(), arms={"": "panda"})
    remote.set_gains({"": Gains(translational_stiffness_n_per_m=1000.0)})
    remote.scene.push(np.array([0.0, 8.0, 0, 0, 0, 0]))
    before = remote.states()[""].T_base_tcp[1, 3]
    state = remote.advance(3.0)[""]
    assert state.T_base_tcp[1, 3] - before == pytest.approx(8.0 / 1000.0, rel=0.1)
