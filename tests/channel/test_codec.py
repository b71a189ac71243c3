"""Parameters, records and reports are the same after the journey."""

from __future__ import annotations

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serl.channel import codec
from serl.errors import UserError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=6)
ARRAYS = st.one_of(
    hnp.arrays(dtype=dtype, shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    for dtype in (np.float32, np.float64, np.int64, np.uint8, np.bool_, np.float16)
)
TREES = st.recursive(ARRAYS, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=4))


def assert_same(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    else:
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.tobytes() == b.tobytes()


@settings(max_examples=30, deadline=None)
@given(tree=st.dictionaries(NAMES, TREES, max_size=4))
def test_parameters_come_back_as_they_were(tree):
    assert_same(codec.unpack_params(codec.pack_params(tree)), tree)


def test_bfloat16_stays_bfloat16():
    tree = {"a": np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)}
    assert_same(codec.unpack_params(codec.pack_params(tree)), tree)


def test_the_safetensors_library_reads_what_is_packed():
    tree = {"a": {"b": np.arange(6, dtype=np.float32).reshape(2, 3)}, "c": np.array(True)}
    read = safetensors.numpy.load(codec.pack_params(tree))
    assert_same(read, {"a/b": tree["a"]["b"], "c": tree["c"]})


def test_what_the_safetensors_library_writes_is_read():
    flat = {"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "c": np.arange(3)}
    data = safetensors.numpy.save(flat, metadata={"made": "elsewhere"})
    assert_same(codec.unpack_params(data), {"a": {"b": flat["a/b"]}, "c": flat["c"]})


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_that_are_no_parameters_are_one_line(data):
    with pytest.raises(UserError, match="are damaged"):
        codec.unpack_params(data)


@settings(max_examples=100, deadline=None)
@given(where=st.integers(0, 200), value=st.integers(0, 255))
def test_damaged_parameters_are_one_line_or_parameters(where, value):
    data = bytearray(codec.pack_params({"a": {"b": np.ones(4, np.float32)}, "c": np.ones(3)}))
    data[where % len(data)] = value
    try:
        assert isinstance(codec.unpack_params(bytes(data)), dict)
    except UserError as error:
        assert "are damaged" in str(error)  # noqa: PT017


@pytest.mark.parametrize("tree", [{"a/b": np.ones(1)}, {1: np.ones(1)}, {"": np.ones(1)}])
def test_a_name_that_would_not_come_back_is_refused(tree):
    with pytest.raises(ValueError, match="not a plain string"):
        codec.pack_params(tree)


def test_an_array_of_objects_is_refused():
    with pytest.raises(ValueError, match="parameter a is object"):
        codec.pack_params({"a": np.array([None])})


def test_a_report_holds_plain_numbers_only():
    text = codec.pack_report(
        {
            "a": np.float32(0.5),
            "b": [np.int64(3), float("inf")],
            "c": np.arange(2),
            "d": {"e": True},
        }
    )
    assert codec.unpack_report(text) == {"a": 0.5, "b": [3, None], "c": [0, 1], "d": {"e": True}}


def test_the_actors_end_needs_no_jax():
    """A robot PC records through the spool and the client, and has no JAX."""
    script = (
        "import sys; sys.modules['jax'] = None; "
        "import serl.rpc, serl.channel.client, serl.channel.server, serl.channel.spool, "
        "serl.channel.codec, serl.channel.probe"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
