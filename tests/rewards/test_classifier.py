"""A classifier of squares: trained, stored, refused where it does not fit, and put to work."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import safetensors.numpy
from rewards.squares import SquareConfig, picture, square_episode

from serl.errors import CorruptFile, SpecMismatch, UserError
from serl.experiment import Experiment
from serl.rewards.base import refuse_own_reward, rewarded, version_number, with_reward
from serl.rewards.classifier import read_plan
from serl.rewards.conditions import Condition
from serl.rewards.model import Classifier, load_classifier, read_header, save_classifier
from serl.rewards.training import TrainConfig, encode, train

TWICE = '{"stages": [%s, %s]}' % (('{"classifier": "squares.safetensors"}',) * 2)
QUICK = TrainConfig(crops=2, shift_px=1, steps=120, batch=64, pooling="spatial_embeddings")


@dataclass(frozen=True)
class NoAgent:
    pass


@pytest.fixture(scope="module")
def trained(trunk):
    rng = np.random.default_rng(0)
    episodes = [square_episode(np.sort(rng.uniform(0, 1, 20))) for _ in range(12)]
    return train(episodes, trunk, QUICK, consecutive=2)


@pytest.fixture
def stored(trained, tmp_path):
    path = tmp_path / "squares.safetensors"
    save_classifier(trained.classifier, path)
    return path


def right(obs):
    return np.array([1.0], np.float32)


def episode(env, act=right):
    obs, _ = env.reset(seed=3)
    rows, over = [], False
    while not over:
        obs, reward, terminated, truncated, info = env.step(act(obs))
        rows.append((reward, terminated, info))
        over = terminated or truncated
    return rows


def test_it_learns_what_it_is_shown(trained):
    assert trained.at_half.accuracy > 0.9
    assert trained.at_threshold.precision >= 0.98
    assert [step for step, _, _ in trained.history][:2] == [20, 40]


def test_it_is_tested_on_episodes_it_was_not_trained_on(trained):
    for one in np.unique(trained.examples.episode):
        assert len(set(trained.part[trained.examples.episode == one])) == 1
    assert len(set(trained.part)) == 5


def test_every_camera_s_head_is_trained(trained, trunk, squares):
    """Under PyTorch LeRobot's classifier trained no camera branch (P-4)."""
    import jax

    from serl.rewards.model import network

    maps = {"front": np.zeros((1, 1, 1, 128), np.float32)}
    start = network(trained.classifier.header).init(jax.random.key(0), maps)["params"]
    moved = jax.tree.map(
        lambda a, b: float(np.abs(np.asarray(a) - b).max()), start, trained.classifier.params
    )
    assert min(jax.tree.leaves(moved["ImageHeads_0"])) > 0


def test_a_frame_is_judged_as_it_was_in_training(trained, trunk, squares):
    """LeRobot's saw normalised frames in training and raw ones live (P-5)."""
    one = squares[0]
    coded = {n: f[:, 0] for n, f in encode([one], trunk, QUICK).items()}
    said = trained.classifier.probabilities(coded)
    live = [trained.classifier.judge({"front": f}) for f in one.frames["front"]]
    np.testing.assert_allclose(live, said, atol=1e-5)


def test_what_is_stored_judges_alike_and_needs_nothing_else(trained, stored):
    back = load_classifier(stored)
    assert back.header == replace(trained.classifier.header)
    assert back.version == read_header(stored)[1]
    for place in (0.0, 0.5, 0.9):
        frame = {"front": picture(place)}
        np.testing.assert_allclose(back.judge(frame), trained.classifier.judge(frame), atol=1e-6)


def test_another_threshold_is_another_version(trained, stored, tmp_path):
    other = replace(trained.classifier, header=replace(trained.classifier.header, threshold=0.9))
    assert save_classifier(other, tmp_path / "o.safetensors").version != read_header(stored)[1]


@pytest.mark.parametrize("damage", ["cut", "weights", "threshold", "other", "layout", "absent"])
def test_a_damaged_or_foreign_file_is_one_line(stored, damage):
    data = stored.read_bytes()
    if damage == "cut":
        stored.write_bytes(data[: len(data) // 2])
    elif damage == "weights":
        stored.write_bytes(data[:-4] + b"\0\0\x80\x7f")
    elif damage == "threshold":
        stored.write_bytes(data.replace(b'\\"threshold\\": 0.', b'\\"threshold\\": 1.'))
        assert stored.read_bytes() != data
    elif damage == "other":
        safetensors.numpy.save_file({"a": np.zeros(3)}, stored, {"format": "pt"})
    elif damage == "layout":
        one = load_classifier(stored)
        params = dict(one.params)
        params["Dense_0"] = {**params["Dense_0"], "bias": np.zeros(7, np.float32)}
        save_classifier(replace(one, params=params), stored)
    else:
        stored.unlink()
        with pytest.raises(UserError, match="no classifier at"):
            load_classifier(stored)
        return
    with pytest.raises(CorruptFile, match=r"squares\.safetensors is damaged, or no classifier"):
        load_classifier(stored)


def test_a_class_with_no_examples_is_one_line(trunk):
    none = [square_episode([0.1, 0.2]) for _ in range(3)]
    with pytest.raises(UserError, match=r"class 'success' has no examples \(failure 6, success 0"):
        train(none, trunk, QUICK)


def test_frames_too_small_for_a_spatial_softmax_are_refused(trunk, squares):
    with pytest.raises(UserError, match="has no places to tell apart"):
        train(squares, trunk, replace(QUICK, pooling="spatial_softmax"))


def test_frames_nobody_labelled_are_left_out(trunk, squares):
    blank = [replace(e, label=np.where(e.label == 1, e.label, -1)) for e in squares[:2]]
    some = train([*blank, *squares[2:]], trunk, replace(QUICK, steps=20))
    assert len(some.examples.label) == sum((e.label >= 0).sum() for e in [*blank, *squares[2:]])


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (SquareConfig(reward="learned", rotate_deg=90), "rotate_deg: 90 here, 0 there"),
        (SquareConfig(reward="learned", camera="side"), "none of that name, but side"),
    ],
)
def test_other_cameras_or_cuts_than_the_run_s_are_refused_by_name(stored, config, named):
    with pytest.raises(SpecMismatch, match=named):
        rewarded(config.make(), f"classifier:{stored}", config.spec())


def test_frames_of_another_shape_or_dtype_are_one_line(trained):
    with pytest.raises(UserError, match="camera 'front' gives float32"):
        trained.classifier.judge({"front": picture(0.1).astype(np.float32)})
    with pytest.raises(UserError, match=r"\(16, 16, 3\); the classifier was trained on uint8"):
        trained.classifier.judge({"front": picture(0.1)[:16, :16]})


def test_the_judged_env_pays_for_squares_at_the_right_and_says_the_truth_beside(stored):
    config = SquareConfig(reward="learned")
    env = rewarded(config.make(), f"classifier:{stored}", config.spec())
    rows = episode(env)
    assert rows[-1][0] == 1.0
    assert rows[-1][1]
    assert sum(r for r, _, _ in rows) == 1.0
    info = rows[-1][2]
    assert info["success"]
    assert info["env_success"]
    assert info["reward_version"] == version_number(read_header(stored)[1])
    still = episode(env, act=lambda obs: np.zeros(1, np.float32))
    assert len(still) == config.steps
    assert sum(r for r, _, _ in still) == 0.0


def test_a_classifier_is_compiled_before_the_first_step(stored, monkeypatch):
    asked, judge = [], Classifier.judge
    monkeypatch.setattr(
        Classifier, "judge", lambda self, obs: asked.append(obs) or judge(self, obs)
    )
    config = SquareConfig(reward="learned")
    rewarded(config.make(), f"classifier:{stored}", config.spec())
    assert [obs["front"].shape for obs in asked] == [(32, 32, 3)]


def test_a_condition_on_the_state_holds_success_back(trained, tmp_path):
    header = replace(trained.classifier.header, conditions=(Condition(field="grip", below=0.05),))
    path = tmp_path / "with_grip.safetensors"
    save_classifier(replace(trained.classifier, header=header), path)
    config = SquareConfig(reward="learned")
    env = rewarded(config.make(), f"classifier:{path}", config.spec())
    assert sum(r for r, _, _ in episode(env)) == 0.0

    def closing(obs):
        env.unwrapped.grip_m = 0.02
        return right(obs)

    assert sum(r for r, _, _ in episode(env, closing)) == 1.0


def test_reach_then_grasp_pays_each_stage_once(trunk, tmp_path):
    """One classifier of three classes; its second is the first stage, its third the second."""
    rng = np.random.default_rng(1)
    classes = ("away", "reached", "grasped")
    episodes = []
    for _ in range(12):
        places = np.sort(rng.uniform(0, 1, 20))
        label = np.digitize(places, [0.35, 0.7])
        episodes.append(square_episode(places, classes=classes, label=label))
    one = train(episodes, trunk, QUICK)
    assert one.confusion.shape == (3, 3)
    save_classifier(one.classifier, tmp_path / "both.safetensors")
    stages = [
        {"classifier": "both.safetensors", "class": "reached", "threshold": 0.5, "consecutive": 1},
        {"classifier": "both.safetensors", "class": "grasped", "threshold": 0.5, "consecutive": 2},
    ]
    reward = tmp_path / "reach_then_grasp.json"
    reward.write_text(json.dumps({"stages": stages}))
    config = SquareConfig(reward="learned")
    rows = episode(rewarded(config.make(), f"classifier:{reward}", config.spec()))
    assert [r for r, _, _ in rows if r] == [1.0, 1.0]
    assert rows[-1][2]["success"]
    assert set(rows[-1][2]["judged"]) == {"reached", "grasped"}
    free = tmp_path / "free.json"
    free.write_text(json.dumps({"stages": stages, "ordered": False}))
    assert read_plan(free).version != read_plan(reward).version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ('{"stages": []}', "a list of one or more"),
        ('{"stages": [{}]}', "names no .classifier."),
        ('{"stages": [{"classifier": "x.safetensors"}]}', "no classifier at"),
        ('{"stages": [{"classifer": "x"}]}', "Did you mean 'classifier'"),
        ('{"stages": [{"classifier": "squares.safetensors", "class": "won"}]}', "named 'won'"),
        (
            '{"stages": [{"classifier": "squares.safetensors", "threshold": "high"}]}',
            "stage 0 is malformed",
        ),
        ('{"stages": [{"classifier": "squares.safetensors", "threshold": 2}]}', "must be 0 to 1"),
        ('{"stages": [{"classifier": "squares.safetensors", "threshold": NaN}]}', "must be 0 to 1"),
        ('{"stages": [{"classifier": "squares.safetensors", "pays": NaN}]}', "malformed .pays nan"),
        ('{"stages": [{"classifier": "squares.safetensors", "consecutive": 1.5}]}', "whole number"),
        (
            '{"ordered": "false", "stages": [{"classifier": "squares.safetensors"}]}',
            "it must be true or false",
        ),
        (TWICE, "names must differ"),
    ],
)
def test_a_malformed_reward_file_is_one_line(stored, text, said):
    file = stored.parent / "reward.json"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        read_plan(file)


def test_an_experiment_carries_the_classifier_s_hash_and_not_its_path(stored, tmp_path):
    plain = Experiment(name="squares", env=SquareConfig(), agent=NoAgent())
    assert "reward" not in plain.contract()
    judged = with_reward(plain, f"classifier:{stored}")
    assert getattr(judged.env, "reward", None) == "learned"
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(stored.read_bytes())
    assert judged.hash == with_reward(plain, f"classifier:{copy}").hash != plain.hash
    assert judged.contract()["reward"]["version"] == read_header(stored)[1]
    assert with_reward(plain, "env") is plain


def test_an_env_that_judges_for_itself_is_refused(stored):
    with pytest.raises(UserError, match=r"env\.reward is 'sparse'"):
        rewarded(SquareConfig().make(), f"classifier:{stored}", SquareConfig().spec())
    with pytest.raises(UserError, match=r"env\.reward is 'sparse'"):
        Experiment(name="x", env=SquareConfig(), agent=NoAgent(), reward=f"classifier:{stored}")
    with pytest.raises(UserError, match="nothing would ever be paid"):
        refuse_own_reward(SquareConfig(reward="learned"), "env")


@pytest.mark.parametrize("reward", ["classifer:x", "classifier", "classifier:"])
def test_a_source_that_is_not_there_or_names_no_file_is_one_line(reward):
    with pytest.raises(UserError, match="classifier"):
        rewarded(SquareConfig(reward="learned").make(), reward, SquareConfig().spec())
