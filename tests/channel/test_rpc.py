"""Who may listen where, who may call, and what a person is told otherwise."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serl.channel import channel_pb2 as pb
from serl.channel import channel_pb2_grpc as pb_grpc
from serl.errors import UserError
from serl.rpc import RpcServer, Tls, dial, new_token, parse_address, read_token

TOKEN = "a token of 24 characters"


def nothing(_) -> None:
    """No servicers but health."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Tls:
    """A self-signed certificate for localhost."""
    folder: Path = tmp_path_factory.mktemp("tls")
    how = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    subprocess.run(
        f"{how} -keyout {folder}/key.pem -out {folder}/cert.pem".split(),
        check=True,
        capture_output=True,
    )
    return Tls(cert=folder / "cert.pem", key=folder / "key.pem", ca=folder / "cert.pem")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:50051", "127.0.0.1", 50051), ("[::1]:0", "::1", 0), ("robot-pc:1", "robot-pc", 1)],
)
def test_an_address_reads_back_as_written(text, host, port):
    address = parse_address(text)
    assert (address.host, address.port, str(address)) == (host, port, text)


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "::1:1", "host:", "host:x", "host:70000", "h:-1"]
)
def test_a_bad_address_is_one_line(text):
    with pytest.raises(UserError, match="address"):
        parse_address(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.0.7", "learner.lan"])
def test_nothing_listens_beyond_loopback_without_token_and_tls(host):
    with pytest.raises(UserError, match="needs a token and TLS"):
        RpcServer(f"{host}:0", nothing)
    with pytest.raises(UserError, match="without encryption"):
        RpcServer(f"{host}:0", nothing, token=TOKEN)
    with pytest.raises(UserError, match="needs a token"):
        RpcServer(f"{host}:0", nothing, insecure_lan=True)


def test_an_insecure_lan_needs_saying_so_and_a_token():
    server = RpcServer("0.0.0.0:0", nothing, token=TOKEN, insecure_lan=True)
    server.start()
    stub = health_pb2_grpc.HealthStub(dial(f"127.0.0.1:{server.port}"))
    with pytest.raises(grpc.RpcError, match="token"):
        stub.Check(health_pb2.HealthCheckRequest())
    server.stop(0)


def test_a_token_is_not_sent_in_clear_beyond_loopback():
    with pytest.raises(UserError, match="without encryption"):
        dial("192.168.0.7:1", token=TOKEN)
    dial("192.168.0.7:1", token=TOKEN, insecure_lan=True).close()


@pytest.mark.parametrize(
    "token", ["short", "", "non-ascii token \u00fcber 16", "new\nline in a token 16"]
)
def test_a_weak_token_is_refused(token, tmp_path):
    with pytest.raises(UserError, match="at least 16"):
        RpcServer("127.0.0.1:0", nothing, token=token)


def test_a_token_is_read_from_a_file(tmp_path):
    token = new_token()
    (tmp_path / "token").write_text(token + "\n")
    assert read_token(tmp_path / "token") == token
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_token(tmp_path / "none")


def test_a_port_in_use_is_one_line():
    server = RpcServer("127.0.0.1:0", nothing)
    with pytest.raises(UserError, match=f"port {server.port} on 127.0.0.1 is in use"):
        RpcServer(f"127.0.0.1:{server.port}", nothing)
    server.stop(0)
    RpcServer(f"127.0.0.1:{server.port}", nothing).stop(0)


def test_an_address_of_another_machine_is_one_line():
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1:0"):
        RpcServer("192.0.2.1:0", nothing, token=TOKEN, insecure_lan=True)


@pytest.mark.parametrize("token", [None, TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_a_wrong_token_is_refused_on_every_call(kit, token):
    server = kit.server(token=TOKEN)
    stub = pb_grpc.LearnerStub(dial(f"127.0.0.1:{server.port}", token=token))
    for call in (
        lambda: stub.Hello(pb.HelloRequest()),
        lambda: list(stub.Steps(iter([pb.StepsRequest()]))),
        lambda: stub.Parameters(pb.ParametersRequest()),
        lambda: stub.Report(pb.ReportRequest()),
        lambda: stub.Probe(pb.ProbeRequest()),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert server.counters["token_refused"] == 5


def test_an_actor_with_a_wrong_token_ends_with_one_line(kit):
    server = kit.server(token=TOKEN)
    client = kit.client(server, token=new_token())
    with pytest.raises(UserError, match="refused the token"):
        client.connect()
    friend = kit.client(server, "friend", token=TOKEN)
    friend.connect()
    kit.send_episode(friend, 3)
    assert friend.flush(20)


def test_health_answers_without_a_token_on_loopback(kit):
    server = kit.server(token=TOKEN)
    stub = health_pb2_grpc.HealthStub(dial(f"127.0.0.1:{server.port}"))
    request = health_pb2.HealthCheckRequest(service="serl.channel.Learner")
    assert stub.Check(request).status == health_pb2.HealthCheckResponse.SERVING


def test_records_travel_over_tls(kit, certificate):
    server = kit.server(token=TOKEN, tls=certificate)
    client = kit.client(server, token=TOKEN, tls=certificate)
    client.connect()
    keys = kit.send_episode(client, 20)
    assert client.flush(20)
    assert kit.sink.all_keys() == keys


def test_without_tls_a_tls_learner_is_not_reached(kit, certificate, caplog):
    server = kit.server(token=TOKEN, tls=certificate)
    client = kit.client(server, token=TOKEN)
    client.connect(wait=False)
    client.begin_episode()
    client.send(kit.record(0, 0))
    assert not client.flush(1.0)
    assert "waiting for the learner" in caplog.text


def test_a_certificate_of_someone_else_is_not_trusted(kit, certificate, tmp_path):
    server = kit.server(token=TOKEN, tls=certificate)
    client = kit.client(server, token=TOKEN, tls=Tls())
    client.connect(wait=False)
    assert not client.wait_for_params(0.5)
    assert not client.connected


def test_tls_files_that_are_missing_or_no_pem_are_named(tmp_path, certificate):
    with pytest.raises(UserError, match="TLS key file nowhere cannot be read"):
        RpcServer("127.0.0.1:0", nothing, tls=Tls(cert=certificate.cert, key=Path("nowhere")))
    with pytest.raises(UserError, match="needs both a certificate file and its key"):
        RpcServer("127.0.0.1:0", nothing, tls=Tls(cert=certificate.cert))
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(UserError, match="holds no PEM text"):
        dial("127.0.0.1:1", tls=Tls(ca=tmp_path / "junk"))
