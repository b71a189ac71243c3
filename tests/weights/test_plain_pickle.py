"""A pickle is read as data: what is an array comes out, and nothing else happens."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from weights import pickles

from serl.errors import UserError
from serl.weights import plain_pickle
from serl.weights.plain_pickle import read_arrays

NAMES = st.text("abcdefgh_0123", min_size=1, max_size=8)
ARRAYS = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=4, max_side=4), elements=st.floats(width=32)
)
TREES = st.dictionaries(NAMES, ARRAYS | st.dictionaries(NAMES, ARRAYS, max_size=3), max_size=4)


@given(TREES, st.sampled_from(["numpy.core.multiarray", "numpy._core.multiarray"]))
def test_nested_arrays_come_out_as_they_went_in(tree: dict[str, Any], multiarray: str) -> None:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= {f"{key}/{k}": v for k, v in value.items()} if isinstance(value, dict) else {}
        flat |= {} if isinstance(value, dict) else {key: value}
    read = read_arrays(pickles.dumps(tree, multiarray), "x")
    assert read.keys() == flat.keys()
    for path, array in flat.items():
        np.testing.assert_array_equal(read[path], array)


def test_what_jax_itself_pickles_today_is_read() -> None:
    import jax.numpy as jnp

    array = jnp.arange(6.0).reshape(2, 3)
    read = read_arrays(pickle.dumps({"a": {"b": array}}, protocol=4), "x")
    np.testing.assert_array_equal(read["a/b"], array)


def test_what_numpy_itself_pickles_is_read() -> None:
    for order in ("C", "F"):
        array = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32, order=order)
        read = read_arrays(pickle.dumps({"a": array}, protocol=4), "x")
        np.testing.assert_array_equal(read["a"], array)


class _Evil:
    def __init__(self, reduced: tuple) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple:
        return self.reduced


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_that_runs_a_command_is_refused_and_does_not(tmp_path: Path, protocol) -> None:
    """SERL unpickles this file on every start, from a folder in the user's home."""
    import os

    touched = tmp_path / "touched"
    data = pickle.dumps({"a": _Evil((os.system, (f"touch {touched}",)))}, protocol=protocol)
    with pytest.raises(UserError, match=r"nothing in it was run: it asks for (posix|nt).system"):
        read_arrays(data, "x")
    assert not touched.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("numpy", "load"),
        ("numpy.core.multiarray", "scalar"),
        ("jax._src.array", "_reconstruct_array.__globals__"),
        ("importlib", "import_module"),
    ],
)
def test_no_other_name_is_known(module: str, name: str) -> None:
    with pytest.raises(UserError, match="it asks for"):
        read_arrays(pickles.call(module, name, "x"), "x")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x80\x04" + pickles.text("os") + b".", "holds a value of type str"),
        (b"\x80\x04]" + b".", "holds a value of type list"),
        (b"\x80\x04}(K\x01K\x02u.", "a value of type int is no plain name"),
        (b"\x80\x04}(" + pickles.text("a/b") + b"}u.", "'a/b' below the top is no plain name"),
        (b"\x80\x04K\x01)R.", "it calls a value of type int"),
        (b"\x80\x04K\x01}b.", "it changes a value of type int"),
        (b"\x80\x04K\x01Q.", "the instruction BINPERSID"),
        (b"(ios\nsystem\n.", "the instruction INST"),
        (b"\x80\x04", "is no pickle of plain arrays"),
        (b"", "is no pickle of plain arrays"),
        (b"\x80\x04u.", "is no pickle of plain arrays"),
        (b"\x80\x04h\x07.", "is no pickle of plain arrays"),
    ],
)
def test_anything_but_arrays_is_one_line(data: bytes, says: str) -> None:
    with pytest.raises(UserError, match=says) as raised:
        read_arrays(data, "file.pkl")
    assert str(raised.value).startswith("file.pkl is ")


def nested(levels: int, repeat: bool) -> bytes:
    """{"a": {"a": ...}}; with `repeat` each dict also has its child a second time, as "b"."""
    data = b"\x80\x04}\x94"
    for level in range(levels):
        child = b"h" + bytes([level])
        again = pickles.text("b") + child if repeat else b""
        data += b"}\x94(" + pickles.text("a") + child + again + b"u"
    return data + b"."


def tuples(levels: int) -> bytes:
    """((..., ...), (..., ...)): 2 ** levels values in a few bytes."""
    return b")" + b"".join(b"\x94h" + bytes([k]) + b"\x86" for k in range(levels))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x80\x04}\x94" + pickles.text("a") + b"h\x00s.", "a is also elsewhere in it"),
        (nested(10, repeat=True), "is also elsewhere in it"),
        (nested(200, repeat=False), "nests deeper than 16"),
        (b"\x80\x04}" + tuples(60) + b"}s.", "a value of type tuple is no plain name"),
        (b"\x80\x04" + tuples(60) + b"\x8c\x01a\x93.", "something without a name"),
    ],
    ids=["itself", "a tree of shared dicts", "deep", "tuples as a name", "tuples as a module"],
)
def test_what_refers_to_itself_or_to_one_thing_many_times_is_one_line_at_once(
    data: bytes, says: str
) -> None:
    begun = time.monotonic()
    with pytest.raises(UserError, match=f"x is refused.*{says}") as raised:
        read_arrays(data, "x")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300
    assert time.monotonic() - begun < 1.0


def test_an_array_that_is_in_the_file_twice_is_refused() -> None:
    array = np.zeros(3, np.float32)
    with pytest.raises(UserError, match="b is also elsewhere in it"):
        read_arrays(pickle.dumps({"a": array, "b": array}, protocol=4), "x")


def test_more_elements_than_any_weights_have_are_refused(monkeypatch) -> None:
    monkeypatch.setattr(plain_pickle, "LARGEST", 5)
    data = pickles.dumps({"a": np.zeros(3, np.float32), "b": np.ones(3, np.float32)})
    with pytest.raises(UserError, match="more than 5 elements"):
        read_arrays(data, "x")


def test_an_array_that_is_shorter_than_its_shape_is_refused() -> None:
    data = pickles.dumps({"a": np.zeros(3, np.float32)})
    shrunk = data.replace(b"J\x03\x00\x00\x00", b"J\x04\x00\x00\x00", 1)
    with pytest.raises(UserError, match=r"shape \(4,\) in 12 bytes"):
        read_arrays(shrunk, "x")


def test_whole_numbers_are_no_weights() -> None:
    with pytest.raises(UserError, match="an array of i4"):
        read_arrays(pickles.dumps({"a": np.zeros(3, np.int32)}), "x")


@given(st.binary(max_size=80))
def test_any_bytes_give_arrays_or_one_line(data: bytes) -> None:
    _arrays_or_one_line(b"\x80\x04" + data)


@given(st.data())
def test_a_damaged_file_gives_arrays_or_one_line(data: st.DataObject) -> None:
    good = pickles.dumps({"a": {"kernel": np.ones((2, 3), np.float32)}, "b": np.ones(1, "f4")})
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([data.draw(st.integers(0, 255))]) + good[at + 1 :]
    _arrays_or_one_line(bad)


def _arrays_or_one_line(data: bytes) -> None:
    said = ""
    try:
        read_arrays(data, "x")
    except UserError as error:
        said = str(error)
    assert "\n" not in said


def test_names_from_the_file_are_made_fit_for_one_line() -> None:
    with pytest.raises(
        UserError, match=r"it asks for o\?s\.\?\[31msystem$|it asks for o\?s"
    ) as said:
        read_arrays(pickles.call("o\ns", "\x1b[31msystem", "x"), "x")
    assert "\n" not in str(said.value)
    assert "\x1b" not in str(said.value)
