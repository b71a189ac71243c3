"""Augmentation of frames: off by default, each setting does what it says, crop 0 stays clean."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serl.agents.image_config import AugmentConfig, ImageConfig
from serl.errors import UserError
from serl.networks.augment import LUMA, AugmentedCrops, augmented, suffix

FRAMES = np.random.default_rng(0).integers(60, 190, (12, 16, 20, 3), np.uint8)
KEYS = jax.random.split(jax.random.key(0), len(FRAMES))
ALL = AugmentConfig(
    brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, greyscale=0.2, blur_px=1.0, cutout=0.4
)


def changed(**settings: float) -> np.ndarray:
    return np.asarray(augmented(FRAMES, KEYS, AugmentConfig(**settings)))


def test_nothing_is_done_by_default():
    assert not AugmentConfig().on
    np.testing.assert_array_equal(changed(), FRAMES)


def test_brightness_and_contrast_scale_each_frame_by_a_factor_of_its_own():
    means, before = (x.mean(axis=(1, 2, 3)) for x in (changed(brightness=0.3), FRAMES))
    assert (np.abs(means / before - 1) < 0.31).all()
    assert len(np.unique(np.round(means / before, 3))) > 8
    spread = changed(contrast=0.3).std(axis=(1, 2, 3)) / FRAMES.std(axis=(1, 2, 3))
    assert (np.abs(spread - 1) < 0.32).all()
    assert np.ptp(spread) > 0.1


def test_greyscale_takes_the_colours_of_as_many_as_asked():
    assert (np.ptp(changed(greyscale=1.0), axis=-1) == 0).all()
    grey = (np.ptp(changed(greyscale=0.5), axis=-1) == 0).all(axis=(1, 2))
    assert 0 < grey.sum() < 12


@pytest.mark.parametrize("setting", ["hue", "saturation"])
def test_colour_changes_leave_the_brightness(setting):
    out = changed(**{setting: 0.2})
    assert np.abs(out.astype(float) - FRAMES).mean() > 2
    np.testing.assert_allclose(out @ LUMA, FRAMES @ LUMA, atol=2.5)


def test_a_blur_keeps_the_mean_and_smooths():
    out = changed(blur_px=2.0)
    np.testing.assert_allclose(out.mean(axis=(1, 2)), FRAMES.mean(axis=(1, 2)), atol=4)
    assert np.mean(out.std(axis=(1, 2, 3)) < 0.7 * FRAMES.std(axis=(1, 2, 3))) > 0.5


def test_a_cut_out_is_one_box_of_one_colour():
    for before, after in zip(FRAMES, changed(cutout=0.6), strict=True):
        rows, columns = np.nonzero((before != after).any(axis=-1))
        if len(rows):
            box = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert np.ptp(box, axis=(0, 1)).max() == 0
            assert box.shape[0] <= 0.6 * 16 + 1
            assert box.shape[1] <= 0.6 * 20 + 1


def test_frames_of_a_stack_are_changed_alike():
    stacked = np.repeat(FRAMES[:, None], 3, axis=1)
    out = np.asarray(augmented(stacked, KEYS, ALL))
    np.testing.assert_array_equal(out, np.repeat(out[:, :1], 3, axis=1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 9))
def test_crop_0_stays_clean_and_the_others_do_not(seed, n):
    rng = np.random.default_rng(seed)
    offsets = rng.integers(0, 9, (n, 2))
    offsets[rng.random(n) < 0.5] = 4
    clean = (offsets == 4).all(axis=1)
    seen = AugmentedCrops(lambda frames, offsets: frames, ALL, 4, seed)(FRAMES[:n], offsets)
    same = (seen == FRAMES[:n]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(same, clean)
    assert seen.dtype == np.uint8


def test_crops_of_other_augmentation_are_kept_under_another_name():
    names = {suffix(c) for c in (AugmentConfig(), ALL, replace(ALL, hue=0.2))}
    assert len(names) == 3
    assert "" in names


def test_a_setting_out_of_range_is_refused_by_name():
    with pytest.raises(UserError, match=r"agent.image.augment.hue is 0.7"):
        AugmentConfig(hue=0.7)


def test_augmentation_that_would_never_happen_is_refused():
    with pytest.raises(UserError, match=r"shifted crops only, and agent.image.shift_px is 0"):
        ImageConfig(augment=ALL, shift_px=0)
    ImageConfig(augment=ALL, shift_px=0, frozen=False)


def test_a_stack_whose_frames_would_be_changed_each_in_its_own_way_is_refused():
    """Crops are kept frame by frame, and drawn together only later."""
    with pytest.raises(UserError, match=r"with a frozen trunk set agent.image.stack to 1"):
        ImageConfig(augment=ALL, stack=2)
    ImageConfig(augment=ALL, stack=2, frozen=False)
    ImageConfig(stack=2)
