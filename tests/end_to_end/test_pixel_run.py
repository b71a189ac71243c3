"""A short run from pixels as a user starts it, its learner killed in the middle."""

from __future__ import annotations

import os
import signal

import ml_dtypes
import numpy as np
from end_to_end.processes import end, read_json, serl, until

from serl.data.replay import Replay
from serl.pixels import FeatureLayout
from serl.trunk import read_trunk

UPDATES = 80
SETTINGS = (
    *("--task", "reach", "--pixels", "--env.episode-s", 1.0),
    *("--agent.batch-size", 32, "--agent.image.bottleneck", 32, "--agent.image.embeddings", 2),
    *("--replay.start-records", 40, "--ratio.updates-per-step", 0.5),
    *("--budget.updates", UPDATES, "--checkpoint.every-updates", 20),
    *("--evaluation.final-episodes", 2),
)


def test_a_pixel_run_survives_a_kill_of_its_learner_with_its_features(tmp_path):
    """It starts, trains, publishes, is killed, goes on, evaluates; no crop is made twice."""
    run, log = tmp_path / "learner", tmp_path / "learner.log"
    actor_log = tmp_path / "actor.log"
    status = run / "status-learner.json"
    learn = ("learner", *SETTINGS, "--run-dir", run, "--bind")
    learner = serl(*learn, "127.0.0.1:0", log=log)
    processes = [learner]
    try:
        port = until("the learner's port", lambda: read_json(status).get("port"), log=log)
        where = ("--run-dir", tmp_path / "actor", "--learner-address", f"127.0.0.1:{port}")
        actor = serl("actor", *SETTINGS, *where, log=actor_log)
        processes.append(actor)
        until("updates", lambda: read_json(status).get("updates", 0) > 24, log=actor_log)
        os.kill(learner.pid, signal.SIGKILL)
        learner.wait(10)
        before = read_json(status)
        learner = serl(*learn, f"127.0.0.1:{port}", "--resume", log=log)
        processes.append(learner)
        assert actor.wait(120) == 0, actor_log.read_text()[-3000:]
        assert learner.wait(60) == 0, log.read_text()[-3000:]
    finally:
        for process in processes:
            end(process)
    result = read_json(run / "learner.json")
    assert result["updates"] >= UPDATES
    assert result["env_steps"] >= before["env_steps"]
    assert result["final"]["episodes"] == 2
    check_features(run)


def check_features(run) -> None:
    """Every record can be sampled, and what is kept of a frame is what the trunk makes of it."""
    from launch.runs import Run

    experiment = Run(run).selection.load()
    agent = experiment.agent.make(experiment.env.spec())
    trunk = read_trunk(run / "trunk.safetensors")
    layout = FeatureLayout(
        trunk=trunk.id,
        cameras=agent.cameras,
        shape=agent.feature_shape,
        crops=agent.image.crops,
        shift_px=agent.image.shift_px,
    )
    capacity = experiment.replay.capacity
    with Replay(run / "replay", agent.record_spec, capacity, features=layout) as replay:
        assert replay.ready == replay.records_committed > 40
        shape = (24,)
        fields = [f"obs/{camera}" for camera in agent.cameras]
        kept = replay.sample(np.random.default_rng(1), shape, fields=fields, features=True)
        raw = replay.sample(np.random.default_rng(1), shape, fields=fields)
        offsets = replay.crop_offsets(raw.seqs)
    for k, camera in enumerate(agent.cameras):
        drawn = kept.crops[camera][..., None, None]
        at = np.take_along_axis(offsets[:, :, k], drawn, axis=2)[:, :, 0].reshape(-1, 2)
        frames = raw.obs[camera].reshape(-1, *raw.obs[camera].shape[-3:])
        expected = trunk.encode(frames, at, layout.shift_px).view(ml_dtypes.bfloat16)
        found = kept.obs[camera].reshape(expected.shape)
        np.testing.assert_allclose(
            found.astype(np.float32), expected.astype(np.float32), rtol=0.02, atol=0.02
        )
