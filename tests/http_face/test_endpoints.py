"""The endpoints over real HTTP, in front of a guard that writes down what it is told."""

import socket
import threading
import time

import numpy as np
import pytest
from http_face.conftest import HUMAN, Client, WritingGuard, until

from robot_servers.control import se3
from robot_servers.http import MAX_BODY_BYTES, HttpFace
from robot_servers.types import FaultKind, WrenchTarget
from serl.errors import UserError

POSE = {"arr": [0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0]}


def test_a_pose_reaches_the_guard_clamped_and_with_a_deadline(serve, guard):
    _, client = serve()
    assert client.post("pose", POSE).status == 200
    _, commands, valid_for_s, jump = guard.told("command")[-1]
    np.testing.assert_allclose(commands[""].target.T_base_tcp[:3, 3], [0.5, 0, 0.3])
    assert 0.1 < valid_for_s <= 0.6
    assert jump == "clamp"


def test_every_read_answers_in_any_state(serve, guard):
    _, client = serve()
    guard.fail(FaultKind.REFLEX)
    paths = "getpos getpos_euler getvel getforce gettorque getq getdq getjacobian get_gripper"
    for path in ("getstate", *paths.split()):
        answer = client.post(path)
        assert answer.status == 200, path
        assert answer.json(), path
    assert guard.told("command") == []


def test_a_reader_takes_no_lease(serve, leases):
    _, client = serve()
    client.post("getstate")
    client.post("clearerr")
    assert leases.holder == ""
    client.post("pose", POSE)
    assert "127.0.0.1" in leases.holder


@pytest.mark.parametrize("keep", [False, True])
def test_both_kinds_of_connection_work(serve, guard, keep):
    face, _ = serve()
    client = Client(face.address, keep=keep)
    for _ in range(5):
        assert client.post("clearerr").status == 200
        assert client.post("pose", POSE).status == 200
        assert client.post("getstate").status == 200
    assert len(guard.told("command")) == 5
    assert len(guard.told("session")) == 1


def test_the_gripper_answers_at_once_in_both_directions(serve, guard):
    _, client = serve()
    assert client.post("close_gripper").status == 200
    assert guard.last_command().gripper.width_m == 0.0
    assert client.post("getstate").json()["gripper_pos"] == 0.0
    assert client.post("open_gripper").status == 200
    assert client.post("get_gripper").json() == {"gripper": 0.08}
    assert client.post("move_gripper", {"gripper_pos": 102}).status == 200
    assert client.post("get_gripper").json()["gripper"] == pytest.approx(0.04)
    assert client.post("activate_gripper").status == 200
    assert client.post("reset_gripper").status == 200


def test_an_arm_without_a_gripper_says_so_and_still_has_a_state(serve):
    _, client = serve(on=WritingGuard(gripper=None))
    assert client.post("getstate").json()["gripper_pos"] == 0.0
    answer = client.post("open_gripper")
    assert answer.status == 422
    assert "no gripper" in answer.text


def test_update_param_keeps_what_it_was_told_before(serve, guard):
    _, client = serve()
    assert client.post("update_param", {"translational_stiffness": 3000}).status == 200
    assert client.post("update_param", {"rotational_stiffness": 300}).status == 200
    gains = guard.last_gains()
    assert gains.translational_stiffness_n_per_m == 3000
    assert gains.rotational_stiffness_nm_per_rad == 150


def test_a_value_beyond_its_range_is_clamped_and_said(serve, guard):
    """RAM's precision preset asks for 0.5 rad of clip and got 0.1."""
    _, client = serve()
    answer = client.post("update_param", {"rotational_clip_x": 0.5})
    assert answer.status == 200
    assert "rotational_clip_x" in answer.text
    assert guard.last_gains().rotational_clip_neg_rad[0] == pytest.approx(0.2)


def test_unknown_keys_are_422_by_name_and_change_nothing(serve, guard):
    _, client = serve()
    answer = client.post("update_param", {"translational_stiffness": 3000, "stifness": 1})
    assert answer.status == 422
    assert "stifness" in answer.text
    assert guard.told("gains") == []


def test_an_integral_gain_is_422_by_name(serve, guard):
    _, client = serve()
    answer = client.post("update_param", {"translational_Ki": 0.1, "rotational_damping": 9})
    assert answer.status == 422
    assert "translational_Ki" in answer.text
    assert guard.last_gains().rotational_damping_nm_s_per_rad == 9


@pytest.mark.parametrize("path", ["set_load", "wrench", "startwrench", "stopwrench", "reset"])
def test_hil_serls_endpoints_are_its_own(serve, path):
    _, client = serve()
    assert client.post(path).status == 404


def test_set_load_reaches_the_payload(serve, guard):
    _, client = serve(flavour="hil-serl")
    load = {"mass": 0.7, "F_x_center_load": [0, 0, 0.06], "load_inertia": [0.001] * 9}
    assert client.post("set_load", load).status == 200
    assert guard.told("payload")[-1][1][""].mass_kg == 0.7
    answer = client.post("set_load", {**load, "mass": 5.0})
    assert answer.status == 409
    assert "3 kg" in answer.text
    assert client.post("set_load", {**load, "mass": -1.0}).status == 400
    assert client.post("set_load", {"mass": 1.0}).status == 400


def test_wrench_mode_is_entered_and_left_by_name(serve, guard):
    _, client = serve(flavour="hil-serl")
    assert client.post("wrench", {"arr": [1, 2, 3, 0, 0, 0]}).status == 409
    assert client.post("startwrench").status == 200
    assert client.post("pose", POSE).status == 409
    assert client.post("wrench", {"arr": [5, 0, -9, 0, 4, 0]}).status == 200
    target = guard.last_command().target
    assert isinstance(target, WrenchTarget)
    assert target.frame == "base"
    np.testing.assert_allclose(target.wrench, [5, 0, -1, 0, 1.5, 0])
    assert client.post("stopwrench").status == 200
    assert guard.told("release")
    assert client.post("pose", POSE).status == 200


def test_a_stopped_impedance_takes_no_poses_until_started(serve, guard):
    _, client = serve()
    assert client.post("stopimp").status == 200
    assert guard.told("release")
    answer = client.post("pose", POSE)
    assert answer.status == 409
    assert "startimp" in answer.text
    assert client.post("startimp").status == 200
    assert client.post("pose", POSE).status == 200


def test_a_joint_reset_answers_when_it_is_there(serve, guard):
    face, client = serve(reset_q_rad=(0, 0, 0, -1.9, 0, 2, 0))
    assert client.post("jointreset").status == 200
    assert not until(lambda: face.holder == "", 0.2), "its client still commands"
    np.testing.assert_allclose(guard.states()[""].q_rad, [0, 0, 0, -1.9, 0, 2, 0], atol=0.01)
    assert len(guard.told("command")) > 2


def test_a_joint_reset_does_not_block_readers_and_refuses_poses(serve, guard):
    face, client = serve(reset_q_rad=(2.5, 0, 0, -1.9, 0, 2, 0))
    done = threading.Thread(target=Client(face.address).post, args=("jointreset",))
    done.start()
    assert until(lambda: guard.told("command"))
    assert client.post("getstate").status == 200
    answer = client.post("pose", POSE)
    assert answer.status == 409
    assert "joint reset" in answer.text
    done.join()


def test_a_joint_reset_ends_with_its_client(serve, guard):
    face, _ = serve(reset_q_rad=(2.5, 0, 0, -1.9, 0, 2, 0))
    with socket.create_connection(face.address) as sock:
        sock.sendall(b"POST /jointreset HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert until(lambda: guard.told("command"))
    assert until(lambda: guard.told("release"))
    count = len(guard.told("command"))
    time.sleep(0.2)
    assert len(guard.told("command")) <= count + 1


def test_a_refused_joint_reset_says_why(serve, guard):
    guard.refuse = "the path leaves the workspace at z -0.1 m"
    _, client = serve(reset_q_rad=(2.5, 0, 0, -1.9, 0, 2, 0))
    answer = client.post("jointreset")
    assert answer.status == 409
    assert "workspace" in answer.text


def test_a_guard_that_lets_a_command_wait_does_not_keep_readers_waiting(serve, guard):
    """The guard settles for up to a second after a payload or a recovery."""
    face, client = serve()
    go_on = threading.Event()
    command = guard.command
    guard.command = lambda *args, **options: (go_on.wait(10), command(*args, **options))[1]
    waiting = threading.Thread(target=client.post, args=("pose", POSE))
    waiting.start()
    for _ in range(3):
        began = time.monotonic()
        assert Client(face.address).post("getstate").status == 200
        assert time.monotonic() - began < 1.0
    assert waiting.is_alive()
    go_on.set()
    waiting.join()


def test_two_clients_the_second_is_refused_by_name_until_two_seconds_of_silence(serve, guard):
    face, first = serve()
    second = Client(face.address, source="127.0.0.2")
    assert first.post("pose", POSE).status == 200
    answer = second.post("pose", POSE)
    assert answer.status == 409
    assert "127.0.0.1" in answer.text
    assert second.post("getstate").status == 200
    time.sleep(2.1)
    assert second.post("pose", POSE).status == 200
    assert first.post("pose", POSE).status == 409
    assert len(guard.told("session")) == 2


def test_a_kept_connection_is_not_shared_with_another_client_of_its_machine(serve):
    face, other = serve()
    keeper = Client(face.address, keep=True)
    assert keeper.post("pose", POSE).status == 200
    assert keeper.post("pose", POSE).status == 200
    assert other.post("pose", POSE).status == 409


def test_the_end_of_a_kept_connection_holds_the_arm_at_once(serve, guard, leases):
    face, _ = serve()
    keeper = Client(face.address, keep=True)
    keeper.post("pose", POSE)
    keeper.post("pose", POSE)
    keeper.close()
    assert until(lambda: guard.told("release"), 1.0)
    assert leases.holder == ""


def test_a_grpc_client_and_an_http_client_share_one_lease(serve, leases):
    _, client = serve()
    lease = leases.acquire("policy@lab:1")
    answer = client.post("pose", POSE)
    assert answer.status == 409
    assert "policy@lab" in answer.text
    leases.drop(lease)
    assert client.post("pose", POSE).status == 200
    with pytest.raises(UserError, match="http@127"):
        leases.acquire("policy@lab:1")


def test_a_client_that_was_taken_over_does_not_go_on_by_itself(serve, leases, guard):
    """Its loop would otherwise move the arm again the moment the operator is done."""
    _, client = serve()
    client.post("pose", POSE)
    operator = leases.acquire("operator@lab:2", operator=True)
    answer = client.post("pose", POSE)
    assert answer.status == 409
    assert "operator@lab" in answer.text
    leases.drop(operator)
    for _ in range(5):
        assert client.post("pose", POSE).status == 409
        time.sleep(0.1)
    time.sleep(2.1)
    assert client.post("pose", POSE).status == 200
    assert len(guard.told("session")) == 2


def test_clearerr_is_counted_and_does_nothing(serve, guard):
    """SERL's env sends one before every pose: a reflex stop was cleared ten times a second."""
    face, client = serve()
    guard.fail(FaultKind.REFLEX, age_s=60.0)
    for _ in range(3):
        assert client.post("clearerr").status == 200
        assert client.post("pose", POSE).status == 409
    assert guard.told("recover") == []
    assert face.counters["clearerr/ignored"] == 3


def test_clearerr_recovers_where_it_is_allowed_and_the_fault_has_stood(serve, guard):
    _, client = serve(recover=True)
    guard.fail(FaultKind.REFLEX)
    assert client.post("clearerr").status == 200
    assert guard.told("recover") == []
    guard.fail(FaultKind.REFLEX, age_s=2.1)
    assert client.post("clearerr").status == 200
    assert len(guard.told("recover")) == 1
    assert client.post("pose", POSE).status == 200


@pytest.mark.parametrize("kind", HUMAN)
def test_clearerr_never_clears_what_a_person_pressed(serve, guard, kind):
    _, client = serve(recover=True)
    guard.fail(kind, age_s=60.0)
    assert client.post("clearerr").status == 200
    assert guard.told("recover") == []


def test_clearerr_never_clears_a_persons_stop_that_a_reflex_hides(serve, guard):
    _, client = serve(recover=True)
    guard.fail(FaultKind.REFLEX, age_s=60.0)
    guard.stopped_by_person = True
    assert client.post("clearerr").status == 200
    assert guard.told("recover") == []


@pytest.mark.parametrize(
    "raw",
    [b"{", b"[" * 20000, b"\xff\xfe", b"null", b"[]", b"7", b'{"arr": [NaN,0,0,1,0,0,0]}'],
)
def test_bodies_that_are_no_pose_are_400_and_the_server_lives(serve, raw, guard):
    _, client = serve()
    answer = client.post("pose", raw=raw)
    assert answer.status == 400
    assert len(answer.text.splitlines()) == 1
    assert client.post("pose", POSE).status == 200


def test_a_body_too_large_is_413(serve, guard):
    _, client = serve()
    answer = client.post("pose", raw=b" " * (MAX_BODY_BYTES + 1))
    assert answer.status == 413
    assert client.post("getstate", raw=b" " * (MAX_BODY_BYTES + 1)).status == 413
    assert client.post("pose", POSE).status == 200


def test_only_post_is_served(serve):
    _, client = serve()
    assert client.post("getstate", method="GET").status == 405
    assert client.post("no_such_thing").status == 404


def test_a_refused_pose_takes_no_lease_when_it_is_malformed(serve, leases):
    _, client = serve()
    client.post("pose", {"arr": [1, 2]})
    assert leases.holder == ""


def test_beyond_loopback_a_password_is_needed_and_encryption_or_a_word(guard, leases):
    with pytest.raises(UserError, match="needs a password"):
        HttpFace(guard, leases, "0.0.0.0:0")
    with pytest.raises(UserError, match="without encryption"):
        HttpFace(guard, leases, "0.0.0.0:0", password="p" * 20)
    with pytest.raises(UserError, match="at least"):
        HttpFace(guard, leases, "127.0.0.1:0", password="short")
    HttpFace(guard, leases, "0.0.0.0:0", password="p" * 20, insecure_lan=True)


def test_the_password_of_the_url_opens_and_its_user_is_part_of_the_peer(serve, leases):
    face, _ = serve(password="correct horse battery")
    for auth in (None, "serl:wrong horse battery", "serl"):
        assert Client(face.address, auth=auth).post("getstate").status == 401
        assert Client(face.address, auth=auth).post("pose", POSE).status == 401
    good = Client(face.address, auth="serl:correct horse battery")
    assert good.post("pose", POSE).status == 200
    assert leases.holder == "http:serl@127.0.0.1"
    other = Client(face.address, auth="hil:correct horse battery")
    assert other.post("pose", POSE).status == 409


def test_a_port_in_use_is_one_line(serve, guard, leases):
    face, _ = serve()
    with pytest.raises(UserError, match=f"port {face.address.port} .* is in use"):
        HttpFace(guard, leases, str(face.address)).start()


def test_a_lockstep_simulation_is_refused(guard, leases):
    guard.backend.lockstep = True
    with pytest.raises(UserError, match="--lockstep"):
        HttpFace(guard, leases, "127.0.0.1:0").start()


def test_an_unknown_flavour_names_the_known(guard, leases):
    with pytest.raises(UserError, match=r"hilserl.*hil-serl"):
        HttpFace(guard, leases, "127.0.0.1:0", flavour="hilserl")


def test_stopping_gives_the_lease_back_holds_and_frees_the_port(serve, guard, leases):
    face, client = serve()
    client.post("pose", POSE)
    face.stop()
    assert guard.told("release")
    assert leases.holder == ""
    with HttpFace(guard, leases, str(face.address)) as again:
        assert Client(again.address).post("getstate").status == 200


def test_two_arms_are_served_below_their_names(leases):
    guard = WritingGuard(arms=("left", "right"))
    with HttpFace(guard, leases, "127.0.0.1:0") as face:
        left = Client(face.address, prefix="/left/")
        assert left.post("pose", POSE).status == 200
        assert guard.last_command("left").target is not None
        assert Client(face.address).post("pose", POSE).status == 404
        right = Client(face.address, prefix="/right/")
        assert right.post("getstate").json()["pose"] != left.post("getstate").json()["pose"]


def test_a_session_that_cannot_begin_takes_no_lease(serve, guard, leases, monkeypatch):
    def refuse(_):
        raise UserError("nullspace_stiffness: not on this arm.")

    _, client = serve()
    with monkeypatch.context() as patched:
        patched.setattr(guard, "set_gains", refuse)
        answer = client.post("pose", POSE)
    assert answer.status == 409
    assert "nullspace" in answer.text
    assert leases.holder == ""
    assert client.post("pose", POSE).status == 200


def test_an_arm_that_the_simulator_no_longer_has_is_said(serve, guard):
    _, client = serve()
    guard.arms, guard._states = {}, {}
    for path in ("getstate", "open_gripper"):
        answer = client.post(path)
        assert answer.status == 409
        assert "another cell" in answer.text


def test_a_session_starts_with_serls_filter_and_parameters(serve, guard):
    _, client = serve()
    client.post("pose", POSE)
    motion = guard.told("motion")[-1][1][""]
    assert motion.filter_time_constant_s == pytest.approx(0.2)
    np.testing.assert_allclose(guard.last_gains().translational_clip_m, 0.01)
    np.testing.assert_allclose(se3.pose_to_quat(guard.states()[""].T_base_tcp)[1], [1, 0, 0, 0])
