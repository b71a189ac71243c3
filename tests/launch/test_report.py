"""The result, the report and the live view, from the files that a run leaves behind."""

import html.parser
import io
import json
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch import runs
from launch.experiments import Selection
from launch.live import LiveView, State, minutes, progress
from launch.plots import Curve, plot, thinned, ticks
from launch.report import write_report
from launch.result import FIELDS, make_result, summary
from launch.session import Clock
from serl.evaluation import EpisodeResult, EvaluationResult, wilson_interval
from serl.experiment import BudgetConfig, Experiment
from serl.metrics import MetricsWriter, write_status

BUDGET = BudgetConfig(wall_s=600, updates=1000, env_steps=1000)


class Env:
    """As much of an env's config as a result needs."""

    control_hz = 20.0

    def spec(self):
        raise NotImplementedError

    def contract(self):
        return {}

    def make(self, *, render=False):
        raise NotImplementedError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return runs.open_run("demo", "toy", 0, Selection(experiment="toy"))


def evaluation(successes, episodes):
    rolled = tuple(
        EpisodeResult(seed=k, success=k < successes, steps=40 + k % 3, episode_return=1.0)
        for k in range(episodes)
    )
    return EvaluationResult(episodes=rolled)


def result_of(successes=98, episodes=100, why="passed"):
    tested = {"version": 7, "why": why, **evaluation(successes, episodes).to_json()}
    learner = {"updates": 24000, "env_steps": 9000, "shortfall_updates": 0.0, "wall_s": 1.0}
    return make_result(Experiment(name="toy", env=Env(), agent=None), tested, learner, 301.26)


def test_a_result_has_every_field_and_is_json():
    result = result_of()
    assert tuple(result) == FIELDS
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["successes"] == 98
    assert result["episodes"] == 100
    assert result["wilson_95"] == pytest.approx([0.930, 0.994], abs=5e-4)
    assert result["mean_cycle_s"] == pytest.approx(result["mean_cycle_steps"] / 20)
    assert result["wall_s"] == 301.3
    assert result["passed"] is True
    assert result["policy_version"] == 7
    assert {"name", "cpu", "cores", "versions"} <= result["machine"].keys()
    assert len(result["per_episode"]) == 100


def test_where_the_env_reports_no_success_the_return_leads(run):
    rolled = [
        EpisodeResult(
            seed=k, success=False, steps=200, episode_return=-150.0 - k, success_reported=False
        )
        for k in range(3)
    ]
    tested = {"version": 7, "why": "budget", **EvaluationResult(episodes=tuple(rolled)).to_json()}
    result = make_result(Experiment(name="toy", env=Env(), agent=None), tested, {}, 60.0)
    assert tuple(result) == FIELDS
    text = summary(run, result, None)
    assert text.startswith("mean return -151 over 3 episodes")
    assert "0 of 3" not in text
    assert "gates" not in text
    page = write_report(run, result, None).read_text()
    assert "mean return of 3 episodes" in page
    assert "0 / 3" not in page


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),  # Wilson's interval, as in Brown, Cai and DasGupta (2001), eq. 4
        (5, 10, 0.2366, 0.7634),
        (95, 100, 0.8882, 0.9785),
        (100, 100, 0.9630, 1.0),
    ],
)
def test_the_interval_is_wilsons(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_the_summary_says_the_result_and_where_things_lie(run):
    text = summary(run, result_of(), None)
    assert "98 of 100 succeeded (95 % interval 0.930 to 0.994)" in text
    assert "5:01" in text
    assert str(run.result) in text
    assert "gates" not in text
    assert "budget of 600 s spent" in summary(run, result_of(60, why="budget of 600 s spent"), None)


def test_the_report_stands_alone_and_shows_the_numbers(run):
    with MetricsWriter(run.path, "actor", tensorboard=False) as actor:
        for k in range(1000):
            actor.log(k, {"episode/success_last_20": k / 1000, "policy/age_s": 0.5})
    with MetricsWriter(run.path, "learner", tensorboard=False) as learner:
        for k in range(20):
            learner.log(
                k, {"updates_per_s": 90 + k, "critic/loss": None if k == 5 else 1 / (k + 1)}
            )
    video = run.path / "policy.mp4"
    video.write_bytes(b"film")
    run.write(run.config, {"contract": {"agent": {"discount": 0.97}}, "settings": {"seed": 0}})
    text = write_report(run, result_of(), video).read_text()

    class Tags(html.parser.HTMLParser):
        links: list[str] = []

        def handle_starttag(self, tag, attrs):
            self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    page = Tags()
    page.feed(text)
    assert [link[:15] for link in page.links] == ["data:video/mp4;"]
    assert "98 / 100" in text
    assert "agent.discount" in text
    assert text.count("<svg") == 4
    assert len(text) < 100_000


def test_a_report_without_metrics_or_video_still_stands(run):
    assert "no metrics" in write_report(run, result_of(), None).read_text()


numbers = st.floats(-1e9, 1e9, allow_subnormal=False)


@settings(max_examples=50)
@given(st.lists(st.tuples(numbers, st.none() | numbers), max_size=60))
def test_any_curve_plots_to_svg_within_its_frame(points):
    points = sorted(points, key=lambda p: p[0])
    curve = Curve(name="a & b", x=[x for x, _ in points], y=[y for _, y in points])
    text = plot([curve, thinned(curve, 7)], x_label="minutes", y_label="<Q>")
    if not any(y is not None for _, y in points):
        assert "No data" in text
        return
    root = ElementTree.fromstring(text)
    path = root.find("path")
    assert path is not None
    words = path.attrib["d"].replace("M", " ").replace("L", " ").split()
    for x, y in zip(words[::2], words[1::2], strict=True):
        assert 0 <= float(x) <= 460
        assert 0 <= float(y) <= 230


@settings(max_examples=50)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e9))
def test_ticks_are_round_and_within_range(periods, size):
    low = periods * size
    found = ticks(low, low + size)
    assert 1 <= len(found) <= 11
    assert all(low - 0.01 * size <= t <= low + 1.01 * size for t in found)


def test_a_terminal_that_is_none_gets_plain_lines(run):
    out = io.StringIO()
    write_status(
        run.status_path("actor"),
        {
            "phase": "final test, version 9",
            "env_steps": 5000,
            "env_steps_per_s": 61.0,
            "success_last_20": 17,
            "episodes_in_window": 20,
            "policy_version": 9,
            "policy_age_s": 0.4,
            "evaluation_done": 31,
            "evaluation_total": 100,
        },
    )
    write_status(
        run.status_path("learner"), {"phase": "x", "updates": 20000, "replay_records": 5120}
    )
    with LiveView(run, BUDGET, lambda: 90.0, out=out) as view:
        view()
        view.say("hello")
        view()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1] == "hello"
    for part in ("1:30", "final test, version 9: episode 31/100", "17/20", "v9", "5,120"):
        assert part in lines[0]


def test_the_panel_shows_what_is_asked_of_it(run):
    from rich.console import Console

    write_status(run.status_path("actor"), {"phase": "training", "env_steps_per_s": 61.0})
    write_status(run.status_path("learner"), {"updates_per_s": 95.0, "replay_records": 5120})
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(LiveView(run, BUDGET, lambda: 300.0, out=io.StringIO()).panel())
    text = console.export_text()
    for part in ("training", "env steps/s", "61", "updates/s", "95", "5,120", "success, last 20"):
        assert part in text
    for part in ("policy version", "policy age", "5:00", "left"):
        assert part in text


def test_a_process_that_has_gone_silent_is_shown_as_such():
    state = State({"actor": {"t_s": 100.0, "env_steps_per_s": 50.0}}, now_s=130.0)
    assert (("env steps/s", "silent for 30 s"), ("updates/s", "-")) in state.rows()


def test_progress_follows_the_part_of_the_budget_nearest_its_end():
    state = State({"learner": {"updates": 500}, "actor": {"env_steps": 100}}, now_s=0.0)
    assert progress(state, BUDGET, 60.0) == (0.5, 60.0)
    assert progress(State({}, 0.0), BUDGET, 0.0) == (0.0, 600.0)
    assert progress(state, BUDGET, 900.0) == (1.0, 0.0)


def test_minutes_are_read_like_a_clock():
    assert [minutes(s) for s in (0, 59.6, 312, 3725)] == ["0:00", "1:00", "5:12", "1:02:05"]


def test_the_clock_of_a_run_goes_on_where_it_stopped(run):
    run.set_worked(100.0)
    clock = Clock(run)
    assert clock.worked_s() >= 100.0
    clock.stop(at_s=None)
    assert runs.Run(run.path).worked_s >= 100.0


def test_work_that_was_done_before_now_stops_the_clock_then(run):
    run.set_worked(100.0)
    clock = Clock(run)
    clock.stop(at_s=clock._begin_unix_s)
    assert run.worked_s == 100.0
