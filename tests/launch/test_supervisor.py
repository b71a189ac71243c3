"""Children that crash, hang or lose their parent, with small scripts in place of real ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from launch.processes import Child, Interrupts
from launch.supervisor import Stopped, Supervisor
from serl.errors import UserError

WAIT_S = 30.0

POLITE = """
import pathlib, sys
from launch.processes import stop_on_signals
stop = stop_on_signals(int(sys.argv[-1]))
here = pathlib.Path(sys.argv[1])
(here / "started").write_text("")
stop.wait()
(here / "checkpoint").write_text("saved")
"""
"""Runs until it is asked to stop, then saves."""

STUBBORN = """
import pathlib, sys, time
import launch.processes as processes
processes.ORPHAN_GRACE_S = 0.3
processes.stop_on_signals(int(sys.argv[-1]))
(pathlib.Path(sys.argv[1]) / "started").write_text("")
while True:
    time.sleep(1)
"""
"""Never heeds anything."""

CRASHES = """
import pathlib, sys
runs = pathlib.Path(sys.argv[1]) / "runs"
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
print("about to fail, run", len(runs.read_text()), flush=True)
sys.exit(0 if len(runs.read_text()) > int(sys.argv[2]) else 7)
"""
"""Fails the first N times, then does its work."""

REFUSES = """
import sys
print("serl actor: the token is wrong. Give the right one.", file=sys.stderr)
sys.exit(2)
"""


def make_child(
    folder: Path, name: str, script: str, *words: object, timeout_s=10.0, may_end=False, **how
) -> Child:
    place = folder / name
    place.mkdir(exist_ok=True)
    argv = [sys.executable, "-c", script, str(place), *map(str, words)]
    log = folder / "logs" / f"{name}.log"
    return Child(name, argv, log, stop_timeout_s=timeout_s, may_end=may_end, **how)


def wait_for(condition, what):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(0.02)


def supervise(children, until, **options):
    said = []
    options.setdefault("interrupts", Interrupts())
    supervisor = Supervisor(children, on_message=said.append, **options)
    try:
        supervisor.run(until=until)
    finally:
        assert not any(child.running for child in children)
    return said


def test_a_child_that_dies_is_started_again_and_its_last_words_are_shown(tmp_path):
    learner = make_child(tmp_path, "learner", POLITE)
    actor = make_child(tmp_path, "actor", CRASHES, 2)
    said = "\n".join(supervise([learner, actor], actor))
    assert actor.starts == 3
    assert learner.starts == 1
    assert "actor died (code 7, start 1)" in said
    assert "about to fail, run 2" in said


def test_the_others_are_asked_to_stop_when_the_work_is_done(tmp_path):
    learner = make_child(tmp_path, "learner", POLITE)
    actor = make_child(tmp_path, "actor", "import time; time.sleep(1.5)")
    supervise([learner, actor], actor)
    assert (tmp_path / "learner" / "checkpoint").read_text() == "saved"


def test_a_child_that_keeps_dying_ends_the_run_in_one_line(tmp_path):
    learner = make_child(tmp_path, "learner", POLITE)
    actor = make_child(tmp_path, "actor", CRASHES, 100)
    with pytest.raises(UserError, match=r"once too often.*--resume"):
        supervise([learner, actor], actor, max_restarts=1)
    assert actor.starts == 2


def test_a_child_that_ends_well_but_too_early_is_started_again(tmp_path):
    """A learner that gave up used to leave the actor waiting for it for ever."""
    learner = make_child(tmp_path, "learner", "pass")
    actor = make_child(tmp_path, "actor", POLITE)
    with pytest.raises(UserError, match=r"learner ended before the work was done.*once too often"):
        supervise([learner, actor], actor, max_restarts=1, missed_after_s=0.2)
    assert learner.starts == 2
    assert actor.starts == 1


def test_a_child_that_may_end_and_one_that_ends_just_before_the_work_are_not_missed(tmp_path):
    recorder = make_child(tmp_path, "recorder", "pass", may_end=True)
    learner = make_child(tmp_path, "learner", "import time; time.sleep(1)")
    actor = make_child(tmp_path, "actor", "import time; time.sleep(2)")
    children = [recorder, learner, actor]
    supervise(children, actor, missed_after_s=60.0)
    assert [child.starts for child in children] == [1, 1, 1]
    recorder = make_child(tmp_path, "recorder", "pass", may_end=True)
    supervise([recorder, actor], actor, missed_after_s=0.0)
    assert recorder.starts == 1


def test_a_child_killed_by_a_signal_is_named_with_it(tmp_path):
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    actor = make_child(tmp_path, "actor", script)
    with pytest.raises(UserError, match="signal 9"):
        supervise([actor], actor, max_restarts=0)


def test_what_a_child_told_the_user_is_told_once_and_not_tried_again(tmp_path):
    learner = make_child(tmp_path, "learner", POLITE)
    actor = make_child(tmp_path, "actor", REFUSES)
    with pytest.raises(UserError) as caught:
        supervise([learner, actor], actor)
    assert str(caught.value) == "the token is wrong. Give the right one."
    assert actor.starts == 1


def test_a_request_to_stop_lets_every_child_save(tmp_path):
    children = [make_child(tmp_path, name, POLITE) for name in ("learner", "actor")]
    asked = Interrupts()

    def stop_once_started():
        if all((tmp_path / c.name / "started").exists() for c in children):
            asked.add()

    with pytest.raises(Stopped):
        supervise(children, children[1], interrupts=asked, on_tick=stop_once_started)
    for child in children:
        assert (tmp_path / child.name / "checkpoint").exists()


def test_a_child_that_does_not_stop_in_time_is_killed_and_named(tmp_path):
    actor = make_child(tmp_path, "actor", STUBBORN, timeout_s=0.3)
    asked, said = Interrupts(), []

    def stop_once_started():
        if (tmp_path / "actor" / "started").exists():
            asked.add()

    supervisor = Supervisor(
        [actor], interrupts=asked, on_tick=stop_once_started, on_message=said.append
    )
    with pytest.raises(Stopped):
        supervisor.run(until=actor)
    assert actor.returncode == -signal.SIGKILL
    assert any("killed" in text for text in said)


def test_a_second_request_to_stop_does_not_wait(tmp_path):
    actor = make_child(tmp_path, "actor", STUBBORN, timeout_s=1e6)
    actor.start()
    wait_for(lambda: (tmp_path / "actor" / "started").exists(), "the child")
    assert not actor.stop(hurry=lambda: True)
    assert actor.returncode == -signal.SIGKILL


PARENT = """
import pathlib, sys
from launch.processes import Child, interrupts
from launch.supervisor import Stopped, Supervisor
here = pathlib.Path(sys.argv[1])
scripts = {{"learner": {polite!r}, "actor": {second!r}}}
children = []
for name, script in scripts.items():
    (here / name).mkdir()
    argv = [sys.executable, "-c", script, str(here / name)]
    children.append(Child(name, argv, here / "logs" / name))
with interrupts() as asked:
    try:
        Supervisor(children, interrupts=asked).run(until=children[-1])
    except Stopped:
        print("stopped")
"""


def start_parent(folder, second):
    script = PARENT.format(polite=POLITE, second=second)
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True
    )
    for name in ("learner", "actor"):
        wait_for((folder / name / "started").exists, f"the {name}")
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) == 2
    return parent, children


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_supervisor_stops_everyone_in_order(tmp_path, number):
    parent, children = start_parent(tmp_path, POLITE)
    os.kill(parent.pid, number)
    out, _ = parent.communicate(timeout=WAIT_S)
    assert out == "stopped\n"
    assert not any(child.is_running() for child in children)
    saved = [(tmp_path / name / "checkpoint").stat().st_mtime_ns for name in ("actor", "learner")]
    assert saved == sorted(saved), "the actor stops before the learner"


def test_no_child_outlives_a_killed_supervisor(tmp_path):
    """A killed launcher used to leave a learner behind that held the port and two cores."""
    parent, children = start_parent(tmp_path, STUBBORN)
    parent.kill()
    parent.communicate()
    _, alive = psutil.wait_procs(children, timeout=WAIT_S)
    assert not alive
    assert (tmp_path / "learner" / "checkpoint").read_text() == "saved"


WRITES_ORDER = """
import pathlib, sys, time
place = pathlib.Path(sys.argv[1])
time.sleep(float(sys.argv[2]))
with (place.parent / "order").open("a") as file:
    file.write(place.name + " ")
"""


def test_a_child_that_shares_the_arm_starts_when_the_one_before_has_ended_well(tmp_path):
    """A recorder and an actor on one arm: the second would be refused the lease."""
    recorder = make_child(tmp_path, "recorder", WRITES_ORDER, 0.5, may_end=True)
    actor = make_child(tmp_path, "actor", WRITES_ORDER, 0.0, after=recorder)
    supervise([recorder, actor], until=actor)
    assert (tmp_path / "order").read_text() == "recorder actor "


def test_a_learner_beside_a_real_time_arm_yields_to_it(tmp_path):
    child = make_child(tmp_path, "learner", POLITE, niceness=7)
    child.start()
    try:
        wait_for((tmp_path / "learner" / "started").exists, "the child")
        assert os.getpriority(os.PRIO_PROCESS, child.pid) == os.nice(0) + 7
    finally:
        child.stop()
