"""A trained classifier: one safetensors file that holds all it needs, its trunk included.

The header (key 'serl', JSON) says which cameras and cuts it was trained on, its classes, the
threshold and how success is judged; `version` is the SHA-256 of all the rest, 16 hex digits. The
header can be read without JAX, by a learner that only wants to know which classifier pays.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from serl.errors import CorruptFile, UserError, unknown_name, writing
from serl.pixels import POOLINGS
from serl.rewards.conditions import Condition
from serl.rewards.frames import View

if TYPE_CHECKING:
    from serl.trunk import FrozenTrunk

HEADER = "serl"
FORMAT = 1
Leaves = dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class ClassifierHeader:
    """What a classifier is, beside its weights."""

    view: View
    classes: tuple[str, ...]
    success: int
    """Index of the class that is success."""
    lost: int | None = None
    """Index of a class that ends an episode without reward, as an object out of reach."""
    threshold: float = 0.5
    """A probability of success from here on counts."""
    consecutive: int = 2
    """Env steps in a row that must count."""
    conditions: tuple[Condition, ...] = ()
    """What the state must say besides."""
    pose_frame: str = ""
    """What the positions that conditions speak of are relative to."""
    trunk: str = ""
    """`FrozenTrunk.id`."""
    trunk_name: str = ""
    precision: str = "float32"
    bottleneck: int = 256
    hidden: int = 256
    pooling: str = "spatial_softmax"
    """One of serl.pixels.POOLINGS."""
    training: Mapping[str, Any] | None = None
    """Figures of its training, for people."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise UserError(f"classifier threshold {self.threshold} must be 0 to 1.")
        if self.pooling not in POOLINGS:
            raise unknown_name("pooling", self.pooling, POOLINGS)
        if self.consecutive < 1:
            raise UserError(f"consecutive {self.consecutive} must be 1 or more steps.")
        if not 0 <= self.success < len(self.classes) or self.success == self.lost:
            raise UserError(
                f"success class {self.success} must be one of {list(self.classes)}, and not lost."
            )

    def to_json(self) -> dict[str, Any]:
        raw = asdict(replace(self, view=View(cameras={}), conditions=()))
        raw["conditions"] = [c.to_json() for c in self.conditions]
        raw["cameras"] = self.view.cameras
        del raw["view"]
        return {"format": FORMAT, **raw}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> ClassifierHeader:
        if raw["format"] != FORMAT:
            raise ValueError(f"format {raw['format']}, known is {FORMAT}")
        own = {k: v for k, v in raw.items() if k not in ("format", "version", "cameras")}
        own["conditions"] = tuple(Condition.from_json(c) for c in raw["conditions"])
        return ClassifierHeader(
            view=View(cameras=raw["cameras"]), **{**own, "classes": tuple(raw["classes"])}
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """Judges pictures. Made by `serl.rewards.training`, or read from a file."""

    header: ClassifierHeader
    params: Any
    """Of serl.rewards.network.ClassifierNetwork: nested dict of arrays."""
    trunk: FrozenTrunk
    version: str = ""
    """Of the file it was read from."""

    def judge(self, frames: Mapping[str, NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Probabilities (classes,) of one observation's frames {camera: (H, W, 3)}; other entries
        are left alone."""
        views = self.header.view.cameras
        stacked: dict[tuple[int, ...], list[str]] = {}
        for name, camera in views.items():
            check_frame(name, np.asarray(frames[name]), camera["shape"])
            stacked.setdefault(tuple(camera["shape"]), []).append(name)
        features: dict[str, NDArray[np.uint16]] = {}
        for names in stacked.values():  # one pass through the trunk for all frames of a size
            coded = self.trunk.encode(np.stack([frames[name] for name in names]))
            features |= dict(zip(names, coded, strict=True))
        return self.probabilities({name: f[None] for name, f in features.items()})[0]

    def probabilities(self, features: Mapping[str, NDArray[np.uint16]]) -> NDArray[np.float64]:
        """(n, classes) of features {camera: (n, h, w, C)}, as bfloat16 bits."""
        return np.asarray(self._compiled(self._on_device, dict(features)), np.float64)

    @cached_property
    def _on_device(self) -> Any:
        import jax

        return jax.device_put(self.params)

    @cached_property
    def _compiled(self) -> Any:
        import jax
        import jax.numpy as jnp

        from serl.rewards.network import probabilities

        net, classes = network(self.header), len(self.header.classes)

        def run(params: Any, features: dict[str, jax.Array]) -> jax.Array:
            maps = {n: jax.lax.bitcast_convert_type(f, jnp.bfloat16) for n, f in features.items()}
            return probabilities(net.apply({"params": params}, maps), classes)

        return jax.jit(run)


def network(header: ClassifierHeader) -> Any:
    """The flax module of a header."""
    from serl.rewards.network import ClassifierNetwork

    return ClassifierNetwork(
        cameras=tuple(header.view.cameras),
        classes=len(header.classes),
        bottleneck=header.bottleneck,
        hidden=header.hidden,
        pooling=header.pooling,
    )


def check_frame(name: str, frame: NDArray[Any], shape: Any) -> None:
    """Refuse a picture of another shape or dtype in one line."""
    if frame.dtype != np.uint8 or frame.shape != tuple(shape):
        raise UserError(
            f"camera {name!r} gives {frame.dtype} {frame.shape}; the classifier was trained on "
            f"uint8 {tuple(shape)}. Use the cameras it was trained with, or train it anew."
        )


def save_classifier(classifier: Classifier, path: str | Path) -> Classifier:
    """Write the file at once; returns the classifier with its version."""
    from flax.traverse_util import flatten_dict

    leaves: Leaves = {}
    for prefix, tree in (("head", classifier.params), ("trunk", classifier.trunk.params)):
        for name, leaf in flatten_dict(dict(tree), sep="/").items():
            leaves[f"{prefix}/{name}"] = np.array(leaf, np.float32, order="C")
    raw = json.loads(json.dumps(classifier.header.to_json()))
    version = _version(raw, leaves)
    data = safetensors.numpy.save(leaves, {HEADER: json.dumps({**raw, "version": version})})
    file = Path(path)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(file)
    return replace(classifier, version=version)


def read_header(path: str | Path) -> tuple[ClassifierHeader, str]:
    """Header and version of a classifier's file; no JAX.

    Raises:
        UserError: no such file.  CorruptFile: it is damaged, or no classifier.
    """
    header, version, _ = _read(Path(path))
    return header, version


def load_classifier(path: str | Path) -> Classifier:
    """The whole classifier. Raises as `read_header` does."""
    from flax.traverse_util import unflatten_dict

    from serl.trunk import make_trunk

    file = Path(path)
    header, version, leaves = _read(file)
    trees: dict[str, Leaves] = {"head": {}, "trunk": {}}
    for name, leaf in leaves.items():
        prefix, _, rest = name.partition("/")
        trees.setdefault(prefix, {})[rest] = leaf
    trunk = make_trunk(
        header.trunk_name, unflatten_dict(trees["trunk"], sep="/"), header.precision, str(file)
    )
    if trunk.id != header.trunk:
        raise _damaged(file, f"its trunk is {trunk.id}, not {header.trunk}")
    params = unflatten_dict(trees["head"], sep="/")
    _check_layout(file, header, trunk, trees["head"])
    return Classifier(header=header, params=params, trunk=trunk, version=version)


def _read(file: Path) -> tuple[ClassifierHeader, str, Leaves]:
    if not file.is_file():
        raise UserError(f"no classifier at {file}; `serl classifier train` makes one.")
    try:
        with safetensors.safe_open(file, framework="numpy") as opened:  # type: ignore[no-untyped-call]
            raw = json.loads((opened.metadata() or {})[HEADER])
            leaves = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        header = ClassifierHeader.from_json(raw)
        if raw["version"] != _version({k: v for k, v in raw.items() if k != "version"}, leaves):
            raise ValueError("its contents do not match its version")
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError, UserError) as e:
        raise _damaged(file, f"{type(e).__name__}: {e}") from e
    return header, raw["version"], leaves


def _check_layout(file: Path, header: ClassifierHeader, trunk: Any, leaves: Leaves) -> None:
    import jax
    from flax.traverse_util import flatten_dict

    maps = {
        name: jax.eval_shape(trunk.apply, jax.ShapeDtypeStruct((1, *camera["shape"]), np.uint8))
        for name, camera in header.view.cameras.items()
    }
    wanted = jax.eval_shape(network(header).init, jax.random.key(0), maps)["params"]
    flat: dict[str, Any] = flatten_dict(dict(wanted), sep="/")
    shapes = {name: leaf.shape for name, leaf in flat.items()}
    found = {name: leaf.shape for name, leaf in leaves.items()}
    if shapes != found:
        name = min(n for n in shapes.keys() | found.keys() if shapes.get(n) != found.get(n))
        raise _damaged(file, f"{name} is {found.get(name)}, not {shapes.get(name)}")


def _version(raw: Mapping[str, Any], leaves: Leaves) -> str:
    digest = hashlib.sha256(json.dumps(raw, sort_keys=True).encode())
    for name in sorted(leaves):
        digest.update(f"{name} {leaves[name].shape}".encode())
        digest.update(leaves[name].tobytes())
    return digest.hexdigest()[:16]


def _damaged(file: Path, why: str) -> CorruptFile:
    return CorruptFile(f"{file} is damaged, or no classifier ({why}). Train or copy it again.")
