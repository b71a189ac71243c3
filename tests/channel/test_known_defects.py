"""What agentlace's users met and no other test of this folder shows (tests/defects.toml)."""

import os

import numpy as np

from serl.policy import PolicyInHand


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_learner_may_come_back_often_on_its_port_and_no_descriptor_is_left_behind(kit):
    """Each reconnect leaked sockets until "too many open files" (serl#69), and a stopped server
    kept its port (D-T10, D-T11)."""
    first = kit.server()
    port = first.port
    client = kit.client(port)
    client.connect()
    first.close()
    counts = []
    for _ in range(6):
        server = kit.server(f"127.0.0.1:{port}")
        kit.send_episode(client, 5)
        assert client.flush(20)
        counts.append(open_descriptors())
        server.close()
    assert max(counts[2:]) <= counts[1] + 2


def test_a_learner_that_takes_its_time_is_waited_for(kit):
    """Image batches took longer than a request's 800 ms: every update failed (serl#34, D-T14)."""
    kit.sink.delay_s = 1.2
    client = kit.client(kit.server())
    client.connect()
    keys = kit.send_episode(client, 3)
    assert client.flush(20)
    assert kit.sink.all_keys() == keys


def test_the_policy_in_hand_changes_only_when_it_is_asked_to(kit):
    """A callback swapped parameters from another thread, in the middle of a step (D-T16)."""
    server = kit.server()
    client = kit.client(server)
    client.connect()
    policy = PolicyInHand(None, 0)
    for version in (1, 2):
        before = policy.version
        server.publish(version, {"w": np.full(3, version, np.float32)})
        assert client.wait_for_params(20)
        assert policy.version == before
        assert policy.take(client)
        assert policy.version == version
        np.testing.assert_array_equal(policy.params["w"], np.full(3, version, np.float32))
    assert not policy.take(client)
