"""USB cameras through OpenCV, on a capture that stands in for the driver; and what the kernel says
of them."""

import struct
import time

import numpy as np
import pytest
from cameras.stands import FPS, HEIGHT, WIDTH, opencv_stand

from envs.cameras import v4l2
from envs.cameras.base import CameraLost

pytest.importorskip("cv2", reason="no OpenCV", exc_type=ImportError)


@pytest.fixture
def stand():
    with opencv_stand() as stand:
        yield stand


def refused(camera):
    with pytest.raises(CameraLost) as error:
        camera.connect()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_picture_is_turned_to_red_first(stand):
    camera = stand.make()
    camera.connect()
    np.testing.assert_array_equal(camera.newest(1.0).rgb[0, 0], [250, 0, 5])
    camera.close()


def test_the_kernels_stamp_is_taken_where_it_is_of_the_monotonic_clock(stand):
    camera = stand.make()
    camera.open()

    def age_s():
        stamp = camera.read().stamp_mono_ns
        return (time.monotonic_ns() - stamp) / 1e9

    assert 0.02 <= age_s() < 0.5  # the stand's pictures are 20 ms old
    for not_monotonic_s in (1e6, -1e6):
        camera._capture.age_s = not_monotonic_s
        assert 0.0 <= age_s() < 0.5
    camera.shut()


def test_the_nearest_mode_taken_in_silence_is_refused_in_one_line(stand):
    told = refused(stand.make(width=641))
    assert f"does not offer 641 x {HEIGHT} at {FPS} Hz" in told
    assert f"would give {WIDTH} x {HEIGHT} at {FPS} Hz" in told


def test_a_size_of_0_is_the_cameras_own(stand):
    camera = stand.make(width=0, height=0, fps=0)
    camera.connect()
    assert camera.newest(1.0).rgb.shape == (HEIGHT, WIDTH, 3)
    camera.close()


def test_an_exposure_is_set_in_the_drivers_unit_or_refused(stand):
    import cv2

    camera = stand.make(exposure_us=8000)
    camera.open()
    assert camera._capture.values[cv2.CAP_PROP_EXPOSURE] == 80
    assert camera._capture.values[cv2.CAP_PROP_AUTO_EXPOSURE] == 1
    camera.shut()
    assert "does not take exposure_us 50" in refused(stand.make(exposure_us=50))


def test_one_that_does_not_open_says_what_is_connected(stand):
    stand.unplug()
    assert "it does not open; connected: none." in refused(stand.make())


class Kernel:
    """Answers the ioctls as a webcam with two formats does."""

    MODES = {b"MJPG": {(640, 480): [30, 15], (1280, 720): [30]}, b"YUYV": {(640, 480): [30]}}

    def __init__(self, capabilities=v4l2.CAPTURE):
        self.capabilities = capabilities

    def __call__(self, request, data):
        index, given = struct.unpack_from("I4s", data)
        if request == v4l2.QUERYCAP[0]:
            assert len(data) == 104
            struct.pack_into("16s32s32s", data, 0, b"uvcvideo", b"C920", b"usb-0000:00:14.0-2")
            struct.pack_into("III", data, 80, 1, 0x84A00001, self.capabilities)
        elif request == v4l2.ENUM_FMT[0]:
            assert len(data) == 64
            data[44:48] = self.at(list(self.MODES), index)
        elif request == v4l2.ENUM_FRAMESIZES[0]:
            assert len(data) == 44
            struct.pack_into("III", data, 8, 1, *self.at(list(self.MODES[given]), index))
        else:
            assert (request, len(data)) == v4l2.ENUM_FRAMEINTERVALS
            rates = self.MODES[given][struct.unpack_from("II", data, 8)]
            struct.pack_into("III", data, 16, 1, 1, self.at(rates, index))

    @staticmethod
    def at(values, index):
        if index >= len(values):
            raise OSError(22, "Invalid argument")
        return values[index]


def test_the_kernel_says_what_a_camera_is_and_which_modes_it_has():
    assert v4l2.name(Kernel()) == "C920, usb-0000:00:14.0-2"
    assert v4l2.modes(Kernel()) == ((640, 480, 15), (640, 480, 30), (1280, 720, 30))


def test_a_node_that_gives_no_pictures_is_no_camera():
    assert v4l2.name(Kernel(capabilities=0x00800000)) == ""


def test_request_numbers_follow_from_the_sizes_of_their_structures():
    """_IOC of linux/ioctl.h: direction, size, type 'V', number."""
    for (request, size), (direction, number) in {
        v4l2.QUERYCAP: (2, 0),
        v4l2.ENUM_FMT: (3, 2),
        v4l2.ENUM_FRAMESIZES: (3, 74),
        v4l2.ENUM_FRAMEINTERVALS: (3, 75),
    }.items():
        assert request == direction << 30 | size << 16 | ord("V") << 8 | number
