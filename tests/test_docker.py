"""The Dockerfiles cannot be built in CI: what they name must exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from launch.main import parse

try:
    import tomllib
except ImportError:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def instructions(file: Path) -> list[tuple[str, str]]:
    """(keyword, arguments) of each instruction, continuation lines joined."""
    text = re.sub(r"\\\n\s*", " ", file.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(keyword, rest) for keyword, _, rest in (line.partition(" ") for line in lines)]


def test_there_is_one_per_machine() -> None:
    assert [file.stem for file in DOCKERFILES] == ["learner", "robot-pc", "workstation"]


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_every_instruction_is_known(file: Path) -> None:
    known = {"FROM", "RUN", "COPY", "WORKDIR", "USER", "ENV", "EXPOSE", "ENTRYPOINT", "CMD", "ARG"}
    assert {keyword for keyword, _ in instructions(file)} <= known


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_every_copied_path_exists(file: Path) -> None:
    copies = [shlex.split(rest) for keyword, rest in instructions(file) if keyword == "COPY"]
    sources = [path for words in copies for path in words[:-1] if not path.startswith("--")]
    assert sources
    for path in sources:
        assert (ROOT / path).exists(), f"{file.name} copies {path}"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_every_extra_and_constraint_file_exists(file: Path) -> None:
    text = file.read_text()
    named = re.findall(r"\.\[([a-z0-9, -]+)\]", text)
    for extra in (extra for group in named for extra in group.split(",")):
        assert extra in EXTRAS, f"{file.name} installs extra {extra}"
    files = re.findall(r"-c (\S+)", text)
    assert files, f"{file.name} installs without constraints"
    for path in files:
        assert (ROOT / path).exists(), f"{file.name} uses {path}"


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_its_command_parses(file: Path) -> None:
    words: list[str] = []
    for keyword, rest in instructions(file):
        if keyword in ("ENTRYPOINT", "CMD"):
            words += re.findall(r'"([^"]*)"', rest)
    assert words[0] == "serl"
    if words[1:] != ["--help"]:
        parse(words[1:])


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_it_does_not_run_as_root(file: Path) -> None:
    assert [rest for keyword, rest in instructions(file) if keyword == "USER"] == ["serl"]
