"""What every registered format must do; being registered holds a new one to this.

A set of ours is exported and imported again: what the format says it keeps comes back bit for bit.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serl.data.demos import load_episode
from serl.data.formats.base import FORMATS, PARTS, Options, detected
from serl.data.formats.exchange import export_demos, import_demos, lost
from serl.data.formats.native import DemoSet, open_set, write_episode
from serl.data.records import field_names
from serl.errors import CorruptFile, UserError
from serl.types import Source, Spec

SUFFIX = {"robomimic": ".hdf5", "serl_pickle": ".pkl"}
REST = (
    *("requested_action", "clamped", "weight", "source", "policy_version", "reward_source"),
    *("reward_version", "stamp_mono_ns", "stamp_wall_ns"),
)

pytestmark = pytest.mark.parametrize("name", FORMATS.names())


LIBRARIES = {
    "robomimic": ("h5py",),
    "minari": ("h5py",),
    "lerobot": ("pyarrow", "PIL"),
    "rlds": ("google_crc32c", "PIL"),
}


@pytest.fixture(autouse=True)
def libraries(name: str) -> None:
    """A format whose libraries are not here is skipped, in one line."""
    for library in LIBRARIES.get(name, ()):
        pytest.importorskip(library, reason=f"{library}, which {name} needs, is not installed")


def place(folder: Path, name: str) -> Path:
    return folder / f"there{SUFFIX.get(name, '')}"


def make_set(folder: Path, spec: Spec, made: list) -> DemoSet:
    for rows, meta in made:
        write_episode(folder, rows, spec, meta)
    return open_set(folder)


@pytest.fixture
def small(kit: SimpleNamespace, tmp_path: Path) -> DemoSet:
    """Three episodes with a camera; one ends by success, one by time, one was broken off."""
    spec = kit.spec()
    made = [kit.episode(spec, 4 + k, end, k) for k, end in enumerate(kit.ends)]
    return make_set(tmp_path / "ours", spec, made)


@given(data=st.data())
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_a_format_says_it_keeps_comes_back_bit_for_bit(
    name: str, data: st.DataObject, kit: SimpleNamespace
) -> None:
    camera, extras = data.draw(st.booleans()), data.draw(st.booleans())
    spec = kit.spec(camera=camera, extras=extras)
    made = data.draw(kit.episodes(spec))
    keeps = FORMATS.get(name).keeps
    folder = Path(tempfile.mkdtemp())
    try:
        ours = make_set(folder / "ours", spec, made)
        export_demos(ours, name, place(folder, name), Options(control_hz=kit.hz))
        import_demos(place(folder, name), name, folder / "back")
        back = open_set(folder / "back")
        assert len(back) == len(ours)
        if "spec" in keeps:
            assert back.spec == spec
        for here, there in zip(ours, back, strict=True):
            compare(here, there, keeps)
    finally:
        shutil.rmtree(folder)


def compare(here, there, keeps: frozenset[str]) -> None:
    if "meta" in keeps:
        assert there.meta == here.meta
    same = {"action", "reward", "index"} | (
        {"terminated", "truncated"} if "truncated" in keeps else set()
    )
    same |= {"success"} if "success" in keeps else set()
    same |= set(REST) if "rest" in keeps else set()
    same |= {n for n in field_names(here.records.dtype) if n.startswith("obs/")}
    same |= {
        n for n in field_names(here.records.dtype) if n.startswith("extra/") and "extras" in keeps
    }
    for field in same:
        ours, theirs = here.records[field], there.records[field]
        assert ours.dtype == theirs.dtype, field
        assert ours.tobytes() == theirs.tobytes(), field


def test_it_is_known_by_its_look(name: str, small: DemoSet, tmp_path: Path) -> None:
    export_demos(small, name, place(tmp_path, name), Options(control_hz=10.0))
    assert detected(place(tmp_path, name)) == name


def test_it_says_in_one_line_what_it_does_not_keep(name: str, small: DemoSet) -> None:
    said = lost(name, small, Options())
    assert FORMATS.get(name).keeps <= PARTS.keys()
    assert len(said) == (FORMATS.get(name).keeps != PARTS.keys())
    assert all(line.startswith(f"not kept by {name}: ") and "\n" not in line for line in said)


def test_its_episodes_are_never_joined(name: str, small: DemoSet, tmp_path: Path) -> None:
    """D-R1: no next observation from another segment."""
    export_demos(small, name, place(tmp_path, name), Options(control_hz=10.0))
    import_demos(place(tmp_path, name), name, tmp_path / "back")
    back = open_set(tmp_path / "back")
    assert [header.steps for header in back.headers] == [header.steps for header in small.headers]


def test_what_is_not_free_is_left_as_it_is(name: str, small: DemoSet, tmp_path: Path) -> None:
    taken = place(tmp_path, name)
    taken.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        export_demos(small, name, taken, Options(control_hz=10.0))
    assert taken.read_text() == "mine"
    assert not list(tmp_path.glob(".*part*"))


def test_exporting_and_importing_leave_their_input_as_it_was(
    name: str, small: DemoSet, tmp_path: Path
) -> None:
    before = {p.name: p.read_bytes() for p in small.path.iterdir()}
    export_demos(small, name, place(tmp_path, name), Options(control_hz=10.0))
    there = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    import_demos(place(tmp_path, name), name, tmp_path / "back")
    assert {p.name: p.read_bytes() for p in small.path.iterdir()} == before
    assert {p: p.read_bytes() for p in there} == there


def test_who_acted_is_asked_where_the_file_does_not_say(
    name: str, small: DemoSet, tmp_path: Path
) -> None:
    export_demos(small, name, place(tmp_path, name), Options(control_hz=10.0))
    import_demos(place(tmp_path, name), name, tmp_path / "back", who=Source.SCRIPTED)
    back = load_episode(open_set(tmp_path / "back").headers[0].path)
    if "rest" not in FORMATS.get(name).keeps:
        assert set(back.records["source"][1:]) == {Source.SCRIPTED}


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "flipped"])
def test_a_file_that_is_not_whole_is_one_line(
    name: str, damage: str, small: DemoSet, tmp_path: Path
) -> None:
    """Every file of the export in turn; the import is refused, or what it reads is the same."""
    export_demos(small, name, place(tmp_path, name), Options(control_hz=10.0))
    whole = place(tmp_path, name)
    files = [whole] if whole.is_file() else sorted(p for p in whole.rglob("*") if p.is_file())
    rng = np.random.default_rng(0)
    refused = 0
    for k, file in enumerate(files):
        content = file.read_bytes()
        if damage == "absent":
            file.unlink()
        elif damage == "flipped":
            bad = bytearray(content)
            for at in rng.integers(0, len(bad), 4):
                bad[at] ^= 0xFF
            file.write_bytes(bad)
        else:
            file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
        said = ""
        try:
            import_demos(whole, name, tmp_path / f"back{k}")
        except UserError as error:
            said = str(error)
        assert "\n" not in said
        if said:
            refused += 1
            assert whole.name in said
            assert not (tmp_path / f"back{k}").exists()
        file.write_bytes(content)
    if damage in ("empty", "cut"):
        assert refused
    assert not list(tmp_path.glob(".*part*"))


def test_an_empty_set_of_arrays_is_refused(name: str, tmp_path: Path) -> None:
    whole = place(tmp_path, name)
    with pytest.raises(UserError, match="nothing at"):
        import_demos(whole, name, tmp_path / "back")
    whole.write_bytes(b"not of this kind")
    with pytest.raises((CorruptFile, UserError)):
        import_demos(whole, name, tmp_path / "back")
