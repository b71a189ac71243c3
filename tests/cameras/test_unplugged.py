"""A camera's plug is pulled in the middle of an episode of an env, and put back."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from cameras.stands import fake_cameras

from envs.cameras import capture
from envs.cameras.config import CameraConfig, DeviceConfig
from envs.tasks.base import TASKS

SIZE = {"width": 40, "height": 30, "fps": 100}


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(capture, "AGAIN_S", (0.02, 0.1))
    with fake_cameras("1", "2") as world:
        yield world


@pytest.fixture
def env(world):
    config = dataclasses.replace(
        TASKS.get("reach")().pixels(),
        cameras=tuple(CameraConfig(name=n, height=16, width=16) for n in ("front", "wrist")),
        camera_devices=(
            DeviceConfig(name="front", kind="fake", address="1", **SIZE),
            DeviceConfig(name="wrist", kind="fake", address="2", **SIZE),
        ),
        frame_limit_s=0.5,
    )
    env = config.make()
    yield env
    env.close()


def test_the_episode_is_broken_off_and_named_and_the_next_waits_until_it_is_back(env, world):
    robot = env.unwrapped
    still = np.zeros(env.action_space.shape, np.float32)
    obs, _ = env.reset(seed=0)
    assert obs["wrist"].shape == (16, 16, 3)
    _, _, terminated, truncated, info = env.step(still)
    assert not truncated
    assert "interrupted" not in info

    world.plugged.discard("2")
    time.sleep(0.7)
    obs, _, terminated, truncated, info = env.step(still)
    assert truncated
    assert not terminated
    assert info["interrupted"].startswith("wrist (fake 2): no frame for")
    assert "Check the fake's cable." in info["interrupted"]
    assert set(obs) >= {"front", "wrist"}, "the last record is whole"

    told = []
    robot.waiter.on_wait = told.append
    threading.Timer(0.4, world.plugged.add, ["2"]).start()
    begun = time.monotonic()
    obs, _ = env.reset(seed=1)
    assert time.monotonic() - begun >= 0.3
    assert any("wrist (fake 2)" in line for line in told)
    assert told[-1] == "", "it says that the wait is over"
    assert not env.step(still)[3]
    assert robot.metrics()["camera/wrist/reconnects"] == 1


def test_frames_are_newer_at_every_step(env):
    env.reset(seed=0)
    still = np.zeros(env.action_space.shape, np.float32)
    shown = []
    for _ in range(5):
        time.sleep(0.03)
        shown.append(int(env.step(still)[0]["front"][0, 0, 0]))
    assert sorted(set(shown)) == shown


def test_closing_the_env_lets_the_cameras_go(env, world):
    env.reset(seed=0)
    env.close()
    assert world.now_open == {"1": 0, "2": 0}
