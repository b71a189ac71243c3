"""Recording, replaying and filming, on an env small enough to know every number of."""

import dataclasses
import threading

import gymnasium
import numpy as np
import pytest

from launch.evaluate import Camera
from launch.main import main
from launch.record import record
from launch.replay_demo import play
from serl.data.demos import EpisodeMeta, list_episodes, load_episode
from serl.errors import UserError
from serl.seeds import Purpose, episode_seed
from serl.types import ArraySpec, Source, Spec

META = EpisodeMeta(experiment="walk", actor="scripted")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk:
    """A point walks on a line from a random start; success beyond 1. Some seeds cannot succeed."""

    stride: float = 0.25
    fails_every: int = 0
    control_hz: float = 20.0

    def spec(self):
        return Spec(
            observation=(ArraySpec(name="state", shape=(1,), dtype="float32"),),
            action=ArraySpec(name="action", shape=(1,), dtype="float32", low=-1.0, high=1.0),
        )

    def contract(self):
        return dataclasses.asdict(self)

    def make(self, *, render=False):
        return WalkEnv(self)

    def expert(self, env, *, noise=0.0, seed=0):
        return WalkExpert()


class WalkEnv(gymnasium.Env):
    def __init__(self, config):
        self.config = config
        self.episodes = 0
        self.seeds = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seeds.append(seed)
        self.x, self.steps = float(self.np_random.uniform(-1, 0)), 0
        every = self.config.fails_every
        self.hopeless = bool(every and seed is not None and seed % every == 0)
        return self._obs(), {}

    def step(self, action):
        self.steps += 1
        self.x += self.config.stride * float(np.clip(action, -1, 1)[0])
        success = self.x > 1 and not self.hopeless
        return self._obs(), float(success), success, self.steps >= 20, {"success": success}

    def render(self):
        return np.full((33, 48, 3), 5 * self.steps, np.uint8)

    def _obs(self):
        return {"state": np.array([self.x], np.float32)}


class WalkExpert:
    def reset(self):
        pass

    def act(self):
        return np.ones(1, np.float32)


def test_each_demonstration_is_a_file_with_its_seed_and_who_acted(tmp_path):
    done = record(Walk(), tmp_path, count=3, seed=7, meta=META)
    assert (done.stored, done.successes) == (3, 3)
    for k, path in enumerate(list_episodes(tmp_path)):
        episode = load_episode(path, Walk().spec())
        assert episode.meta.seed == episode_seed(Purpose.DEMO, 7, k)
        assert episode.meta.success
        assert episode.records["source"][0] == Source.NONE
        assert set(episode.records["source"][1:]) == {Source.SCRIPTED}
        assert episode.records["terminated"][-1]


def test_recording_goes_on_where_it_stopped_with_fresh_seeds(tmp_path):
    stop = threading.Event()

    def stop_after_two(progress):
        if progress.stored == 2:
            stop.set()

    record(Walk(), tmp_path, count=5, seed=0, meta=META, on_progress=stop_after_two, stop=stop)
    assert len(list_episodes(tmp_path)) == 2
    record(Walk(), tmp_path, count=5, seed=0, meta=META)
    seeds = [load_episode(path).meta.seed for path in list_episodes(tmp_path)]
    assert seeds == [episode_seed(Purpose.DEMO, 0, k) for k in range(5)]


def test_a_folder_that_has_enough_is_left_alone(tmp_path):
    record(Walk(), tmp_path, count=2, seed=0, meta=META)
    before = [path.stat().st_mtime_ns for path in list_episodes(tmp_path)]
    assert record(Walk(), tmp_path, count=2, seed=0, meta=META).stored == 2
    assert [path.stat().st_mtime_ns for path in list_episodes(tmp_path)] == before


def test_failures_are_kept_only_when_asked_for(tmp_path):
    env = Walk(fails_every=2)
    done = record(env, tmp_path / "some", count=3, seed=0, meta=META)
    assert (done.stored, done.successes) == (3, 3)
    done = record(env, tmp_path / "all", count=4, seed=0, meta=META, keep_failed=True)
    assert (done.stored, done.successes) == (4, 2)


def test_an_expert_that_never_succeeds_ends_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"failed too often: 0 of 2 .* after 20 attempts"):
        record(Walk(fails_every=1), tmp_path, count=2, seed=0, meta=META)


def test_a_damaged_demo_is_made_up_for_and_the_others_stay(tmp_path):
    record(Walk(), tmp_path, count=3, seed=0, meta=META)
    damaged = list_episodes(tmp_path)[1]
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert record(Walk(), tmp_path, count=3, seed=0, meta=META).stored == 3
    assert len(list_episodes(tmp_path)) == 4


def test_an_env_without_an_expert_says_so(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["record", "--env", "Pendulum-v1", "--demos", "1"]) == 2
    assert "no scripted expert" in capfd.readouterr().err


def test_a_replayed_demo_is_the_stored_one_to_the_last_bit(tmp_path):
    record(Walk(), tmp_path, count=1, seed=3, meta=META)
    episode = load_episode(list_episodes(tmp_path)[0])
    assert episode.meta.seed is not None
    replay = play(Walk().make(), episode.records, episode.meta.seed, episode.spec)
    assert replay.difference == {"state": 0.0}
    assert replay.first_step is None
    assert replay.success
    assert replay.steps == replay.stored_steps
    assert "nowhere" in replay.text()


def test_a_replay_in_a_changed_env_says_where_and_by_how_much_it_differs(tmp_path):
    record(Walk(), tmp_path, count=1, seed=3, meta=META)
    episode = load_episode(list_episodes(tmp_path)[0])
    assert episode.meta.seed is not None
    slower = Walk(stride=0.2).make()
    replay = play(slower, episode.records, episode.meta.seed, episode.spec)
    assert replay.first_step == 1
    assert replay.difference["state"] == pytest.approx(0.05 * replay.stored_steps, rel=1e-4)
    assert not replay.success


def test_a_film_has_a_frame_for_every_step_and_appears_only_when_complete(tmp_path):
    av = pytest.importorskip("av")
    path, env = tmp_path / "films" / "walk.mp4", Walk().make()
    with Camera(path, 20.0) as camera:
        env.reset(seed=0)
        for _ in range(20):
            camera(env)
            env.step(np.ones(1))
        assert not path.exists()
    with av.open(str(path)) as film:
        frames = list(film.decode(video=0))
    assert len(frames) == 20
    assert (frames[0].height, frames[0].width) == (32, 48)
    shades = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    assert shades == pytest.approx([5 * k for k in range(20)], abs=6)
    assert [p.name for p in path.parent.iterdir()] == ["walk.mp4"]


def test_without_opengl_there_is_no_film_and_one_line_says_why(tmp_path):
    class Blind:
        def render(self):
            raise UserError("no OpenGL here; apt-get install libegl1.")

    with Camera(tmp_path / "blind.mp4", 20.0) as camera:
        camera(Blind())
        camera(Blind())
    assert str(camera.failure) == "no OpenGL here; apt-get install libegl1."
    assert list(tmp_path.iterdir()) == []
