"""`serl list`: every leaf can be found by its kind."""

from __future__ import annotations

import pytest

from envs.cameras.base import CAMERAS
from envs.devices.base import DEVICES
from launch.list import KINDS
from launch.main import main
from robot_servers.grippers.base import GRIPPERS
from serl.networks.trunk import TRUNKS
from serl.rewards.base import REWARDS
from serl.weights import OURS


def listed(capfd: pytest.CaptureFixture[str], *words: str) -> dict[str, list[str]]:
    """Lines under each heading."""
    assert main(["list", *words]) == 0
    found: dict[str, list[str]] = {}
    for line in capfd.readouterr().out.splitlines():
        if not line.startswith(" "):
            found[line.removesuffix(":")] = under = []
        else:
            under.append(line.strip())
    return found


@pytest.mark.parametrize(
    ("kind", "registry"),
    [
        ("trunks", TRUNKS),
        ("rewards", REWARDS),
        ("cameras", CAMERAS),
        ("devices", DEVICES),
        ("grippers", GRIPPERS),
    ],
)
def test_a_kind_is_listed_by_its_registry(capfd, kind, registry) -> None:
    assert listed(capfd, kind) == {kind: registry.names()}


def test_weights_are_listed_with_their_trunk_size_and_file(capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (line,) = (x for x in listed(capfd, "weights")["weights"] if x.startswith("small"))
    assert line.split()[1] == "pretrained"
    assert line.endswith(str(OURS / "small.safetensors"))


def test_without_a_kind_everything_is_listed(capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = listed(capfd)
    assert list(found) == list(KINDS)
    assert found["runs"] == ["(none)"]
    assert "classifier" in found["rewards"]
