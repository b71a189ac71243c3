"""Learning from pixels, as a user starts it: demonstrations, learner, actor, final test."""

from __future__ import annotations

import dataclasses

import pytest
from end_to_end.processes import HERE, end, read_json, serl, until
from end_to_end.reach_plane import EXPERIMENT

from serl.seeds import Purpose, episode_seed

FILE = HERE / "reach_plane.py"


@pytest.mark.timeout(280)
def test_a_short_run_from_pixels_succeeds_three_times_as_often_as_chance(tmp_path):
    demos, run, log = tmp_path / "demos", tmp_path / "learner", tmp_path / "log"
    status = run / "status-learner.json"
    count = EXPERIMENT.demos
    given = ("--demos", demos, "--demos-expected", count)
    processes = [
        serl("record", FILE, "--into", demos, "--demos", count, log=log),
        serl("learner", FILE, "--run-dir", run, "--bind", "127.0.0.1:0", *given, log=log),
    ]
    try:
        port = until("the learner's port", lambda: read_json(status).get("port"), log=log)
        where = ("--run-dir", tmp_path / "actor", "--learner-address", f"127.0.0.1:{port}")
        processes.append(serl("actor", FILE, *where, log=log))
        for process in processes:
            assert process.wait(240) == 0, log.read_text()[-3000:]
    finally:
        for process in processes:
            end(process)
    assert read_json(run / "learner.json")["final"]["successes"] >= 3 * chance()


def chance() -> int:
    """Successes of random actions on the seeds of the final test; at least one."""
    env = dataclasses.replace(EXPERIMENT.env, cameras=()).make()
    env.action_space.seed(0)
    successes = 0
    for k in range(EXPERIMENT.evaluation.final_episodes):
        env.reset(seed=episode_seed(Purpose.FINAL, 0, k))
        over = False
        while not over:
            *_, terminated, truncated, info = env.step(env.action_space.sample())
            over = terminated or truncated
        successes += bool(info["success"])
    env.close()
    return max(1, successes)
