"""Actor and learner on loopback: nothing lost, nothing twice, newest parameters only."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from serl.channel import channel_pb2 as pb
from serl.channel.spool import SpoolFull
from serl.errors import SpecMismatch, UserError


def test_every_record_arrives_once_and_in_order(kit):
    client = kit.client(kit.server())
    client.connect()
    keys = [key for length in (1, 40, 300) for key in kit.send_episode(client, length)]
    assert client.flush(20)
    assert kit.sink.all_keys() == keys


def test_several_actors_share_one_learner(kit):
    server = kit.server()
    clients = [kit.client(server, f"spool-{i}") for i in range(3)]
    sent = {}

    def act(client):
        client.connect()
        sent[client.actor_id] = [k for _ in range(10) for k in kit.send_episode(client, 20)]

    threads = [threading.Thread(target=act, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(client.flush(20) for client in clients)
    assert kit.sink.keys == sent
    assert {actor.actor_id for actor in server.actors()} == sent.keys()


def test_a_learner_that_is_not_there_does_not_hold_up_the_actor(kit, caplog):
    """The actor says what it waits for, goes on spooling, and the learner gets all of it later."""
    first = kit.server()
    port = first.port
    first.close()
    client = kit.client(port)
    client.connect(wait=False)
    keys = kit.send_episode(client, 50)
    assert not client.flush(0.3)
    assert client.pending == 50
    assert f"waiting for the learner at 127.0.0.1:{port}" in caplog.text
    kit.server(f"127.0.0.1:{port}")
    assert client.flush(20)
    assert kit.sink.all_keys() == keys


def test_a_learner_that_restarts_goes_on_where_it_was(kit):
    """SERL's actor re-sent its whole queue to a restarted learner (reference/serl.md 5.5)."""
    server = kit.server()
    client = kit.client(server)
    client.connect()
    keys = kit.send_episode(client, 30)
    assert client.flush(20)
    server.close()
    keys += kit.send_episode(client, 30)
    again = kit.server(f"127.0.0.1:{server.port}")
    keys += kit.send_episode(client, 30)
    assert client.flush(20)
    assert kit.sink.all_keys() == keys
    assert again.counters["records"] == 60
    assert again.counters.get("duplicates", 0) == 0


def test_an_actor_that_restarts_goes_on_where_it_was(kit):
    """With SERL a restarted actor's first records were never sent, for its ids began at 0 again."""
    server = kit.server()
    client = kit.client(server)
    client.connect()
    keys = kit.send_episode(client, 30)
    assert client.flush(20)
    server.close()
    keys += kit.send_episode(client, 7)
    client.close()
    server = kit.server(f"127.0.0.1:{server.port}")
    client = kit.client(server)
    client.connect()
    keys += kit.send_episode(client, 5)
    assert client.flush(20)
    assert kit.sink.all_keys() == keys


def test_a_learner_that_lost_its_last_seconds_gets_them_again(kit, caplog):
    """After a crash of its machine the replay may be 5 s older than what it acknowledged."""
    server = kit.server()
    client = kit.client(server)
    client.connect()
    keys = kit.send_episode(client, 30)
    assert client.flush(20)
    server.close()
    (remembered,) = kit.sink.keys.values()
    del remembered[12:]
    kit.server(f"127.0.0.1:{server.port}")
    keys += kit.send_episode(client, 3)
    assert client.flush(20)
    assert kit.sink.all_keys() == keys
    assert "lost 18 records it had acknowledged" in caplog.text


def test_what_neither_side_has_any_more_is_left_out_up_to_the_next_episode(kit, caplog):
    server = kit.server()
    client = kit.client(server)
    broken = client.begin_episode()
    client.spool.append(kit.record(broken, 5).tobytes())
    client.spool.append(kit.record(broken, 6).tobytes())
    client.connect()
    keys = kit.send_episode(client, 3)
    assert client.flush(20)
    assert kit.sink.all_keys() == keys
    assert "2 records of a broken episode are left out" in caplog.text


def test_parameters_arrive_as_published_and_once_per_version(kit):
    server = kit.server()
    client = kit.client(server)
    client.connect()
    assert client.latest() is None
    server.publish(4, {"actor": {"kernel": np.arange(6.0).reshape(2, 3)}})
    assert client.wait_for_params(20)
    version, params = client.latest()
    assert version == 4
    np.testing.assert_array_equal(params["actor"]["kernel"], np.arange(6.0).reshape(2, 3))
    assert client.latest() is None


def test_a_slow_actor_skips_to_the_newest_version(kit, until):
    """SERL's actor worked through every queued set of parameters, seconds old (serl.md 5.5)."""
    server = kit.server()
    client = kit.client(server)
    client.connect()
    for version in range(1, 60):
        server.publish(version, {"w": np.full(200_000, version, np.float32)})
    until(lambda: client._have_version == 59, "version 59")
    version, params = client.latest()
    assert version == 59
    assert (params["w"] == 59).all()
    assert client.latest() is None


def test_versions_only_grow(kit):
    server = kit.server()
    server.publish(5, {"w": np.zeros(1)})
    with pytest.raises(ValueError, match="version 5 is published after 5"):
        server.publish(5, {"w": np.zeros(1)})
    client = kit.client(server)
    client.connect()
    assert client.wait_for_params(20)
    assert client.latest()[0] == 5
    server.close()
    again = kit.server(f"127.0.0.1:{server.port}")
    again.publish(3, {"w": np.zeros(1)})
    assert not client.wait_for_params(1.0)
    again.publish(6, {"w": np.zeros(1)})
    assert client.wait_for_params(20)
    assert client.latest()[0] == 6


def test_an_actor_takes_no_version_that_is_not_newer(kit, until, monkeypatch):
    """Whatever a learner says, the policy that acts never goes back."""
    server = kit.server()
    client = kit.client(server)
    client.connect()
    server.publish(5, {"w": np.zeros(1)})
    assert client.wait_for_params(20)
    assert client.latest()[0] == 5
    asked = []

    def older(have, _):
        asked.append(have)
        return pb.ParametersReply(version=4, params=b"", run_id="run-1")

    monkeypatch.setattr(server, "newest_params", older)
    server.publish(6, {"w": np.zeros(1)})
    until(lambda: len(asked) > 2, "further requests")
    taken = client.latest()  # the request that was open when version 6 came out
    assert taken is None or taken[0] == 6
    assert set(asked) <= {5, 6}


def test_a_late_actor_gets_the_parameters_that_are_there(kit):
    """SERL's late subscriber acted with its own random parameters until the next broadcast."""
    server = kit.server()
    server.publish(1, {"w": np.ones(3)})
    client = kit.client(server)
    client.connect()
    assert client.wait_for_params(20)
    assert client.latest()[0] == 1


def test_a_different_experiment_is_refused_with_the_first_difference(kit):
    client = kit.client(kit.server(), contract={"name": "test", "agent": {"discount": 0.99}})
    with pytest.raises(SpecMismatch, match=r"agent\.discount: 0\.99 here, 0\.97 there"):
        client.connect()


def test_a_spool_of_another_run_is_refused(kit):
    first = kit.server()
    client = kit.client(first)
    client.connect()
    client.close()
    first.close()
    client = kit.client(kit.server(run_id="run-2"))
    with pytest.raises(UserError, match="belong to run run-1, this learner's run is run-2"):
        client.connect()


def test_a_second_live_actor_with_the_same_id_is_refused(kit):
    server = kit.server()
    first, second = (kit.client(server, name, duplicate_wait_s=0.5) for name in ("a", "b"))
    second.spool._state.actor_id = first.actor_id
    first.connect()
    with pytest.raises(UserError, match="each live actor needs a spool of its own"):
        second.connect()
    kit.send_episode(first, 3)
    assert first.flush(20)


def test_a_successor_waits_until_its_predecessor_is_gone(kit):
    server = kit.server()
    first, second = kit.client(server, "a"), kit.client(server, "b")
    second.spool._state.actor_id = first.actor_id
    first.connect()
    second.connect(wait=False)
    time.sleep(0.3)
    assert not second.connected
    first.close()
    second.connect()


def test_two_processes_cannot_share_a_spool(kit):
    server = kit.server()
    kit.client(server)
    with pytest.raises(UserError, match="is in use by process"):
        kit.client(server)


def test_a_full_disk_at_the_learner_is_told_and_waited_out(kit, until, monkeypatch):
    """In SERL one failed insert killed the server thread; training went on with frozen data."""
    monkeypatch.setattr("serl.channel.server.RETRY_S", 0.05)
    server = kit.server()
    client = kit.client(server)
    client.connect()
    kit.sink.problem = OSError(28, "No space left on device")
    keys = kit.send_episode(client, 10)
    until(lambda: "No space left" in client.trouble, "the trouble to be told")
    assert client.pending == 10
    kit.sink.problem = None
    assert client.flush(20)
    assert kit.sink.all_keys() == keys
    assert server.counters["sink_errors"] >= 1
    assert client.trouble == ""


def test_a_bug_in_the_sink_ends_the_stream_but_not_the_server(kit, until):
    server = kit.server()
    client = kit.client(server)
    client.connect()
    kit.sink.problem = KeyError("a bug")
    keys = kit.send_episode(client, 10)
    until(lambda: not client.connected, "the stream to break")
    kit.sink.problem = None
    assert client.flush(20)
    assert kit.sink.all_keys() == keys


def test_the_credit_counts_env_steps_and_is_shared_out(kit, until):
    """Record 0 of an episode is no step: a limiter that counted it would slowly starve."""
    server = kit.server(steps=1000)
    server.set_allowance(1020)
    client = kit.client(server, "a")
    client.connect()
    assert client.credit == 20
    kit.send_episode(client, 6)
    assert client.credit == 15
    assert client.flush(20)
    assert client.credit == 15
    kit.send_episode(client, 16)
    assert client.credit == 0
    assert client.flush(20)
    assert server.steps == 1020
    assert not client.wait_for_credit(0.1)
    server.set_allowance(1030)
    assert client.wait_for_credit(20)
    other = kit.client(server, "b")
    other.connect()
    assert other.credit == 5
    server.set_allowance(None)
    until(lambda: client.credit > 1e9, "the limit to go")


def test_the_learner_can_ask_the_actors_to_end(kit, until):
    server = kit.server()
    client = kit.client(server, "a")
    client.connect()
    assert client.stop_requested is None
    server.request_stop("budget spent")
    until(lambda: client.stop_requested == "budget spent", "the request")
    late = kit.client(server, "b")
    late.connect()
    until(lambda: late.stop_requested == "budget spent", "the request at a late actor")
    assert not server.wait_until_quiet(0.1)
    client.close()
    late.close()
    assert server.wait_until_quiet(20)


def test_reports_arrive_once_in_order_and_survive_an_absent_learner(kit):
    server = kit.server()
    client = kit.client(server)
    client.connect()
    client.report("episode", {"return": np.float32(1.5), "lost": float("nan")})
    assert client.flush(20)
    (event,) = server.events()
    assert (event.kind, event.data) == ("episode", {"return": 1.5, "lost": None})
    server.close()
    for i in range(5):
        client.report("episode", {"i": i})
    again = kit.server(f"127.0.0.1:{server.port}")
    assert client.flush(20)
    assert [event.data["i"] for event in again.events()] == list(range(5))
    assert again.events() == []


def test_reports_beyond_the_queue_drop_the_oldest_and_are_counted(kit, monkeypatch):
    monkeypatch.setattr("serl.channel.server.MAX_EVENTS", 10)
    server = kit.server()
    client = kit.client(server)
    client.connect()
    for i in range(25):
        client.report("tick", {"i": i})
    assert client.flush(20)
    assert [event.data["i"] for event in server.events()] == list(range(15, 25))
    assert server.counters["reports_dropped"] == 15


def test_an_oversized_report_is_refused_at_once(kit):
    client = kit.client(kit.server())
    with pytest.raises(UserError, match="at most 65536"):
        client.report("log", {"text": "x" * 70_000})


def test_nan_is_refused_with_the_fields_name_before_it_is_stored(kit):
    client = kit.client(kit.server())
    episode = client.begin_episode()
    with pytest.raises(UserError, match="obs/state"):
        client.send(kit.record(episode, 0, value=float("nan")))
    assert client.pending == 0
    client.send(kit.record(episode, 0))


def test_a_record_out_of_turn_is_a_mistake_of_the_caller(kit):
    client = kit.client(kit.server())
    with pytest.raises(ValueError, match="begin_episode"):
        client.send(kit.record(0, 0))
    episode = client.begin_episode()
    with pytest.raises(ValueError, match=r"is due"):
        client.send(kit.record(episode, 1))


def test_a_record_may_be_a_scalar_or_an_array(kit):
    client = kit.client(kit.server())
    client.connect()
    episode = client.begin_episode()
    client.send(kit.record(episode, 0))
    client.send(np.array(kit.record(episode, 1), kit.dtype))
    client.send(np.array([kit.record(episode, 2)], kit.dtype))
    assert client.flush(20)
    assert kit.sink.all_keys() == [(episode, i) for i in range(3)]


def test_a_full_spool_holds_the_actor_at_the_episode_boundary_only(kit, until):
    server = kit.server()
    port = server.port
    server.close()
    limit = 20 * (kit.dtype.itemsize + 4)
    client = kit.client(port, spool_limit_bytes=limit)
    client.connect(wait=False)
    keys = kit.send_episode(client, 15)
    keys += kit.send_episode(client, 7)
    with pytest.raises(SpoolFull, match="the arm holds until one does"):
        client.begin_episode()
    assert not client.wait_for_space(0.1)
    kit.server(f"127.0.0.1:{port}")
    assert client.wait_for_space(20)
    keys += kit.send_episode(client, 2)
    assert client.flush(20)
    assert kit.sink.all_keys() == keys


def test_a_failure_in_the_background_reaches_the_caller(kit, until, monkeypatch):
    """A sender that died used to leave the actor driving the arm for nothing (peers.md 1.6)."""
    client = kit.client(kit.server())
    client.connect()

    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(client.spool, "read", broken)
    client.begin_episode()
    client.send(kit.record(0, 0))

    def raised():
        try:
            return client.stop_requested is not None
        except OSError as error:
            return "Input/output" in str(error)

    until(raised, "the failure")
    with pytest.raises(OSError, match="Input/output error"):
        client.begin_episode()


def test_waiting_for_a_learner_can_be_called_off(kit):
    server = kit.server()
    server.close()
    client = kit.client(server.port)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    assert client.connect(stop=stop) is False
