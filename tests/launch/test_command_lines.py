"""Every command line that the documents show is one that the real parser takes."""

import re
import shlex
from pathlib import Path

import pytest

from launch.main import parse

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("README.md")),
]
PROMPT = re.compile(r"^\s*(?:\$ )?(?:\.venv/bin/)?(?=(?:serl|make) )")


def command_lines():
    """(file, line number, command) of each line in a fenced block that begins with serl or make."""
    for file in FILES:
        fenced, continued = False, ""
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if line.lstrip().startswith("```"):
                fenced = not fenced
                continue
            text = continued + PROMPT.sub("", line)
            if fenced and text.startswith(("serl ", "make ")):
                if text.endswith("\\"):
                    continued = text[:-1]
                    continue
                yield pytest.param(text, id=f"{file.relative_to(ROOT)}:{number}")
            continued = ""


def make_targets():
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([\w-]+)(?:\s+[\w-]+)*\s*:(?!=)", text, re.MULTILINE))


@pytest.mark.parametrize("text", list(command_lines()))
def test_a_documented_command_line_parses(text):
    words = shlex.split(text.split(" -> ")[0], comments=True)
    if words[0] == "make":
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        assert set(targets) <= make_targets(), text
        return
    if words[-1] in ("--help", "--version"):
        with pytest.raises(SystemExit, match="0"):
            parse(words[1:])
    else:
        assert parse(words[1:]).verb == words[1]


def test_the_documents_show_the_commands_a_newcomer_needs():
    shown = "\n".join(str(param.values[0]) for param in command_lines())
    for command in ("make demo", "make test", "serl learner", "serl actor", "serl evaluate"):
        assert command in shown
