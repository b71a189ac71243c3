"""From the hand to the tool: each gesture of each device, through the operator and the env."""

import contextlib
import dataclasses

import numpy as np
import pytest
from devices.stands import FakeHid, Terminal, VirtualPad, kitty, until

from envs.config import ActionConfig
from envs.devices.base import DOF, parse_device
from envs.devices.browser import BrowserConfig, BrowserInput
from envs.operator import OperatorConfig
from envs.spaces import AXES
from envs.tasks.reach import ReachConfig
from robot_servers.control import se3

TILTED = dataclasses.replace(
    ReachConfig().arms[0], start_quat_xyzw=(0.9496, 0.1925, 0.0491, 0.2425), start_noise_m=(0, 0, 0)
)
"""By half a radian: straight down, a turn and its inverse are the same matrix."""

CONFIG = ReachConfig(
    arms=(TILTED,),
    action=ActionConfig(axes=AXES, translation_step_m=0.01, rotation_step_rad=0.05, gripper="none"),
)


@contextlib.contextmanager
def spacemouse(monkeypatch):
    pytest.importorskip("pyspacemouse")
    hid = FakeHid()
    monkeypatch.setattr("envs.devices.spacemouse._enumerate", lambda: [hid])
    monkeypatch.setattr("envs.devices.spacemouse.LAPSE_S", 60.0)
    counts = np.vstack([[0, -350, 0], [-350, 0, 0], [0, 0, -350]])
    moves = [(tuple(c), (0, 0, 0)) for c in counts]
    turns = [((0, 0, 0), tuple(c)) for c in counts]
    yield parse_device("spacemouse"), lambda dof: hid.puck(*(moves + turns)[dof])


@contextlib.contextmanager
def gamepad(monkeypatch):
    pytest.importorskip("pygame")
    from envs.devices.gamepad import _SDL, BUTTONS

    if _SDL.found():
        pytest.skip("a gamepad is plugged in")
    pad = VirtualPad().plug()
    sticks = {0: 1, 1: 0, 2: 3, 5: 2}

    def move(dof):
        if dof in sticks:
            pad.axis(sticks[dof], -1.0)
        else:
            pad.button(BUTTONS.index("dpright" if dof == 3 else "dpup"), True)

    yield parse_device("gamepad"), move
    pad.unplug()
    _SDL.pump()


@contextlib.contextmanager
def keyboard(monkeypatch):
    terminal = Terminal(kitty=True)
    yield (
        parse_device(f"keyboard:{terminal.path}"),
        lambda dof: terminal.type(kitty(ord("waeliu"[dof]))),
    )
    terminal.hang_up()


@contextlib.contextmanager
def browser(monkeypatch):
    made = []
    config = BrowserConfig(silence_s=60.0)

    class Given:
        kind, words, make = config.kind, config.words, lambda self: made[0]

    made.append(config.make())
    yield (
        Given(),
        lambda dof: made[0].put(BrowserInput(keys=frozenset("waeliu"[dof]))),
    )


@pytest.fixture(scope="module")
def env():
    """One simulated arm for every device; a test puts its operator in."""
    held = {}
    env = CONFIG.make(intervention=lambda: held["operator"]())
    yield env, held
    env.close()


@pytest.mark.parametrize("dof", range(6), ids=DOF)
@pytest.mark.parametrize("stand", [spacemouse, gamepad, keyboard, browser])
def test_the_tool_goes_where_the_hand_goes(env, monkeypatch, stand, dof):
    """SERL's users tried signs until they fitted. The person stands behind the base."""
    env, held = env
    with stand(monkeypatch) as (config, move):
        operator = held["operator"] = OperatorConfig(devices={"": config}).make()
        operator.attach(env)
        with operator:
            env.reset(seed=0)
            T = env.unwrapped.references[""].copy()
            move(dof)

            def stepped():
                return "source" in env.step(np.zeros(6))[4]

            until(stepped)
    error = se3.pose_error(env.unwrapped.references[""], T)
    assert int(np.argmax(np.abs(error) * [5, 5, 5, 1, 1, 1])) == dof
    assert error[dof] > 0.0
    np.testing.assert_allclose(np.delete(error, dof), 0.0, atol=2e-3)
