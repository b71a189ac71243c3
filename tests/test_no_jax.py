"""What a robot PC and a recording workstation run works where JAX cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

BLOCK_JAX = """
import sys
sys.modules.update(dict.fromkeys(("jax", "jaxlib", "flax", "optax", "orbax")))  # as if absent
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

RUN_VERBS = """
from launch.main import main
for argv in {lines!r}:
    code = main(argv.split())
    if code:
        raise SystemExit(f"{{argv}}: exit code {{code}}")
"""


def run(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK_JAX + code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_block_blocks(tmp_path: Path) -> None:
    assert "ModuleNotFoundError" in run("import jax.numpy", tmp_path).stderr


def test_every_module_of_the_robot_side_imports(tmp_path: Path) -> None:
    done = run(IMPORT_ROOMS, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "lines",
    [
        ["list tasks", "list backends", "list"],
        [
            "record --task pick_cube --demos 1 --into demos",
            "replay-demo demos/episode_000000.npz",
        ],
    ],
    ids=lambda lines: lines[0].split()[0],
)
def test_every_recording_verb_runs(lines: list[str], tmp_path: Path) -> None:
    """HIL-SERL's demonstrations needed the learner's environment, GPU libraries included."""
    done = run(RUN_VERBS.format(lines=lines), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_doctor_finds_no_fault_with_a_base_install(tmp_path: Path) -> None:
    """It is the command of docker/robot-pc.Dockerfile."""
    block = "sys.modules.update(dict.fromkeys(('mujoco', 'numba', 'gymnasium', 'tensorboard')))\n"
    alone = "import launch.doctor as d\nd.CHECKS = (d.python, d.package, d.jax_device, d.opengl)\n"
    done = run(block + alone + RUN_VERBS.format(lines=["doctor"]), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jax is not installed here" in done.stdout
    assert "mujoco is not installed here" in done.stdout
    assert "Traceback" not in done.stderr
