"""A late verdict reaches the learner after its episode, once, whoever is restarted."""

from __future__ import annotations

import dataclasses

import pytest

from serl.channel.labels import PendingLabels
from serl.data.records import Label
from serl.errors import CorruptFile

WON = Label(episode=0, index=2, reward=1.0, success=True, terminated=True)


@pytest.fixture
def told(kit):
    """The sink, keeping the labels it is given."""
    heard: list[Label] = []

    def relabel(actor_id, label):
        assert kit.sink.high_water(actor_id) >= (label.episode, label.index)
        heard.append(label)
        return True

    kit.sink.relabel = relabel
    return heard


def test_a_label_waits_for_its_episode_and_is_told_once(kit, told, until):
    server = kit.server()
    kit.sink.delay_s = 0.2
    client = kit.client(server)
    client.connect()
    kit.send_episode(client, 3)
    client.relabel(WON)
    assert client.flush(20)
    assert told == [WON]
    assert len(client.labels) == 0


def test_a_label_given_while_the_learner_is_away_outlives_the_actor(kit, told):
    server = kit.server()
    port = server.port
    client = kit.client(server)
    client.connect()
    kit.send_episode(client, 3)
    assert client.flush(20)
    server.close()
    client.relabel(WON)
    client.close()
    assert told == []
    kit.server(f"127.0.0.1:{port}")
    again = kit.client(port)
    again.connect()
    assert again.flush(20)
    assert told == [WON]


def test_the_newest_label_of_an_episode_counts_also_after_a_restart(kit, told, tmp_path):
    labels = PendingLabels(tmp_path)
    lost = dataclasses.replace(WON, reward=0.0, success=False, terminated=False)
    labels.add(WON)
    first = labels.first()
    labels.add(lost)
    labels.done(first[0])
    assert PendingLabels(tmp_path).first() == (2, lost)
    PendingLabels(tmp_path).done(2)
    assert len(PendingLabels(tmp_path)) == 0
    again = PendingLabels(tmp_path)
    again.add(WON)
    assert again.first()[0] == 3


def test_an_attempt_that_was_overtaken_changes_nothing(kit, told):
    from serl.channel import channel_pb2 as pb

    server = kit.server()
    client = kit.client(server)
    client.connect()
    kit.send_episode(client, 3)
    client.relabel(WON)
    assert client.flush(20)
    session = next(iter(server._sessions.values()))
    late = pb.RelabelRequest(last=pb.Key(episode=0, index=2), number=0)
    assert server.relabel(session, late)
    assert told == [WON]


def test_damage_in_the_file_is_said_and_not_sent(tmp_path):
    (tmp_path / "labels.json").write_text('{"number": 1, "labels": [[1, {"episode": 0}]]}')
    with pytest.raises(CorruptFile, match="labels"):
        PendingLabels(tmp_path)
