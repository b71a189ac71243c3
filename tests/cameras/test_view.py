"""Crop, rotate, resize: what a logical camera makes of a physical frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.cameras.config import CameraConfig
from envs.cameras.view import crop, look, resize, rotate
from serl.errors import UserError

sizes = st.integers(1, 60)


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(sizes, sizes, sizes, sizes, st.integers(0, 255))
def test_a_picture_of_one_colour_keeps_it_at_every_size(height, width, new_height, new_width, grey):
    out = resize(np.full((height, width, 3), grey, np.uint8), new_width, new_height)
    assert out.shape == (new_height, new_width, 3)
    assert (out == grey).all()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(1, 5))
def test_a_whole_factor_gives_the_mean_of_each_block(height, width, down, across):
    frame = picture(height * down, width * across)
    blocks = frame.reshape(height, down, width, across, 3).astype(np.float64)
    assert np.abs(resize(frame, width, height) - blocks.mean(axis=(1, 3))).max() <= 0.5 + 1e-3


@given(sizes, sizes, sizes, sizes)
def test_the_mean_brightness_stays(height, width, new_height, new_width):
    frame = picture(height, width)
    assert abs(resize(frame, new_width, new_height).mean() - frame.mean()) <= 0.51


@given(sizes, sizes)
def test_the_same_size_changes_no_pixel(height, width):
    frame = picture(height, width)
    np.testing.assert_array_equal(resize(frame, width, height), frame)


@given(st.data())
def test_every_crop_inside_is_that_part_and_every_crop_outside_is_refused(data):
    frame = picture(20, 30)
    x, y = data.draw(st.integers(-3, 32)), data.draw(st.integers(-3, 22))
    width, height = data.draw(st.integers(-1, 34)), data.draw(st.integers(-1, 24))
    inside = x >= 0 and y >= 0 and width > 0 and height > 0 and x + width <= 30 and y + height <= 20
    if inside:
        part = crop(frame, (x, y, width, height))
        np.testing.assert_array_equal(part, frame[y : y + height, x : x + width])
    else:
        with pytest.raises(UserError, match=r"outside the frame of 30 x 20 px"):
            crop(frame, (x, y, width, height))


def test_a_crop_outside_the_frame_says_whose_and_how_large_in_one_line():
    camera = CameraConfig(name="wrist", frame_px=(640, 480), crop=(80, 0, 480, 480))
    with pytest.raises(UserError) as error:
        look(picture(240, 320), camera)
    assert "camera 'wrist': crop x 80, y 0, 480 x 480 px" in str(error.value)
    assert "320 x 240 px" in str(error.value)
    assert "\n" not in str(error.value)


@given(sizes, sizes, st.sampled_from([0, 90, 180, 270]))
def test_turning_back_gives_the_picture_back(height, width, degrees):
    frame = picture(height, width)
    np.testing.assert_array_equal(rotate(rotate(frame, degrees), (360 - degrees) % 360), frame)


def test_90_degrees_is_counter_clockwise():
    frame = np.zeros((2, 3, 3), np.uint8)
    frame[0, 2] = 255  # top right
    turned = rotate(frame, 90)
    assert turned.shape == (3, 2, 3)
    assert turned[0, 0, 0] == 255  # top left


def test_a_logical_camera_crops_then_turns_then_resizes():
    frame = picture(480, 640)
    camera = CameraConfig(
        name="wrist", frame_px=(640, 480), crop=(80, 0, 480, 320), rotate_deg=270, width=64
    )
    seen = look(frame, camera)
    expected = resize(np.rot90(frame[0:320, 80:560], 3), 64, 128)
    np.testing.assert_array_equal(seen, expected)
    assert seen.shape == (128, 64, 3)
    assert seen.flags.c_contiguous


@pytest.mark.parametrize("size", [(480, 480), (480, 640), (300, 300), (257, 131)])
def test_it_agrees_with_opencvs_area_interpolation(size):
    cv2 = pytest.importorskip("cv2", exc_type=ImportError)
    frame = picture(*size)
    theirs = cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(resize(frame, 128, 128).astype(int) - theirs).max() <= 1
