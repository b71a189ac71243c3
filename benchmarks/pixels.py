"""What learning from two 128x128 cameras costs: updates, actions, steps, bytes.

python -m benchmarks.pixels
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.learner import row
from serl.agents.base import Batch
from serl.agents.image_config import ImageConfig
from serl.agents.sac import SACConfig
from serl.channel.codec import pack_params
from serl.checkpoint import Checkpoints
from serl.data.mixing import MixedSampler
from serl.data.prefetch import Prefetch
from serl.data.replay import Replay
from serl.pixels import FeatureLayout, images
from serl.policy import PolicyInHand
from serl.records import RecordBuilder
from serl.trunk import random_trunk

RESNET = (4, 4, 512)
NOISE = 3.0
"""Standard deviation of camera-like noise, of 255 per channel: a webcam indoors has 2 to 4."""
CASES = (
    ("resnet10", 10, ">= 9 (SERL 0.026)"),
    ("resnet10", 2, ">= 11 (LeRobot 0.46)"),
    ("small", 2, ">= 35"),
)
ACTION_GOALS = {"resnet10": "<= 17 (SERL 17.5)", "small": "<= 5"}


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Measure; rows of what, value, unit and goal."""
    rows = []
    for trunk, critics, goal in CASES:
        rows += learning(trunk, critics, goal, calls=4 if quick else 15)
    for trunk in ("resnet10", "small"):
        rows += acting(trunk, times=20 if quick else 100)
    rows.append(stepping(20 if quick else 200))
    rows += storing(2 if quick else 6)
    rows += sizes()
    return rows


def agent_of(trunk: str, critics: int, **changes: Any) -> Any:
    """An agent for pick_cube through two cameras."""
    image = ImageConfig(trunk=trunk, weights="random")
    config = SACConfig(utd_ratio=4, num_critics=critics, image=image, **changes)
    return config.make(pixel_env().spec())


def pixel_env() -> Any:
    from envs.tasks.pick_cube import PickCubeConfig

    return PickCubeConfig().pixels()


def learning(trunk: str, critics: int, goal: str, calls: int) -> list[dict[str, Any]]:
    """Critic updates a second, batches drawn from a feature cache by the learner's own thread."""
    agent = agent_of(trunk, critics)
    config = agent.config
    state = agent.init(jax.random.key(0))
    with cache(agent, rows=400) as replay:
        sampler = MixedSampler(replay, None, 0.0, n_step=3, features=True)

        def draw(rng: np.random.Generator) -> Batch:
            return Batch(**sampler.sample(rng, config.utd_ratio, config.batch_size))

        batches = Prefetch(draw, np.random.default_rng(0))
        rates = []
        for call in range(calls + 1):
            start = time.perf_counter()
            state, metrics = agent.update(state, batches.get())
            jax.block_until_ready(metrics)
            if call:
                rates.append(config.utd_ratio / (time.perf_counter() - start))
        batch = draw(np.random.default_rng(1))
        batches.close()
    memory = jax.jit(agent.update).lower(state, batch).compile().memory_analysis()
    assert memory is not None
    what = f"{trunk}, {critics} critics, batch 256"
    peak = (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 1e9
    return [
        row(
            f"critic updates/s from the cache, {what}, median",
            statistics.median(rates),
            "1/s",
            goal,
        ),
        row("the same, best", max(rates), "1/s"),
        row(f"memory of the compiled update, {what}", peak, "GB", "<= 4"),
    ]


@contextmanager
def cache(agent: Any, rows: int, crops: int = 2) -> Iterator[Replay]:
    """A replay of random steps whose features are random too: a trunk's cost is measured apart."""
    spec = agent.spec
    layout = FeatureLayout(
        trunk="0" * 15 + "1-random",
        cameras=tuple(a.name for a in images(spec)),
        shape=agent.feature_shape,
        crops=crops,
    )
    rng = np.random.default_rng(0)

    def encode(frames: NDArray[Any], offsets: NDArray[Any]) -> NDArray[np.uint16]:
        del offsets
        values = rng.standard_normal((len(frames), *layout.shape), np.float32)
        return (values.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 by truncation

    with (
        tempfile.TemporaryDirectory() as folder,
        Replay(folder, agent.record_spec, capacity=rows, features=layout) as replay,
    ):
        builder = RecordBuilder(spec)
        obs = {a.name: np.zeros(a.shape, a.dtype) for a in spec.observation}
        for episode in range(rows // 50):
            replay.append("bench", builder.first(episode, obs, {}))
            for step in range(1, 50):
                action = rng.uniform(-1, 1, spec.action.shape)
                over = step == 49
                record = builder.step(
                    action=action, obs=obs, reward=0.0, terminated=False, truncated=over, info={}
                )
                replay.append("bench", record)
        while replay.backlog:
            replay.encode_next(encode, 64)
        yield replay


def acting(trunk: str, times: int) -> list[dict[str, Any]]:
    """From two frames to an action, the trunk included; and the trunk alone."""
    agent = agent_of(trunk, 2)
    frozen = random_trunk(trunk)
    state = agent.init(jax.random.key(0))
    params = jax.tree.map(np.asarray, agent.policy_params(state))
    policy = PolicyInHand(agent, 0, version=0, params=params, trunk=frozen)
    rng = np.random.default_rng(0)
    obs = {a.name: rng.integers(0, 255, a.shape).astype(a.dtype) for a in agent.spec.observation}
    frames = rng.integers(0, 255, (32, 128, 128, 3)).astype(np.uint8)
    policy.begin()
    action_ms = _median_ms(lambda: policy.choose(obs, deterministic=False), times)
    image_ms = _median_ms(lambda: frozen.encode(frames), max(5, times // 10)) / len(frames)
    goal = ACTION_GOALS[trunk]
    return [
        row(f"policy action from two frames, {trunk}, median", action_ms, "ms", goal),
        row(f"{trunk} on one frame of 32", image_ms, "ms"),
    ]


def stepping(steps: int) -> dict[str, Any]:
    """One env step at 20 Hz in lockstep, both cameras drawn."""
    env = pixel_env().make()
    env.reset(seed=0)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        times.append(time.perf_counter() - start)
        if terminated or truncated:
            env.reset()
    env.close()
    goal = "<= 6 (gym-hil: 310 a frame)"
    return row("env step at 20 Hz, two cameras, median", 1e3 * statistics.median(times), "ms", goal)


def storing(episodes: int) -> list[dict[str, Any]]:
    """Bytes of one step on disk, ResNet-10's features of 4 crops and both frames kept."""
    rows = []
    for name, noise, goal in (("renders", 0.0, "<= 180"), ("camera-like noise", NOISE, "<= 200")):
        kilobytes = _stored(episodes, noise) / 1e3
        what = f"replay per step, two cameras, K 4, frames kept, ResNet-10, {name}"
        rows.append(row(what, kilobytes, "kB", f"{goal} (LeRobot 393, in memory)"))
    return rows


def _stored(episodes: int, noise: float) -> float:
    """Bytes per step of a replay after its frames were compressed."""
    config = pixel_env()
    env, spec = config.make(), config.spec()
    rng = np.random.default_rng(0)
    layout = FeatureLayout(
        trunk="0" * 15 + "1-random",
        cameras=tuple(a.name for a in images(spec)),
        shape=RESNET,
        crops=4,
    )
    builder = RecordBuilder(spec)

    def photographed(obs: dict[str, Any]) -> dict[str, Any]:
        def grain(frame: NDArray[Any]) -> NDArray[Any]:
            noisy = frame + noise * rng.standard_normal(frame.shape, np.float32)
            return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

        return {k: grain(v) if v.dtype == np.uint8 and noise else v for k, v in obs.items()}

    expert = config.expert(env, noise=0.2)
    with tempfile.TemporaryDirectory() as folder:
        made = Replay(folder, spec, capacity=10_000, features=layout, segment_bytes=4 << 20)
        with made as replay:
            for episode in range(episodes):
                obs, info = env.reset(seed=episode)
                expert.reset()
                replay.append("bench", builder.first(episode, photographed(obs), info))
                over = False
                while not over:
                    action = expert.act()
                    obs, reward, terminated, truncated, info = env.step(action)
                    over = terminated or truncated
                    record = builder.step(
                        action=action,
                        obs=photographed(obs),
                        reward=reward,
                        terminated=terminated,
                        truncated=truncated,
                        info=info,
                    )
                    replay.append("bench", record)
            replay.sync()
            replay.compress()
            steps = len(replay)
            sealed = [f.stat() for f in Path(folder).rglob("*.sealed")]
            rows = len(sealed) * max(1, (4 << 20) // (2 * 128 * 128 * 3))
            frames = sum(stat.st_size for stat in sealed) / rows if sealed else float("nan")
            columns = replay.dtype.itemsize - 2 * 128 * 128 * 3
            features = len(layout.cameras) * layout.crops * int(np.prod(layout.shape)) * 2
    env.close()
    assert steps
    return frames + columns + features


def sizes() -> list[dict[str, Any]]:
    """What is published, and what a checkpoint takes, with ResNet-10 and two cameras."""
    rows = []
    for critics in (2, 10):
        agent = agent_of("resnet10", critics)
        state = agent.init(jax.random.key(0))
        if critics == 2:
            params = jax.tree.map(np.asarray, agent.policy_params(state))
            published = len(pack_params(params)) / 1e6
            what = "parameters per publish, ResNet-10, two cameras, trunk known"
            rows.append(row(what, published, "MB", "<= 11 (HIL-SERL 32)"))
        with tempfile.TemporaryDirectory() as folder, Checkpoints(folder) as checkpoints:
            checkpoints.save(1, _used(state), {})
            checkpoints.wait()
            taken = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file()) / 1e6
        what = f"checkpoint, ResNet-10, two cameras, {critics} critics"
        rows.append(row(what, taken, "MB", "<= 75 (HIL-SERL 320)"))
    return rows


def _used(state: Any) -> Any:
    """As after training: a fresh optimiser's zeros would be stored in no space."""
    rng = np.random.default_rng(0)

    def noisy(leaf: Any) -> Any:
        floats = leaf.dtype == np.float32 and leaf.ndim
        return rng.standard_normal(leaf.shape, np.float32) if floats else leaf

    return jax.tree.map(noisy, state)


def _median_ms(call: Callable[[], Any], times: int) -> float:
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken)


if __name__ == "__main__":
    from launch.bench import print_rows

    print_rows(run())
