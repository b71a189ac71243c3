"""What a record must be before it is kept: the checks that every file and every channel shares.

A record is one row of `serl.types.record_dtype(spec)`. No JAX: recording verbs use this too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError
from serl.types import RewardSource, Source, Spec

Records = NDArray[np.void]
"""(n,) structured rows of `record_dtype(spec)`."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """What the last record of an episode says of its outcome, as a person has judged it late."""

    episode: int
    index: int
    reward: float
    success: bool
    terminated: bool
    """Otherwise the episode is truncated there."""


class BadRecord(UserError):
    """A record that is refused; the message names the field. Nothing of its batch is kept."""


def frame_fields(spec: Spec) -> tuple[str, ...]:
    """Record fields that hold camera frames: uint8 observations with three axes (H, W, C)."""
    return tuple(
        f"obs/{a.name}" for a in spec.observation if a.dtype == "uint8" and len(a.shape) == 3
    )


def field_names(dtype: np.dtype) -> tuple[str, ...]:
    """The names of a structured dtype, in order."""
    assert dtype.names is not None
    return dtype.names


def check_records(records: NDArray, dtype: np.dtype) -> Records:
    """`records` as a contiguous (n,) array, or BadRecord naming the field that is wrong.

    Refused: another dtype; a number that is not finite; a flag byte other than 0 and 1; a source
    that is not in `Source` or `RewardSource`.
    """
    if not isinstance(records, np.ndarray) or records.dtype != dtype:
        found = getattr(records, "dtype", type(records).__name__)
        raise BadRecord(_dtype_difference(found, dtype))
    rows = np.ascontiguousarray(records.reshape(-1))
    for name in field_names(dtype):
        kind = dtype[name].base.kind
        if kind == "f" and not np.isfinite(rows[name]).all():
            raise _bad_number(rows, name)
        if kind == "b" and rows[name].view(np.uint8).max(initial=0) > 1:
            raise BadRecord(f"{name}: a flag byte is neither 0 nor 1; send NumPy bool.")
    for name, numbers in (("source", Source), ("reward_source", RewardSource)):
        if len(rows) and rows[name].max() > max(numbers):
            raise BadRecord(
                f"{name}: {int(rows[name].max())} is unknown; allowed are 0 to {int(max(numbers))}."
            )
    return rows


def check_order(episode: NDArray, index: NDArray, last: tuple[int, int] | None) -> None:
    """Refuse a gap: an episode starts at index 0 and goes on by one; episode numbers only grow.

    Args:
        episode, index: the keys (n,) of new records, n > 0.
        last: (episode, index) of the newest record that is already kept, or None.
    """
    before = np.concatenate([[last[0] if last else -1], episode[:-1].astype(np.int64)])
    expected = np.concatenate([[last[1] if last else -1], index[:-1].astype(np.int64)]) + 1
    same = episode == before
    bad = np.flatnonzero((episode < before) | (index != np.where(same, expected, 0)))
    if len(bad):
        k = int(bad[0])
        raise BadRecord(
            f"index: episode {episode[k]} has {index[k]} where "
            f"{int(expected[k]) if same[k] else 0} of episode "
            f"{'the same' if same[k] else f'above {int(before[k])}'} is due; "
            "send each episode from index 0 without gaps."
        )


def _bad_number(rows: Records, name: str) -> BadRecord:
    flat = rows[name].reshape(len(rows), -1)
    k, element = (int(i) for i in np.argwhere(~np.isfinite(flat))[0])
    return BadRecord(
        f"{name}[{element}] is {flat[k, element]} in episode {rows['episode'][k]}, index "
        f"{rows['index'][k]}; only finite numbers are kept."
    )


def _dtype_difference(found: object, expected: np.dtype) -> str:
    if not isinstance(found, np.dtype) or found.names is None:
        return f"records: expected rows of {expected.itemsize} B (record_dtype), got {found}."
    for name in field_names(expected):
        if name not in found.names:
            return f"{name}: missing from the record."
        if found[name] != expected[name]:
            return f"{name}: the record has {found[name]}, the spec says {expected[name]}."
    extra = [n for n in found.names if n not in field_names(expected)]
    if extra:
        return f"{extra[0]}: not in the spec."
    return (
        f"records: fields in another order or packing than the spec's {expected.itemsize} B rows."
    )
