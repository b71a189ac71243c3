"""Writes constraints/*.txt: the version of every package, for every Python we install on.

    python tools/lock.py

pip resolves each set of extras under every interpreter it finds (nothing is installed); where the
versions differ, a line carries a Python marker. The files name no index, so they work with any.
"""

from __future__ import annotations

import json
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
FULL = ("learner", "sim", "log", "dev", "franky", "franky-sim", "robotiq", "http", "cameras")
CUDA = ("learner-cuda",)
HARDWARE = ("devices", "console", "wandb", "rerun", "fleet")
Pins = dict[str, dict[str, str]]
"""Version by package name and Python version."""


def main() -> None:
    interpreters = {v: found for v in PYTHONS if (found := find_python(v))}
    missing = [v for v in PYTHONS if v not in interpreters]
    if missing:
        sys.exit(f"lock needs Python {', '.join(missing)} too, or its lines would be lost.")
    with tempfile.TemporaryDirectory() as folder:
        pip = make_pip(Path(folder))
        # All at once first, so that every extra can be installed beside every other.
        everything = resolve(pip, interpreters, requirements(*FULL, *HARDWARE), {})
        full = resolve(pip, interpreters, requirements(*FULL), everything)
        base = resolve(pip, interpreters, requirements(), everything)
        cuda = resolve(pip, interpreters, requirements(*CUDA), everything)
        build = resolve(pip, interpreters, build_requirements(), {})
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


def find_python(version: str) -> str | None:
    found = subprocess.run(
        [ROOT / "tools/find_python.sh", version], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def make_pip(folder: Path) -> str:
    """A current pip: only that one resolves from metadata, without fetching whole wheels."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = str(folder / "venv/bin/pip")
    subprocess.run([pip, "install", "--quiet", "--upgrade", "pip"], check=True)
    return pip


def resolve(
    pip: str, interpreters: dict[str, str], requirements: list[str], constraints: Pins
) -> Pins:
    """What pip would install into an empty environment of each Python."""
    pins: Pins = {}
    for version, interpreter in interpreters.items():
        same = {name: {version: next(iter(found.values()))} for name, found in pins.items()}
        found, error = choose(pip, interpreter, requirements, {**same, **constraints})
        if error:
            found, error = choose(pip, interpreter, requirements, constraints)
        if error:
            sys.exit(f"pip found no versions for Python {version}:\n{error}")
        for name, chosen in found.items():
            pins.setdefault(name, {})[version] = chosen
    return pins


def choose(
    pip: str, interpreter: str, requirements: list[str], constraints: Pins
) -> tuple[dict[str, str], str]:
    """pip's choice of versions for one Python, and what it says where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, limits = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        wanted.write_text("\n".join(requirements))
        limits.write_text("\n".join(lines(constraints)))
        command = [pip, f"--python={interpreter}", "install", "--dry-run", "--ignore-installed"]
        command += ["--quiet", "--only-binary=:all:", "--report=-"]
        command += ["-r", str(wanted), "-c", str(limits)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {}, done.stderr
    packages = [item["metadata"] for item in json.loads(done.stdout)["install"]]
    return {re.sub(r"[-_.]+", "-", p["name"]).lower(): p["version"] for p in packages}, ""


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
