"""A device's time stamps on the host's monotonic clock."""

from hypothesis import given
from hypothesis import strategies as st

from envs.cameras.clock import OLDEST_NS, DeviceClock, from_monotonic, from_wall_clock

ms = 1_000_000


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.integers(0, 80 * ms), min_size=1, max_size=100),
)
def test_a_devices_clock_is_read_to_within_the_lateness_of_its_fastest_frame(zero, lateness):
    clock = DeviceClock()
    for i, late in enumerate(lateness):
        taken = i * 33 * ms
        stamp = clock.stamp_mono_ns(taken + zero, taken + late)
        assert stamp - taken == min(lateness[: i + 1])
        assert stamp <= taken + late, "no frame is newer than its arrival"


def test_a_clock_that_drifts_is_followed():
    clock = DeviceClock()
    for i in range(4000):  # 100 parts in a million over two minutes: 13 ms
        taken = i * 33 * ms
        stamp = clock.stamp_mono_ns(round(taken * (1 - 100e-6)), taken)
    assert abs(stamp - taken) < 2 * ms


@given(st.integers(-2 * OLDEST_NS, 2 * OLDEST_NS), st.integers(0, 10**18))
def test_a_wall_clock_stamp_keeps_its_age_and_one_that_cannot_be_is_none(age, mono):
    wall = 1_800_000_000 * 10**9
    stamp = from_wall_clock(wall - age, wall, mono)
    assert stamp == (mono - age if 0 <= age <= OLDEST_NS else None)


@given(st.integers(-2 * OLDEST_NS, 2 * OLDEST_NS))
def test_a_monotonic_stamp_that_cannot_be_becomes_the_arrival(age):
    now = 10**15
    assert from_monotonic(now - age, now) == (now - age if 0 <= age <= OLDEST_NS else now)
