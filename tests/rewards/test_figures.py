"""Where the line is drawn, and what is held out."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from serl.errors import UserError
from serl.rewards.figures import confusion, curve, folds_by_episode, lowest_threshold, rates

scored = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.5001, 0.9, 1.0]), st.booleans()),
    min_size=1,
    max_size=40,
).filter(lambda pairs: any(true for _, true in pairs))


@given(scored, st.sampled_from([0.5, 0.8, 0.98, 1.0]))
def test_the_threshold_is_the_lowest_that_is_precise_enough(pairs, wanted):
    p, true = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    good = [t for t in np.unique(p) if (r := rates(p, true, t)).precision >= wanted and r.recall]
    if not good:
        with pytest.raises(UserError, match="no threshold reaches a held-out precision"):
            lowest_threshold(p, true, wanted)
        return
    assert lowest_threshold(p, true, wanted) == min(good)


@given(scored)
def test_the_curve_says_what_each_threshold_makes_of_the_examples(pairs):
    p, true = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    points = curve(p, true)
    assert points.threshold.tolist() == np.unique(p).tolist()
    for t, precision, recall in zip(points.threshold, points.precision, points.recall, strict=True):
        said = rates(p, true, t)
        assert (said.precision, said.recall) == (pytest.approx(precision), pytest.approx(recall))


def test_a_line_says_all_four_counts():
    said = rates(np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, False, True, False]), 0.5)
    assert (said.true_positives, said.false_positives) == (1, 1)
    assert (said.false_negatives, said.true_negatives) == (1, 1)
    assert "1 true and 1 false successes, 1 missed of 2" in said.text()


def test_confusion_counts_rows_as_truth_and_columns_as_said():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1]])
    assert confusion(p, np.array([0, 1, 1])).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


episodes = st.lists(
    st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=4, max_size=15
).filter(lambda eps: all(sum(c in e for e in eps) >= 2 for c in range(3)))


@given(episodes, st.integers(0, 5), st.integers(2, 5))
@settings(deadline=None)
def test_no_episode_is_in_two_parts_and_every_part_leaves_every_class_to_train_on(eps, seed, folds):
    label = np.concatenate([np.array(e) for e in eps])
    episode = np.concatenate([np.full(len(e), k) for k, e in enumerate(eps)])
    try:
        part = folds_by_episode(label, episode, folds, seed)
    except UserError:  # too few episodes, told in one line
        assume(False)
    for k in range(folds):
        held = part == k
        assert not set(episode[held]) & set(episode[~held])
        assert set(label[~held]) == {0, 1, 2}
    np.testing.assert_array_equal(part, folds_by_episode(label, episode, folds, seed))


def test_a_class_in_one_episode_alone_cannot_be_held_out():
    with pytest.raises(UserError, match=r"class 1 has examples in 1 episode\(s\) only"):
        folds_by_episode(np.array([0, 0, 1, 0]), np.array([0, 0, 1, 2]), 5, 0)
