"""Pre-train a trunk on pictures that our simulator draws: makes serl/weights/<trunk>.safetensors.

python -m benchmarks.pretrain                       the small trunk
python -m benchmarks.pretrain --trunk resnet10

Draws random scenes once (build/pretrain, 0.1 MB a sample), trains the trunk under linear heads that
must tell where cube, goal and tool are, what covers which square and how far away, then measures a
linear probe on pictures of the default scene beside the random trunk's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.pretrain_data import Data, samples
from benchmarks.pretrain_probe import cube_error_cm, spread_cm
from benchmarks.pretrain_train import train
from serl.trunk import FrozenTrunk, make_trunk, random_trunk, read_trunk, save_trunk
from serl.weights import OURS

PROBE = 5000
"""Samples of the probe, from the seed after the training's: all look as `pick_cube` does."""
LAST = {
    "small": (("Conv_4", "kernel"), ("Conv_4", "bias")),
    "resnet10": tuple(
        ("ResNetBlock_3", norm, leaf)
        for norm in ("MyGroupNorm_1", "norm_proj")
        for leaf in ("scale", "bias")
    ),
}
"""The parameters that a trunk's output is proportional to, channel by channel."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trunk", default="small", choices=sorted(LAST))
    parser.add_argument("--samples", type=int, default=30_000, help="of two frames each")
    parser.add_argument(
        "--minutes",
        type=float,
        nargs="+",
        default=[20.0, 20.0],
        help="of training; more than one: rounds, and the file is written after each",
    )
    parser.add_argument("--start", type=Path, help="weights to go on from; default random ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--out", type=Path, help="default: serl/weights/<trunk>.safetensors")
    args = parser.parse_args()
    data = samples(args.folder, args.samples, args.seed)
    out = args.out or OURS / f"{args.trunk}.safetensors"
    start = read_trunk(args.start).params if args.start else None
    for params in train(args.trunk, data, args.minutes, args.seed, start):
        save_trunk(_finish(args.trunk, params, data), out)
        report(out, args.folder, data, args.seed + 1)


def report(path: Path, folder: Path, data: Data, seed: int) -> None:
    """Print the probe of a weight file, and of the same trunk before training."""
    probe = samples(folder, PROBE, seed, (1.0, 0.0, 0.0))
    trunk = read_trunk(path)
    print(f"{path.name}: {trunk.id}, {path.stat().st_size / 1e6:.2f} MB")
    print(f"cubes lie {spread_cm(probe):.2f} cm from their mean")
    for what, candidate in (("random", random_trunk(trunk.name)), ("trained", trunk)):
        mean, median = cube_error_cm(candidate, data, probe)
        print(f"{what}: mean {mean:.2f} cm, median {median:.2f} cm")


def _finish(name: str, params: Any, data: Data) -> FrozenTrunk:
    """Scale every channel of the features to a root mean square near 1; round to bfloat16."""
    trunk = make_trunk(name, jax.tree.map(np.asarray, params))
    frames = np.asarray(data["frames"][:: max(1, len(data["frames"]) // 1000)])
    bits = trunk.encode(frames.reshape(-1, *frames.shape[2:]))
    values = (bits.astype(np.uint32) << 16).view(np.float32)
    rms = np.sqrt((values**2).mean(axis=(0, 1, 2)))  # (C,)
    scale = 1.0 / np.maximum(rms, 0.3 * np.median(rms))
    scaled = jax.tree.map(np.array, trunk.params)
    for *parents, leaf in LAST[name]:
        node = scaled
        for parent in parents:
            node = node[parent]
        node[leaf] = node[leaf] * scale
    return make_trunk(name, jax.tree.map(lambda x: np.asarray(x, jnp.bfloat16), scaled))


if __name__ == "__main__":
    main()
