"""Samples of `pretrain_scenes` as memory-mapped arrays on disk, drawn once by several processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pretrain_scenes import SAMPLE, SHARES, Scenes

Data = Mapping[str, NDArray[Any]]

SHARD = 500
"""Samples drawn from one seed, so that the number of processes changes nothing."""


def samples(
    folder: Path, count: int, seed: int, shares: tuple[float, ...] = SHARES, workers: int = 2
) -> Data:
    """Arrays of `count` samples, as SAMPLE says with a leading axis; drawn if not there yet."""
    marks = "-".join(f"{share:g}" for share in shares)
    place = folder / f"{count}-{seed}-{marks}"
    if not place.is_dir():
        part = place.with_name(place.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name, (shape, dtype) in SAMPLE.items():
            np.lib.format.open_memmap(
                part / f"{name}.npy", mode="w+", dtype=dtype, shape=(count, *shape)
            )
        starts = range(0, count, SHARD)
        fill = partial(_fill, part, count, seed, shares)
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for done, _ in enumerate(pool.imap_unordered(fill, starts), 1):
                print(f"\rdrawn: {min(done * SHARD, count)} of {count}", end="", flush=True)
        print()
        part.rename(place)
    return {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in SAMPLE}


def _fill(folder: Path, count: int, seed: int, shares: tuple[float, ...], start: int) -> None:
    """Draw one shard into the files."""
    os.nice(5)
    scenes = Scenes(seed * 1_000_003 + start, shares)
    files = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in SAMPLE}
    for row in range(start, min(start + SHARD, count)):
        for name, value in scenes.draw().items():
            files[name][row] = value
    for file in files.values():
        file.flush()
    scenes.close()
