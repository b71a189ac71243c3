"""Trunks, their files, and the one way a frozen one is run."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict
from hypothesis import given, settings
from hypothesis import strategies as st

from serl import pixels
from serl.agents.image_config import ImageConfig
from serl.errors import UserError
from serl.networks import crops
from serl.networks import trunk as networks_trunk
from serl.networks.trunk import feature_shape
from serl.trunk import (
    BATCHES,
    FrozenTrunk,
    layout,
    load_trunk,
    make_trunk,
    random_trunk,
    read_trunk,
    save_trunk,
)
from serl.weights import OURS
from serl.weights.file import file_id

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def small() -> FrozenTrunk:
    return random_trunk("small")


def frames(n: int, height: int = 128, width: int = 128) -> np.ndarray:
    return RNG.integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def as_float(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize(
    ("name", "arrays", "numbers", "shape"),
    [
        ("small", 12, 306_144, (4, 4, 128)),
        ("resnet10", 36, 4_905_792, (4, 4, 512)),
        ("resnet18", 60, 11_176_512, (4, 4, 512)),
    ],
)
def test_a_trunk_has_the_size_it_is_said_to_have(name, arrays, numbers, shape) -> None:
    shapes = layout(name)
    assert len(shapes) == arrays
    assert sum(int(np.prod(s)) for s in shapes.values()) == numbers
    assert feature_shape(name, (128, 128, 3)) == shape


def test_resnet10_has_the_names_of_serls_file() -> None:
    shapes = layout("resnet10")
    assert shapes["conv_init/kernel"] == (7, 7, 3, 64)
    assert shapes["ResNetBlock_1/conv_proj/kernel"] == (1, 1, 64, 128)
    assert shapes["ResNetBlock_2/norm_proj/scale"] == (256,)
    assert shapes["ResNetBlock_3/MyGroupNorm_1/bias"] == (512,)
    assert not any("conv_proj" in path for path in shapes if path.startswith("ResNetBlock_0"))


def test_resnet10_computes_what_the_formulas_say() -> None:
    """The first block against plain NumPy: stem, norm over 4 groups, pool, convolutions."""
    trunk = random_trunk("resnet10", seed=3)
    p = trunk.params
    x = frames(1, 32, 32)
    apply = partial(trunk.module.apply, capture_intermediates=True, mutable="intermediates")
    _, state = jax.jit(apply)({"params": p}, x)
    got = flatten_dict(state["intermediates"], sep="/")
    y = (x / 255.0 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    y = np.maximum(_norm(_conv(y, p["conv_init"]["kernel"], 2, 3), p["norm_init"]), 0)
    y = _max_pool(y)
    block = p["ResNetBlock_0"]
    z = np.maximum(_norm(_conv(y, block["Conv_0"]["kernel"], 1, 1), block["MyGroupNorm_0"]), 0)
    z = _norm(_conv(z, block["Conv_1"]["kernel"], 1, 1), block["MyGroupNorm_1"])
    want = np.maximum(y + z, 0)
    np.testing.assert_allclose(got["ResNetBlock_0/__call__"][0], want, atol=2e-3)


def _conv(x: np.ndarray, kernel: np.ndarray, stride: int, pad: int) -> np.ndarray:
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    size = kernel.shape[0]
    out = (x.shape[1] - size) // stride + 1
    rows = []
    for r in range(out):
        row = []
        for c in range(out):
            patch = x[:, r * stride : r * stride + size, c * stride : c * stride + size]
            row.append(np.tensordot(patch, kernel, 3))
        rows.append(np.stack(row, axis=1))
    return np.stack(rows, axis=1)


def _norm(x: np.ndarray, params: dict) -> np.ndarray:
    n, h, w, c = x.shape
    grouped = x.reshape(n, h, w, 4, c // 4)
    mean = grouped.mean(axis=(1, 2, 4), keepdims=True)
    variance = grouped.var(axis=(1, 2, 4), keepdims=True)
    flat = ((grouped - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape)
    return flat * params["scale"] + params["bias"]


def _max_pool(x: np.ndarray) -> np.ndarray:
    """3x3, stride 2, SAME: for even sizes the padding is behind."""
    x = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-np.inf)
    out = (x.shape[1] - 1) // 2
    return np.stack(
        [
            np.stack(
                [x[:, 2 * r : 2 * r + 3, 2 * c : 2 * c + 3].max(axis=(1, 2)) for c in range(out)], 1
            )
            for r in range(out)
        ],
        1,
    )


@settings(max_examples=15, deadline=None)
@given(shift=st.integers(1, 6), seed=st.integers(0, 99), size=st.integers(8, 20))
def test_compiled_crops_are_the_plain_ones(shift: int, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (3, size, size + 1, 3), dtype=np.uint8)
    offsets = np.asarray(crops.random_offsets(jax.random.key(seed), (3,), shift))
    assert offsets.min() >= 0
    assert offsets.max() <= 2 * shift
    np.testing.assert_array_equal(
        crops.shifted(jnp.asarray(x), jnp.asarray(offsets), shift),
        pixels.shifted(x, offsets, shift),
    )


def test_the_middle_crop_is_the_frame_itself() -> None:
    x = frames(2, 16, 16)
    middle = jnp.full((2, 2), 4)
    np.testing.assert_array_equal(crops.shifted(jnp.asarray(x), middle, 4), x)


def test_encoding_a_crop_is_encoding_the_shifted_frame(small: FrozenTrunk) -> None:
    x, offsets = frames(3), np.array([[0, 8], [4, 4], [7, 1]])
    whole = small.encode(x, offsets, 4)
    apart = small.encode(pixels.shifted(x, offsets, 4))
    assert whole.shape == (3, 4, 4, 128)
    assert whole.dtype == np.uint16
    np.testing.assert_allclose(as_float(whole), as_float(apart), rtol=0.01, atol=0.01)


def test_what_is_encoded_is_what_apply_says_rounded_to_bfloat16(small: FrozenTrunk) -> None:
    x = frames(2)
    want = np.asarray(small.apply(jnp.asarray(x)))
    np.testing.assert_allclose(as_float(small.encode(x)), want, rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize("n", [0, 1, 3, 65, 130])
def test_any_number_of_frames_is_encoded_frame_by_frame(small: FrozenTrunk, n: int) -> None:
    x = frames(n, 32, 32)
    got = small.encode(x)
    assert got.shape == (n, 1, 1, 128)
    if n:
        last = as_float(small.encode(x[-1:]))
        np.testing.assert_allclose(as_float(got[-1:]), last, rtol=0.01, atol=0.01)


def test_only_a_few_sizes_are_compiled(small: FrozenTrunk) -> None:
    """A demo's last, shorter batch used to be a compilation of seconds."""
    trunk = make_trunk("small", small.params)
    sizes = set()

    def note(params, frames, offsets, *, shift_px):
        sizes.add((len(frames), len(offsets)))
        return np.zeros((len(frames), 1, 1, 128), np.uint16)

    trunk.__dict__["_compiled"] = note
    for n in range(1, 200):
        assert len(trunk.encode(frames(n, 8, 8))) == n
    assert sizes == {(n, n) for n in BATCHES}


def test_a_file_gives_the_same_trunk_back(small: FrozenTrunk, tmp_path: Path) -> None:
    save_trunk(small, tmp_path / "a" / "small.safetensors")
    again = read_trunk(tmp_path / "a" / "small.safetensors")
    assert (again.name, again.id) == (small.name, small.id)
    jax.tree.map(np.testing.assert_array_equal, again.params, small.params)


def test_a_file_tells_its_trunk_without_jax(small: FrozenTrunk, tmp_path: Path) -> None:
    rounded = make_trunk("small", jax.tree.map(lambda a: a.astype(jnp.bfloat16), small.params))
    for trunk in (small, rounded):
        save_trunk(trunk, tmp_path / "t")
        assert file_id((tmp_path / "t").read_bytes(), "float32") == trunk.id
        assert os.listdir(tmp_path) == ["t"]


def test_a_file_of_weights_that_cannot_be_written_whole_stays_as_it_was(
    small: FrozenTrunk, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "trunk.safetensors"
    save_trunk(small, path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_trunk(random_trunk("small", 5), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_rounded_weights_are_kept_in_half_the_space(small: FrozenTrunk, tmp_path: Path) -> None:
    rounded = make_trunk("small", jax.tree.map(lambda a: a.astype(jnp.bfloat16), small.params))
    save_trunk(small, tmp_path / "full")
    save_trunk(rounded, tmp_path / "half")
    assert (tmp_path / "half").stat().st_size < 0.55 * (tmp_path / "full").stat().st_size
    assert read_trunk(tmp_path / "half").id == rounded.id != small.id


def test_the_id_tells_name_weights_and_precision_apart(small: FrozenTrunk) -> None:
    ids = {small.id, random_trunk("small", seed=1).id, random_trunk("small", 0, "bfloat16").id}
    assert len(ids) == 3
    assert random_trunk("small").id == small.id
    assert len({pixels.trunk_number(id) for id in ids}) == 3


def test_bfloat16_gives_nearly_the_same_features(small: FrozenTrunk) -> None:
    x = frames(2)
    exact, rough = (
        as_float(small.encode(x)),
        as_float(random_trunk("small", 0, "bfloat16").encode(x)),
    )
    assert np.abs(exact - rough).mean() < 0.02 * np.abs(exact).mean()


def test_a_gpu_takes_resnet10_only_where_its_weights_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(networks_trunk, "OURS", tmp_path)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert networks_trunk.default_trunk() == "small"
    (tmp_path / "resnet10.safetensors").touch()
    assert networks_trunk.default_trunk() == "resnet10"
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert networks_trunk.default_trunk() == "small"


def test_our_small_weights_come_with_the_package() -> None:
    trunk = load_trunk(ImageConfig(trunk="small"))
    assert trunk.name == "small"
    assert (OURS / "small.safetensors").stat().st_size < 2_000_000


@pytest.mark.parametrize("path", sorted(OURS.glob("*.safetensors")), ids=lambda p: p.stem)
def test_every_file_of_ours_holds_the_trunk_it_is_named_after(path: Path) -> None:
    trunk = read_trunk(path)
    assert trunk.name == path.stem
    assert path.stat().st_size < 12_000_000
    values = as_float(trunk.encode(frames(4)))
    assert np.isfinite(values).all()
    assert values.std() > 0.1


def test_weights_that_are_not_there_say_how_to_make_them() -> None:
    with pytest.raises(UserError, match=r"python -m benchmarks.pretrain --trunk resnet18"):
        load_trunk(ImageConfig(trunk="resnet18"))


def test_weights_of_another_trunk_are_named(tmp_path: Path, small: FrozenTrunk) -> None:
    path = tmp_path / "w.safetensors"
    save_trunk(small, path)
    with pytest.raises(UserError, match=r"weights of trunk small, this run's trunk is resnet10"):
        load_trunk(ImageConfig(trunk="resnet10", weights=str(path)))


def test_an_unknown_set_of_weights_is_told_with_the_known_ones(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="Did you mean 'random'"):
        load_trunk(ImageConfig(trunk="small", weights="randon"))
    with pytest.raises(UserError, match="there is no weight file"):
        load_trunk(ImageConfig(trunk="small", weights=str(tmp_path / "none.safetensors")))


def test_a_file_of_the_wrong_layout_is_refused_by_name(small: FrozenTrunk, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    flat = {"/".join(k): v for k, v in flatten_dict(small.params).items()}
    wrong = flat | {"Conv_1/kernel": np.zeros((3, 3, 64, 63), np.float32)}
    for leaves, says in (
        (wrong, r"Conv_1/kernel must be \(3, 3, 64, 64\), it is \(3, 3, 64, 63\)"),
        ({k: v for k, v in flat.items() if k != "Conv_0/bias"}, r"Conv_0/bias .* it is missing"),
        (flat | {"extra": np.zeros(1, np.float32)}, r"it has no place for extra"),
        (flat | {"Dense_0/bias": np.full(32, np.nan, np.float32)}, r"not finite"),
    ):
        safetensors.numpy.save_file(leaves, path, {"trunk": "small"})
        with pytest.raises(UserError, match=says):
            read_trunk(path)


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_a_damaged_file_is_one_line(small: FrozenTrunk, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "w.safetensors"
    save_trunk(small, path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"w\.safetensors is no whole safetensors file"):
        read_trunk(path)
    with pytest.raises(UserError, match="cannot read"):
        read_trunk(tmp_path / "none.safetensors")
