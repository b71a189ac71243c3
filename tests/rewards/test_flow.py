"""Record, label, train, test and be paid: the words of `serl classifier`, on a simulated cube."""

import json
import os
import pty
import re
import urllib.error
import urllib.request

import numpy as np
import pytest
from rewards.squares import SquareConfig, square_episode

from envs.tasks.pick_cube import PickCubeConfig
from envs.tasks.reach import ReachConfig
from launch.classifier_label import LabelServer, apply_ranges
from launch.classifier_record import (
    NEGATIVES_PER_EPISODE,
    POSITIVES_PER_EPISODE,
    Keys,
    by_hand,
    choose,
    for_frames,
)
from launch.main import main
from serl.errors import UserError
from serl.experiment import Experiment
from serl.rewards.base import rewarded, with_reward
from serl.rewards.frames import load_episode, load_folders, save_episode


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A small recording of the simulated cube, through the command line."""
    folder = tmp_path_factory.mktemp("flow") / "frames"
    line = f"classifier record --task pick_cube --into {folder} --positives 40 --negatives 120"
    assert main(line.split()) == 0
    return folder


def test_the_whole_flow_on_recorded_frames(frames, capsys):
    """Not a test of how good it gets: that takes 200 and 1000 frames (docs/rewards.md)."""
    out = frames.parent / "cube.safetensors"
    assert main(f"classifier label {frames} --set 0:0-1=failure --who anna".split()) == 0
    quick = "--precision 0.5 --crops 1 --steps 80 --consecutive 3"
    assert main(f"classifier train {frames} --out {out} {quick}".split()) == 0
    said = capsys.readouterr().out
    assert re.search(r"held out, at the threshold: accuracy \d", said)
    page = out.with_suffix(".html").read_text()
    assert len(page) < 2_000_000
    assert "http" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "", page)
    line = f"classifier test {out} --task pick_cube --episodes 2 --out {frames.parent / 'a.png'}"
    assert main(line.split()) == 0
    assert "2 episodes" in capsys.readouterr().out
    assert (frames.parent / "a.png").read_bytes().startswith(b"\x89PNG")

    plain = Experiment(name="cube", env=PickCubeConfig().pixels(), agent=PickCubeConfig())
    judged = with_reward(plain, f"classifier:{out}")
    assert judged.contract()["reward"]["source"] == "classifier"
    env = rewarded(judged.env.make(), judged.reward, judged.env.spec())
    env.reset(seed=0)
    _, reward, terminated, _, info = env.step(np.zeros(4, np.float32))
    assert (reward, terminated, info["success"], info["env_success"]) == (0.0, False, False, False)
    assert 0.0 <= info["judged"]["success"] <= 1.0
    env.close()

    assert main(f"classifier test {out} --task reach --episodes 1".split()) == 2
    assert "trained on other cameras" in capsys.readouterr().err
    smaller = for_frames(PickCubeConfig().pixels(px=64))
    with pytest.raises(UserError, match=r"camera 'front': .* 64 here, 128 there"):
        rewarded(smaller.make(), judged.reward, smaller.spec())


def test_recording_goes_on_where_it_stopped_and_keeps_few_frames_of_each_episode(frames):
    before = len(load_folders([frames]))
    line = f"classifier record --task pick_cube --into {frames} --positives 40 --negatives 120"
    assert main(line.split()) == 0
    episodes = load_folders([frames])
    assert len(episodes) == before
    label = np.concatenate([e.label for e in episodes])
    assert ((label == 1).sum(), (label == 0).sum()) == (40, 120)
    for e in episodes:
        assert (e.label == 1).sum() <= POSITIVES_PER_EPISODE
        assert (e.label == 0).sum() <= NEGATIVES_PER_EPISODE
        assert e.header.seed is not None
        assert set(e.by) == {"task"} or e is episodes[0]
    assert len({e.header.details["kind"] for e in episodes}) >= 4


def test_near_misses_are_among_the_failures_kept():
    label = np.zeros(100, np.int64)
    label[60:70] = 1
    kept = choose(label, 99, 99, np.random.default_rng(0))
    near = [k for k in kept if label[k] == 0 and min(abs(k - 60), abs(k - 69)) <= 10]
    assert len(near) >= NEGATIVES_PER_EPISODE // 3
    assert not {58, 59, 60, 61, 68, 69, 70, 71} & set(kept.tolist())  # nobody can tell
    assert sorted(kept) == list(kept)
    assert len(set(kept)) == len(kept)


def test_a_learned_reward_s_env_neither_pays_nor_ends_at_the_task_s_success():
    config = for_frames(ReachConfig())
    assert len(config.spec().observation) > 1
    env = config.make()
    expert = config.expert(env)
    env.reset(seed=1)
    expert.reset()
    rows, over = [], False
    while not over:
        _, reward, terminated, truncated, info = env.step(expert.act())
        rows.append((reward, terminated, info["success"]))
        over = terminated or truncated
    env.close()
    assert len(rows) == config.max_steps
    assert {(r, t) for r, t, _ in rows} == {(0.0, False)}
    assert rows[-1][2]


def test_labels_are_set_in_ranges_or_not_at_all(tmp_path):
    save_episode(tmp_path, square_episode([0.1, 0.2, 0.3, 0.9]))
    assert apply_ranges(tmp_path, ["0:1-2=success", "0:3=-"], "anna") == 3
    back = load_episode(tmp_path / "episode_000000.npz")
    assert back.label.tolist() == [0, 1, 1, -1]
    assert back.by == ("task", "anna", "anna", "anna")
    for words in (["0:0=1", "0:2-9=0"], ["0:0=1", "0:2=won"], ["0:0=1", "x"], ["0:0=1", "4:0=1"]):
        with pytest.raises(UserError):
            apply_ranges(tmp_path, words)
    assert load_episode(tmp_path / "episode_000000.npz").label.tolist() == [0, 1, 1, -1]


def test_the_page_shows_frames_and_stores_clicks(tmp_path):
    save_episode(tmp_path, square_episode([0.1, 0.9]))
    with LabelServer(tmp_path, by="anna") as server:

        def get(path):
            with urllib.request.urlopen(server.url + path, timeout=5) as reply:
                return reply.read()

        def post(document):
            data = json.dumps(document).encode()
            urllib.request.urlopen(server.url + "labels", data=data, timeout=5).close()

        assert b"failure" in get("")
        assert get("0/1.png").startswith(b"\x89PNG")
        post({"episode": 0, "frames": [0], "label": 1})
        assert json.loads(get("0.json")) == {"label": [1, 1]}
        for wrong in ({"episode": 0, "frames": [9], "label": 1}, {"episode": 0}, [], {"label": 9}):
            with pytest.raises(urllib.error.HTTPError):
                post(wrong)
        root = server.url.rsplit("/", 2)[0]
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(root + "/0.json", timeout=5)
    assert load_episode(tmp_path / "episode_000000.npz").by == ("anna", "task")


def test_keys_label_what_is_seen(tmp_path):
    presses = iter(["", " ", "", "", " ", "n", "1", "", "q"])
    counts = by_hand(
        SquareConfig(reward="learned"),
        tmp_path,
        pressed=lambda: next(presses),
        every=1,
        who="anna",
        pace=False,
    )
    first, second = (load_episode(p) for p in sorted(tmp_path.glob("*.npz")))
    assert first.label.tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert second.label.tolist() == [0, 1, 1, 1]
    assert counts == [5, 6]
    assert set(first.by) == {"anna"}


def test_keys_come_from_a_terminal_without_waiting():
    leader, follower = pty.openpty()
    with Keys(follower) as keys:
        assert keys.pressed() == ""
        os.write(leader, b" q")
        assert "q" in (keys.pressed() or keys.pressed())
    reader, _ = os.pipe()
    with pytest.raises(UserError, match="needs a terminal"), Keys(reader):
        pass


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("classifier train nowhere --out x.safetensors", "no folder nowhere"),
        ("classifier test x.safetensors --task pick_cube", "no classifier at x.safetensors"),
        ("classifier test x.safetensors --task pick_cube --out a.gif", "must end in .mp4 or .png"),
        ("classifier train a --out b --env.reward x", "takes no experiment settings"),
        ("classifier label nowhere --set 0:1=1", "no folder nowhere"),
        ("classifier record --env Pendulum-v1 --into a", "no camera"),
        ("classifier grade", "invalid choice"),
    ],
)
def test_bad_words_are_one_line(line, said, capsys):
    assert main(line.split()) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
