"""What a person meets first: help, unknown names, values out of range, and one line for each."""

import importlib
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks import gym
from launch import actor, bench, learner, overrides, runs
from launch.arguments import split_overrides
from launch.experiments import Selection
from launch.main import VERBS, main, parse
from launch.ports import free_port
from launch.session import Options, Session
from launch.train import warn_without_demos
from serl.errors import SpecMismatch, UserError
from serl.evaluation import EvaluationResult
from serl.experiment import BudgetConfig, ReplayConfig
from serl.metrics import write_status

EXPERIMENT = """
from dataclasses import dataclass, field
from serl.experiment import Experiment
from serl.types import ArraySpec, Spec

@dataclass(frozen=True, kw_only=True)
class Env:
    control_hz: float = 10.0
    axes: tuple[str, ...] = ("x", "y")
    limit: float | None = None
    realtime: bool = False
    def spec(self):
        array = ArraySpec(name="state", shape=(2,), dtype="float32")
        return Spec(observation=(array,), action=array)
    def contract(self):
        return {"control_hz": self.control_hz}
    def make(self, *, render=False):
        raise NotImplementedError

@dataclass(frozen=True, kw_only=True)
class Agent:
    discount: float = 0.97
    def __post_init__(self):
        if not 0 <= self.discount <= 1:
            raise ValueError("a discount is within 0 to 1")

EXPERIMENT = Experiment(name="toy", env=Env(), agent=Agent())
"""


@dataclass(frozen=True)
class Switches:
    on: bool = True
    limit: float | None = 1.0


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The path of a small experiment, with runs/ in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "toy" / "experiment.py"
    path.parent.mkdir()
    path.write_text(EXPERIMENT)
    return str(path)


def refused(capfd, *argv):
    """The one line with which a command line is refused."""
    assert main([str(word) for word in argv]) == 2
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1, err
    return err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples_that_parse(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    lines = [line.strip() for line in text.splitlines() if line.startswith("  serl ")]
    examples = [re.split(r"\s{2,}", line)[0].split() for line in lines]  # what a line does follows
    assert examples, f"serl {verb} --help shows no example"
    shown = [parse(words[1:]).verb for words in examples]
    assert shown[0] == verb
    assert shown.count(verb) > len(shown) / 2, "most are of this verb; one may show what is next"


def test_help_names_every_verb_in_one_line_and_its_examples_parse(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for verb, about in VERBS.items():
        assert f"  {verb} " in text
        assert about.help in text
    for line in text.splitlines():
        if line.startswith("  serl "):
            parse(line.split("  ")[1].split()[1:])


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from launch.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'jax', 'rich', 'tyro', 'grpc', 'gymnasium'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_a_command_line_that_is_refused_exits_with_2_and_one_line():
    argv = [sys.executable, "-m", "launch.main", "demo", "--seed", "-1"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "serl demo: argument --seed: -1 is out of range; it must be 0 to 65535. "
        "See `serl demo --help`.\n"
    )


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "say what to do"),
        (["trian"], "Did you mean 'train'"),
        (["demo", "--sed", "3"], "Did you mean --seed"),
        (["demo", "--demos", "-1"], "must be 0 to 10000"),
        (["demo", "--demos", "many"], "not a whole number"),
        (["record", "--demos", "0", "--task", "reach"], "1 or more"),
        (["evaluate", "here", "--episodes", "0"], "out of range"),
        (["learner", "x", "--bind", "nowhere"], "not HOST:PORT"),
        (["actor", "x", "--learner-address", "host:99999"], "0 to 65535"),
        (["doctor", "one", "two"], "one word too many"),
        (["list", "runs", "--a.b", "1"], "only `serl list settings`"),
        (["bench", "--agent.discount", "1"], "takes no experiment settings"),
        (["bench", "learnr"], "Did you mean 'learner'"),
        (["train"], "name an experiment"),
        (["train", "--task", "reach", "--env", "Pendulum-v1"], "both name an experiment"),
        (["train", "no_such_example"], "no experiment named"),
        (["train", "no/such/experiment.py"], "no experiment file"),
        (["record", "--task", "pick_cub"], "Did you mean 'pick_cube'"),
        (["record", "--env", "Pendulm-v1"], "Did you mean 'Pendulum-v1'"),
        (["train", "x", "--with-data"], "--init-from"),
        (["train", "x", "--demos", "no/folder"], "serl record"),
        (["train", "x", "--init-from", "no/run"], "no run or checkpoint"),
        (["evaluate", "no/run"], "no run or checkpoint"),
        (["replay-demo", "no.npz"], "no episode at no.npz"),
    ],
)
def test_bad_words_are_told_in_one_line(argv, says, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in refused(capfd, *argv)
    assert not (tmp_path / "runs").exists(), "nothing may be left behind"


def test_an_unknown_agent_names_the_nearest(capfd, toy):
    assert "Did you mean 'sac'" in refused(capfd, "list", "settings", toy, "--agent", "sca")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = (\n", "SyntaxError"),
        ("x = 1\n", "defines no EXPERIMENT"),
        (
            EXPERIMENT + "EXPERIMENT = Experiment(name='a', env=Env(), agent=1, seed=-1)",
            "seed is -1",
        ),
    ],
)
def test_an_experiment_file_that_cannot_be_had_is_told_in_one_line(text, says, capfd, tmp_path):
    (tmp_path / "experiment.py").write_text(text)
    assert says in refused(capfd, "list", "settings", tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--agent.discont", "0.9"], "Did you mean '--agent.discount'"),
        (["--agnt.discount", "0.9"], "Did you mean '--agent'"),
        (["--agent.discount", "high"], "takes a number, got 'high'; it is 0.97 now"),
        (["--agent.discount"], "got 'nothing'"),
        (["--agent.discount", "0.9", "0.8"], "got '0.9 0.8'"),
        (["--agent.discount", "2"], "a discount is within 0 to 1"),
        (["--agent.discount.low", "1"], "it has no parts"),
        (["--budget.wall-s", "-5"], "must be 1 or more"),
        (["--budget.wall-s", "nan"], "must be 1 or more"),
        (["--replay.demo-fraction", "1.5"], "must be 0 to 1"),
        (["--evaluation.gate-successes", "21"], "must be 0 to 20"),
    ],
)
def test_a_setting_that_cannot_be_is_told_in_one_line(words, says, capfd, toy):
    assert says in refused(capfd, "list", "settings", toy, *words)


def test_any_setting_changes_by_its_path(toy):
    args = parse(["train", toy, "--seed", "3", "--agent.discount", "0.5", "--env.axes", "z"]).args
    more = [("env.limit", ["2.5"]), ("env.realtime", []), ("budget.wall_s", ["60"])]
    args.overrides += more
    experiment = Selection.from_args(args).load()
    assert experiment.agent.discount == 0.5
    assert experiment.env.axes == ("z",)
    assert experiment.env.limit == 2.5
    assert experiment.env.realtime is True
    assert experiment.budget == BudgetConfig(wall_s=60.0)
    assert experiment.seed == 3


def test_a_switch_turns_off_and_a_value_becomes_none():
    config = overrides.apply(Switches(), [("on", ["True"]), ("no_on", []), ("limit", ["None"])])
    assert config == Switches(on=False, limit=None)


def test_overrides_take_words_up_to_the_next_flag_and_negative_numbers():
    flags, changed = split_overrides(
        ["file", "--a.b", "-1", "-.5", "--seed", "2", "--c.d=-3", "--e.f-g"]
    )
    assert flags == ["file", "--seed", "2"]
    assert changed == [("a.b", ["-1", "-.5"]), ("c.d", ["-3"]), ("e.f_g", [])]


def test_every_setting_listed_is_a_flag_that_reads_back_its_own_value(toy):
    experiment = Selection(experiment=toy).load()
    for path, _, value in overrides.leaves(experiment):
        words = [str(v) for v in value] if isinstance(value, tuple) else [str(value)]
        again = overrides.apply(experiment, [(path.replace("-", "_"), words)])
        assert again == experiment, path


def test_a_selection_is_the_same_after_its_own_words_and_after_json(toy):
    args = parse(["train", toy, "--seed", "3", "--agent.discount", "0.5", "--env.axes", "z"]).args
    selection = Selection.from_args(args)
    again = Selection.from_args(parse(["train", *selection.argv()]).args)
    assert again == selection
    stored = json.loads(json.dumps(vars(selection)))
    assert Selection.from_json(stored) == selection


class TestRuns:
    """Which run `--resume` finds, and what it refuses."""

    def open(self, toy, verb="train", name="toy", seed=0, **options):
        return runs.open_run(verb, name, seed, Selection(experiment=toy), **options)

    def test_resume_finds_the_newest_unfinished_run_of_the_same_seed_and_verb(self, toy):
        first, second = self.open(toy), self.open(toy)
        other = self.open(toy, seed=1)
        self.open(toy, verb="demo")
        assert len({first.path, second.path, other.path}) == 3
        assert self.open(toy, resume=True).path == second.path
        second.write(second.result, {})
        assert self.open(toy, resume=True).path == first.path
        assert self.open(toy, seed=1, resume=True).path == other.path

    def test_resume_without_an_unfinished_run_says_so(self, toy):
        with pytest.raises(UserError, match="no unfinished run of 'toy' with seed 0"):
            self.open(toy, resume=True)

    def test_a_finished_run_is_not_resumed(self, toy, tmp_path):
        run = self.open(toy, path=tmp_path / "mine")
        run.write(run.result, {})
        with pytest.raises(UserError, match="is finished"):
            self.open(toy, path=tmp_path / "mine", resume=True)

    def test_a_folder_that_holds_a_run_is_not_begun_anew(self, toy, tmp_path):
        self.open(toy, path=tmp_path / "mine")
        with pytest.raises(UserError, match="add --resume"):
            self.open(toy, path=tmp_path / "mine")

    def test_two_commands_do_not_work_on_one_run(self, toy):
        run = self.open(toy)
        again = runs.Run(run.path)
        with run.locked(), pytest.raises(UserError, match="another command"), again.locked():
            pass
        with again.locked():
            pass

    def test_settings_given_with_resume_come_on_top_and_are_kept(self, toy):
        run = self.open(toy)
        run.go_on("train", Selection(overrides=(("budget.wall_s", ("60",)),)))
        assert runs.Run(run.path).selection.load().budget.wall_s == 60.0

    def test_with_resume_the_folder_is_enough(self, toy, tmp_path):
        path = tmp_path / "mine"
        self.open(toy, path=path)
        for given in (Selection(), Selection(experiment=toy), Selection(experiment="toy", seed=0)):
            run, selection, experiment = runs.enter("train", given, path=path, resume=True)
            assert run.path == path
            assert selection.experiment == toy
            assert experiment.name == "toy"

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--seed", "1"], "--seed 0, not 1"),
            (["--task", "reach"], "not --task reach"),
            (["--agent", "sac"], "its own agent, not --agent sac"),
            (["--demos", "."], "began with demos None"),
        ],
    )
    def test_words_that_contradict_the_run_are_refused(self, toy, tmp_path, capfd, words, says):
        options = Options().to_json()
        self.open(toy, path=tmp_path / "mine", options=options)
        words = ["train", "--resume", "--run-dir", tmp_path / "mine", *words]
        assert says in refused(capfd, *words)

    def test_a_run_is_resumed_with_the_verb_it_began_with(self, toy, tmp_path):
        self.open(toy, verb="learner", path=tmp_path / "mine")
        with pytest.raises(UserError, match="started with `serl learner`"):
            runs.enter("train", Selection(), path=tmp_path / "mine", resume=True)

    def test_a_setting_that_makes_it_another_problem_is_refused_and_not_kept(self, toy, tmp_path):
        run = self.open(toy, path=tmp_path / "mine")
        run.open_as(run.selection.load())
        other = Selection(overrides=(("agent.discount", ("0.5",)),))
        with pytest.raises(SpecMismatch, match=r"agent\.discount"):
            runs.enter("train", other, path=run.path, resume=True)
        runs.enter("train", Selection(), path=run.path, resume=True)

    def test_a_folder_that_cannot_be_locked_is_one_line(self, toy):
        run = self.open(toy)
        (run.path / "lock").mkdir()
        with pytest.raises(UserError, match=r"cannot write .*lock"), run.locked():
            pass

    def test_a_damaged_launch_json_is_named_and_hides_no_other_run(self, toy):
        damaged, good = self.open(toy), self.open(toy)
        damaged.launch.write_text("{")
        assert [run.path for run in runs.all_runs()] == [good.path]
        with pytest.raises(UserError, match=r"launch\.json"):
            _ = damaged.about

    def test_a_run_is_found_from_anything_inside_it(self, toy):
        run = self.open(toy)
        run.videos.mkdir()
        assert runs.find_run(str(run.videos)).path == run.path.resolve()


@pytest.fixture
def session(toy, monkeypatch):
    """A training about to be carried out, whose processes end at once."""
    session = Session.open(
        "train", Selection(experiment=toy), Options(), run_dir=None, resume=False, wandb=False
    )
    monkeypatch.setattr(Session, "_train", lambda self, asked: None)
    return session


def test_a_run_without_its_final_test_gets_no_result(session, capsys):
    assert session.carry_out() == 1
    assert not session.run.finished
    err = capsys.readouterr().err
    assert "final test is missing" in err
    assert session.how_to_resume() in err


def test_a_run_with_its_final_test_gets_a_result(session):
    tested = EvaluationResult(episodes=()).to_json()
    session.run.write(session.run.evaluation, {"version": 1, "why": "passed", **tested})
    assert session.carry_out() == 0
    assert session.run.finished


def test_the_command_that_goes_on_is_called_as_this_one_was(session, monkeypatch, tmp_path):
    script = tmp_path / ".venv" / "bin" / "serl"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    for called in (".venv/bin/serl", str(script)):
        monkeypatch.setattr("sys.argv", [called, "train"])
        monkeypatch.setenv("PATH", "/usr/bin")
        words = session.how_to_resume().split()
        assert words[:2] == [".venv/bin/serl", "train"]
        assert parse(words[1:]).args.resume
        monkeypatch.setenv("PATH", str(script.parent))
        assert session.how_to_resume().split()[0] == "serl"


def test_the_port_of_a_run_is_free_and_none_that_a_dialling_actor_may_get():
    """An actor that dials a port of the ephemeral range can connect to itself."""
    for _ in range(20):
        port = free_port()
        assert 20_000 <= port < 32_000
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


def test_training_without_the_demonstrations_an_experiment_counts_on_is_said(toy, capsys):
    experiment = Selection(experiment=toy).load()
    warn_without_demos(experiment)
    (line,) = capsys.readouterr().err.splitlines()
    assert "50% of each batch" in line
    assert "--demos demos/toy" in line
    warn_without_demos(replace(experiment, demos=0))
    warn_without_demos(replace(experiment, replay=ReplayConfig(demo_fraction=0.0)))
    assert capsys.readouterr().err == ""


def test_a_learner_by_hand_says_how_far_it_came_and_keeps_a_tested_result(toy, tmp_path):
    run = runs.open_run("learner", "toy", 0, Selection(experiment=toy), path=tmp_path / "run")
    experiment = run.selection.load()
    done = {"updates": 4000, "env_steps": 1000, "policy_version": 9, "wall_s": 60.0}
    done |= {"shortfall_updates": 0.0, "ended": None, "final": None}
    text = learner.conclude(run, experiment, done)
    assert "4,000 updates, 1,000 env steps, policy version 9" in text
    assert "--resume" in text
    assert not run.finished
    final = {"version": 9, "why": "passed", **EvaluationResult(episodes=()).to_json()}
    learner.conclude(run, experiment, {**done, "ended": "passed", "final": final})
    assert run.read(run.result)["passed"] is True


def test_an_actor_by_hand_says_what_it_did_and_what_is_unsent(toy, tmp_path):
    run = runs.open_run("actor", "toy", 0, Selection(experiment=toy), path=tmp_path / "run")
    write_status(run.status_path("actor"), {"success_last_20": 7, "episodes_in_window": 9})
    done = {"env_steps": 1234, "episodes": 9, "unsent_records": 12, "finished": False}
    text = actor.account(run, done)
    assert "1,234 env steps, 9 episodes, 7 of the last 9 succeeded" in text
    assert "12 records are still in" in text
    assert "every record" in actor.account(run, {**done, "unsent_records": 0})


@pytest.mark.parametrize("name", bench.ALL)
def test_every_benchmark_that_is_named_is_there(name):
    for module in bench.MODULES.get(name, (name,)):
        if name != "demo":
            assert callable(importlib.import_module(f"benchmarks.{module}").run)


def test_a_bench_of_whole_runs_goes_on_with_what_there_is_and_ends_in_one_table(
    toy, capsys, monkeypatch
):
    done, begun, fresh = (Selection(experiment=toy, seed=seed) for seed in range(3))
    for selection in (done, begun):
        experiment = selection.load()
        run = runs.open_run("train", "toy", experiment.seed, selection, options=Options().to_json())
        run.open_as(experiment)
    (run,) = (run for run in runs.all_runs() if run.about["seed"] == 0)
    run.write(run.result, {"mean_return": -150.25})
    called = []

    def carry_out(session):
        called.append((session.experiment.seed, session.run.path))
        session.run.open_as(session.experiment)
        session.run.write(session.run.result, {"mean_return": -160.0})
        return 0

    monkeypatch.setattr(Session, "carry_out", carry_out)
    begun_at = [run.path for run in runs.all_runs() if run.about["seed"] == 1]
    columns = {"mean return": lambda run, result: f"{result['mean_return']:.1f}"}
    assert bench.whole_runs("train", [done, begun, fresh], columns) == 0
    assert [seed for seed, _ in called] == [1, 2]
    assert called[0][1] == begun_at[0]
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row.split("|")[2].strip() for row in rows[2:]] == ["-150.2", "-160.0", "-160.0"]


def test_the_gym_bench_is_the_documented_training():
    words = gym.selection(1, quick=False).argv()
    assert words == [
        "--env",
        "Pendulum-v1",
        "--seed",
        "1",
        "--budget.env-steps",
        "20000",
        "--evaluation.final-episodes",
        "20",
    ]
    assert gym.GOAL == -200


def test_a_sourced_ros_2_does_not_hide_the_commands(tmp_path):
    """ROS 2 has a package `launch`, and its set-up script puts it first on the path."""
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "__init__.py").write_text("raise RuntimeError('this is ROS')")
    done = subprocess.run(
        [sys.executable, "-m", "serl", "--help"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        cwd=tmp_path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "robot-server" in done.stdout
