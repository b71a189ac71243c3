"""The build files agree with each other and with what the documents say of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONSTRAINTS = sorted((ROOT / "constraints").glob("*.txt"))
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("examples/**/*.md"),
    *ROOT.glob("docker/*.Dockerfile"),
    *ROOT.glob("tools/*.sh"),
]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(file: Path) -> set[str]:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return {canonical(line.split("==")[0]) for line in lines}


def required(requirements: list[str]) -> set[str]:
    names = {re.match(r"[A-Za-z0-9._-]+", line)[0] for line in requirements}  # type: ignore[index]
    return {canonical(name) for name in names} - {canonical(PROJECT["name"])}


@pytest.mark.parametrize(
    ("file", "extras"),
    [
        ("base", ()),
        (
            "full",
            (
                *("learner", "sim", "log", "dev", "franky", "franky-sim", "robotiq", "http"),
                *("cameras", "devices", "console", "formats", "rlds"),
            ),
        ),
        ("cuda", ()),
        ("hardware", ("devices", "console", "fleet")),
    ],
)
def test_every_requirement_is_pinned(file: str, extras: tuple[str, ...]) -> None:
    """SERL has three installs and no lock; its pins broke with the JAX of the day (D-E7)."""
    wanted = required([line for extra in extras for line in EXTRAS[extra]])
    if file in ("base", "full"):
        wanted |= required(PROJECT["dependencies"])
    missing = wanted - pinned(ROOT / "constraints" / f"{file}.txt")
    if file != "full":
        missing -= pinned(ROOT / "constraints" / "full.txt")
    assert not missing, f"run `make lock`: constraints/{file}.txt does not pin {missing}"


def test_constraints_hold_pins_and_nothing_else() -> None:
    """An index or a path in them would make the install work on one network only."""
    pin = re.compile(r"[a-z0-9-]+==[A-Za-z0-9.+!]+(; python_version [<>=' 0-9.a-z_]+)?")
    for file in CONSTRAINTS:
        for line in file.read_text().splitlines():
            assert line.startswith("# ") or pin.fullmatch(line), f"{file.name}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_extras_and_paths_named_in_documents_exist(document: Path) -> None:
    """HIL-SERL's walk-throughs name data paths and chapters that are not there (D-E10)."""
    text = document.read_text()
    named = re.findall(r"(?:serl-suite|whl|'?\"?\.)\[([a-z0-9, -]+)\]", text)
    extras = {extra.strip() for group in named for extra in group.split(",")}
    assert extras <= EXTRAS.keys(), f"no such extra: {extras - EXTRAS.keys()}"
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (document.parent / link).exists(), f"{document.name} links to {link}"
    rooms = "serl|robot_servers|envs|launch|benchmarks|examples|docs|docker|tools|tests|constraints"
    added = set(re.findall(r"<!-- recipe: (\S+) -->", text))
    for path in set(re.findall(rf"`((?:{rooms})/[\w./-]+)`", text)) - added:
        assert (ROOT / path).exists(), f"{document.name} names {path}"


def test_the_workflow_of_ci_is_the_readme_s() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text()
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_nothing_names_this_machine_or_a_registry() -> None:
    """SERL's configs carry /home paths, camera serials and addresses of its lab (D-E6)."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    private = re.compile(
        r"(/root/|/home/[a-z]|/work/|pypi\.org|pythonhosted|npmjs\.org|deb\.debian)"
    )
    found = []
    for name in listed.stdout.split():
        file = ROOT / name
        if not file.is_file() or file.suffix in (".png", ".npz", ".mp4") or file == Path(__file__):
            continue
        lines = file.read_text(errors="replace").splitlines()
        found += [f"{name}:{i}: {line}" for i, line in enumerate(lines, 1) if private.search(line)]
    assert not found, "\n".join(found)


def test_find_python_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", ROOT / "tools/find_python.sh"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "apt-get install" in done.stderr
