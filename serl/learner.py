"""The learner process: takes steps in, trains, gives policies out.

One loop in the main thread: wait for the limiter, take a batch, update, and now and then publish,
log and checkpoint. Steps arrive on the channel's threads and are committed to the replay there. It
needs the experiment's spec, not its robot: no simulator, camera or device is imported.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np

from serl.agents.base import Batch, check_finite
from serl.channel.server import ChannelServer
from serl.checkpoint import Checkpoints, save_policy
from serl.data.demos import load_folder, load_into
from serl.data.limiter import RatioLimiter
from serl.data.mixing import MixedSampler
from serl.data.prefetch import Prefetch
from serl.data.records import Label
from serl.data.replay import Replay
from serl.errors import UserError
from serl.experiment import Experiment
from serl.eyes import Eyes
from serl.metrics import MetricsWriter
from serl.run_folder import RunFolder
from serl.sight import with_trunk
from serl.stop import FINISHED, training_over
from serl.timing import Every, Rate
from serl.warm_start import check_equal, has_other_agent, networks_of, take_data, take_trunk

log = logging.getLogger(__name__)

LOG_EVERY_S = 1.0
STATUS_EVERY_S = 0.5
POLICIES_KEPT = 64
"""Published policies kept in memory, so that the one a gate tested can be stored."""
ALONE_S = 60.0
"""Without any actor for this long, the final test is given up on [s]."""


class Learner:
    """One run's learner, from an empty folder or a checkpoint to the last update.

    Args:
        experiment: what is learned.
        run_dir: the run's folder on this machine.
        demos: folder of demonstration episodes; None for none.
        bind: 'host:port' of the channel; port 0 takes a free one.
        rpc: token, tls and insecure_lan of the channel (serl.rpc).
        demos_expected: wait until the folder holds this many.
        resume: go on from the newest checkpoint and the replay.
        init_from: another run of equal spec whose networks to start from.
        with_data: also take that run's demos and replay; another kind of agent takes those alone.
        wandb: also log to Weights & Biases.
        on_status: told the state of things about twice a second.
        stop: set from outside to end cleanly.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        run_dir: Path,
        demos: Path | None = None,
        bind: str = "127.0.0.1:0",
        rpc: dict[str, Any] | None = None,
        demos_expected: int = 0,
        resume: bool = False,
        init_from: Path | None = None,
        with_data: bool = False,
        wandb: bool = False,
        on_status: Callable[[dict[str, Any]], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.experiment = experiment
        self.run = RunFolder(run_dir)
        self.demos = demos
        self.demos_expected = demos_expected
        self.stop = stop or threading.Event()
        self._on_status = on_status or (lambda status: None)
        self.phase = "starting"
        self.updates = 0
        self.version = 0
        self.best_gate: tuple[bool, int] = (False, -1)
        self._save_best = False
        self._policies: OrderedDict[int, Any] = OrderedDict()
        self._metrics: dict[str, Any] | None = None
        self._wall_before_s = 0.0
        self._started = time.monotonic()
        self._ended: str | None = None
        self._final: dict[str, Any] | None = None
        self._rate = Rate()

        self.run_id = self.run.open_as(experiment)
        first_time = not self.run.version.exists()
        if init_from is not None:
            source = RunFolder(init_from)
            data_only = with_data and has_other_agent(source, experiment)
            check_equal(source, experiment, data_only=data_only)
            take_trunk(source, self.run)
            if with_data and first_time:
                take_data(source, self.run)
            init_from = None if data_only else init_from
        self.spec = experiment.env.spec()
        self.agent = self._agent()
        self.eyes = Eyes.of(self.agent, self.run, experiment.seed)
        record_spec = getattr(self.agent, "record_spec", self.spec)
        self.per_call, self.size = experiment.agent.utd_ratio, experiment.agent.batch_size
        self.imitates = bool(getattr(experiment.agent, "imitates", False))
        """It learns from demonstrations and people's steps alone."""
        self.pretrain = int(getattr(experiment.agent, "pretrain_updates", 0))
        self.state = self.agent.init(jax.random.key(experiment.seed))
        self.rng = np.random.default_rng([experiment.seed, 1])
        with ExitStack() as opened:
            self.checkpoints = opened.enter_context(
                Checkpoints(self.run.checkpoints, keep=experiment.checkpoint.keep)
            )
            if self.checkpoints.latest() is not None and not resume:
                raise UserError(
                    f"run {run_dir} already holds checkpoints; add --resume to go on, "
                    "or choose another --run-dir."
                )
            capacity = experiment.replay.capacity
            budget = round(1e9 * experiment.replay.frames_budget_gb)
            layout = self.eyes.layout
            self.replay = opened.enter_context(
                Replay(
                    self.run.replay,
                    record_spec,
                    capacity,
                    budget,
                    features=layout,
                    on_ready=self._on_ready,
                )
            )
            self.demo_replay = opened.enter_context(
                Replay(self.run.demo_replay, record_spec, capacity, budget, features=layout)
            )
            self.base_steps = self._base_steps(given=with_data and first_time)
            self.limiter = RatioLimiter(
                experiment.ratio.updates_per_step,
                experiment.ratio.error_buffer_steps,
                0 if self.imitates else max(0, experiment.replay.start_records - self.base_steps),
            )
            if resume or init_from is not None:
                self._restore(init_from)
            counted = max(0, self.updates - self.pretrain)
            self.limiter.restore({"steps": self.steps_ready, "updates": counted})
            self.metrics = opened.enter_context(
                MetricsWriter(self.run.path, "learner", wandb=wandb)
            )
            self.server = ChannelServer(
                bind,
                experiment.contract(),
                record_spec,
                self,
                self.run_id,
                steps=self.steps,
                trunk=self.eyes.offer,
                trunk_name=self.eyes.trunk_name,
                **(rpc or {}),
            )
            self._opened = opened.pop_all()

    @property
    def steps(self) -> int:
        """Training env steps committed in this run: records, but the first of each episode."""
        return self.replay.records_committed - self.replay.episodes - self.base_steps

    @property
    def steps_ready(self) -> int:
        """Those of them that can be sampled: their frames have been encoded."""
        return self.replay.steps_ready - self.base_steps

    def _agent(self) -> Any:
        """The agent; a run keeps to the trunk that "auto" was when it began."""
        known = self.run.trunk_name
        name = self.run.read(known)["name"] if known.exists() else None
        return with_trunk(self.experiment.agent, name).make(self.spec)

    def _base_steps(self, given: bool) -> int:
        """Steps in the replay that another run made (--with-data); noted before serving begins."""
        if self.run.base.exists():
            return int(self.run.read(self.run.base)["steps"])
        steps = self.replay.records_committed - self.replay.episodes if given else 0
        self.run.write(self.run.base, {"steps": steps})
        return steps

    # The channel's sink: called on its threads.

    def append(self, actor_id: str, records: np.ndarray) -> int:
        """Commit records. Returns how many were new."""
        new = self.replay.append(actor_id, records)
        self.server.set_allowance(self.limiter.step_allowance())
        return new

    def _on_ready(self, steps: int) -> None:
        """So many more env steps can be sampled: committed, and their frames encoded."""
        self.limiter.on_steps(steps)

    def relabel(self, actor_id: str, label: Label) -> bool:
        """Correct the end of an episode; False when it is no longer kept."""
        return self.replay.relabel(actor_id, label)

    def high_water(self, actor_id: str) -> tuple[int, int] | None:
        """The newest committed (episode, index) of an actor."""
        return self.replay.high_water(actor_id)

    # The loop.

    def run_until_done(self) -> dict[str, Any]:
        """Serve and train until something ends it; returns the counters and why it ended."""
        with self._opened:
            self.server.set_allowance(self.limiter.step_allowance())
            self.server.start()
            self._opened.callback(self.server.close)
            log.info("learner listens on port %d, run %s", self.server.port, self.run_id)
            self.eyes.open(self._opened, [self.replay, self.demo_replay])
            self._warm_up()
            self._load_demos()
            self.eyes.take_goals(self.demo_replay, np.random.default_rng([5, self.experiment.seed]))
            if not self.run.learner_final.exists():
                self._pretrain()
            self._publish()
            if not self.run.learner_final.exists():
                self._train()
                self._save()
            self._wait_for_final_test()
        result = self._result()
        self.run.write(self.run.learner_result, result)
        return result

    def _pretrain(self) -> None:
        """Updates on the demonstrations, before anything is published and without the limiter."""
        if self.updates >= self.pretrain or not self.demo_replay.records_committed:
            return
        batches = self._batches()
        status_due = Every(STATUS_EVERY_S)
        try:
            while self.updates < self.pretrain and not self._over():
                self.eyes.check()
                if self._unseen_demos():
                    self.stop.wait(0.05)
                else:
                    self.phase = f"pre-training: {self.updates} of {self.pretrain} updates"
                    self.state, self._metrics = self.agent.update(self.state, batches.get())
                    self.updates += self.per_call
                    self._rate.add(self.per_call)
                if status_due():
                    self._on_status(self.status())
        finally:
            self.rng.bit_generator.state = batches.state()
            batches.close()
        if self._metrics is not None:
            self._log(self._metrics)

    def _train(self) -> None:
        """Update until the budget is spent, a policy has passed, or someone asks to stop."""
        save_every = self.experiment.checkpoint.every_updates
        log_due, status_due = Every(LOG_EVERY_S), Every(STATUS_EVERY_S)
        next_save = self.updates + save_every
        batches: Prefetch[Any] | None = None
        try:
            while not self._over():
                self.eyes.check()
                if self._wait_turn():
                    batches = batches or self._batches()
                    self.phase = "training"
                    self.state, self._metrics = self.agent.update(self.state, batches.get())
                    self.updates += self.per_call
                    self._rate.add(self.per_call)
                    self.limiter.on_updates(self.per_call)
                    self.server.set_allowance(self.limiter.step_allowance())
                    if self._publish_due():
                        self._publish()
                    if self.updates >= next_save or self._save_best:
                        next_save = self.updates + save_every
                        self._save(batches)
                if self._metrics is not None and log_due():
                    self._log(self._metrics)
                if status_due():
                    self._handle_events()
                    self._on_status(self.status())
        finally:
            if batches is not None:
                self.rng.bit_generator.state = batches.state()
                batches.close()

    def _batches(self) -> Prefetch[Any]:
        """A thread that draws minibatches ahead and moves them to the device."""
        config = self.experiment.replay
        sampler = MixedSampler(
            self.replay,
            self.demo_replay if len(self.demo_replay) else None,
            demo_fraction=1.0 if self.imitates else config.demo_fraction,
            n_step=1 if self.imitates else config.n_step,
            chunk=getattr(self.agent, "chunk", 1),
            discount=self.experiment.agent.discount,
            features=self.eyes.layout is not None,
            stack=self.eyes.stack,
        )

        def draw(rng: np.random.Generator) -> Batch:
            return Batch(**self.eyes.look(rng, sampler.sample(rng, self.per_call, self.size)))

        return Prefetch(draw, np.random.default_rng(self.rng.bit_generator))

    def _wait_turn(self) -> bool:
        """True when the limiter lets the learner update; else wait a little and say for what."""
        if self._unseen_demos() or self._nothing_to_imitate():
            self.stop.wait(0.05)
            return False
        if self.limiter.wait_may_update(self.per_call, timeout_s=0.2):
            return True
        need = self.experiment.replay.start_records
        if self.steps < need:
            self.phase = f"waiting for data: {self.steps} of {need} steps"
        elif self.steps_ready < self.steps:
            self.phase = f"encoding frames: {self.steps - self.steps_ready} steps to go"
        else:
            self.phase = "waiting for actors: updates are ahead of env steps"
        return False

    def _unseen_demos(self) -> bool:
        """Demonstrations wait for the encoder."""
        unseen = self.demo_replay.records_committed - self.demo_replay.ready
        if unseen:
            self.phase = f"encoding demonstrations: {unseen} records to go"
        return bool(unseen)

    def _nothing_to_imitate(self) -> bool:
        """The policy's own steps are nothing that an imitator could learn from."""
        nothing = self.imitates and not (self.demo_replay.transitions + self.replay.interventions)
        if nothing:
            self.phase = "waiting for a person's steps: there are no demonstrations to imitate"
        return nothing

    def _over(self) -> bool:
        """Whether training ends here; the first reason is kept."""
        if self._ended is None:
            self._ended = self._reason_to_end()
        return self._ended is not None

    def _reason_to_end(self) -> str | None:
        budget = self.experiment.budget
        if self.stop.is_set():
            return "stopped"
        if self.updates >= budget.updates:
            return f"budget of {budget.updates} updates spent"
        if self.steps >= budget.env_steps:
            return f"budget of {budget.env_steps} env steps spent"
        if self.wall_s >= budget.wall_s:
            return f"budget of {budget.wall_s:g} s spent"
        return None

    # Before the loop.

    def _load_demos(self) -> None:
        """Put every demonstration into its replay, waiting for the expected number first."""
        if self.demos is None:
            return
        episodes, damaged = load_folder(self.demos, self.spec)
        while len(episodes) < self.demos_expected and not self.stop.is_set():
            self.phase = f"waiting for demonstrations: {len(episodes)} of {self.demos_expected}"
            self._on_status(self.status())
            self.stop.wait(0.2)
            episodes, damaged = load_folder(self.demos, self.spec)
        for problem in damaged:
            log.warning("%s", problem)
        load_into(self.demo_replay, episodes)
        self.eyes.remember(self.demos, self.demo_replay, episodes)

    def _warm_up(self) -> None:
        """Compile the update before the first batch is due; the state is left as it is."""
        self.phase = "compiling the update"
        self._on_status(self.status())
        self.eyes.compile()
        self.agent.compile(self.state)

    # Giving policies out.

    def _publish_due(self) -> bool:
        cadence = self.experiment.publish
        return (
            self.updates - self._published_updates >= cadence.every_updates
            or time.monotonic() - self._published_at >= cadence.every_s
        )

    def _publish(self) -> None:
        """Hand out the policy as the next version; numbers never repeat, whatever was killed."""
        self._refuse_diverged()
        self.version += 1
        self.run.write(self.run.version, {"version": self.version, "wall_s": self.wall_s})
        params = jax.tree.map(np.asarray, self.agent.policy_params(self.state))
        self.server.publish(self.version, params)
        self._policies[self.version] = params
        if len(self._policies) > POLICIES_KEPT:
            self._policies.popitem(last=False)
        self._published_updates, self._published_at = self.updates, time.monotonic()

    # Hearing from actors.

    def _handle_events(self) -> None:
        for event in self.server.events():
            if event.kind == "gate":
                self._keep_best(event.data)
            elif event.kind in ("final_started", "final"):
                self._ended = self._ended or str(event.data["why"])
                self.run.write(self.run.learner_final, {"ended": self._ended})
                if event.kind == "final":
                    self._final = event.data

    def _keep_best(self, gate: dict[str, Any]) -> None:
        """Store the very policy that did best in a gate, and mark the checkpoint beside it."""
        score = (bool(gate["passed"]), int(gate["successes"]))
        params = self._policies.get(int(gate["version"]))
        if score <= self.best_gate or params is None:
            return
        self.best_gate = score
        meta = {
            "experiment": self.experiment.name,
            "hash": self.experiment.hash,
            "gate": score,
            "trunk": self.eyes.trunk_id,
            "trunk_name": self.eyes.trunk_name,
        }
        version = int(gate["version"])
        save_policy(self.run.best_policy, version=version, params=params, spec=self.spec, meta=meta)
        self._save_best = True

    def _wait_for_final_test(self) -> None:
        """Ask the actors to end; serve on until the final test is reported or all are gone.

        A learner that is stopped asks for nothing: its actors wait for the next one.
        """
        if self.stop.is_set():
            return
        if self._ended is None:
            self._ended = str(self.run.read(self.run.learner_final)["ended"])
        self.server.request_stop(training_over(self._ended))
        self.phase = "waiting for the final test"
        status_due = Every(STATUS_EVERY_S)
        last_seen = time.monotonic()
        while self._final is None and not self.stop.is_set():
            self._handle_events()
            if status_due():
                self._on_status(self.status())
            if self.server.actors():
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > ALONE_S:
                log.warning("no actor is left to run the final test; ending without it")
                break
            self.stop.wait(0.1)
        if not self.stop.is_set():
            self.server.request_stop(FINISHED)
            self.server.wait_until_quiet(timeout_s=5.0)

    # Bookkeeping.

    @property
    def wall_s(self) -> float:
        """Time this run's learner has been up, over all its lives [s]."""
        return self._wall_before_s + time.monotonic() - self._started

    def status(self) -> dict[str, Any]:
        """The state of things, for the live view."""
        return {
            "phase": self.phase,
            "updates": self.updates,
            "updates_per_s": self._rate.per_s(),
            "env_steps": self.steps,
            "replay_records": len(self.replay),
            "demos": self.demo_replay.episodes,
            "policy_version": self.version,
            "shortfall_updates": self.limiter.shortfall,
            **self.eyes.metrics(),
            **({"frames_gb": self._frames_gb} if self.eyes.trunk_name else {}),
            "wall_s": self.wall_s,
            "actors": len(self.server.actors()),
            "port": self.server.port,
        }

    @property
    def _frames_gb(self) -> float:
        """Disk that camera frames take [1e9 bytes]: see `ReplayConfig.frames_budget_gb`."""
        return (self.replay.nbytes_frames + self.demo_replay.nbytes_frames) / 1e9

    def _refuse_diverged(self) -> None:
        """Numbers that are not finite end the run before they are published or saved."""
        if self._metrics is not None:
            check_finite(self._metrics, self.updates)

    def _log(self, metrics: dict[str, Any]) -> None:
        self._refuse_diverged()
        values = {key: float(value) for key, value in metrics.items()}
        status = {k: v for k, v in self.status().items() if isinstance(v, int | float)}
        channel = {f"channel/{k}": v for k, v in self.server.counters.items()}
        self.metrics.log(self.updates, {**values, **status, **channel})

    def _save(self, batches: Prefetch[Any] | None = None) -> None:
        """Checkpoint everything that sampling and updating depend on."""
        self._refuse_diverged()
        rng = batches.state() if batches is not None else self.rng.bit_generator.state
        extra = {
            "updates": self.updates,
            "version": self.version,
            "best_gate": self.best_gate,
            "wall_s": self.wall_s,
            "rng": json.dumps(rng),
        }
        self.checkpoints.save(self.updates, self.state, extra, best=self._save_best)
        self._save_best = False

    def _restore(self, init_from: Path | None) -> None:
        """The newest checkpoint; a run killed before its first one starts as it did."""
        if self.run.version.exists():
            published = self.run.read(self.run.version)
            self.version, self._wall_before_s = int(published["version"]), published["wall_s"]
        if self.checkpoints.latest() is not None:
            self.state, extra = self.checkpoints.restore(None, self.state)
            self.updates = int(extra["updates"])
            self.best_gate = (bool(extra["best_gate"][0]), int(extra["best_gate"][1]))
            self.version = max(self.version, int(extra["version"]))
            self._wall_before_s = max(self._wall_before_s, float(extra["wall_s"]))
            self.rng.bit_generator.state = json.loads(extra["rng"])
        elif init_from is not None:
            self.state = networks_of(RunFolder(init_from), self.state)

    def _result(self) -> dict[str, Any]:
        return {
            "updates": self.updates,
            "env_steps": self.steps,
            "policy_version": self.version,
            "wall_s": self.wall_s,
            "shortfall_updates": self.limiter.shortfall,
            "ended": self._ended,
            "final": self._final,
        }


def run_learner(experiment: Experiment, **options: Any) -> dict[str, Any]:
    """Make a Learner and run it to its end; see `Learner` for the options."""
    return Learner(experiment, **options).run_until_done()
