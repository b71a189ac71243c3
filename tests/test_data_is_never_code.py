"""Nothing that is read from disk or from the network can run code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("serl", "robot_servers", "envs", "launch", "examples", "benchmarks")
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "torch"}
CALLS = {"eval", "exec", "compile", "__import__"}


def unsafe(source: str) -> Iterator[tuple[int, str]]:
    """(line, what) of each import or call that can turn data into code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        else:
            names = []
        yield from ((node.lineno, f"import {name}") for name in names if name in MODULES)
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in CALLS:
            yield node.lineno, f"{node.func.id}()"
        for keyword in node.keywords:
            allowed = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in ("allow_pickle", "shell") and not allowed:
                yield node.lineno, f"{keyword.arg}={ast.unparse(keyword.value)}"


def test_no_source_file_can_run_what_it_reads() -> None:
    """SERL and HIL-SERL pickle demos, weights and every network message (D-R6, D-T13)."""
    found = []
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            found += [
                f"{file.relative_to(ROOT)}:{line}: {what}"
                for line, what in unsafe(file.read_text())
            ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "def f():\n    import dill",
        "np.load(file, allow_pickle=True)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_scan_sees(source: str) -> None:
    assert list(unsafe(source))
