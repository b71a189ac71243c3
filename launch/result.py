"""`result.json`: what a finished run is worth, and the same in a few lines for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.live import minutes
from launch.machine import machine, version
from launch.runs import Run
from serl.experiment import Experiment

FIELDS = (
    "experiment",
    "seed",
    "version",
    "policy_version",
    "passed",
    "stopped_by",
    "reports_success",
    "successes",
    "judged_successes",
    "episodes",
    "wilson_95",
    "mean_cycle_steps",
    "mean_cycle_s",
    "mean_return",
    "env_steps",
    "training_human_steps",
    "training_interventions",
    "updates",
    "wall_s",
    "shortfall_updates",
    "machine",
    "per_episode",
)
"""Every result has these, in this order; null where the run has nothing to say."""


def make_result(
    experiment: Experiment,
    evaluation: dict[str, Any],
    learner: dict[str, Any],
    wall_s: float,
) -> dict[str, Any]:
    """The result from the actor's final test and the learner's counters.

    Args:
        evaluation: evaluation.json, the final test.
        learner: learner.json.
        wall_s: from the first demonstration to the last test episode, compilation included [s].
    """
    cycle_steps = evaluation.get("mean_cycle_steps")
    control_hz = getattr(experiment.env, "control_hz", None)
    why = evaluation.get("why")
    known = {
        **evaluation,
        **learner,
        "experiment": experiment.name,
        "seed": experiment.seed,
        "version": version(),
        "policy_version": evaluation.get("version"),
        "passed": why == "passed",
        "stopped_by": why,
        "mean_cycle_s": cycle_steps / control_hz if cycle_steps and control_hz else None,
        "wall_s": round(wall_s, 1),
        "machine": machine(),
    }
    return {field: known.get(field) for field in FIELDS}


def summary(run: Run, result: dict[str, Any], video: Path | None) -> str:
    """The result and where things lie."""
    lines = [test_line(result)]
    lines.append(
        f"{result['env_steps'] or 0:,} env steps, {result['updates'] or 0:,} critic updates, "
        f"{minutes(result['wall_s'])} min from the first demonstration to the last test episode"
    )
    if steps := result.get("training_human_steps"):
        lines.append(
            f"a person took over {result['training_interventions']} times and made {steps:,} of "
            f"the training steps ({steps / max(1, result['env_steps'] or 0):.1%})"
        )
    if result["passed"] is False:
        gates = " before the gates were passed" if tells_success(result) else ""
        lines.append(f"training ended{gates}: {result['stopped_by']}")
    places = {
        "result": run.result,
        "report": run.report,
        "video": video,
        "checkpoint": run.checkpoints,
        "logs": run.logs,
    }
    lines += [f"{name:<11}{path}" for name, path in places.items() if path is not None]
    return "\n".join(lines)


def tells_success(result: dict[str, Any]) -> bool:
    """Whether the env says which episodes succeed; many of Gymnasium's do not."""
    return result.get("reports_success") is not False


def test_line(result: dict[str, Any]) -> str:
    """Successes with their interval, return and cycle time, in one line."""
    if not result["episodes"]:
        return "no test episode was run"
    if not tells_success(result):
        return (
            f"mean return {result['mean_return']:.4g} over {result['episodes']} episodes "
            "(the env reports no success)"
        )
    low, high = result["wilson_95"]
    text = (
        f"{result['successes']} of {result['episodes']} succeeded "
        f"(95 % interval {low:.3f} to {high:.3f})"
    )
    if result.get("judged_successes") is not None:
        text += f", {result['judged_successes']} by the learned reward's own judgement"
    if result.get("assisted_episodes"):
        text += (
            f", {result['assisted_successes']} more of {result['assisted_episodes']} that a person "
            "helped"
        )
    if result["mean_return"] is not None:
        text += f", mean return {result['mean_return']:.3g}"
    if result["mean_cycle_steps"] is not None:
        text += f", mean cycle {result['mean_cycle_steps']:.1f} steps"
        if result.get("mean_cycle_s") is not None:
            text += f" = {result['mean_cycle_s']:.2f} s"
    return text
