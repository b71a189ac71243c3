"""What a console may change and stop, on the simulated arm in lockstep."""

import dataclasses

import numpy as np
import pytest

from envs.devices.browser import BrowserConfig, BrowserInput
from envs.operator import OperatorConfig
from envs.tasks.reach import ReachConfig
from launch.console.beside import with_page
from launch.console.cell_feed import CellFeed
from launch.teleop_hand import endless, hand_env
from serl.errors import Interrupted, UserError


@pytest.fixture(scope="module")
def env():
    config = endless(hand_env(ReachConfig(realtime=False), None, episode_s=60.0))
    env = config.make()
    yield env
    env.close()


@pytest.fixture
def feed(env):
    env.unwrapped.gates.clear()
    env.reset(seed=0)
    return CellFeed(env, tuning=True)


def rest(env):
    return env.step(env.get_wrapper_attr("rest")())


def test_after_a_stop_no_episode_begins_until_it_is_recovered(env, feed):
    """A simulator's reset takes every arm out of its halt: the next episode undid the stop."""
    feed.order("estop", {})
    *_, truncated, info = rest(env)
    assert truncated
    assert "halted" in info["interrupted"]
    said = []
    core = env.unwrapped
    core.waiter.on_wait, core.waiter.interrupted = said.append, lambda: len(said) > 3
    with pytest.raises(Interrupted, match="emergency stop from the console"):
        env.reset()
    assert feed.state()["stopped"]
    feed.order("recover", {})
    env.reset()
    assert not rest(env)[3]


def test_a_stop_ends_control_at_once(env, feed):
    feed.order("estop", {})
    with pytest.raises(UserError, match="halted"):
        env.unwrapped.backend.command(
            {"": _hold(env.unwrapped.states[""].T_base_tcp)},
        )
    feed.order("recover", {})


def _hold(T_base_tcp):
    from robot_servers.types import ArmCommand, CartesianTarget

    return ArmCommand(target=CartesianTarget(T_base_tcp=T_base_tcp))


def test_gains_never_push_harder_than_the_experiments(env, feed):
    given = {}
    backend = env.unwrapped.backend
    original = backend.set_gains
    backend.set_gains = given.update
    try:
        for name, _, low, high, _ in feed.state()["tuning"]["gains"]:
            feed.order("gains", {name: high})
            feed.order("gains", {name: low})
            feed.order("gains", {name: high})
    finally:
        backend.set_gains = original
    gains, own = given[""], env.unwrapped.config.control
    assert gains.translational_stiffness_n_per_m == 1.5 * own.translational_stiffness_n_per_m
    push = gains.translational_stiffness_n_per_m * np.array(gains.translational_clip_m)
    assert push == pytest.approx(
        own.translational_stiffness_n_per_m * own.translational_clip_m, rel=1e-9
    )


@pytest.mark.parametrize(
    ("what", "values", "why"),
    [
        ("gains", {"translational_stiffness_n_per_m": 1e6}, "out of range"),
        ("gains", {"translational_stiffness_n_per_m": "soft"}, "is no number"),
        ("gains", {"mass": 1.0}, "no gain"),
        ("box", {"low_m": [0, 0, 0], "high_m": [9, 9, 9]}, "only be narrower"),
        ("box", {"low_m": [0.3, -0.25, 0.12], "high_m": [0.31, 0.25, 0.58]}, "move it in first"),
        ("box", {"low_m": [0.3], "high_m": [1]}, "three numbers"),
        ("box", {"arm": "left"}, "no arm 'left'"),
        ("fly", {}, "nothing the console can do"),
    ],
)
def test_what_is_not_safe_is_refused_in_one_line(feed, what, values, why):
    with pytest.raises(UserError, match=why):
        feed.order(what, values)


def test_a_narrower_box_holds_the_reference(env, feed):
    box = env.unwrapped.limits[""].box
    x = env.unwrapped.states[""].T_base_tcp[0, 3]
    high = [float(x) + 0.01, *map(float, box.high_m[1:])]
    feed.order("box", {"arm": "", "low_m": box.low_m.tolist(), "high_m": high})
    try:
        forward = env.action_space.sample() * 0.0
        for axis in range(len(forward)):
            for sign in (1.0, -1.0):
                forward[:] = 0.0
                forward[axis] = sign
                for _ in range(10):
                    env.step(forward)
                assert env.unwrapped.references[""][0, 3] <= high[0] + 1e-9
    finally:
        env.unwrapped.limits[""].box = box


def test_what_is_recorded_or_learned_cannot_be_tuned(env):
    with pytest.raises(UserError, match="no longer be what the experiment says"):
        CellFeed(env).order("gains", {"translational_stiffness_n_per_m": 1000.0})


def test_beside_another_device_the_pages_keys_are_words_alone():
    config = OperatorConfig(devices={"": BrowserConfig()})
    assert with_page(config) is config

    @dataclasses.dataclass(frozen=True)
    class Puck:
        kind, words, gestures, address = "puck", {}, {}, ""

        def make(self):
            device = BrowserConfig().make()
            device.name = "puck"
            return device

    operator = with_page(OperatorConfig(devices={"": Puck()}, mode="always")).make()
    page = operator.all_devices[1]
    assert not operator.moves_with(page)
    assert operator.words_of(page)["enter"] == "success"
    with operator:
        page.put(BrowserInput(keys=frozenset("w"), taps=("enter",)))
        assert operator() == {}
        assert operator.words() == ["success"]
