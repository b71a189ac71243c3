"""docs/data.md says of each format what the code says."""

from __future__ import annotations

from pathlib import Path

from serl.data.formats.base import FORMATS, PARTS

DOC = Path(__file__).resolve().parents[3] / "docs/data.md"


def test_the_table_of_what_formats_keep_is_that_of_the_code() -> None:
    rows = ["| format | " + " | ".join(PARTS) + " |"]
    for name in FORMATS:
        kept = FORMATS.get(name).keeps
        rows.append(
            f"| `{name}` | " + " | ".join("yes" if p in kept else "-" for p in PARTS) + " |"
        )
    text = DOC.read_text()
    assert all(row in text for row in rows), "\n".join(rows)
