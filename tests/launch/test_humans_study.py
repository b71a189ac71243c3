"""The study of a person in the loop: its command lines, its figures, its verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.humans import CASES, FULL, Size, append, averaged, draw, finished, verdict, words_of
from launch.experiments import Selection
from launch.main import parse


@pytest.fixture
def size(tmp_path: Path) -> Size:
    return replace(FULL, env_steps=1000, root=tmp_path / "runs", results=tmp_path / "results")


def finish(size: Size, case: int, seed: int, good_from: int) -> None:
    """A finished run of 40 episodes of 25 steps: from the given one on all succeed."""
    folder = size.root / CASES[case].name / str(seed)
    folder.mkdir(parents=True)
    result = {
        "successes": 9,
        "episodes": 10,
        "mean_cycle_s": 2.0,
        "env_steps": 1000,
        "updates": 7,
        "training_human_steps": 12,
        "training_interventions": 3,
    }
    (folder / "result.json").write_text(json.dumps(result))
    with (folder / "metrics.jsonl").open("w") as file:
        for k in range(40):
            share = max(0, min(20, k + 1 - good_from)) / 20
            row = {"name": "actor", "t_s": float(k), "env_steps": 25 * (k + 1)}
            row |= {"episode/return": 1.0, "episode/success_last_20": share}
            file.write(json.dumps(row) + "\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_is_a_command_line_of_the_same_problem_and_seed(case, size):
    for resume in (False, True):
        command = parse(words_of(case, 3, size, resume=resume))
        assert command.args.device == (None if case.name in ("rlpd", "bc") else "noisy_expert")
    command = parse(words_of(case, 3, size))
    experiment = Selection.from_args(command.args).load()
    assert experiment.seed == 3
    assert experiment.env.task_name == "pick_cube_hard"
    if case.data_of:
        assert experiment.agent.pretrain_updates == experiment.budget.updates
    else:
        assert experiment.budget.env_steps == size.env_steps


def test_steps_to_80_percent_are_counted_over_20_episodes_without_help(size):
    finish(size, 0, 0, good_from=10)
    (done,) = finished(size, CASES[0])
    assert done.steps_to_good == 25 * 26


def test_the_verdict_pairs_seeds_and_a_run_that_never_came_there_counts_in_full(size):
    finish(size, 0, 0, good_from=20)
    finish(size, 1, 0, good_from=4)
    finish(size, 0, 1, good_from=4)
    finish(size, 1, 1, good_from=40)
    told, judged = verdict(size)
    assert told.endswith("0.56, 2.00")
    assert "not reached" in judged


def test_a_result_is_a_row_once_and_the_curves_are_drawn(size):
    finish(size, 0, 0, good_from=10)
    for _ in range(2):
        append(CASES[0], 0, size)
    assert (size.results / "humans.md").read_text().count("| RLPD |") == 1
    assert "<svg" in draw(size).read_text()
    x, y = averaged(finished(size, CASES[0]), "episode/success_last_20")
    assert (x[0], x[-1], y[-1]) == (25.0, 975.0, 1.0)
