"""Any Gymnasium env with continuous spaces, by its id."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from envs.gym import GymEnv, ScaledBox
from serl.errors import UserError
from serl.evaluation import evaluate
from serl.types import contract_hash


class Line(gymnasium.Env):
    """Observes two boxes; remembers the action it got."""

    observation_space = spaces.Dict(
        {"where": spaces.Box(-1, 1, (2,)), "frame": spaces.Box(0, 255, (4, 4, 3), np.uint8)}
    )
    action_space = spaces.Box(np.array([0.0, -3.0]), np.array([10.0, 1.0]), dtype=np.float64)

    def __init__(self, value=0.0, observation_space=None, action_space=None):
        self.value = value
        self.observation_space = observation_space or self.observation_space
        self.action_space = action_space or self.action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action):
        self.got = action
        return self._look(), 1.0, False, False, {"is_success": True}

    def _look(self):
        return {"where": np.full(2, self.value), "frame": np.full((4, 4, 3), 7, np.uint8)}


def test_spec_and_env_agree_for_a_plain_box():
    config = GymEnv(id="Pendulum-v1", kwargs={"g": 9.81})
    env, spec = config.make(), config.spec()
    obs, _ = env.reset(seed=0)
    assert [a.name for a in spec.observation] == ["state"]
    assert obs["state"].shape == spec.observation[0].shape == (3,)
    assert obs["state"].dtype == np.float32
    assert spec.action.shape == env.action_space.shape == (1,)
    assert env.unwrapped.g == 9.81


def test_actions_within_one_span_the_envs_own_range():
    line = Line()
    env = ScaledBox(line, "line")
    env.reset(seed=0)
    for action, own in (([-1, -1], [0, -3]), ([1, 1], [10, 1]), ([0, 0.5], [5, 0])):
        env.step(np.array(action, np.float32))
        np.testing.assert_allclose(line.got, own, atol=1e-9)
        assert line.got.dtype == np.float64


def test_the_executed_action_is_the_clipped_one():
    env = ScaledBox(Line(), "line")
    env.reset(seed=0)
    info = env.step(np.array([3.0, -0.5], np.float32))[4]
    np.testing.assert_array_equal(info["executed_action"], np.float32([1.0, -0.5]))
    np.testing.assert_array_equal(info["requested_action"], np.float32([3.0, -0.5]))
    assert info["success"] is True


def test_only_an_env_that_tells_success_reports_it():
    env = GymEnv(id="Pendulum-v1").make()
    still = np.zeros(1, np.float32)
    env.reset(seed=0)
    assert "success" not in env.step(still)[4]
    limited = gymnasium.wrappers.TimeLimit(Line(), 3)
    told = evaluate(lambda obs: np.zeros(2, np.float32), ScaledBox(limited, "line"), [0])
    assert told.to_json()["reports_success"] is True
    untold = evaluate(lambda obs: still, env, [0]).to_json()
    assert untold["reports_success"] is False
    assert untold["successes"] == 0


def test_a_dict_of_boxes_keeps_its_names_and_integer_frames():
    env = ScaledBox(Line(), "line")
    obs, _ = env.reset(seed=0)
    assert obs["where"].dtype == np.float32
    assert obs["frame"].dtype == np.uint8
    assert env.observation_space.contains(obs)


def test_a_nan_is_refused_by_name():
    env = ScaledBox(Line(), "line")
    env.reset(seed=0)
    with pytest.raises(UserError, match="nan"):
        env.step(np.array([np.nan, 0.0]))
    with pytest.raises(UserError, match=r"'where'\[0\] is nan"):
        ScaledBox(Line(value=np.nan), "line").reset(seed=0)


def test_an_unknown_id_names_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'Pendulum-v1'"):
        GymEnv(id="Pendlum-v1").spec()


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("CartPole-v1", "only a continuous Box"),
        ("no_such_module:X-v0", "no_such_module"),
        ("a b/c d", "Malformed"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(env_id, words):
    with pytest.raises(UserError, match=words) as caught:
        GymEnv(id=env_id).spec()
    assert "\n" not in str(caught.value)


def test_a_wrong_argument_is_refused_in_one_line():
    with pytest.raises(UserError, match="gravity"):
        GymEnv(id="Pendulum-v1", kwargs={"gravity": 1}).make()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observation_space": spaces.Discrete(3)}, "observes 'state' as Discrete"),
        ({"action_space": spaces.Box(-np.inf, np.inf, (2,))}, "unbounded actions"),
        ({"action_space": spaces.Box(0, 5, (2,), np.int32)}, "only a continuous Box"),
    ],
)
def test_spaces_that_do_not_fit_are_named(changes, words):
    with pytest.raises(UserError, match=words):
        ScaledBox(Line(**changes), "line")


def test_the_contract_changes_with_id_and_arguments():
    configs = [GymEnv(), GymEnv(kwargs={"g": 1.0}), GymEnv(id="MountainCarContinuous-v0")]
    assert len({contract_hash(c.contract()) for c in configs}) == 3


def test_a_time_limit_is_a_truncation():
    env = GymEnv(id="Pendulum-v1").make()
    env.reset(seed=0)
    ends = [env.step(np.zeros(1, np.float32))[2:4] for _ in range(200)]
    assert ends[-1] == (False, True)
    assert (False, True) not in ends[:-1]
