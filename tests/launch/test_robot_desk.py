"""`serl robot unlock`: what it asks of Desk. Desk's own calls: tests/hardware/test_desk.py."""

import pytest

from launch.main import main
from robot_servers.backends.franky import desk
from serl.errors import UserError


@pytest.fixture
def unlock(monkeypatch, tmp_path, capfd):
    """unlock(flag, ...) -> (exit code, stderr, what Desk was asked)."""
    asked = []
    for word in ("unlock", "lock"):
        monkeypatch.setattr(
            desk, word, lambda *args, word=word, api: asked.append((word, *args, api))
        )
    (tmp_path / "desk.txt").write_text("secret\n")

    def call(*flags, password="desk.txt", yes=("--yes",)):
        argv = ["--desk", "10.0.0.1", "--user", "me", "--password-file", str(tmp_path / password)]
        code = main(["robot", "unlock", *argv, *yes, *flags])
        return code, capfd.readouterr().err, asked

    return call


def test_the_brakes_open_with_the_password_of_the_file(unlock):
    code, _, asked = unlock()
    assert code == 0
    assert asked == [("unlock", "10.0.0.1", "me", "secret", "v1")]


def test_a_panda_speaks_the_older_interface_and_locks(unlock):
    assert unlock("--panda", "--lock")[2] == [("lock", "10.0.0.1", "me", "secret", "legacy")]


def test_no_brake_opens_when_nobody_says_yes(unlock):
    code, err, asked = unlock(yes=())
    assert code == 2
    assert "--yes" in err
    assert asked == []


def test_a_refusal_is_one_line_without_the_password(unlock, monkeypatch):
    def refuse(*_, api):
        raise UserError("Desk at 10.0.0.1: user stop.")

    monkeypatch.setattr(desk, "unlock", refuse)
    code, err, _ = unlock()
    assert code == 2
    assert "user stop" in err
    assert len(err.strip().splitlines()) == 1
    assert "secret" not in err


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_missing_or_empty_password_file_is_one_line(unlock, tmp_path, content):
    if content is not None:
        (tmp_path / "other.txt").write_text(content)
    code, err, asked = unlock(password="other.txt")
    assert code == 2
    assert "other.txt" in err
    assert asked == []
