"""TensorFlow Datasets' features.json: the type of every leaf, and leaves in an Example message."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serl.data.formats.pictures import decoded, png

PREFIX = "tensorflow_datasets.core.features."
FLOATS = ("float16", "float32", "float64")
"""Without an encoding all of them are kept as 32 bits."""
LARGEST_ARRAY = 1 << 24
"""Elements of one step's array: a file that says more is not believed."""


@dataclass(frozen=True)
class Leaf:
    """One array of each step, or of the whole episode."""

    dtype: str
    """NumPy's name, or 'string'."""
    shape: tuple[int, ...] = ()
    picture: bool = False
    encoding: str = "none"
    """'bytes' and 'zlib' keep a step's array as bytes, in full precision."""

    @property
    def numeric(self) -> bool:
        return self.dtype != "string"

    def put(self, feature: Any, values: Any) -> None:
        """The rows into a Feature message."""
        if self.picture:
            feature.bytes_list.value.extend(png(frame) for frame in values)
        elif self.dtype == "string":
            feature.bytes_list.value.extend(text.encode() for text in values)
        elif self.encoding == "bytes":
            feature.bytes_list.value.extend(np.asarray(v, self.dtype).tobytes() for v in values)
        elif self.dtype in FLOATS:
            feature.float_list.value.extend(np.asarray(values).reshape(-1).tolist())
        else:
            feature.int64_list.value.extend(np.asarray(values, np.int64).reshape(-1).tolist())

    def get(self, feature: Any, name: str) -> NDArray[Any]:
        """Inverse of `put`: (steps, ...)."""
        if self.picture:
            return np.stack([decoded(data) for data in feature.bytes_list.value])
        kind, size = np.dtype(self.dtype), int(np.prod(self.shape))
        if (
            kind.kind not in "fiub"
            or not 0 < size <= LARGEST_ARRAY
            or min(self.shape, default=1) < 0
        ):
            raise ValueError(f"{name} is of {self.dtype} and {self.shape}")
        if self.encoding != "none":
            rows = [self._unpacked(row, size * kind.itemsize) for row in feature.bytes_list.value]
            return np.stack([np.frombuffer(row, kind).reshape(self.shape) for row in rows])
        kept = feature.float_list if self.dtype in FLOATS else feature.int64_list
        return np.array(kept.value, kind).reshape(-1, *self.shape)

    def text(self, feature: Any) -> str:
        """The single text of an episode."""
        return feature.bytes_list.value[0].decode()

    def _unpacked(self, row: bytes, size: int) -> bytes:
        return zlib.decompressobj().decompress(row, size) if self.encoding == "zlib" else row

    def json(self) -> dict[str, Any]:
        """As features.json has it."""
        shape = {"dimensions": [str(n) for n in self.shape]} if self.shape else {}
        if self.picture:
            image = {"dtype": self.dtype, "encodingFormat": "png", "shape": shape}
            return {"pythonClassName": PREFIX + "image_feature.Image", "image": image}
        if self.dtype == "string":
            return {"pythonClassName": PREFIX + "text_feature.Text", "text": {}}
        kind = "tensor_feature.Tensor" if self.shape else "scalar.Scalar"
        tensor = {"dtype": self.dtype, "encoding": self.encoding, "shape": shape}
        return {"pythonClassName": PREFIX + kind, "tensor": tensor}


def whole(dtype: str, shape: tuple[int, ...] = (), *, picture: bool = False) -> Leaf:
    """A leaf that keeps every bit of its type."""
    return Leaf(dtype, shape, picture, "bytes" if dtype == "float64" else "none")


def nested(told: Mapping[str, Leaf]) -> dict[str, Any]:
    """features.json of leaves by path; everything below 'steps' is a Dataset of steps."""
    tree: dict[str, Any] = {}
    for path, leaf in told.items():
        *above, name = path.split("/")
        here = tree
        for part in above:
            here = here.setdefault(part, {})
        here[name] = leaf
    return _dict(tree, top=True)


def leaves(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Leaf]:
    """Inverse of `nested`, of any set; what is neither number, text nor picture is left out."""
    if "featuresDict" in raw:
        found: dict[str, Leaf] = {}
        for name, child in raw["featuresDict"]["features"].items():
            found |= leaves(child, f"{prefix}/{name}" if prefix else name)
        return found
    if "sequence" in raw:
        return leaves(raw["sequence"]["feature"], prefix)
    if "text" in raw:
        return {prefix: Leaf("string")}
    if "image" in raw:
        return {prefix: Leaf("uint8", _shape(raw["image"]), picture=True)}
    if "tensor" in raw:
        tensor = raw["tensor"]
        kind = str(tensor["dtype"])
        encoding = str(tensor.get("encoding", "none"))
        return {prefix: Leaf(kind, _shape(tensor), encoding=encoding)}
    return {}


def _shape(raw: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in raw.get("shape", {}).get("dimensions", ()))


def _dict(tree: Mapping[str, Any], *, top: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, child in tree.items():
        if isinstance(child, Leaf):
            found[name] = child.json()
        elif top and name == "steps":
            inner = {"feature": _dict(child), "length": "-1"}
            found[name] = {"pythonClassName": PREFIX + "dataset_feature.Dataset", "sequence": inner}
        else:
            found[name] = _dict(child)
    kind = PREFIX + "features_dict.FeaturesDict"
    return {"pythonClassName": kind, "featuresDict": {"features": found}}
