"""`serl robot`: an operator's words against a real robot server over a simulated arm."""

import ast
import io
import signal
import subprocess
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from envs.config import SafetyBox
from launch import robot_show
from launch.main import main, parse
from launch.robot import WORDS
from launch.robot_motion import Motion
from launch.robot_moves import straight_path, target_pose
from launch.robot_settings import gains_text, parse_gains
from launch.robot_show import Box, snippet
from robot_servers.backends.mujoco import MujocoBackend
from robot_servers.config import RobotConfig, load_config
from robot_servers.control import se3
from robot_servers.guard import Guard
from robot_servers.lease import LeaseBook
from robot_servers.server import RobotServer
from robot_servers.types import Gains, Mode
from serl.errors import CorruptFile, UserError

DOWN = se3.pose_from_rotvec((0.5, 0.0, 0.3), (np.pi, 0.0, 0.0))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A robot server with a simulated Panda in real time; its guard, leases and address."""
    config = RobotConfig(recordings=tmp_path_factory.mktemp("recordings"))
    guard = Guard(MujocoBackend(lockstep=False, compiled=False), config)
    guard.start()
    leases = LeaseBook()
    with RobotServer(guard, leases, bind="127.0.0.1:0", backend_name="mujoco") as served:
        yield SimpleNamespace(guard=guard, leases=leases, address=str(served.address))
    guard.close()


@pytest.fixture
def serl_robot(server, capfd):
    """serl_robot(word, ...) -> (exit code, stdout, stderr)."""

    def call(*words):
        capfd.readouterr()
        code = main(["robot", *map(str, words), "--address", server.address])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        print(out, err)  # shown with a failure
        return code, out, err

    if server.guard.states()[""].mode is Mode.FAULT:
        server.guard.recover([""], "the test before")
    return call


def tcp(server):
    return server.guard.states()[""].T_base_tcp


@pytest.mark.parametrize("word", WORDS)
def test_every_word_has_help(word, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["robot", word, "--help"])
    assert caught.value.code == 0
    assert WORDS[word].help in capsys.readouterr().out


def test_an_unknown_word_or_flag_is_one_line(capfd):
    assert main(["robot", "dance"]) == 2
    assert main(["robot", "home", "--spede", "1"]) == 2
    assert main(["robot"]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 3
    assert "dance" in lines[0]
    assert "--spede" in lines[1]


def test_negative_coordinates_are_numbers_and_no_flags():
    args = parse(["robot", "move-to", "0.5", "-0.1", "0.3", "--yes"]).args
    assert args.pose == [0.5, -0.1, 0.3]


def test_an_absent_server_is_one_line_that_says_what_to_start(capfd):
    assert main(["robot", "state", "--once", "--address", "127.0.0.1:1"]) == 2
    err = capfd.readouterr().err
    assert "robot-server" in err
    assert len(err.strip().splitlines()) == 1


def test_the_table_shows_the_arm_with_units(serl_robot):
    code, out, _ = serl_robot("state", "--once")
    assert code == 0
    for word in ("mode", "TCP [m]", "force on arm [N]", "gripper [mm]", "panda"):
        assert word in out


def test_the_live_table_ends_with_ctrl_c(serl_robot, monkeypatch):
    def three_ticks(_):
        yield from (0.0, 0.1, 0.2)
        raise KeyboardInterrupt

    monkeypatch.setattr(robot_show, "ticks", three_ticks)
    code, out, _ = serl_robot("state")
    assert code == 0
    assert "HOLD" in out


def test_move_to_arrives_and_keeps_the_orientation(serl_robot, server):
    before = tcp(server)[:3, :3]
    code, _, _ = serl_robot("move-to", 0.42, 0.05, 0.4, "--speed", 0.3, "--yes")
    assert code == 0
    np.testing.assert_allclose(tcp(server)[:3, 3], [0.42, 0.05, 0.4], atol=0.006)
    np.testing.assert_allclose(tcp(server)[:3, :3], before, atol=0.05)
    assert server.leases.holder == ""
    assert server.guard.states()[""].mode is Mode.HOLD


def test_teach_prints_what_a_config_takes(serl_robot, server):
    _, out, _ = serl_robot("teach")
    fields = dict(line.rstrip(",").split("=") for line in out.strip().splitlines())
    position = ast.literal_eval(fields["start_pos_m"])
    quat = ast.literal_eval(fields["start_quat_xyzw"])
    T = se3.pose_from_quat(position, quat)
    np.testing.assert_allclose(T, tcp(server), atol=1e-3)


def test_home_and_the_gripper(serl_robot, server):
    assert serl_robot("home", "--yes")[0] == 0
    home = server.guard.arms[""].q_home_rad
    np.testing.assert_allclose(server.guard.states()[""].q_rad, home, atol=0.02)
    assert serl_robot("gripper", "move", 30, "--yes")[0] == 0
    assert server.guard.states()[""].gripper_width_m == pytest.approx(0.03, abs=0.003)
    assert serl_robot("gripper", "open", "--yes")[0] == 0
    assert server.guard.states()[""].gripper_width_m > 0.95 * 0.08


def test_the_arm_does_not_move_when_nobody_says_yes(serl_robot, server, monkeypatch):
    before = tcp(server)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    code, _, err = serl_robot("move-to", 0.5, 0, 0.3)
    assert code == 2
    assert "--yes" in err
    np.testing.assert_allclose(tcp(server), before, atol=2e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["move-to", "0.5", "0"], "3 numbers"),
        (["move-to", "0.5", "0", "0.3", "1", "0", "0", "1"], "length 1.41"),
        (["joint-reset", "0", "1", "--yes"], "7 joints"),
        (["gripper", "move", "--yes"], "opening in mm"),
        (["gripper", "open", "20", "--yes"], "take none"),
        (["gripper", "move", "200", "--yes"], "80 mm"),
        (["gains", "stiffness=1"], "no gain named 'stiffness'"),
        (["gains", "rotational_damping_nm_s_per_rad"], "NAME=VALUE"),
        (["home", "--yes", "--arm", "left"], "no arm named 'left'"),
        (["playback", "no_such.npz", "--yes"], "serl robot record"),
    ],
)
def test_what_cannot_be_done_is_one_line(serl_robot, words, says):
    code, _, err = serl_robot(*words)
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1, err


def test_a_second_commander_is_refused_by_name_and_an_operator_is_not(serl_robot, server):
    lease = server.leases.acquire("policy@lab:7")
    try:
        code, _, err = serl_robot("home", "--yes")
        assert code == 2
        assert "policy@lab:7" in err
        assert serl_robot("teach")[0] == 0, "watching needs no lease"
        assert serl_robot("home", "--yes", "--operator")[0] == 0
    finally:
        server.leases.drop(lease)


def test_stop_needs_no_lease_and_recover_leaves_it(serl_robot, server):
    lease = server.leases.acquire("policy@lab:7")
    assert serl_robot("stop")[0] == 0
    assert server.guard.states()[""].mode is Mode.FAULT
    server.leases.drop(lease)
    code, _, err = serl_robot("home", "--yes")
    assert code == 2
    assert "recover" in err
    code, out, _ = serl_robot("recover", "--yes")
    assert code == 0
    assert "STOP" in out
    assert server.guard.states()[""].mode is Mode.HOLD
    assert serl_robot("recover", "--yes")[1].startswith("no arm is in fault")


def test_gains_show_before_and_after_and_are_limited_by_the_server(serl_robot, caplog):
    _, out, _ = serl_robot("gains", "rotational_damping_nm_s_per_rad=8")
    assert "rotational_damping_nm_s_per_rad = 7 -> 8" in out
    assert "rotational_damping_nm_s_per_rad = 8\n" in serl_robot("gains")[1]
    _, out, _ = serl_robot("gains", "translational_stiffness_n_per_m=90000")
    assert "2000 -> 4000" in out
    assert "lowered to 4000" in caplog.text
    serl_robot("gains", "translational_stiffness_n_per_m=2000", "rotational_damping_nm_s_per_rad=7")


def test_a_load_reaches_the_server(serl_robot):
    code, out, _ = serl_robot("load", "--mass", 0)
    assert code == 0
    assert "robot.toml" in out


def test_a_motion_is_recorded_and_played_back_to_where_it_ended(serl_robot, tmp_path, server):
    serl_robot("home", "--yes")
    serl_robot("move-to", 0.40, 0.0, 0.45, "--yes", "--speed", 0.3)
    file = tmp_path / "motion.npz"
    argv = [sys.executable, "-m", "launch.main", "robot", "record", str(file)]
    recorder = subprocess.Popen(
        [*argv, "--seconds", "4", "--address", server.address], stdout=subprocess.PIPE
    )
    assert b"recording" in recorder.stdout.readline()
    serl_robot("move-to", 0.45, 0.1, 0.40, "--yes", "--speed", 0.1)
    assert recorder.wait(30) == 0
    motion = Motion.load(file)
    assert motion.fastest_m_per_s > 0.05
    assert serl_robot("record", file)[0] == 2, "no motion is written over another"
    code, out, _ = serl_robot("playback", file, "--yes")
    assert code == 0
    assert float(out.split("more than ")[1].split(" mm")[0]) < 80.0  # a busy machine
    np.testing.assert_allclose(tcp(server)[:3, 3], motion.T_base_tcp[-1, :3, 3], atol=0.01)


def test_a_motion_too_fast_for_the_server_is_refused_with_the_rate_that_is_not(
    serl_robot, tmp_path, server
):
    start = tcp(server)
    poses = np.array([se3.pose(start[:3, :3], start[:3, 3] + [0.2 * k, 0, 0]) for k in range(3)])
    motion = Motion(
        time_s=np.arange(3) * 0.1,
        T_base_tcp=poses,
        q_rad=np.zeros((3, 7)),
        gripper_target_m=np.zeros(3),
        robot="panda",
    )
    code, _, err = serl_robot("playback", motion.save(tmp_path / "fast"), "--yes")
    assert code == 2
    assert "--rate" in err


def test_ctrl_c_stops_sending_and_the_arm_holds(server, serl_robot):
    serl_robot("home", "--yes")
    argv = [sys.executable, "-m", "launch.main", "robot", "move-to", "0.6", "0", "0.3"]
    process = subprocess.Popen(
        [*argv, "--speed", "0.02", "--yes", "--address", server.address], stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while server.guard.states()[""].mode is not Mode.IMPEDANCE and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert b"Traceback" not in process.stderr.read()
    assert server.guard.states()[""].mode is Mode.HOLD
    here = tcp(server)[:3, 3]
    time.sleep(0.3)
    assert np.linalg.norm(tcp(server)[:3, 3] - here) < 2e-3
    assert here[0] < 0.59


def test_bounds_prints_a_box_that_both_configs_take(serl_robot, tmp_path):
    code, out, _ = serl_robot("bounds", "--seconds", 0.5)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("box="))
    box = eval_box(line)
    assert all(low < high for low, high in zip(box.low_m, box.high_m, strict=True))
    toml = tmp_path / "robot.toml"
    toml.write_text(out[out.index("[arm.limits.workspace]") :])
    workspace = load_config(toml).arm.limits.workspace
    np.testing.assert_allclose(workspace.low_m, box.low_m)


def eval_box(line):
    """The SafetyBox of a printed line, from its literals alone."""
    call = ast.parse(line.rstrip(",").partition("=")[2], mode="eval").body
    assert call.func.id == "SafetyBox"
    return SafetyBox(**{k.arg: ast.literal_eval(k.value) for k in call.keywords})


def test_a_box_holds_every_pose_it_was_shown():
    box = Box(DOWN)
    poses = [
        se3.apply_displacement(DOWN, np.array(d))
        for d in ([0.1, 0, 0, 0, 0, 0.3], [0, -0.2, 0.1, 0.2, 0, 0], [-0.05, 0, 0, 0, -0.4, 0])
    ]
    for T in poses:
        box.add(T)
    for T in poses:
        error = se3.pose_error(T, DOWN)
        assert (T[:3, 3] >= box.low[:3]).all()
        assert (T[:3, 3] <= box.high[:3]).all()
        assert (np.abs(error[3:]) <= np.maximum(-box.low[3:], box.high[3:]) + 1e-12).all()


def test_a_straight_path_ends_at_its_goal_and_is_no_faster_than_asked():
    goal = se3.apply_displacement(DOWN, np.array([0.1, 0.05, 0, 0, 0, 0.2]))
    path = [DOWN, *straight_path(DOWN, goal, 0.1, 20.0)]
    np.testing.assert_array_equal(path[-1], goal)
    steps = [np.linalg.norm(b[:3, 3] - a[:3, 3]) for a, b in pairwise(path)]
    assert max(steps) <= 0.1 / 20.0 + 1e-12
    assert len(straight_path(DOWN, DOWN, 0.1, 20.0)) == 1


def test_move_to_takes_three_ways_of_saying_where():
    kept = target_pose([0.4, 0.1, 0.2], DOWN)
    np.testing.assert_allclose(kept[:3, :3], DOWN[:3, :3])
    by_vector = target_pose([0.4, 0.1, 0.2, np.pi, 0, 0], np.eye(4))
    by_quat = target_pose([0.4, 0.1, 0.2, 1, 0, 0, 0], np.eye(4))
    np.testing.assert_allclose(by_vector, by_quat, atol=1e-12)


def test_a_snippet_rounds_to_a_tenth_of_a_millimetre():
    state = SimpleNamespace(T_base_tcp=DOWN)
    assert "start_pos_m=(0.5, 0.0, 0.3)," in snippet(state)


def test_gains_by_name_change_only_what_is_named():
    gains = parse_gains(
        ["translational_clip_m=0.005,0.01,0.02", "translational_clip_neg_m=0.003"], Gains()
    )
    assert gains.translational_clip_m == (0.005, 0.01, 0.02)
    assert gains.translational_clip_neg_m == (0.003, 0.003, 0.003)
    assert parse_gains(["translational_clip_neg_m=none"], gains).translational_clip_neg_m is None
    assert gains_text(gains, Gains()).count("->") == 2
    with pytest.raises(UserError, match="2 were given"):
        parse_gains(["translational_clip_m=1,2"], Gains())


def motion(n=5, **changes):
    values = {
        "time_s": np.arange(n) * 0.1,
        "T_base_tcp": np.array(
            [
                se3.apply_displacement(DOWN, np.array([0.01 * k, 0, 0, 0, 0, 0.1 * k]))
                for k in range(n)
            ]
        ),
        "q_rad": np.zeros((n, 7)),
        "gripper_target_m": np.linspace(0, 0.08, n),
        "robot": "panda",
    }
    return Motion(**{**values, **changes})


def test_a_motion_comes_back_from_its_file_as_it_was(tmp_path):
    path = motion().save(tmp_path / "wipe")
    assert path.name == "wipe.npz"
    loaded = Motion.load(path)
    np.testing.assert_array_equal(loaded.T_base_tcp, motion().T_base_tcp)
    assert loaded.robot == "panda"
    assert loaded.fastest_m_per_s == pytest.approx(0.1)


def test_between_two_samples_a_motion_takes_the_short_way():
    T, width = motion().at(0.15)
    expected = se3.apply_displacement(DOWN, np.array([0.015, 0, 0, 0, 0, 0.15]))
    np.testing.assert_allclose(T, expected, atol=1e-12)
    assert width == pytest.approx(0.02)
    np.testing.assert_array_equal(motion().at(99.0)[0], motion().T_base_tcp[-1])


@pytest.mark.parametrize(
    "changes",
    [
        {"time_s": np.zeros(5)},
        {"T_base_tcp": np.full((5, 4, 4), 0.1)},
        {"q_rad": np.full((5, 7), np.nan)},
        {"gripper_target_m": np.zeros(4)},
    ],
)
def test_a_damaged_motion_is_refused(tmp_path, changes):
    path = motion(**changes).save(tmp_path / "bad")
    with pytest.raises(CorruptFile):
        Motion.load(path)


def test_a_file_that_is_no_motion_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK not a zip")
    with pytest.raises(CorruptFile):
        Motion.load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(CorruptFile, match="time_s"):
        Motion.load(path)
