"""Writes constraints/*.txt: the version of every package, for every Python we install on.

    python tools/lock.py

uv resolves each set of extras for every Python (nothing is installed); where the versions differ, a
line carries a Python marker. The files name no index, so they work with any.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.10", "3.12", "3.13")
"""The first is the one that is developed on; the others take its versions where they can."""
FULL = (
    "learner",
    "sim",
    "log",
    "dev",
    "franky",
    "franky-sim",
    "robotiq",
    "http",
    "cameras",
    "devices",
    "console",
    "formats",
    "rlds",
)
CUDA = ("learner-cuda",)
HARDWARE = ("wandb", "rerun", "fleet")
Pins = dict[str, dict[str, str]]
"""Version by package name and Python version."""


def main() -> None:
    # All at once first, so that every extra can be installed beside every other.
    everything = resolve(requirements(*FULL, *HARDWARE), {})
    full = resolve(requirements(*FULL), everything)
    base = resolve(requirements(), everything)
    cuda = resolve(requirements(*CUDA), everything)
    build = resolve(build_requirements(), {})
    write("base", "the robot PC: no extra", base)
    write("full", f"extras [{','.join(FULL)}]", full)
    write("cuda", "beside full.txt: [learner-cuda]", only_new(cuda, full))
    write("hardware", f"beside full.txt: [{','.join(HARDWARE)}]", only_new(everything, full))
    write("build", "the build back end and the installer", build)


def requirements(*extras: str) -> list[str]:
    """The base requirements and those of some extras; an extra may name another of ours."""
    project = PYPROJECT["project"]
    lines = list(project["dependencies"])
    todo = list(extras)
    while todo:
        for line in project["optional-dependencies"][todo.pop()]:
            own = re.fullmatch(rf"{project['name']}\[(.+)\]", line)
            if own:
                todo += own[1].split(",")
            else:
                lines.append(line)
    return lines


def build_requirements() -> list[str]:
    """The build back end, and the installer."""
    return [*PYPROJECT["build-system"]["requires"], "uv"]


def resolve(requirements: list[str], constraints: Pins) -> Pins:
    """What would be installed into an empty environment of each Python."""
    pins: Pins = {}
    for version in PYTHONS:
        same = {name: {version: next(iter(found.values()))} for name, found in pins.items()}
        found, error = choose(version, requirements, {**same, **constraints})
        if error:
            found, error = choose(version, requirements, constraints)
        if error:
            sys.exit(f"uv found no versions for Python {version}:\n{error}")
        for name, chosen in found.items():
            pins.setdefault(name, {})[version] = chosen
    return pins


def choose(version: str, requirements: list[str], constraints: Pins) -> tuple[dict[str, str], str]:
    """uv's choice of versions for one Python, and what it says where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, limits = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        wanted.write_text("\n".join(requirements))
        limits.write_text("\n".join(lines(constraints)))
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
        command += ["--no-annotate", "--only-binary=:all:", f"--python-version={version}"]
        command += [str(wanted), "-c", str(limits)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {}, done.stderr
    pins = (line.partition("==") for line in done.stdout.splitlines() if "==" in line)
    return {
        re.sub(r"[-_.]+", "-", name).lower(): pin.split(";")[0].strip() for name, _, pin in pins
    }, ""


def only_new(pins: Pins, known: Pins) -> Pins:
    return {name: versions for name, versions in pins.items() if name not in known}


def lines(pins: Pins) -> list[str]:
    """One line per package, or one per span of Pythons that share a version.

    >>> lines({"numpy": {"3.10": "2.2.6", "3.11": "2.4.6", "3.12": "2.4.6"}})
    ["numpy==2.2.6; python_version < '3.11'", "numpy==2.4.6; python_version >= '3.11'"]
    >>> lines({"tomli": {"3.10": "2.5.0"}})
    ['tomli==2.5.0']
    """
    result = []
    for name, versions in sorted(pins.items()):
        pythons = sorted(versions, key=lambda python: int(python.split(".")[1]))
        spans = [
            p for i, p in enumerate(pythons) if i == 0 or versions[p] != versions[pythons[i - 1]]
        ]
        for i, start in enumerate(spans):
            marker = [f"python_version >= '{start}'"] if i else []
            marker += [f"python_version < '{spans[i + 1]}'"] if i + 1 < len(spans) else []
            result.append(
                "; ".join([f"{name}=={versions[start]}", " and ".join(marker)]).rstrip("; ")
            )
    return result


def write(name: str, what: str, pins: Pins) -> None:
    head = f"# Pinned versions, {what}. Written by `make lock`; do not edit.\n"
    path = ROOT / "constraints" / f"{name}.txt"
    path.write_text(head + "\n".join(lines(pins)) + "\n")
    sys.stdout.write(f"{path.relative_to(ROOT)}: {len(pins)} packages\n")


if __name__ == "__main__":
    main()
