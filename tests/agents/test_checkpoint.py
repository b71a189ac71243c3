"""Checkpoints and policy files: whole, atomic, refused when damaged."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serl.checkpoint import Checkpoints, _leaves, load_policy, save_policy
from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.types import ArraySpec, Spec

SPEC = Spec(
    observation=(ArraySpec(name="state", shape=(3,), dtype="float32"),),
    action=ArraySpec(name="action", shape=(2,), dtype="float32", low=-1.0, high=1.0),
)
PARAMS = {"mlp": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "mean": np.ones(2)}


def state(value: float = 0.0) -> dict:
    return {"w": jnp.full((40, 30), value), "key": jax.random.key(7), "count": jnp.asarray(3)}


def saved(folder: Path, steps: int, keep: int = 3, best: int | None = None) -> None:
    with Checkpoints(folder, keep) as checkpoints:
        for step in range(1, steps + 1):
            checkpoints.save(step, state(float(step)), {"updates": step}, best=step == best)


def files(checkpoint: Path) -> list[Path]:
    return [p for p in checkpoint.rglob("*") if p.is_file()]


def biggest(checkpoint: Path) -> Path:
    return max(files(checkpoint), key=lambda p: p.stat().st_size)


def test_keys_counters_and_json_come_back(tmp_path):
    extra = {"updates": 12, "rng": {"state": 2**100, "name": "PCG64"}, "wall_s": 0.1}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(12, state(0.5), extra)
        restored, there = checkpoints.restore(None, state())
    assert there == extra
    assert restored["w"][0, 0] == 0.5
    assert int(restored["count"]) == 3
    expected = jax.random.normal(jax.random.key(7))
    assert float(jax.random.normal(restored["key"])) == float(expected)


def test_the_newest_few_and_the_best_are_kept(tmp_path):
    saved(tmp_path, steps=7, keep=2, best=3)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [3, 6, 7]
        assert (checkpoints.latest(), checkpoints.best()) == (7, 3)


def test_a_saved_step_can_become_the_best_afterwards(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state(), {})
        assert checkpoints.best() is None
        checkpoints.save(1, state(), {}, best=True)
        assert checkpoints.best() == 1


def test_what_is_saved_is_a_copy():
    """The next update takes over the state's memory while the save is still being written."""
    before = state(1.0)
    copies = _leaves(before)
    assert not np.shares_memory(copies["w"], np.asarray(before["w"]))
    np.testing.assert_array_equal(copies["w"], 1.0)


@pytest.mark.parametrize("harm", ["truncate", "flip", "delete", "edit"])
def test_a_damaged_checkpoint_is_named_and_the_older_one_is_used(tmp_path, caplog, harm):
    saved(tmp_path, steps=2)
    victim = biggest(tmp_path / "2")
    content = bytearray(victim.read_bytes())
    if harm == "edit":
        document = tmp_path / "2" / "document" / "metadata"
        document.write_text(document.read_text().replace('"updates": 2', '"updates": 3'))
    elif harm == "delete":
        victim.unlink()
    elif harm == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x10
        victim.write_bytes(content)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CorruptFile, match=f"{tmp_path}/2 is damaged"):
            checkpoints.restore(2, state())
        with caplog.at_level(logging.WARNING):
            _, extra = checkpoints.restore(None, state())
        assert extra == {"updates": 1}
        assert f"{tmp_path}/2 is damaged" in caplog.text
        checkpoints.save(2, state(9.0), {"updates": 2})  # the same step, trained again
        assert checkpoints.restore(2, state())[0]["w"][0, 0] == 9.0


def test_when_every_checkpoint_is_damaged_the_error_names_one(tmp_path):
    saved(tmp_path, steps=2)
    for step in "12":
        biggest(tmp_path / step).write_bytes(b"")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CorruptFile, match="is damaged"):
        checkpoints.restore(None, state())


def test_a_state_of_another_shape_is_refused_with_the_first_difference(tmp_path):
    saved(tmp_path, steps=1)
    other = {**state(), "w": jnp.zeros((40, 31))}
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(SpecMismatch) as refused:
        checkpoints.restore(1, other)
    assert "w: 'float32 [40, 31]' here, 'float32 [40, 30]' there" in str(refused.value)


def test_an_absent_checkpoint_is_refused_with_those_there_are(tmp_path):
    saved(tmp_path, steps=2)
    (tmp_path / "notes.txt").write_text("other files are left alone")
    with (
        Checkpoints(tmp_path) as some,
        pytest.raises(UserError, match=r"no checkpoint 5 .*: 1, 2\."),
    ):
        some.restore(5, state())
    with Checkpoints(tmp_path / "none") as none, pytest.raises(UserError, match="holds: none"):
        none.restore(None, state())


SAVE_FOREVER = """
import sys
import jax.numpy as jnp
from serl.checkpoint import Checkpoints
with Checkpoints(sys.argv[1], keep=2) as checkpoints:
    for step in range(1, 10**6):
        checkpoints.save(step, {"w": jnp.full((200_000,), float(step))}, {"updates": step})
        print(step, flush=True)
"""


def test_a_kill_while_saving_leaves_a_whole_checkpoint(tmp_path):
    """SERL's checkpoint, killed while being written, left a run that could not resume."""
    for wait_s in (0.0, 0.13):
        child = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        while int(child.stdout.readline()) < 3:
            pass
        time.sleep(wait_s)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            restored, extra = checkpoints.restore(None, {"w": jnp.zeros((200_000,))})
            assert float(restored["w"][0]) == float(restored["w"][-1]) == extra["updates"] >= 2
            checkpoints.save(10**7, restored, extra)
        assert not list(tmp_path.glob("*tmp*")), "what the kill left is swept up"
        shutil.rmtree(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with Checkpoints(tmp_path / "file") as none, pytest.raises(UserError, match="cannot write"):
        none.save(1, state(), {})


def test_a_policy_file_holds_version_spec_and_parameters(tmp_path):
    file = tmp_path / "deep" / "policy.safetensors"
    save_policy(file, version=5, params=PARAMS, spec=SPEC, meta={"experiment": "pick"})
    stored = load_policy(file, SPEC)
    assert (stored.version, stored.spec, stored.meta) == (5, SPEC, {"experiment": "pick"})
    assert jax.tree.structure(stored.params) == jax.tree.structure(PARAMS)
    assert jax.tree.all(jax.tree.map(np.array_equal, stored.params, PARAMS))


@pytest.mark.parametrize("length", [0, 7, 60, -1])
def test_a_damaged_policy_file_is_named(tmp_path, length):
    file = tmp_path / "policy.safetensors"
    save_policy(file, version=5, params=PARAMS, spec=SPEC, meta={})
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CorruptFile, match=f"policy {file} is damaged"):
        load_policy(file)


def test_a_policy_of_another_spec_or_no_policy_is_refused(tmp_path):
    file = tmp_path / "policy.safetensors"
    save_policy(file, version=5, params=PARAMS, spec=SPEC, meta={})
    other = Spec(
        observation=SPEC.observation, action=ArraySpec(name="a", shape=(2,), dtype="float32")
    )
    with pytest.raises(SpecMismatch, match=r"spec\.action\.high: None here, 1\.0 there"):
        load_policy(file, other)
    with pytest.raises(UserError, match="no policy file at"):
        load_policy(tmp_path / "absent")
