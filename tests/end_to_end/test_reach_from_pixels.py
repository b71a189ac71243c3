"""Learning from pixels, as a user starts it: demonstrations, learner, actor, final test."""

from __future__ import annotations

import dataclasses

import pytest
from end_to_end.processes import end, read_json, serl, until

from envs.tasks.reach import ReachConfig
from serl.seeds import Purpose, episode_seed

EASY = {
    "spread_m": (0.16, 0.2, 0.16),
    "hold_s": 0.15,
    "episode_s": 1.5,
    "reward": "dense",
}
"""Goals near the start: chance finds few in 1.5 s."""
EPISODES = 60
DEMOS = 12


def words(name: str, value: object) -> list[object]:
    values = value if isinstance(value, tuple) else (value,)
    return [f"--env.{name.replace('_', '-')}", *values]


ENV = [word for item in EASY.items() for word in words(*item)]
SETTINGS = (
    *("reach_pixels", *ENV),
    *("--agent.batch-size", 64, "--agent.image.embeddings", 4, "--agent.image.bottleneck", 64),
    *("--budget.updates", 4000, "--budget.wall-s", 220),
    *("--evaluation.trigger-successes", 21, "--evaluation.final-episodes", EPISODES),
)


@pytest.mark.timeout(280)
def test_a_short_run_from_pixels_succeeds_three_times_as_often_as_chance(tmp_path):
    demos, run, log = tmp_path / "demos", tmp_path / "learner", tmp_path / "log"
    status = run / "status-learner.json"
    recorder = serl("record", "reach_pixels", *ENV, "--into", demos, "--demos", DEMOS, log=log)
    given = ("--demos", demos, "--demos-expected", DEMOS)
    learner = serl("learner", *SETTINGS, "--run-dir", run, "--bind", "127.0.0.1:0", *given, log=log)
    processes = [recorder, learner]
    try:
        port = until("the learner's port", lambda: read_json(status).get("port"), log=log)
        where = ("--run-dir", tmp_path / "actor", "--learner-address", f"127.0.0.1:{port}")
        processes.append(serl("actor", *SETTINGS, *where, log=log))
        for process in processes:
            assert process.wait(240) == 0, log.read_text()[-3000:]
    finally:
        for process in processes:
            end(process)
    assert read_json(run / "learner.json")["final"]["successes"] >= 3 * chance()


def chance() -> int:
    """Successes of random actions on the seeds of the final test."""
    env = dataclasses.replace(ReachConfig().pixels(), cameras=(), **EASY).make()
    env.action_space.seed(0)
    successes = 0
    for k in range(EPISODES):
        env.reset(seed=episode_seed(Purpose.FINAL, 0, k))
        over = False
        while not over:
            *_, terminated, truncated, info = env.step(env.action_space.sample())
            over = terminated or truncated
        successes += bool(info["success"])
    env.close()
    return max(1, successes)
