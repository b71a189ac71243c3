"""The ring and its files."""

from __future__ import annotations

import numpy as np
import pytest
from guard.fake_backend import FakeBackend

from robot_servers.recorder import Recorder
from robot_servers.types import ArmCommand, Mode, WrenchTarget
from serl.errors import CorruptFile, UserError


@pytest.fixture
def backend():
    return FakeBackend()


def fill(backend, recorder, samples):
    for _ in range(samples):
        backend.tick()
        state = backend.states()[""]
        recorder.sample(state, Mode.HOLD, backend.now_ns)


def make(backend, rate_hz=1000.0):
    return Recorder("", backend.arms[""].joint_names, rate_hz)


@pytest.mark.parametrize("samples", [0, 1, 4999, 12_345])
def test_it_keeps_the_last_five_seconds_in_order(backend, tmp_path, samples):
    recorder = make(backend)
    fill(backend, recorder, samples)
    path = recorder.save(tmp_path, "x", "why", backend.now_ns)
    recording = Recorder.load(path)
    assert len(recording.stamp_mono_ns) == min(samples, 5000)
    assert (np.diff(recording.stamp_mono_ns) == 1_000_000).all()
    if samples:
        assert recording.stamp_mono_ns[-1] == backend.now_ns
        np.testing.assert_array_equal(recording.T_base_tcp[-1], backend.states()[""].T_base_tcp)
        np.testing.assert_array_equal(recording.q_rad[-1], backend.states()[""].q_rad)


def test_what_comes_after_the_fault_is_not_in_its_recording(backend, tmp_path):
    recorder = make(backend)
    fill(backend, recorder, 5500)
    until = backend.now_ns
    fill(backend, recorder, 800)
    recording = Recorder.load(recorder.save(tmp_path, "x", "why", until))
    assert recording.stamp_mono_ns[-1] == until
    assert len(recording.stamp_mono_ns) == 5000


def test_a_wrench_command_and_an_event_are_kept_with_their_stamps(backend, tmp_path):
    recorder = make(backend)
    recorder.command(5, 7, ArmCommand(target=WrenchTarget(wrench=np.arange(6.0))), "fine")
    recorder.event(6, "holds: a reason with ünïcode")
    recording = Recorder.load(recorder.save(tmp_path, "x", "why", 10))
    assert recording.command_mono_ns.tolist() == [5]
    assert recording.command_sequence.tolist() == [7]
    assert recording.command_kind.tolist() == ["wrench"]
    np.testing.assert_array_equal(recording.command_values[0, :6], np.arange(6.0))
    assert recording.command_verdict.tolist() == ["fine"]
    assert recording.event.tolist() == ["holds: a reason with ünïcode"]
    assert (recording.arm, recording.reason) == ("", "why")


def test_two_recordings_of_one_second_do_not_overwrite_each_other(backend, tmp_path):
    recorder = make(backend)
    paths = [recorder.save(tmp_path, "x", "why", 1) for _ in range(3)]
    assert [path.name for path in paths] == ["x.npz", "x_2.npz", "x_3.npz"]


def test_a_file_holds_no_pickle(backend, tmp_path):
    recorder = make(backend)
    fill(backend, recorder, 3)
    with np.load(recorder.save(tmp_path, "x", "why", backend.now_ns), allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_what_is_no_recording_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no recording at"):
        Recorder.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"bad")
    with pytest.raises(CorruptFile, match="is no recording"):
        Recorder.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(CorruptFile, match="is no recording"):
        Recorder.load(tmp_path / "other.npz")


def test_a_disk_that_refuses_is_one_line(backend, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        make(backend).save(tmp_path / "file", "x", "why", 1)
