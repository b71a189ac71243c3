"""metrics.jsonl, TensorBoard, status files, and the clocks."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from serl.errors import UserError
from serl.metrics import MetricsWriter, read_metrics, read_status, write_status
from serl.timing import Every, Rate, Timer


def test_every_log_is_one_line_of_json(tmp_path):
    with MetricsWriter(tmp_path, "learner", tensorboard=False) as metrics:
        metrics.log(10, {"critic/loss": np.float32(0.5), "q": np.array([1.0]), "phase": "train"})
    (row,) = read_metrics(tmp_path)
    assert row["step"] == 10
    assert row["name"] == "learner"
    assert row["critic/loss"] == 0.5
    assert row["q"] == 1.0
    assert row["phase"] == "train"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("-inf"), np.array(np.nan)])
def test_what_is_not_finite_is_null_and_the_line_stays_json(tmp_path, bad):
    with MetricsWriter(tmp_path, "learner", tensorboard=False) as metrics:
        metrics.log(0, {"critic/loss": bad, "list": [1.0, bad]})
    text = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the file"))
    assert row["critic/loss"] is None
    assert row["list"] == [1.0, None]


def test_lines_of_several_threads_and_writers_do_not_mix(tmp_path):
    writers = [MetricsWriter(tmp_path, name, tensorboard=False) for name in ("actor", "learner")]

    def work(writer):
        for step in range(200):
            writer.log(step, {"text": "x" * 300})

    threads = [threading.Thread(target=work, args=(w,)) for w in writers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for writer in writers:
        writer.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 800
    assert len(list(read_metrics(tmp_path, "actor"))) == 400


def test_a_torn_last_line_is_left_out(tmp_path):
    with MetricsWriter(tmp_path, "actor", tensorboard=False) as metrics:
        metrics.log(1, {"a": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"t_s": 1, "na')
    assert [row["a"] for row in read_metrics(tmp_path)] == [1]


def test_scalars_reach_tensorboard(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with MetricsWriter(tmp_path, "actor") as metrics:
        metrics.log(1, {"a": 1.5, "bad": float("nan"), "phase": "training"})
        metrics.log(2, {"a": 2.5})
    events = loader.EventAccumulator(str(tmp_path / "tb" / "actor"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("a")] == [(1, 1.5), (2, 2.5)]
    assert events.Tags()["scalars"] == ["a"]


def test_wandb_asked_for_and_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="drop --wandb"):
        MetricsWriter(tmp_path, "actor", tensorboard=False, wandb=True)


def test_a_reader_sees_a_whole_status_or_the_one_before(tmp_path):
    path = tmp_path / "status-actor.json"
    assert read_status(path) is None
    stop = threading.Event()

    def write():
        count = 0
        while not stop.is_set():
            count += 1
            write_status(path, {"env_steps": count, "text": str(count) * 2000})

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    while len(seen) < 300:
        status = read_status(path)
        if status is not None:
            assert status["text"] == str(status["env_steps"]) * 2000
            seen.append(status["env_steps"])
    stop.set()
    thread.join()
    assert seen == sorted(seen)
    assert [p.name for p in tmp_path.iterdir()] == ["status-actor.json"]


def test_a_full_disk_is_one_line_and_keeps_the_old_status(tmp_path):
    script = f"""
import pathlib, resource, signal
from serl.errors import UserError
from serl.metrics import MetricsWriter, read_status, write_status
path = pathlib.Path({str(tmp_path)!r}) / "status-learner.json"
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
write_status(path, {{"updates": 1}})
writer = MetricsWriter(path.parent, "learner", tensorboard=False)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
text = {{"text": "x" * 1000}}
for attempt in (lambda: write_status(path, text), lambda: writer.log(1, text)):
    try:
        attempt()
    except UserError as error:
        print(len(str(error).splitlines()), "Make space" in str(error))
print(read_status(path)["updates"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "True", "1", "True", "1"], done.stderr


def test_a_rate_is_events_over_the_window_and_falls_to_zero_in_a_stall():
    now = [0.0]
    rate = Rate(window_s=10.0, clock=lambda: now[0])
    for _ in range(100):
        now[0] += 0.1
        rate.add(2)
    assert rate.per_s() == pytest.approx(20.0, rel=0.05)
    now[0] += 5.0
    assert rate.per_s() == pytest.approx(10.0, rel=0.1)
    now[0] += 20.0
    assert rate.per_s() == 0.0
    assert rate.total == 200


def test_a_timer_gives_means_once_and_starts_again():
    timer = Timer()
    for _ in range(3):
        with timer("sample"):
            pass
    assert timer.take()["time/sample_ms"] >= 0.0
    assert timer.take() == {}


def test_every_is_true_once_a_period_and_does_not_catch_up():
    now = [0.0]
    due = Every(1.0, clock=lambda: now[0])
    assert [due(), due()] == [True, False]
    now[0] = 5.3
    assert [due(), due()] == [True, False]
    now[0] = 6.4
    assert due()


def test_a_metrics_file_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl: Not a directory"):
        MetricsWriter(tmp_path / "file" / "run", "actor", tensorboard=False)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_ends_the_tensorboard_file_and_not_the_run(tmp_path, monkeypatch, caplog):
    pytest.importorskip("tensorboard")
    opened = Path.open
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, mode: opened(Path("/dev/full") if "tfevents" in path.name else path, mode),
    )
    with MetricsWriter(tmp_path, "actor") as metrics:
        for step in range(2000):
            metrics.log(step, {"a": 1.5})
    assert len(list(read_metrics(tmp_path))) == 2000
    assert caplog.text.count("No space left on device") == 1


def test_a_folder_that_takes_no_tensorboard_file_is_said_and_skipped(tmp_path, caplog):
    pytest.importorskip("tensorboard")
    (tmp_path / "tb").write_text("in the way")
    with MetricsWriter(tmp_path, "actor") as metrics:
        metrics.log(0, {"a": 1.5})
    assert len(list(read_metrics(tmp_path))) == 1
    assert "no more TensorBoard data" in caplog.text
