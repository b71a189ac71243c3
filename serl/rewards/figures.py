"""How good a classifier is, in numbers: confusion, precision, recall, and where to draw the line.

N is the number of examples; `probability` (N,) is that of success.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serl.errors import UserError

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Curve:
    """Precision and recall at each threshold that makes a difference, thresholds rising.

    'At threshold t' means that every example with probability >= t is taken for a success.
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def curve(probability: Floats, positive: Bools) -> Curve:
    """The whole curve.

    Args:
        probability: of success (N,).
        positive: whether it is one (N,).
    """
    p = np.asarray(probability, np.float64)
    order = np.argsort(-p, kind="stable")
    taken = p[order]
    hits = np.cumsum(np.asarray(positive, bool)[order])
    last = np.append(np.flatnonzero(np.diff(taken)), len(taken) - 1)  # ties are taken together
    precision = hits[last] / (last + 1.0)
    recall = hits[last] / max(1, int(hits[-1]))
    return Curve(taken[last][::-1].copy(), precision[::-1].copy(), recall[::-1].copy())


def lowest_threshold(probability: Floats, positive: Bools, precision: float) -> float:
    """The lowest threshold whose precision is at least that asked for.

    Raises:
        UserError: none has.
    """
    points = curve(probability, positive)
    good = np.flatnonzero((points.precision >= precision) & (points.recall > 0))
    if len(good) == 0:
        best = int(np.argmax(points.precision))
        raise UserError(
            f"no threshold reaches a held-out precision of {precision:g}; the best is "
            f"{points.precision[best]:.3f} at {points.threshold[best]:.3f}. Look at the "
            "misclassified frames in the report: mend labels, or record more."
        )
    return float(points.threshold[good[0]])


@dataclass(frozen=True)
class Rates:
    """What one threshold makes of a set of examples."""

    threshold: float
    accuracy: float
    precision: float
    recall: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    def text(self) -> str:
        """For a person, in one line."""
        return (
            f"accuracy {self.accuracy:.1%}, precision {self.precision:.1%}, recall "
            f"{self.recall:.1%} at {self.threshold:.3f} ({self.true_positives} true and "
            f"{self.false_positives} false successes, {self.false_negatives} missed of "
            f"{self.true_positives + self.false_negatives}, {self.true_negatives} true failures)"
        )


def rates(probability: Floats, positive: Bools, threshold: float) -> Rates:
    """Accuracy, precision and recall of taking probability >= threshold for a success.

    Precision without a single success taken is 1: nothing taken is wrong.
    """
    said, true = np.asarray(probability) >= threshold, np.asarray(positive, bool)
    tp, fp = int((said & true).sum()), int((said & ~true).sum())
    fn, tn = int((~said & true).sum()), int((~said & ~true).sum())
    return Rates(
        threshold=float(threshold),
        accuracy=(tp + tn) / max(1, len(true)),
        precision=tp / (tp + fp) if tp + fp else 1.0,
        recall=tp / (tp + fn) if tp + fn else 1.0,
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        true_negatives=tn,
    )


def confusion(probabilities: Floats, label: NDArray[np.integer]) -> NDArray[np.int64]:
    """How often class i was taken for class j, by the largest probability: (classes, classes).

    Args:
        probabilities: (N, classes).
        label: (N,).
    """
    classes = probabilities.shape[1]
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (np.asarray(label), probabilities.argmax(axis=1)), 1)
    return table


def folds_by_episode(
    label: NDArray[np.integer], episode: NDArray[np.integer], folds: int, seed: int
) -> NDArray[np.int64]:
    """Which of `folds` parts each example is held out in (N,): whole episodes.

    Frames of one episode look alike, so a split by frame would test what was trained on. Episodes
    are dealt in random order, those of the rarest class first, each to the part that has the
    fewest examples of that class.

    Args:
        label: class of each example (N,), 0 ... n - 1, none absent.
        episode: which episode it is of (N,).

    Raises:
        UserError: some part would leave a class without an example to train on.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(episode))
    classes = int(label.max()) + 1
    counts = np.array(
        [np.bincount(label[episode == name], minlength=classes) for name in names]
    )  # (episodes, classes)
    part, totals = np.full(len(names), -1), np.zeros((folds, classes), np.int64)
    for c in np.argsort(counts.sum(axis=0), kind="stable"):
        for k in np.flatnonzero((counts[:, c] > 0) & (part < 0)):
            part[k] = np.lexsort((totals.sum(axis=1), totals[:, c]))[0]
            totals[part[k]] += counts[k]
    for c in range(classes):
        if np.count_nonzero(totals[:, c]) < 2:
            raise UserError(
                f"class {c} has examples in {np.count_nonzero(counts[:, c])} episode(s) only; held "
                "out by episode it needs more. Record or label another episode of it."
            )
    of = dict(zip(names.tolist(), part.tolist(), strict=True))
    return np.array([of[name] for name in episode.tolist()], np.int64)
