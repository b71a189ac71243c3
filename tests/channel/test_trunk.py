"""The frozen trunk travels once, by its hash, and only to an actor that lacks it."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save

from serl.channel import client as client_module
from serl.channel import server as server_module
from serl.channel.probe import trunk_name
from serl.channel.server import OfferedTrunk
from serl.errors import UserError
from serl.rpc import new_token
from serl.weights.file import weights_id

PARAMS = {"w": np.ones(3, np.float32)}
WEIGHTS = {
    "a/kernel": np.arange(server_module.CHUNK_BYTES * 5 // 8, dtype=np.float32),
    "b": np.ones(3, np.float32),
}
"""Two and a half chunks."""
ID = weights_id("small", WEIGHTS, "float32")


@pytest.fixture
def offer(kit, tmp_path):
    """A trunk's file, offered."""
    file = tmp_path / "trunk.safetensors"
    file.write_bytes(save(WEIGHTS, {"trunk": "small"}))
    return OfferedTrunk(id=ID, file=file)


def test_the_trunk_arrives_whole_before_the_first_policy_that_needs_it(kit, offer):
    token = new_token()
    server = kit.server(trunk=offer, token=token)
    client = kit.client(server, token=token)
    client.connect()
    server.publish(1, PARAMS)
    client.wait_for_params(10)
    assert client.latest()[0] == 1
    assert client.trunk == ID
    assert client.trunk_file(ID).read_bytes() == offer.file.read_bytes()


def test_the_trunk_is_sent_once_in_an_actors_life(kit, offer):
    server = kit.server(trunk=offer)
    for version in (1, 2, 3):
        client = kit.client(server)
        client.connect()
        server.publish(version, PARAMS)
        client.wait_for_params(10)
        client.close()
    assert server.counters["trunks_sent"] == 1


@pytest.mark.parametrize(
    "held",
    [b"", b"\0" * 4096, save({"b": np.zeros(3, np.float32)}, {"trunk": "small"})],
    ids=["empty", "never flushed", "of other weights"],
)
def test_a_trunk_file_that_a_power_cut_left_is_fetched_again(kit, offer, held, caplog):
    """Its mere existence was believed: the actor could never start again."""
    server = kit.server(trunk=offer)
    client = kit.client(server)
    client.trunk_file(ID).parent.mkdir(parents=True)
    client.trunk_file(ID).write_bytes(held)
    client.connect()
    server.publish(1, PARAMS)
    client.wait_for_params(10)
    assert client.trunk_file(ID).read_bytes() == offer.file.read_bytes()
    assert "fetching it again" in caplog.text


def test_a_file_that_is_not_the_learners_trunk_is_refused_in_one_line(kit, offer):
    server = kit.server(trunk=offer)
    offer.file.write_bytes(save({"b": np.zeros(3, np.float32)}, {"trunk": "small"}))
    client = kit.client(server)
    client.connect()
    server.publish(1, PARAMS)
    with pytest.raises(UserError, match=f"not its trunk {ID}: it holds trunk"):
        client.wait_for_params(10)
    assert not client.trunk_file(ID).exists()


def test_a_trunk_that_the_actor_has_is_not_asked_for(kit, offer):
    server = kit.server(trunk=offer)
    client = kit.client(server)
    client.know_trunk(ID)
    client.connect()
    server.publish(1, PARAMS)
    client.wait_for_params(10)
    assert client.latest()[0] == 1
    assert client.trunk == ID
    assert "trunks_sent" not in server.counters
    assert not client.trunk_file(ID).exists()


def test_without_a_trunk_none_is_named(kit):
    server = kit.server()
    client = kit.client(server)
    client.connect()
    server.publish(1, PARAMS)
    client.wait_for_params(10)
    client.latest()
    assert client.trunk == ""
    assert trunk_name(f"127.0.0.1:{server.port}") == ""


def test_the_learner_tells_its_trunks_name_without_a_session(kit):
    server = kit.server(trunk_name="small")
    assert trunk_name(f"127.0.0.1:{server.port}") == "small"
    server.close()
    assert trunk_name(f"127.0.0.1:{server.port}") is None


def test_a_trunk_above_the_limit_is_refused_in_one_line(kit, offer, monkeypatch):
    monkeypatch.setattr(client_module, "MAX_TRUNK_BYTES", 1000)
    server = kit.server(trunk=offer)
    client = kit.client(server)
    client.connect()
    server.publish(1, PARAMS)
    with pytest.raises(UserError, match="at most 1000 are taken"):
        client.wait_for_params(10)
    assert not client.trunk_file(ID).exists()


def test_an_id_that_is_no_trunks_names_no_file(kit, offer, monkeypatch):
    """The id becomes a path on the actor's disk: '../../x' must not."""
    server = kit.server(trunk=offer)
    object.__setattr__(offer, "id", "../../escape")
    client = kit.client(server)
    client.connect()
    server.publish(1, PARAMS)
    with pytest.raises(UserError, match="no trunk's id"):
        client.wait_for_params(10)


def test_another_trunk_than_the_learners_is_refused(kit, offer):
    server = kit.server(trunk=offer)
    with pytest.raises(server_module.Malformed, match=f"the learner's is {ID[:4]}"):
        server.trunk_file("f" * 16 + "-float32")
