"""What every registered task must do. A new task is held to this by being registered."""

import json
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.tasks.base import TASKS
from serl.seeds import Purpose, episode_seed
from serl.types import RewardSource, contract_hash, record_dtype

TASKS.discover()
IDS = sorted(i for i in gymnasium.registry if i.startswith("serl/"))


@pytest.fixture(scope="module")
def envs():
    made = {name: TASKS.get(name)().make() for name in TASKS.names()}
    yield made
    for env in made.values():
        env.close()


@pytest.mark.parametrize("name", TASKS.names())
def test_the_spec_from_the_config_alone_is_what_the_env_returns(name, envs):
    env, spec = envs[name], TASKS.get(name)().spec()
    obs, _ = env.reset(seed=0)
    assert set(obs) == {array.name for array in spec.observation}
    for array in spec.observation:
        space = env.observation_space[array.name]
        assert space.shape == array.shape == obs[array.name].shape
        assert space.dtype == obs[array.name].dtype == np.dtype(array.dtype)
        assert len(array.fields) == array.shape[0]
        assert len(set(array.fields)) == len(array.fields)
    assert env.action_space.shape == spec.action.shape
    assert env.action_space.low.min() == spec.action.low == -1.0
    assert env.action_space.high.max() == spec.action.high == 1.0
    assert type(spec).from_json(spec.to_json()) == spec
    assert record_dtype(spec).itemsize < 1024


@pytest.mark.parametrize("name", TASKS.names())
def test_a_seed_reproduces_the_episode_and_another_does_not(name, envs):
    env = envs[name]
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(5)]

    def episode(seed):
        rows = [env.reset(seed=seed)[0]["state"]]
        return np.array(rows + [env.step(a)[0]["state"] for a in actions])

    first = episode(11)
    other = episode(12)
    np.testing.assert_array_equal(episode(11), first)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("name", TASKS.names())
def test_a_step_says_what_the_actor_needs(name, envs):
    env = envs[name]
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert (type(reward), terminated, truncated) == (float, False, False)
    assert info["executed_action"].shape == env.action_space.shape
    assert info["requested_action"].shape == env.action_space.shape
    assert info["success"] is False
    assert info["clamped"] is False
    assert info["reward_source"] == RewardSource.ENV
    assert info["reward_version"] == 0
    assert info["stamp_mono_ns"] > 0


@pytest.mark.parametrize("name", TASKS.names())
def test_an_episode_without_success_is_truncated_at_the_limit(name, envs):
    env, config = envs[name], TASKS.get(name)()
    env.reset(seed=0)
    still = np.zeros(env.action_space.shape, np.float32)
    for step in range(1, config.max_steps + 1):
        _, reward, terminated, truncated, info = env.step(still)
        assert (reward, terminated, info["success"]) == (0.0, False, False)
        assert truncated == (step == config.max_steps)


@pytest.mark.parametrize("name", TASKS.names())
def test_the_scripted_expert_succeeds_through_the_agents_interface(name, envs):
    """98 of 100 is the goal; `python -m benchmarks.experts` counts them."""
    env = envs[name]
    expert = TASKS.get(name)().expert(env)
    for k in range(8):
        env.reset(seed=episode_seed(Purpose.TUNE, 0, k))
        expert.reset()
        over = False
        while not over:
            action = expert.act()
            assert env.action_space.contains(action)
            _, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
        assert (reward, terminated, info["success"]) == (1.0, True, True), f"episode {k}"


@pytest.mark.parametrize("name", TASKS.names())
def test_an_expert_with_noise_is_different_for_another_seed(name, envs):
    env, config = envs[name], TASKS.get(name)()
    env.reset(seed=0)
    acts = [config.expert(env, noise=0.2, seed=seed).act() for seed in (0, 0, 1)]
    np.testing.assert_array_equal(acts[0], acts[1])
    assert not np.array_equal(acts[0], acts[2])


@pytest.mark.parametrize("name", TASKS.names())
def test_the_contract_is_json_and_changes_with_what_is_learned(name):
    config = TASKS.get(name)()
    contract = config.contract()
    assert json.loads(json.dumps(contract)) == contract
    assert contract["task"] == name
    assert config.reward in config.weights()
    configs = [
        config,
        replace(config, control_hz=10.0),
        replace(config, episode_s=3.0),
        replace(config, state=config.state[:-1]),
        replace(config, action=replace(config.action, translation_step_m=0.01)),
        *(replace(config, reward=r) for r in config.reward_weights() if r != config.reward),
    ]
    assert len({contract_hash(c.contract()) for c in configs}) == len(configs)
    assert contract_hash(replace(config, video_px=64).contract()) == contract_hash(contract)


def test_every_task_has_a_gymnasium_id():
    configs = {gymnasium.make(i).unwrapped.config.task_name for i in IDS}
    assert configs == set(TASKS.names())


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasiums_own_checker_has_no_complaint(env_id):
    """About the bare env and the wrapped one; that a wrapped env is wrapped is no complaint."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")
        env = gymnasium.make(env_id)
        check_env(env.unwrapped, skip_render_check=True)
        check_env(env, skip_render_check=True)
        env.close()
