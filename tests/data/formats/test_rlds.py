"""RLDS without TensorFlow: what TensorFlow Datasets makes of ours, and we of theirs.

TensorFlow is in an environment of its own: SERL_TFDS_PYTHON names its Python.
"""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serl.data.formats.exchange import export_demos, import_demos
from serl.data.formats.native import open_set, write_episode
from serl.data.formats.rlds_features import Leaf, leaves, nested, whole
from serl.data.formats.tfrecord import example_class, read_examples, write_example

pytest.importorskip("google_crc32c")
TFDS = os.environ.get("SERL_TFDS_PYTHON")
needs_tfds = pytest.mark.skipif(
    TFDS is None, reason="SERL_TFDS_PYTHON names no Python with tensorflow_datasets"
)


def run(source: str, *words: object) -> None:
    assert TFDS is not None
    done = subprocess.run(
        [TFDS, "-c", source, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_record_has_the_checksums_that_tensorflow_writes(tmp_path: Path) -> None:
    """The record of an empty Example, byte by byte: length 0, its checksum, that of nothing."""
    file = io.BytesIO()
    write_example(file, example_class()())
    assert file.getvalue().hex() == "0000000000000000" + "29039807" + "d8ea82a2"


@pytest.mark.parametrize("at", [0, 9, 12, 20, -1])
def test_no_flipped_byte_of_a_record_passes_unseen(at: int, tmp_path: Path) -> None:
    example = example_class()()
    example.features.feature["a"].float_list.value.extend([1.0, 2.0])
    with (tmp_path / "r").open("wb") as file:
        write_example(file, example)
    content = bytearray((tmp_path / "r").read_bytes())
    (read,) = read_examples(tmp_path / "r")
    assert read.features.feature["a"].float_list.value == [1.0, 2.0]
    content[at] ^= 4
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        list(read_examples(tmp_path / "r"))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_a_leaf_comes_back_bit_for_bit(dtype: str) -> None:
    rng = np.random.default_rng(0)
    values = (rng.normal(size=(4, 2, 3)) * 100).astype(dtype)
    leaf, feature = whole(dtype, (2, 3)), example_class()().features.feature["x"]
    leaf.put(feature, values)
    assert leaf.get(feature, "x").tobytes() == values.tobytes()


def test_types_go_to_features_json_and_back() -> None:
    told = {"steps/observation/a": whole("float64", (2,)), "steps/action": Leaf("float32", (3,))}
    told |= {
        "steps/cam": Leaf("uint8", (8, 8, 3), picture=True),
        "episode_metadata/x": Leaf("string"),
    }
    assert leaves(nested(told)) == told


LOAD = """
import sys
import numpy as np
import tensorflow_datasets as tfds

arrays = {}
builder = tfds.builder_from_directory(sys.argv[1])
for e, episode in enumerate(builder.as_dataset(split="train")):
    for k, step in enumerate(episode["steps"].as_numpy_iterator()):
        flat = {**step.pop("observation"), **{f"ours/{n}": v for n, v in step.pop("serl").items()}}
        for name, value in {**step, **flat}.items():
            arrays.setdefault(f"{e}/{name}", []).append(value)
np.savez(sys.argv[2], **{k: np.stack(v) for k, v in arrays.items()})
"""


@needs_tfds
def test_tensorflow_datasets_reads_what_we_export(kit: SimpleNamespace, tmp_path: Path) -> None:
    spec = kit.spec()
    for k, end in enumerate(kit.ends):
        write_episode(tmp_path / "ours", *_swapped(kit.episode(spec, 3 + k, end, k), spec))
    ours = open_set(tmp_path / "ours")
    export_demos(ours, "rlds", tmp_path / "there")
    run(LOAD, tmp_path / "there", tmp_path / "read.npz")
    read = np.load(tmp_path / "read.npz")
    for e, episode in enumerate(ours):
        rows = episode.records
        assert read[f"{e}/left.state"].tobytes() == rows["obs/left/state"].tobytes()
        np.testing.assert_array_equal(read[f"{e}/front"], rows["obs/front"])
        assert read[f"{e}/action"][:-1].tobytes() == rows["action"][1:].tobytes()
        assert read[f"{e}/reward"][:-1].tobytes() == rows["reward"][1:].tobytes()
        assert read[f"{e}/is_terminal"].tolist() == rows["terminated"].tolist()
        assert read[f"{e}/ours/stamp_wall_ns"].tolist() == rows["stamp_wall_ns"].tolist()
        assert set(read[f"{e}/language_instruction"]) == {b"pick_cube"}


def _swapped(made: tuple[Any, Any], spec: Any) -> tuple[Any, Any, Any]:
    return made[0], spec, made[1]


MAKE = """
import sys
import numpy as np
import tensorflow_datasets as tfds

F = tfds.features

class Theirs(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        seen = {"image": F.Image(shape=(8, 6, 3), encoding_format="png"),
                "wide": F.Tensor(shape=(2, 2), dtype=np.float64, encoding="zlib"),
                "state": F.Tensor(shape=(3,), dtype=np.float32), "words": F.Text()}
        flags = {k: F.Scalar(dtype=np.bool_) for k in ("is_first", "is_last", "is_terminal")}
        step = {"observation": F.FeaturesDict(seen), "reward": F.Scalar(dtype=np.float32),
                "action": F.Tensor(shape=(2,), dtype=np.float32), **flags}
        told = F.FeaturesDict({"steps": F.Dataset(step), "episode_metadata": {"path": F.Text()}})
        return tfds.core.DatasetInfo(builder=self, features=told)

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        steps = [{"observation": {"image": np.full((8, 6, 3), k, np.uint8), "words": "go",
                                  "wide": np.full((2, 2), k / 3),
                                  "state": np.full(3, k, np.float32)},
                  "action": np.full(2, k / 10, np.float32), "reward": float(k == 4),
                  "is_first": k == 0, "is_last": k == 4, "is_terminal": k == 4} for k in range(5)]
        yield "0", {"steps": steps, "episode_metadata": {"path": "x"}}

Theirs(data_dir=sys.argv[1]).download_and_prepare()
"""


@needs_tfds
def test_what_tensorflow_datasets_prepares_is_read(tmp_path: Path) -> None:
    script = tmp_path / "code/theirs.py"
    script.parent.mkdir()
    script.write_text(MAKE)
    run("import runpy, sys; sys.argv[0] = sys.argv.pop(1); runpy.run_path(sys.argv[0])",
        script, tmp_path / "sets")  # fmt: skip
    done = import_demos(tmp_path / "sets/theirs/1.0.0", "rlds", tmp_path / "back")
    (episode,) = open_set(tmp_path / "back")
    rows = episode.records
    np.testing.assert_array_equal(rows["obs/state"][:, 0], range(5))
    np.testing.assert_array_equal(rows["obs/image"][:, 0, 0, 0], range(5))
    np.testing.assert_array_equal(rows["obs/wide"][:, 0, 0], np.arange(5) / 3)
    np.testing.assert_array_equal(rows["action"][1:, 0], np.arange(4, dtype=np.float32) / 10)
    assert rows["terminated"].tolist() == [False] * 4 + [True]
    assert rows["reward"].tolist() == [0, 0, 0, 0, 1], "the last step's reward counts"
    assert episode.meta.success
    assert any("is counted with the last action" in note for note in done.notes)
