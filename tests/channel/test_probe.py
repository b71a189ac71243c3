"""`serl doctor --learner`: one line per question, and the first no explains the rest."""

from __future__ import annotations

from serl.channel.probe import NAMES, diagnose
from serl.rpc import new_token


def lines(kit, address, **kwargs):
    contract = kwargs.pop("contract", kit.contract)
    found = diagnose(address, contract, kit.spec, spool_dir=kit.folder / "new", **kwargs)
    assert [check.name for check in found] == list(NAMES)
    assert all("\n" not in check.text for check in found)
    return {check.name: check for check in found}


def test_a_good_learner_passes_every_check(kit, monkeypatch):
    monkeypatch.setattr("serl.channel.probe.SPOOL_LIMIT_BYTES", 1)
    token = new_token()
    server = kit.server(token=token)
    found = lines(kit, f"127.0.0.1:{server.port}", token=token)
    assert [check for check in found.values() if not check.ok] == []
    assert found["token"].text == "accepted"
    assert "run run-1" in found["protocol"].text


def test_a_missing_learner_is_found_at_connect(kit):
    server = kit.server()
    server.close()
    found = lines(kit, f"127.0.0.1:{server.port}")
    assert found["resolve"].ok
    assert "is the learner running" in found["connect"].text
    assert "not checked" in found["spec"].text


def test_a_name_that_does_not_resolve_is_said(kit):
    assert not lines(kit, "nowhere.invalid:1")["resolve"].ok


def test_a_wrong_token_is_said(kit):
    server = kit.server(token=new_token())
    found = lines(kit, f"127.0.0.1:{server.port}", token=new_token())
    assert "give the token the learner was started with" in found["token"].text
    assert not found["token"].ok


def test_another_experiment_is_said_with_its_first_difference(kit):
    server = kit.server()
    contract = {"name": "test", "agent": {"discount": 0.5}}
    found = lines(kit, f"127.0.0.1:{server.port}", contract=contract)
    assert "agent.discount: 0.5 here, 0.97 there" in found["spec"].text
    assert not found["spec"].ok
    assert found["round trip"].ok


def test_a_small_disk_is_said(kit, monkeypatch):
    monkeypatch.setattr("serl.channel.probe.SPOOL_LIMIT_BYTES", 10**18)
    server = kit.server()
    assert not lines(kit, f"127.0.0.1:{server.port}")["spool disk"].ok
