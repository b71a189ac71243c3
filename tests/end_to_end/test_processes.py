"""Whole runs of real processes: two terminals, kills, Ctrl-C and going on."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from end_to_end.processes import EXPERIMENT, end, read_json, serl, until

from serl.data.replay import Replay
from serl.experiment import load_experiment


def metrics(run) -> list[dict]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def port_of(run, log) -> int:
    status = until(
        "the learner's port",
        lambda: read_json(run / "status-learner.json").get("port"),
        log=log,
    )
    return int(status)


def test_actor_and_learner_by_hand_with_a_second_actor_and_a_kill_of_each(tmp_path):
    """Nothing is lost or doubled, the second actor's steps arrive, the final test is reported."""
    run, log = tmp_path / "learner", tmp_path / "learner.log"
    learn = ("learner", EXPERIMENT, "--run-dir", run, "--bind")
    learner = serl(*learn, "127.0.0.1:0", log=log)
    processes = [learner]
    try:
        port = port_of(run, log)

        def actor(name: str, *more: str) -> subprocess.Popen[bytes]:
            where = ("--run-dir", tmp_path / name, "--learner-address", f"127.0.0.1:{port}")
            process = serl("actor", EXPERIMENT, *where, *more, log=tmp_path / f"{name}.log")
            processes.append(process)
            return process

        first = actor("first")
        actor("second", "--no-evaluate")
        until("steps", lambda: read_json(run / "status-learner.json").get("env_steps", 0) > 150)
        until("the first actor", (tmp_path / "first" / "launch.json").is_file)  # not the second's
        os.kill(learner.pid, signal.SIGINT)  # a clean stop asks nothing of the actors
        assert learner.wait(60) == 0, log.read_text()[-3000:]
        assert first.poll() is None, (tmp_path / "first.log").read_text()[-3000:]
        end(first)
        learner = serl(*learn, f"127.0.0.1:{port}", "--resume", log=log)
        processes.append(learner)
        first = actor("first", "--resume")
        assert first.wait(150) == 0, (tmp_path / "first.log").read_text()[-3000:]
        assert learner.wait(60) == 0, log.read_text()[-3000:]
        second = processes[2]  # between two attempts to connect it may have missed the run's end
        if second.poll() is None:
            os.kill(second.pid, signal.SIGINT)
        assert second.wait(30) == 0
    finally:
        for process in processes:
            end(process)
    result = json.loads((run / "learner.json").read_text())
    assert result["final"]["episodes"] == 20
    with Replay(run / "replay", load_experiment(EXPERIMENT).env.spec(), 20_000) as replay:
        keys = [
            (e.actor_id, int(r["episode"]), int(r["index"]))
            for e in replay.iter_episodes()
            for r in e.records
        ]
    assert len(keys) == len(set(keys))
    assert len({actor for actor, _, _ in keys}) == 2
    assert result["env_steps"] == sum(index > 0 for _, _, index in keys)


def test_ctrl_c_stops_everything_says_how_to_resume_and_resume_finishes(tmp_path):
    run, log = tmp_path / "run", tmp_path / "train.log"
    train = serl("train", EXPERIMENT, "--run-dir", run, log=log)
    try:
        until("training", lambda: read_json(run / "status-learner.json").get("updates", 0) > 20)
        os.kill(train.pid, signal.SIGINT)
        assert train.wait(60) == 130, log.read_text()[-3000:]
    finally:
        end(train)
    said = log.read_text()
    assert "--resume" in said
    assert "Traceback" not in said
    before = read_json(run / "status-learner.json")["updates"]
    again = serl("train", EXPERIMENT, "--run-dir", run, "--resume", log=log)
    try:
        assert again.wait(180) == 0, log.read_text()[-3000:]
    finally:
        end(again)
    result = read_json(run / "result.json")
    assert result["episodes"] == 20
    assert result["updates"] >= before
    assert (run / "report.html").is_file()
    assert (run / "checkpoints" / "policy.safetensors").is_file()
    check_evaluation_from_a_checkpoint_alone(run, tmp_path / "evaluate.log")


def check_evaluation_from_a_checkpoint_alone(run, log) -> None:
    """`serl evaluate` needs no learner; the final test's seeds and policy give its result again."""
    process = serl("evaluate", run, "--episodes", 20, log=log)
    try:
        assert process.wait(90) == 0, log.read_text()[-3000:]
    finally:
        end(process)
    successes = read_json(run / "result.json")["successes"]
    assert f"{successes} of 20" in log.read_text()


@pytest.mark.parametrize("verb", ["actor", "learner"])
def test_a_mismatched_experiment_is_one_line_with_the_difference(tmp_path, verb):
    run, log = tmp_path / "learner", tmp_path / "learner.log"
    learner = serl("learner", EXPERIMENT, "--run-dir", run, "--bind", "127.0.0.1:0", log=log)
    other = None
    try:
        port = port_of(run, log)
        until("training's start", lambda: "waiting" in str(read_json(run / "status-learner.json")))
        out = tmp_path / "other.log"
        if verb == "actor":
            words = ("--learner-address", f"127.0.0.1:{port}", "--run-dir", tmp_path / "actor")
            expected = "agent.discount: 0.5 here, 0.9 there"
        else:
            words = ("--bind", f"127.0.0.1:{port}", "--run-dir", tmp_path / "second")
            expected = "in use"
        other = serl(verb, EXPERIMENT, *words, "--agent.discount", 0.5, log=out)
        assert other.wait(60) == 2, out.read_text()[-3000:]
        assert expected in out.read_text()
        assert "Traceback" not in out.read_text()
    finally:
        for process in (learner, other):
            if process is not None:
                end(process)
