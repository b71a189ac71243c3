"""Whatever arrives at the learner's port: refused with a reason, counted, and the server lives."""

from __future__ import annotations

import socket

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serl.channel import channel_pb2 as pb
from serl.channel import channel_pb2_grpc as pb_grpc
from serl.channel.codec import PROTOCOL, SESSION_KEY
from serl.types import canonical_json

ACTOR, INSTANCE = "a" * 32, "b" * 32
fuzzing = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Raw:
    """An actor that says what it is told to, well-formed or not."""

    def __init__(self, kit, server, name: str = ACTOR) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        self.stub = pb_grpc.LearnerStub(self.channel)
        self.hello = pb.HelloRequest(
            protocol=PROTOCOL,
            actor_id=name,
            instance_id=INSTANCE,
            contract_json=canonical_json(kit.contract),
            spec_json=kit.spec.to_json(),
        )

    def session(self):
        reply = self.stub.Hello(self.hello)
        assert reply.refusal == pb.HelloReply.NONE
        return ((SESSION_KEY, reply.session),)

    def steps(self, *batches: bytes) -> tuple[int, grpc.StatusCode | None, str]:
        """Records acknowledged, status and reason of a stream of batches."""
        committed = 0
        requests = iter([pb.StepsRequest(slots=batch) for batch in batches])
        try:
            for reply in self.stub.Steps(requests, metadata=self.session(), timeout=20):
                committed = reply.committed
        except grpc.RpcError as error:
            return committed, error.code(), error.details()
        return committed, None, ""


@pytest.fixture
def raw(kit):
    server = kit.server()
    actor = Raw(kit, server)
    actor.server = server
    yield actor
    actor.channel.close()


def still_serves(kit, raw) -> bool:
    """A healthy actor is served as before."""
    client = kit.client(raw.server, "healthy")
    client.connect()
    kit.send_episode(client, 3)
    served = client.flush(20)
    client.close()
    return served


def test_malformed_batches_are_refused_with_a_reason(kit, raw):
    good = kit.slots(kit.record(0, 0))
    flipped = bytes([good[0] ^ 1]) + good[1:]
    cases = [
        (b"", "not a whole number"),
        (good[:-1], "not a whole number"),
        (good + b"\0", "not a whole number"),
        (flipped, "checksum"),
        (kit.slots(kit.record(0, 1)), "an episode starts at 0"),
        (kit.slots(kit.record(0, 0), kit.record(0, 2)), "follows"),
        (kit.slots(kit.record(0, 0), kit.record(0, 0)), "follows"),
        (kit.slots(kit.record(1, 0), kit.record(0, 0)), "follows"),
        (kit.slots(kit.record(0, 0), kit.record(1, 1)), "follows"),
        (kit.slots(kit.record(0, 0, np.nan)), "obs/state"),
        (kit.slots(kit.record(0, 0, np.inf)), "obs/state"),
    ]
    for batch, reason in cases:
        committed, code, details = raw.steps(batch)
        assert (committed, code) == (0, grpc.StatusCode.INVALID_ARGUMENT), reason
        assert reason in details
    assert raw.server.counters["malformed"] == len(cases)
    assert kit.sink.all_keys() == []
    assert still_serves(kit, raw)


def test_what_was_good_before_a_malformed_batch_stays(kit, raw):
    good = kit.slots(kit.record(0, 0), kit.record(0, 1))
    raw.steps(good, b"junk")
    assert kit.sink.all_keys() == [(0, 0), (0, 1)]
    assert raw.steps(kit.slots(kit.record(0, 2)))[:2] == (1, None)


def test_a_gap_after_what_is_committed_is_refused(kit, raw):
    raw.steps(kit.slots(kit.record(0, 0)))
    assert "follows (0, 0)" in raw.steps(kit.slots(kit.record(0, 2)))[2]
    assert kit.sink.all_keys() == [(0, 0)]


def test_a_batch_above_the_limit_is_refused_and_counted(kit, raw):
    rows = 9 * (1 << 20) // kit.dtype.itemsize
    _, code, details = raw.steps(bytes(rows * (kit.dtype.itemsize + 4)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "at most 8388608" in details
    assert raw.server.counters["malformed"] == 1
    assert still_serves(kit, raw)


def test_a_message_above_the_transports_limit_is_refused(kit, raw):
    _, code, details = raw.steps(bytes(40 << 20))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details
    assert still_serves(kit, raw)


@fuzzing
@given(batch=st.binary(max_size=2000))
def test_random_bytes_commit_nothing(kit, fuzzed, batch):
    committed, code, details = fuzzed.steps(batch)
    assert (committed, code) == (0, grpc.StatusCode.INVALID_ARGUMENT)
    assert details


@fuzzing
@given(data=st.data())
def test_a_damaged_record_commits_nothing_even_with_a_right_checksum(kit, fuzzed, data):
    """Bytes that no actor writes: flags that are not booleans, sources that do not exist."""
    row = bytearray(kit.record(0, 0).tobytes())
    wrong = data.draw(st.sampled_from(["terminated", "success", "source", "reward_source"]))
    row[kit.dtype.fields[wrong][1]] = data.draw(st.integers(7, 255))
    damaged = np.frombuffer(bytes(row), kit.dtype)[0]
    committed, code, details = fuzzed.steps(kit.slots(damaged))
    assert (committed, code) == (0, grpc.StatusCode.INVALID_ARGUMENT)
    assert wrong in details


@fuzzing
@given(
    keys=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8),
    sizes=st.lists(st.integers(1, 4), min_size=8, max_size=8),
)
def test_any_order_of_keys_leaves_only_whole_prefixes(kit, fuzzed, keys, sizes):
    """Whatever is sent, what is committed is episodes from index 0 without gap or repeat."""
    kit.sink.keys.clear()
    batches = []
    for size in sizes:
        if keys:
            batches.append(kit.slots(*[kit.record(*key) for key in keys[:size]]))
            keys = keys[size:]
    fuzzed.steps(*batches)
    committed = kit.sink.all_keys()
    assert committed == sorted(set(committed))
    for episode, index in committed:
        assert index == 0 or (episode, index - 1) in committed


@pytest.fixture
def fuzzed(raw):
    return raw


@fuzzing
@given(request_bytes=st.binary(max_size=200), method=st.sampled_from(["Hello", "Report", "Probe"]))
def test_bytes_that_are_no_message_are_an_error_of_that_call_only(fuzzed, request_bytes, method):
    call = fuzzed.channel.unary_unary(f"/serl.channel.Learner/{method}")
    try:
        call(request_bytes, timeout=20)
    except grpc.RpcError as error:
        assert error.code() in (  # noqa: PT017
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.FAILED_PRECONDITION,
        )
    assert fuzzed.stub.Probe(pb.ProbeRequest()).protocol == PROTOCOL


def test_hello_is_refused_with_a_reason(kit, raw):
    kind = pb.HelloReply
    for change, refusal, reason in [
        ({"protocol": 99}, kind.PROTOCOL, "protocol 99"),
        ({"actor_id": "../../etc"}, kind.MALFORMED, "32 hex digits"),
        ({"instance_id": ""}, kind.MALFORMED, "32 hex digits"),
        ({"spec_json": "{}"}, kind.SPEC, "spec"),
        ({"contract_json": "no json"}, kind.CONTRACT, "experiment"),
        ({"run_id": "other"}, kind.RUN, "run other"),
    ]:
        request = pb.HelloRequest()
        request.CopyFrom(raw.hello)
        for name, value in change.items():
            setattr(request, name, value)
        reply = raw.stub.Hello(request)
        assert (reply.refusal, reply.session) == (refusal, "")
        assert reason in reply.reason
    assert raw.server.counters["hellos_refused"] == 6
    assert still_serves(kit, raw)


def test_a_call_without_a_session_is_turned_away(kit, raw):
    requests = [pb.StepsRequest(slots=kit.slots(kit.record(0, 0)))]
    for call in (
        lambda: list(raw.stub.Steps(iter(requests))),
        lambda: raw.stub.Parameters(pb.ParametersRequest(have_version=-1)),
        lambda: raw.stub.Report(pb.ReportRequest(data_json="{}")),
    ):
        with pytest.raises(grpc.RpcError, match="say Hello first"):
            call()
    assert kit.sink.all_keys() == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": NaN', "[" * 50_000, "1"])
def test_a_report_that_is_no_json_object_is_refused_and_counted(raw, text):
    with pytest.raises(grpc.RpcError, match="a report is"):
        raw.stub.Report(pb.ReportRequest(number=1, data_json=text), metadata=raw.session())
    assert raw.server.counters["malformed"] == 1
    assert raw.server.events() == []


def test_an_oversized_report_is_refused_and_counted(raw):
    text = '{"a": "' + "x" * 70_000 + '"}'
    with pytest.raises(grpc.RpcError, match="at most 65536"):
        raw.stub.Report(pb.ReportRequest(number=1, data_json=text), metadata=raw.session())
    assert raw.server.counters["malformed"] == 1


def test_noise_on_the_port_does_not_disturb_the_server(kit, raw):
    rng = np.random.default_rng(0)
    for size in (0, 1, 30, 5000):
        with socket.create_connection(("127.0.0.1", raw.server.port)) as sock:
            sock.sendall(rng.bytes(size))
    assert still_serves(kit, raw)


def test_a_report_sent_twice_is_taken_once(raw):
    """The actor repeats a report whose answer it missed."""
    request, metadata = pb.ReportRequest(number=1, kind="k", data_json="{}"), raw.session()
    raw.stub.Report(request, metadata=metadata)
    raw.stub.Report(request, metadata=metadata)
    assert len(raw.server.events()) == 1


def test_an_actor_that_has_the_newest_version_waits_for_the_next(raw, monkeypatch):
    monkeypatch.setattr("serl.channel.server.LONG_POLL_S", 0.05)
    raw.server.publish(5, {"w": np.zeros(1)})
    metadata = raw.session()
    ask = pb.ParametersRequest
    assert raw.stub.Parameters(ask(have_version=4), metadata=metadata).version == 5
    assert raw.stub.Parameters(ask(have_version=5), metadata=metadata).version == -1
    assert raw.stub.Parameters(ask(have_version=6), metadata=metadata).version == -1
