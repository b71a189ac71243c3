"""Fragments, frames, and two arms in one cell."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.control import se3
from robot_servers.simulation import render
from robot_servers.types import ArmCommand, CartesianTarget, SceneObject
from serl.errors import UserError

BODY = '<body name="cube"><freejoint/><geom size="0.02"/></body>'

BAD = {
    "<mujoco><worldbody>": "not well-formed",
    "<worldbody/>": "wrap it in <mujoco>",
    '<mujoco><option timestep="0.1"/></mujoco>': "<option>, which belongs to the cell",
    '<mujoco><default><geom size="1"/></default></mujoco>': "give it a class",
    '<mujoco><body nam="cube"/></mujoco>': "unrecognized attribute: 'nam'",
    "<mujoco><body><freejoint/><geom size='1'/></body></mujoco>": "free body without a name",
    f"<mujoco>{BODY}{BODY}</mujoco>": "does not compile: .*repeated name 'cube'",
    '<mujoco><asset><mesh name="m" file="/etc/passwd"/></asset></mujoco>': "names a file in <mesh>",
    '<mujoco><include file="other.xml"/></mujoco>': "belongs to the cell",
    '<mujoco><body name="link1"><geom size="0.1"/></body></mujoco>': "repeated name 'link1'",
}


@pytest.mark.parametrize("fragment", BAD)
def test_a_bad_fragment_is_refused_in_one_line_and_the_old_scene_stays(cell, fragment):
    with pytest.raises(UserError, match=BAD[fragment]) as raised:
        cell.backend.scene.load(fragment)
    assert "\n" not in str(raised.value)
    assert list(cell.backend.scene.object_poses()) == ["cube"]
    cell.reset()
    cell.backend.advance(0.02)


def test_a_fragment_may_stand_in_worldbody_or_directly_under_mujoco(make_cell):
    cell = make_cell()
    for fragment in (f"<mujoco>{BODY}</mujoco>", f"<mujoco><worldbody>{BODY}</worldbody></mujoco>"):
        cell.backend.scene.load(fragment)
        assert list(cell.backend.scene.object_poses()) == ["cube"]


def test_loading_another_scene_replaces_the_first(make_cell):
    cell = make_cell()
    cell.backend.scene.load(
        '<mujoco><body name="ring"><freejoint/><geom size="1"/></body></mujoco>'
    )
    assert list(cell.backend.scene.object_poses()) == ["ring"]


def test_an_object_stands_where_it_is_put(cell):
    T = se3.pose_from_rotvec([0.4, -0.1, 0.3], [0.3, -0.5, 2.0])
    cell.backend.scene.reset([SceneObject(name="cube", T_base_object=T)])
    np.testing.assert_allclose(cell.cube(), T, atol=1e-12)
    np.testing.assert_array_equal(cell.backend.scene.object_twists()["cube"], 0)
    cell.backend.advance(0.1)
    fall = cell.backend.scene.object_twists()["cube"][2]
    assert fall == pytest.approx(-9.81 * 0.1, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cuve"}, "Did you mean 'cube'"),
        ({"name": "cube", "T_base_object": np.full((4, 4), np.nan)}, "no finite rigid pose"),
        ({"name": "cube", "mass_kg": 0.0}, "mass 0.0 kg"),
        ({"name": "cube", "friction": -1.0}, "friction -1.0"),
    ],
)
def test_an_impossible_object_is_refused(cell, arguments, message):
    with pytest.raises(UserError, match=message):
        cell.backend.scene.reset([SceneObject(**arguments)])


@pytest.mark.parametrize(
    ("q", "message"), [(np.zeros(6), "6 joint positions"), (np.full(7, 9.0), "outside")]
)
def test_an_impossible_start_posture_is_refused(cell, q, message):
    with pytest.raises(UserError, match=message):
        cell.backend.scene.reset([], {"": q})


def test_two_arms_share_a_cell_and_each_moves_in_its_own_base():
    right = se3.pose_from_rotvec([1.2, 0.6, 0.0], [0.1, -0.15, 2.0])
    backend = MujocoBackend(arms={"left": "panda", "right": "panda"}, base_poses={"right": right})
    with backend:
        start = backend.states()
        np.testing.assert_allclose(start["left"].T_base_tcp, start["right"].T_base_tcp, atol=1e-9)
        step = np.array([0.05, 0.03, -0.04, 0, 0, 0.2])
        targets = {n: se3.apply_displacement(s.T_base_tcp, step) for n, s in start.items()}
        backend.command(
            {n: ArmCommand(target=CartesianTarget(T_base_tcp=T)) for n, T in targets.items()}
        )
        end = backend.advance(2.0)
        for name, T in targets.items():
            np.testing.assert_allclose(end[name].T_base_tcp, T, atol=3e-3)
            np.testing.assert_allclose(end[name].q_rad, end["left"].q_rad, atol=1e-6)
        backend.scene.push(np.array([3.0, 2.0, 1.0, 0, 0, 0]), arm="right")
        end = backend.advance(0.5)
        np.testing.assert_allclose(end["right"].wrench_base_ext[:3], [3, 2, 1], atol=1e-6)
        np.testing.assert_allclose(end["left"].wrench_base_ext, 0, atol=1e-9)


def frame(cell, **options):
    try:
        return cell.backend.scene.render("front", 96, 128, **options)
    except UserError as error:
        pytest.skip(f"a system package is missing: {error}")


@pytest.mark.parametrize("pretty", [False, True])
def test_a_frame_shows_the_cube_where_it_is(cell, pretty):
    cell.reset(x=0.6)
    here = frame(cell, pretty=pretty)
    assert here.shape == (96, 128, 3)
    assert here.dtype == np.uint8
    cell.reset(x=0.6)
    np.testing.assert_array_equal(frame(cell, pretty=pretty), here)
    cell.reset(x=0.6, y=0.2)
    assert (frame(cell, pretty=pretty) != here).any()


def test_an_unknown_camera_and_a_frame_too_large_are_refused(cell):
    frame(cell)
    with pytest.raises(UserError, match="Did you mean 'front'"):
        cell.backend.scene.render("frond", 96, 128)
    with pytest.raises(UserError, match="largest is 1920 x 1080"):
        cell.backend.scene.render("front", 5000, 128)


def test_without_opengl_the_reason_and_the_remedy_are_one_line(monkeypatch):
    monkeypatch.setattr(render, "CONTEXTS", ("no_such_context",))
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    with pytest.raises(UserError, match=r"no OpenGL to draw with .* apt-get install libegl1"):
        render.make_context(64, 64)


def test_a_mujoco_gl_that_mujoco_does_not_know_is_one_line():
    code = (
        "from robot_servers.backends.mujoco import MujocoBackend\n"
        "from serl.errors import UserError\n"
        "try: MujocoBackend().connect()\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MUJOCO_GL": "nonsense"},
        capture_output=True,
        text=True,
    )
    assert "nonsense. Unset MUJOCO_GL" in done.stdout, done.stderr
    assert len(done.stdout.splitlines()) == 1
