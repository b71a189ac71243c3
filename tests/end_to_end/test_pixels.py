"""What travels and is kept of camera frames, without processes: one encoding, features intact."""

from __future__ import annotations

import dataclasses
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from end_to_end import line_world
from end_to_end.pixel_world import CAMERAS, EXPERIMENT, SIDE

from launch.evaluate import load
from serl import actor as actor_module
from serl import learner as learner_module
from serl.actor import Actor
from serl.agents.base import Batch
from serl.agents.vice import VICEConfig
from serl.checkpoint import load_policy, save_policy
from serl.data.demos import EpisodeMeta, save_episode
from serl.data.mixing import transitions
from serl.data.records import BadRecord
from serl.errors import SpecMismatch, UserError
from serl.evaluation import EpisodeResult, EvaluationResult, evaluate
from serl.experiment import Experiment
from serl.learner import Learner
from serl.pixels import FEATURE, TRUNK_NUMBER, trunk_number
from serl.policy import PolicyInHand
from serl.records import RecordBuilder
from serl.sight import Sight
from serl.trunk import load_trunk, save_trunk

ACTOR = uuid.UUID(int=1).hex
TRUNK = load_trunk(EXPERIMENT.agent.image, 0)


def experiment(updates: int = 8, **image) -> Experiment:
    """pixel_world with a budget of `updates`, and changes of how frames are seen."""
    budget = dataclasses.replace(EXPERIMENT.budget, updates=updates, wall_s=60.0)
    changed = dataclasses.replace(EXPERIMENT.agent.image, **image)
    agent = dataclasses.replace(EXPERIMENT.agent, image=changed)
    return dataclasses.replace(EXPERIMENT, budget=budget, agent=agent)


def episodes(policy: PolicyInHand, count: int, start: int = 0) -> Iterator[np.ndarray]:
    """Episodes of random actions as an actor with this policy in hand records them."""
    env = EXPERIMENT.env.make()
    spec = getattr(policy.agent, "record_spec", EXPERIMENT.env.spec())
    builder = RecordBuilder(spec)
    env.action_space.seed(start)
    for episode in range(start, start + count):
        policy.begin()
        obs, info = env.reset(seed=episode)
        seen = policy.see(obs)
        rows, over = [builder.first(episode, obs, info, seen.extras)], False
        while not over:
            action = env.action_space.sample()
            obs, reward, terminated, truncated, info = env.step(action)
            seen = policy.see(obs)
            step = {"action": action, "obs": obs, "reward": reward, "info": info}
            ends = {"terminated": terminated, "truncated": truncated, "seen": seen.extras}
            rows.append(builder.step(**step, **ends))
            over = terminated or truncated
        yield np.concatenate(rows)


@pytest.fixture(autouse=True)
def _no_actor_is_waited_for(monkeypatch):
    monkeypatch.setattr(learner_module, "ALONE_S", 0.0)


def filled(folder, exp: Experiment, trunk: Any = TRUNK, count: int = 40, **options) -> Learner:
    """A learner whose replay holds what an actor with `trunk` has sent; not yet running."""
    learner = Learner(exp, run_dir=folder, **options)
    policy = PolicyInHand(learner.agent, 0, trunk=trunk)
    for rows in episodes(policy, count):
        learner.append(ACTOR, rows)
    return learner


def test_the_record_carries_the_very_features_the_policy_acts_on():
    agent = EXPERIMENT.agent.make(EXPERIMENT.env.spec())
    policy = PolicyInHand(agent, 0, trunk=TRUNK)
    obs, _ = EXPERIMENT.env.make().reset(seed=3)
    seen = policy.see(obs)
    for name in CAMERAS:
        expected = TRUNK.encode(obs[name][None])[0]
        np.testing.assert_allclose(
            seen.extras[FEATURE + name].view(ml_dtypes.bfloat16).astype(np.float32),
            expected.view(ml_dtypes.bfloat16).astype(np.float32),
            rtol=0.01,
            atol=1e-3,
        )
        assert seen.obs[name].dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(seen.obs[name].view(np.uint16), seen.extras[FEATURE + name])
    assert seen.extras[TRUNK_NUMBER] == trunk_number(TRUNK.id)


def test_before_a_trunk_is_known_records_carry_no_features_and_nothing_acts():
    agent = EXPERIMENT.agent.make(EXPERIMENT.env.spec())
    seen = Sight(agent).see(EXPERIMENT.env.make().reset(seed=3)[0])
    assert seen.blind
    assert seen.extras[TRUNK_NUMBER] == 0
    assert not any(seen.extras[FEATURE + name].any() for name in CAMERAS)


def test_a_stack_keeps_its_past_when_the_trunk_comes_in_the_middle_of_an_episode():
    agent = experiment(stack=3).agent.make(EXPERIMENT.env.spec())
    env = EXPERIMENT.env.make()
    observations = [env.reset(seed=3)[0]]
    observations += [env.step(np.ones(1, np.float32))[0] for _ in range(4)]
    late, early = Sight(agent), Sight(agent, TRUNK)
    for obs in observations[:4]:
        assert late.see(obs).blind
        early.see(obs)
    late.use(TRUNK)
    found, expected = (sight.see(observations[4]).obs for sight in (late, early))
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])
    assert not np.array_equal(expected["front"][0], expected["front"][2])


def test_the_learner_runs_the_trunk_for_no_view_that_the_actor_has_encoded(tmp_path):
    learner = filled(tmp_path, experiment())
    rows = learner.replay.records_committed
    assert learner.replay.ready == rows
    assert learner.replay.backlog == rows * len(CAMERAS)  # of two crops each, one is there
    learner._opened.close()


def test_features_of_another_trunk_are_not_believed(tmp_path):
    other = load_trunk(EXPERIMENT.agent.image, 99)
    learner = filled(tmp_path, experiment(), trunk=other)
    assert learner.replay.ready == 0
    assert learner.steps_ready == 0
    result = learner.run_until_done()
    assert result["updates"] == 8


@pytest.mark.parametrize(
    "image",
    [
        {"frozen": False},
        {"crops": 0},
        {"stack": 2},
        {"stack": 2, "crops": 0},  # compiled once with the former
    ],
    ids=str,
)
def test_every_way_to_see_trains_through_the_whole_learner(tmp_path, image):
    exp = experiment(4, **image)
    trunk = TRUNK if image.get("frozen", True) else None
    learner = filled(tmp_path, exp, trunk)
    assert learner.run_until_done()["updates"] == 4
    policy = PolicyInHand(learner.agent, 0, trunk=trunk)
    policy.params = learner.agent.policy_params(learner.state)
    env = exp.env.make()
    done = evaluate(
        lambda obs: policy.choose(obs, deterministic=True), env, [1, 2], on_reset=policy.begin
    )
    assert len(done.episodes) == 2


def test_a_learner_that_was_killed_goes_on_with_its_features_and_its_trunk(tmp_path):
    first = filled(tmp_path, experiment(8))
    first.run_until_done()
    again = Learner(experiment(16), run_dir=tmp_path, resume=True)
    assert again.eyes.trunk_id == TRUNK.id
    assert again.replay.ready == again.replay.records_committed
    assert again.steps_ready == again.steps == first.steps
    assert again.run_until_done()["updates"] == 16


def test_a_run_keeps_its_trunk_where_the_weights_of_that_name_have_changed(tmp_path):
    filled(tmp_path, experiment(4)).run_until_done()
    for folder, options in (
        (tmp_path, {"resume": True}),
        (tmp_path / "b", {"init_from": tmp_path}),
    ):
        exp = dataclasses.replace(experiment(8), seed=7)  # whose own random trunk is another
        again = Learner(exp, run_dir=folder, **options)  # pyright: ignore[reportArgumentType]
        again._opened.close()
        assert again.eyes.trunk_id == TRUNK.id


def test_the_same_batch_gives_the_same_loss_as_encoding_on_the_fly_with_the_same_crops(tmp_path):
    learner = filled(tmp_path, experiment())
    replay, agent = learner.replay, learner.agent
    while replay.encode_next(learner.eyes.encode):
        pass
    fields = [f"obs/{a.name}" for a in learner.spec.observation]
    fields += ["action", "reward", "terminated", "weight"]
    options = {"fields": fields, "whole": False, "ends": True}
    shape = (agent.config.utd_ratio * agent.config.batch_size,)
    kept = replay.sample(np.random.default_rng(5), shape, features=True, **options)
    raw = replay.sample(np.random.default_rng(5), shape, **options)
    np.testing.assert_array_equal(kept.seqs, raw.seqs)
    offsets = replay.crop_offsets(raw.seqs)  # (n, 2, cameras, K, 2)
    fresh = dict(raw.obs)
    assert any((kept.crops[name] > 0).any() for name in CAMERAS)
    for k, name in enumerate(CAMERAS):
        drawn = kept.crops[name]
        at = np.take_along_axis(offsets[:, :, k], drawn[..., None, None], axis=2)[:, :, 0]
        frames = raw.obs[name].reshape(-1, SIDE, SIDE, 3)
        bits = TRUNK.encode(frames, at.reshape(-1, 2), agent.image.shift_px)
        fresh[name] = bits.view(ml_dtypes.bfloat16).reshape(kept.obs[name].shape)

    def losses(windows) -> dict[str, float]:
        rows = transitions(windows, agent.config.discount)
        lead = (agent.config.utd_ratio, agent.config.batch_size)
        batch = Batch(**jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), rows))
        state = jax.tree.map(jax.numpy.copy, learner.state)
        return {k: float(v) for k, v in agent.update(state, batch)[1].items()}

    cached, encoded = losses(kept), losses(dataclasses.replace(raw, obs=fresh))
    assert cached.keys() == encoded.keys()
    for name in ("critic/loss", "critic/q_mean", "critic/grad_norm", "actor/loss"):
        assert cached[name] == pytest.approx(encoded[name], rel=1e-3), name
    unshifted = dict(raw.obs)
    for name in CAMERAS:
        bits = TRUNK.encode(raw.obs[name].reshape(-1, SIDE, SIDE, 3))
        unshifted[name] = bits.view(ml_dtypes.bfloat16).reshape(kept.obs[name].shape)
    other = losses(dataclasses.replace(raw, obs=unshifted))
    assert other["critic/loss"] != pytest.approx(cached["critic/loss"], rel=1e-3)
    learner._opened.close()


def test_demonstrations_are_encoded_once_over_all_runs(tmp_path):
    spec = EXPERIMENT.env.spec()
    meta = EpisodeMeta(experiment="pixel_world", success=True)
    for rows in _plain_episodes(3):
        save_episode(tmp_path / "demos", rows, spec, meta)
    first = filled(tmp_path / "a", experiment(4), demos=tmp_path / "demos")
    first.run_until_done()
    assert list((tmp_path / "demos" / "features").rglob("*.safetensors"))
    second = filled(tmp_path / "b", experiment(4), demos=tmp_path / "demos")
    with second._opened:
        second.eyes.open(second._opened, [])  # nobody encodes
        second._load_demos()
        assert second.demo_replay.ready == second.demo_replay.records_committed > 0
        assert second.demo_replay.backlog == 0


def vice(updates: int) -> Experiment:
    """pixel_world whose reward is learned from the demonstrations' pictures of success."""
    sac = EXPERIMENT.agent
    fields = {f.name: getattr(sac, f.name) for f in dataclasses.fields(sac)}
    return dataclasses.replace(experiment(updates), agent=VICEConfig(**fields))


def test_an_agent_that_learns_its_reward_is_given_the_demonstrations_successes(tmp_path):
    meta = EpisodeMeta(experiment="pixel_world", success=True)
    for rows in _plain_episodes(3):
        save_episode(tmp_path / "demos", rows, EXPERIMENT.env.spec(), meta)
    learner = filled(tmp_path / "run", vice(4), demos=tmp_path / "demos")
    assert learner.run_until_done()["updates"] == 4
    drawn = learner.eyes.look(
        np.random.default_rng(0), {"reward": np.zeros((2, 5)), "extra": {"own": 1}}
    )
    assert drawn["extra"].keys() == {"own", "goal/front", "goal/wrist"}
    assert drawn["extra"]["goal/front"].shape == (2, 5, *learner.agent.feature_shape)


def test_without_a_picture_of_success_there_is_one_line_that_says_how_to_get_some(tmp_path):
    with pytest.raises(UserError, match="no demonstration has one; record some"):
        filled(tmp_path, vice(4)).run_until_done()


def _plain_episodes(count: int) -> list[np.ndarray]:
    """As `serl record` makes them: of the env's spec, without features."""

    class Plain:
        spec = EXPERIMENT.env.spec()
        config = EXPERIMENT.agent

    return [
        rows
        for rows in episodes(PolicyInHand(Plain(), 0), 20)
        if len(rows) > 2 and not rows["truncated"].any()
    ][:count]


def test_a_policy_file_names_its_trunk_and_evaluation_finds_it_in_the_run(tmp_path):
    learner = filled(tmp_path, experiment(4))
    learner.run_until_done()
    params = jax.tree.map(np.asarray, learner.agent.policy_params(learner.state))
    meta = {"trunk": learner.eyes.trunk_id}
    save_policy(learner.run.policy, version=3, params=params, spec=learner.spec, meta=meta)
    assert load_policy(learner.run.policy).meta["trunk"] == TRUNK.id
    other = dataclasses.replace(experiment(4), seed=5)  # whose own random trunk is another
    assert load(other, learner.run.policy).trunk == TRUNK.id
    learner.run.trunk.unlink()
    with pytest.raises(UserError, match=f"sees through trunk {TRUNK.id}, which is not at"):
        load(other, learner.run.policy)


def test_a_policy_copied_elsewhere_says_which_trunk_auto_was(tmp_path, monkeypatch):
    trunk = EXPERIMENT.agent.image.trunk
    monkeypatch.setattr("serl.agents.seeing.default_trunk", lambda: trunk)
    learner = filled(tmp_path / "run", experiment(4, trunk="auto"))
    params = jax.tree.map(np.asarray, learner.agent.policy_params(learner.state))
    learner._policies[3] = params
    learner._keep_best({"version": 3, "passed": False, "successes": 1})
    learner.run.best_policy.rename(tmp_path / "copy.safetensors")
    learner.run.trunk.rename(tmp_path / "trunk.safetensors")
    monkeypatch.setattr("serl.agents.seeing.default_trunk", lambda: "resnet10")
    found = load(experiment(4, trunk="auto"), tmp_path / "copy.safetensors")
    assert (found.agent.trunk_name, found.trunk) == (trunk, learner.eyes.trunk_id)


class Channel:
    """A client whose learner has sent version 1, and the trunk of `seed` as a file."""

    def __init__(self, folder, agent, seed: int) -> None:
        made = load_trunk(EXPERIMENT.agent.image, seed)
        self.trunk, self._file = made.id, folder / f"{made.id}.safetensors"
        save_trunk(made, self._file)
        state = agent.init(jax.random.key(0))
        self.newest = (1, jax.tree.map(np.asarray, agent.policy_params(state)))

    def latest(self):
        return self.newest

    def trunk_file(self, trunk: str):
        assert trunk == self.trunk
        return self._file


def test_an_actor_takes_up_the_trunk_that_came_with_the_policy(tmp_path):
    agent = EXPERIMENT.agent.make(EXPERIMENT.env.spec())
    channel, policy = Channel(tmp_path, agent, seed=5), PolicyInHand(agent, 0, trunk=TRUNK)
    policy.take(channel)
    assert policy.trunk == channel.trunk != TRUNK.id
    obs, _ = EXPERIMENT.env.make().reset(seed=0)
    assert policy.see(obs).extras[TRUNK_NUMBER] == trunk_number(channel.trunk)
    assert policy.choose(obs, deterministic=True).shape == (1,)


def test_a_trunk_file_that_is_not_what_its_name_says_is_not_used(tmp_path):
    agent = EXPERIMENT.agent.make(EXPERIMENT.env.spec())
    channel, policy = Channel(tmp_path, agent, seed=5), PolicyInHand(agent, 0)
    save_trunk(load_trunk(EXPERIMENT.agent.image, 6), channel.trunk_file(channel.trunk))
    with pytest.raises(UserError, match=f"sees through trunk {channel.trunk}, which is not at"):
        policy.take(channel)


def test_where_the_config_leaves_the_trunk_open_the_learner_says_which_it_is(tmp_path, monkeypatch):
    """An actor without a GPU would take another than its learner with one."""
    answers = [None, "patches"]
    monkeypatch.setattr(actor_module, "trunk_name", lambda address, **rpc: answers.pop(0))
    exp, said = experiment(trunk="auto"), []
    options = {"learner_address": "127.0.0.1:1", "on_status": lambda s: said.append(s["phase"])}
    actor = Actor(exp, run_dir=tmp_path, **options)
    assert actor.agent.trunk_name == "patches"
    assert actor.policy.trunk == TRUNK.id
    assert "waiting for the learner at 127.0.0.1:1" in said[0]
    actor._close()
    again = Actor(exp, run_dir=tmp_path, **options)  # no answer is left: it has kept the name
    again._close()


def test_an_actor_whose_learner_has_no_trunk_goes_on_and_is_refused_in_one_line(tmp_path):
    """A learner without cameras names none: the actor waited for ever. Hello says what differs."""
    learner = Learner(line_world.EXPERIMENT, run_dir=tmp_path / "learner")
    learner.server.start()
    actor = Actor(
        experiment(trunk="auto"),
        run_dir=tmp_path / "actor",
        learner_address=f"127.0.0.1:{learner.server.port}",
    )
    with pytest.raises(SpecMismatch, match="actor and learner disagree on the experiment"):
        actor.run_until_done()
    assert not actor.run.trunk_name.exists()
    learner.server.close()
    learner._opened.close()


def test_an_actor_that_waits_for_its_learner_can_be_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(actor_module, "trunk_name", lambda address, **rpc: None)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    options = {"run_dir": tmp_path, "learner_address": "127.0.0.1:1", "stop": stop}
    assert not actor_module.run_actor(experiment(trunk="auto"), **options)["finished"]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (np.zeros((SIDE, SIDE), np.uint8), r"uint8 \(32, 32\); a frame of this"),
        (np.zeros((64, 64, 3), np.uint8), r"uint8 \(64, 64, 3\)"),
        (np.zeros((SIDE, SIDE, 3), np.float32), "float32"),
        (np.zeros((1, 1, 3), np.uint8), "'wrist' is uint8"),  # NumPy would broadcast it
        (None, "'wrist', a camera's frame, is missing"),
    ],
)
def test_a_frame_of_the_wrong_shape_or_dtype_is_one_line_and_nothing_is_stored(frame, said):
    agent = EXPERIMENT.agent.make(EXPERIMENT.env.spec())
    obs, info = EXPERIMENT.env.make().reset(seed=0)
    obs["wrist"] = frame
    if frame is None:
        del obs["wrist"]
    for take in (
        lambda: Sight(agent, TRUNK).see(obs),
        lambda: RecordBuilder(agent.record_spec).first(0, obs, info),
    ):
        with pytest.raises(UserError, match=said) as error:
            take()
        assert "\n" not in str(error.value)


def test_the_disk_budget_of_the_experiment_is_that_of_both_replays(tmp_path):
    exp = experiment()
    exp = dataclasses.replace(exp, replay=dataclasses.replace(exp.replay, frames_budget_gb=0.5))
    learner = Learner(exp, run_dir=tmp_path)
    assert learner.replay._budget == learner.demo_replay._budget == 500_000_000
    assert learner.status()["frames_gb"] == 0.0
    learner._opened.close()
    with pytest.raises(UserError, match=r"replay.frames_budget_gb is 0"):
        dataclasses.replace(exp.replay, frames_budget_gb=0)


def test_records_of_other_frames_are_refused_by_the_learner(tmp_path):
    learner = filled(tmp_path, experiment(), count=0)
    own = learner.replay.dtype
    fields = [(n, own[n]) for n in own.names or ()]
    dtype = np.dtype([(n, ("u1", (16, 16, 3)) if n == "obs/front" else t) for n, t in fields])
    with pytest.raises(BadRecord, match="obs/front"):
        learner.append(ACTOR, np.zeros(1, dtype))
    assert learner.steps == 0
    learner._opened.close()


def test_with_a_learned_reward_the_true_successes_are_reported_and_the_judged_stand_beside():
    def episode(seed: int, judged: bool, true: bool | None) -> EpisodeResult:
        return EpisodeResult(
            seed=seed, success=judged, steps=4, episode_return=1.0, true_success=true
        )

    told = EvaluationResult(
        episodes=(episode(0, True, True), episode(1, True, False), episode(2, True, True))
    )
    raw = told.to_json()
    assert (raw["successes"], raw["judged_successes"], raw["true_successes"]) == (2, 3, 2)
    untold = EvaluationResult(episodes=(episode(0, True, None),)).to_json()
    assert (untold["successes"], untold["judged_successes"]) == (1, None)
