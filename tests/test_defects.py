"""Every defect known of SERL, HIL-SERL, agentlace and LeRobot is a test here, or says why not."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
DEFECTS = tomllib.loads((ROOT / "tests/defects.toml").read_text())
IDS = (
    *(f"D-A{i}" for i in range(1, 16)),  # algorithm and agents
    *(f"D-R{i}" for i in range(1, 11)),  # replay, data, resume
    *(f"D-T{i}" for i in range(1, 17)),  # transport
    *(f"D-S{i}" for i in range(1, 21)),  # robot, safety, environment
    *(f"D-E{i}" for i in range(1, 11)),  # examples, packaging
    *(f"P-{i}" for i in range(1, 11)),  # LeRobot's HIL-SERL
)


@cache
def functions(file: Path) -> set[str]:
    """Names of the functions in a file, and 'Class.method' for those of classes."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        names |= {prefix + m.name for m in members if isinstance(m, ast.FunctionDef)}
    return names


def test_no_defect_is_forgotten() -> None:
    assert set(DEFECTS) == set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_a_defect_has_a_test_or_a_reason(name: str) -> None:
    defect = DEFECTS[name]
    assert defect.keys() <= {"what", "test", "later", "cannot"}
    assert len(defect["what"]) > 10
    answers = defect.keys() & {"test", "later", "cannot"}
    assert answers, f"{name} has neither a test nor a reason"
    for reason in answers - {"test"}:
        assert len(defect[reason]) > 10, f"{name}: say more than {defect[reason]!r}"
    for test in defect.get("test", []):
        path, _, function = test.partition("::")
        assert function.split("::")[-1].startswith("test_"), f"{name}: {test}"
        assert (ROOT / path).is_file(), f"{name}: no file {path}"
        assert function in functions(ROOT / path), f"{name}: no {function} in {path}"
