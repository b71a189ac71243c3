"""What a robot PC and a recording workstation run works where JAX cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BLOCK_JAX = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jax", "jaxlib", "flax", "optax", "orbax"):
            raise ImportError(f"{name} is blocked: this verb must run without JAX")
        return None

sys.meta_path.insert(0, Blocked())
"""

IMPORT_ROOMS = """
import importlib, pkgutil
for room in ("robot_servers", "envs", "serl.data", "serl.channel"):
    package = importlib.import_module(room)
    for module in pkgutil.walk_packages(package.__path__, room + "."):
        importlib.import_module(module.name)
for room in ("serl.types", "serl.registry", "serl.rpc", "serl.errors"):
    importlib.import_module(room)
"""

RUN_VERB = """
from launch.main import main
code = main({argv!r})
raise SystemExit(code or 0)
"""


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK_JAX + code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=None,
    )


def test_the_block_blocks(tmp_path: Path) -> None:
    assert "is blocked" in run("import jax", tmp_path).stderr


def test_every_module_of_the_robot_side_imports(tmp_path: Path) -> None:
    done = run(IMPORT_ROOMS, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["list", "tasks"],
        ["list", "backends"],
        ["record", "--task", "pick_cube", "--demos", "1", "--into", "demos"],
    ],
    ids=" ".join,
)
def test_every_recording_verb_runs(argv: list[str], tmp_path: Path) -> None:
    """HIL-SERL's demonstrations needed the learner's environment, GPU libraries included."""
    done = run(RUN_VERB.format(argv=argv), tmp_path)
    assert done.returncode == 0, done.stderr
