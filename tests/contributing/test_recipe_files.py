"""CONTRIBUTING's recipes, word for word: each file is added to a copy of the tree and held to the
contract of its kind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("serl", "robot_servers", "envs", "launch")
RECIPE = re.compile(r"<!-- recipe: (?P<path>\S+) -->\n```python\n(?P<code>.*?)```\n", re.DOTALL)
RECIPES = {
    found["path"]: found["code"]
    for found in RECIPE.finditer((ROOT / "CONTRIBUTING.md").read_text())
}
CONTRACTS = {
    "envs/tasks": ("tasks", "test_task_contract.py"),
    "serl/agents": ("agents", "test_agent_contract.py"),
    "serl/networks/trunks": ("trunks", "test_trunk_contract.py"),
    "serl/rewards": ("rewards", "test_reward_contract.py"),
    "envs/cameras": ("cameras", "test_camera_contract.py"),
    "robot_servers/backends": ("backends", "test_backend_contract.py"),
    "robot_servers/grippers": ("grippers", "test_gripper_contract.py"),
}
"""For each folder of leaves, what `serl list` calls them and their contract test."""


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": str(tree),
            "PYTEST_ADDOPTS": "",
            "PYTEST_XDIST_WORKER": "",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def tree_with(recipe: str, folder: Path) -> Path:
    """The source tree by symbolic links, but for the folders above the recipe's file."""
    for name in (*PACKAGES, "tests", "examples", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    place = folder
    for part in Path(recipe).parent.parts:
        place, linked = place / part, place / part
        inside = list(linked.resolve().iterdir())
        linked.unlink()
        linked.mkdir()
        for file in inside:
            if file.name != "__pycache__":
                (linked / file.name).symlink_to(file)
    file = folder / recipe
    assert not file.exists(), f"{recipe} is in the tree already: the recipe must add it"
    file.write_text(RECIPES[recipe])
    return folder


def test_there_is_a_recipe_for_each_kind() -> None:
    assert {str(Path(path).parent) for path in RECIPES} == set(CONTRACTS)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipe_passes_the_contract_of_its_kind(recipe: str, tmp_path: Path) -> None:
    """To add a task to SERL one edits a training script, a config, an env and a launcher."""
    tree = tree_with(recipe, tmp_path)
    _, contract = CONTRACTS[str(Path(recipe).parent)]
    name = Path(recipe).stem
    done = run(
        tree, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(tree),
        "-q", f"tests/contracts/{contract}", "-k", name,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout
    assert int(passed[1]) >= 3


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipe_is_listed(recipe: str, tmp_path: Path) -> None:
    kind, _ = CONTRACTS[str(Path(recipe).parent)]
    done = run(tree_with(recipe, tmp_path), "-m", "launch.main", "list", kind)
    assert done.returncode == 0, done.stderr
    assert Path(recipe).stem in done.stdout


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipe_is_in_house_style(recipe: str, tmp_path: Path) -> None:
    tree = tree_with(recipe, tmp_path)
    for words in (["format", "--check"], ["check"]):
        done = run(tree, "-m", "ruff", *words, "--no-cache", recipe)
        assert done.returncode == 0, done.stdout + done.stderr
