"""The actor process: acts in the env, hands each step on, and tests the policy it has.

One loop in the main thread. A record is in the spool before the next action is chosen; the
network never holds up the arm. Newer policies are taken up here, at a step or an episode boundary.
When recent episodes are good the actor freezes its policy, evaluates it, and on passing runs the
final test: evaluation steps never reach the channel. A person may stand beside it: their steps are
stored as theirs, and what they say is done (serl.attendance).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from serl.attendance import Attendance
from serl.channel.client import ChannelClient
from serl.channel.probe import trunk_name
from serl.checkpoint import load_policy, save_policy
from serl.data.records import Label
from serl.errors import Interrupted, UserError
from serl.evaluation import EpisodeResult, EvaluationResult, evaluate
from serl.experiment import Experiment
from serl.gates import SuccessWindow
from serl.metrics import MetricsWriter
from serl.person import Operator, Person
from serl.pixels import images
from serl.policy import PolicyInHand
from serl.records import RecordBuilder
from serl.rewards.base import rewarded
from serl.run_folder import RunFolder
from serl.seeds import Purpose, episode_seed
from serl.sight import Seen, image_config, own_trunk, with_trunk
from serl.stop import FINISHED
from serl.tally import Tally
from serl.timing import Rate
from serl.types import Source

log = logging.getLogger(__name__)

STATUS_EVERY_S = 0.5


class Actor:
    """One actor of a run.

    Args:
        experiment: what is learned; the same file as the learner's.
        run_dir: where this actor keeps its spool, logs and results.
        learner_address: 'host:port'.
        rpc: token, tls and insecure_lan of the channel (serl.rpc).
        evaluate: whether this actor runs gates and the final test; one actor of a run does.
        operator: who may take the arm over and say how it went, devices open; None for nobody.
        begins: the operator may move the arm before there is a policy.
        on_env: given the env, all wrappers on, once it is made: for whoever shows it.
        on_status: told the state of things about twice a second.
        stop: set from outside to end cleanly after the current step.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        run_dir: Path,
        learner_address: str,
        rpc: dict[str, Any] | None = None,
        evaluate: bool = True,
        operator: Operator | None = None,
        begins: bool = True,
        on_env: Callable[[Any], None] | None = None,
        wandb: bool = False,
        on_status: Callable[[dict[str, Any]], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.experiment = experiment
        self.run = RunFolder(run_dir)
        self.evaluates = evaluate
        self.stop = stop or threading.Event()
        self._on_status = on_status or (lambda status: None)
        self._next_status = 0.0
        self.phase = "starting"
        self._before_wait = ""
        """The phase to go back to when a wait is over."""
        self.spec = experiment.env.spec()
        rpc = rpc or {}
        self.control_hz = getattr(experiment.env, "control_hz", None)
        person = self._person(operator)
        with_hand: dict[str, Any] = {} if person is None else {"intervention": person}
        made = experiment.env.make(**with_hand)
        self.env = rewarded(made, experiment.reward, self.spec, person)
        if on_env is not None:
            on_env(self.env)
        self.agent = self._agent(learner_address, rpc)
        record_spec = getattr(self.agent, "record_spec", self.spec)
        self.records = RecordBuilder(record_spec)
        self.window = SuccessWindow(experiment.evaluation)
        self.env_steps = 0
        self.episodes = 0
        self.interruptions = 0
        """Episodes that the env broke off, by an arm's fault for instance."""
        self.attendance = Attendance(
            person, self.env, self.stop, judged=experiment.reward != "env", begins=begins
        )
        """The person beside the arm, if there is one, and what they ask for."""
        self.evaluation_done = self.evaluation_total = 0
        self._restore()
        self.client = ChannelClient(
            learner_address,
            experiment.contract(),
            record_spec,
            self.run.spool,
            trunks=self.run.trunks,
            **rpc,
        )
        self.metrics = MetricsWriter(self.run.path, "actor", wandb=wandb)
        self.realtime = bool(getattr(experiment.env, "is_realtime", False))
        """A real arm never waits for the learner; a simulated one keeps to the ratio."""
        waiter = getattr(self.env.unwrapped, "waiter", None)
        if waiter is not None:
            waiter.on_wait, waiter.interrupted = self._env_waits, self.stop.is_set
        actor = int(self.client.actor_id, 16)
        self.policy = PolicyInHand(
            self.agent,
            experiment.seed,
            actor,
            self.env_steps,
            trunk=self._own_trunk(),
            chunk_steps=experiment.actor.chunk_steps,
        )
        draws = np.random.SeedSequence([3, experiment.seed, actor, self.env_steps])
        self.env.action_space.seed(int(draws.generate_state(1)[0]))
        self._rate = Rate()

    def _person(self, operator: Operator | None) -> Person | None:
        """The operator, with what the experiment says of late verdicts."""
        if operator is None:
            return None
        if not hasattr(self.experiment.env, "arms"):
            raise UserError(
                f"{type(self.experiment.env).__name__} has no arm that a hand could take over; "
                "leave --device out."
            )
        late_s = self.experiment.actor.late_label_s
        return Person(operator, late_steps=round(late_s * (self.control_hz or 0)))

    def _agent(self, learner_address: str, rpc: dict[str, Any]) -> Any:
        """The agent; where its trunk is "auto", the learner's machine decides which that is, and a
        new actor waits for it, even before random steps."""
        config = self.experiment.agent
        image = image_config(config)
        if not images(self.spec) or image is None or image.trunk != "auto":
            return config.make(self.spec)
        known = self.run.trunk_name
        while not known.exists():
            name = trunk_name(learner_address, **rpc)
            if name == "":  # a learner without cameras: Hello says what the two disagree on
                return config.make(self.spec)
            if name is not None:
                self.run.write(known, {"name": name})
                break
            self.phase = f"waiting for the learner at {learner_address}, to see as it does"
            self._on_status({"phase": self.phase})
            if self.stop.wait(0.5):
                self.env.close()
                raise Interrupted("stopped while waiting for the learner.")
        return with_trunk(config, self.run.read(known)["name"]).make(self.spec)

    def _own_trunk(self) -> Any:
        """The trunk the agent names, where this machine has it: then it need not be sent."""
        if not getattr(self.agent, "encodes", False):
            return None
        trunk = own_trunk(self.agent, self.experiment.seed)
        if trunk is not None:
            self.client.know_trunk(trunk.id)
        return trunk

    def run_until_done(self) -> dict[str, Any]:
        """Act until stopped, or until the final test is done; returns its result and counters."""
        finished = False
        try:
            try:
                finished = self._act()
            except Interrupted as error:  # while the env waited, for an arm in fault, say
                log.info("%s", error)
            self.phase = "sending the last steps"
            self._status(force=True)
            self.client.flush(timeout_s=10.0)
            unsent = self.client.pending
        finally:
            self._close()
        return {
            "env_steps": self.env_steps,
            "episodes": self.episodes,
            "success_last_20": self.window.successes,
            "unsent_records": unsent,
            "finished": finished,
        }

    def _act(self) -> bool:
        """Training and tests; True when this actor's job is done."""
        self._connect()
        finished = self._resumed_final()
        while not finished and not self._should_end():
            self._wait_for_policy()
            if self._should_end():
                break
            self._episode()
            if self.evaluates and self.window.due() and self._passes_gates():
                finished = self._final("passed")
        if not finished and not self.stop.is_set():
            finished = self._asked_to_end()
        return finished

    # Training.

    def _episode(self) -> None:
        """One training episode, step by step into the channel."""
        self.phase = "training"
        if not self._wait_for_space():
            return
        episode = self.client.begin_episode()
        seed = episode_seed(
            Purpose.TRAIN, self.experiment.seed, episode, lane=int(self.client.actor_id[:3], 16)
        )
        obs, info = self.env.reset(seed=seed)
        self.policy.begin()
        seen = self.policy.see(obs)
        self.client.send(self.records.first(episode, obs, info, seen.extras))
        tally, over, record = Tally(), False, None
        self._relabel(self.attendance.begins())
        if self.experiment.actor.apply_params == "episode":
            self.policy.take(self.client)
        while not over:
            if not self._wait_for_credit() or not self._wait_for_someone():
                return
            if self.experiment.actor.apply_params == "step":
                self.policy.take(self.client)
            action, source = self._choose(seen)
            obs, reward, terminated, truncated, info = self.env.step(action)
            seen = self.policy.see(obs)
            record = self.records.step(
                action=action,
                obs=obs,
                reward=float(reward),
                terminated=terminated,
                truncated=truncated,
                info=info,
                source=source,
                policy_version=self.policy.version,
                seen=seen.extras,
            )
            self.client.send(record)
            tally.add(float(reward), info)
            if info.get("source") == Source.HUMAN:
                self.policy.drop_chunk()
            self.env_steps += 1
            self._rate.add(1)
            over = terminated or truncated
            self._status()
            self._relabel(self.attendance.after_step())
            if self.attendance.given_up:
                self._interrupted("the person asked for another episode")
                return
            if self.stop.is_set():
                return
        if info.get("interrupted"):
            self._interrupted(str(info["interrupted"]))
        else:
            self.attendance.ends(record, info)
            self._ended(tally)

    def _interrupted(self, reason: str) -> None:
        """The env, or a person, broke the episode off: its steps are kept, but it counts neither
        way."""
        self.interruptions += 1
        self.attendance.ends()
        self.metrics.log(self.env_steps, {"episode/interruptions": self.interruptions})
        self.client.report("interrupted", {"reason": reason})
        self._save_state()

    def _choose(self, seen: Seen) -> tuple[np.ndarray, Source]:
        if self._nobody:
            return self.env.get_wrapper_attr("rest")(), Source.SCRIPTED
        if self._explores or self.policy.version < 0 or seen.blind:
            return self.env.action_space.sample(), Source.RANDOM
        return self.policy.act(seen.obs, deterministic=False), Source.POLICY

    @property
    def _explores(self) -> bool:
        return self.env_steps < self.experiment.actor.random_steps

    @property
    def _nobody(self) -> bool:
        """Only a person may move the arm now, and one is there."""
        return self.attendance.begins_alone and self.policy.version < 0 and not self._explores

    def _relabel(self, label: Label | None) -> None:
        """The last episode ended otherwise than it was stored: a person has said so late."""
        if label is None:
            return
        self.client.relabel(label)
        self.window.correct(label.success and self.attendance.last_was_alone)
        self.metrics.log(self.env_steps, {"episode/late_success": float(label.success)})
        self._save_state()

    def _ended(self, tally: Tally) -> None:
        """Count an episode. Only one that nobody touched counts towards a gate as a success."""
        self.episodes += 1
        self.window.add(tally.success and tally.alone)
        values = {
            **tally.metrics(self.control_hz),
            **self.attendance.count(tally),
            "episode/success_last_20": self.window.successes / max(1, len(self.window.recent)),
            "policy/version": self.policy.version,
            "policy/age_s": self.policy.age_s,
            "env_steps": self.env_steps,
            "env_steps_per_s": self._rate.per_s(),
            **self._env_metrics(),
        }
        self.metrics.log(self.env_steps, values)
        self.client.report("episode", values)
        self._save_state()

    # Testing.

    def _passes_gates(self) -> bool:
        """Freeze the policy in hand; True when it passes every gate in a row."""
        config = self.experiment.evaluation
        version = self.policy.version
        for number in range(config.gate_passes):
            seeds = self.window.gate_seeds(self.experiment.seed)
            self.phase = f"gate {number + 1} of {config.gate_passes}, version {version}"
            failures_allowed = config.gate_episodes - config.gate_successes
            result = self._evaluate(seeds, failures_allowed)
            if self.stop.is_set():
                return False
            passed = result.successes >= config.gate_successes
            self.client.report(
                "gate", {"version": version, "successes": result.successes, "passed": passed}
            )
            log.info("version %d: gate %d/%d", version, result.successes, len(seeds))
            if not passed:
                self.window.gate_failed()
                self._save_state()
                return False
        return True

    def _asked_to_end(self) -> bool:
        """What the learner's request to end means here; True when this actor's job is done."""
        if self.client.stop_requested == FINISHED or not self.evaluates:
            return True
        while self.policy.version < 0 and not self.stop.is_set():
            self.phase = "waiting for the policy to test"
            self._status()
            self.client.wait_for_params(timeout_s=0.2)
            self.policy.take(self.client)
        return not self.stop.is_set() and self._final(str(self.client.stop_requested))

    def _resumed_final(self) -> bool:
        """Run the final test that an earlier process of this actor had begun, if there is one."""
        begun = self.run.actor_final
        if not self.evaluates or not begun.exists() or self.stop.is_set():
            return False
        if self.run.evaluation.exists():
            self._report_final(self.run.read(self.run.evaluation))
            return True
        stored = load_policy(self.run.policy, self.spec)
        self.policy.version, self.policy.params = stored.version, stored.params
        self.policy.need_trunk(
            str(stored.meta.get("trunk", "")), self.run.trunk_files, f"policy {self.run.policy}"
        )
        return self._final(self.run.read(begun)["why"])

    def _final(self, why: str) -> bool:
        """The final test of the policy in hand, on seeds no one has trained or tuned on.

        Returns whether it was run to its end; if not, the next process of this actor begins it
        again.
        """
        version = self.policy.version
        save_policy(
            self.run.policy,
            version=version,
            params=self.policy.params,
            spec=self.spec,
            meta={
                "experiment": self.experiment.name,
                "hash": self.experiment.hash,
                "trunk": self.policy.trunk,
                "trunk_name": getattr(self.policy.agent, "trunk_name", ""),
            },
        )
        self.run.write(self.run.actor_final, {"version": version, "why": why})
        self.client.report("final_started", {"version": version, "why": why})
        count = self.experiment.evaluation.final_episodes
        self.phase = f"final test, version {version}"
        seeds = [episode_seed(Purpose.FINAL, self.experiment.seed, k) for k in range(count)]
        result = self._evaluate(seeds, failures_allowed=count)
        if len(result.episodes) < count:
            return False
        outcome = {
            "version": version,
            "why": why,
            "env_steps": self.env_steps,
            "finished_wall_s": time.time(),
            **self.attendance.totals(),
            **result.to_json(),
        }
        self.run.write(self.run.evaluation, outcome)
        self._report_final(outcome)
        return True

    def _report_final(self, outcome: dict[str, Any]) -> None:
        summary = {key: value for key, value in outcome.items() if key != "per_episode"}
        self.client.report("final", summary)

    def _evaluate(self, seeds: list[int], failures_allowed: int) -> EvaluationResult:
        """Deterministic episodes of the policy in hand; ends early once too many have failed."""
        failures = 0

        def on_episode(episode: EpisodeResult) -> None:
            nonlocal failures
            failures += not episode.success
            self.evaluation_done += 1
            self._status()

        self.evaluation_done, self.evaluation_total = 0, len(seeds)
        with self.attendance.of_a_test() as heed:
            result = evaluate(
                lambda obs: self.policy.choose(obs, deterministic=True),
                self.env,
                seeds,
                on_episode=on_episode,
                on_step=heed,
                on_reset=self.policy.begin,
                should_stop=lambda: self.stop.is_set() or failures > failures_allowed,
            )
        self.evaluation_total = 0
        return result

    # Waiting, each time saying for what.

    def _connect(self) -> None:
        """Random steps need no learner; a policy does."""
        self.phase = f"waiting for the learner at {self.client.address}"
        self._status(force=True)
        waits = not self._explores and not self.attendance.begins_alone
        self.client.connect(wait=waits, stop=self.stop)

    def _wait_for_policy(self) -> None:
        """Without a policy of this run the arm does not move, unless random steps are due or a
        person takes it."""
        while not self.policy.take(self.client) and self.policy.version < 0:
            if self._explores or self._should_end() or self.attendance.moves():
                return
            self.phase = "waiting for the learner's first policy"
            self._status()
            self.client.wait_for_params(timeout_s=0.2)

    def _wait_for_someone(self) -> bool:
        """Hold while there is no policy and no hand moves; False when it is time to end."""
        if not self._nobody:
            return True

        def reason() -> str:
            known = self.policy.take(self.client)
            over = known or self._should_end() or self.attendance.moves()
            return "" if over else "for the learner's first policy, or a hand on the device"

        self.env.unwrapped.hold(reason)
        return not self._should_end()

    def _wait_for_credit(self) -> bool:
        """In lockstep, wait while the learner is behind; False when it is time to end."""
        if self.realtime:
            return True
        while not self.client.wait_for_credit(timeout_s=0.2):
            self.phase = "waiting for the learner to catch up"
            self._status()
            if self._should_end():
                return False
        self.phase = "training"
        return True

    def _wait_for_space(self) -> bool:
        """A full spool holds the arm between episodes: records are never dropped."""
        while not self.client.wait_for_space(timeout_s=0.5):
            self.phase = "holding: the spool is full until the learner takes records"
            self._status()
            if self._should_end():
                return False
        return True

    def _should_end(self) -> bool:
        return self.stop.is_set() or self.client.stop_requested is not None

    def _env_waits(self, reason: str) -> None:
        """The env waits for something outside the program; empty: no longer."""
        if reason and not self._before_wait:
            self._before_wait = self.phase
        self.phase = f"waiting: {reason}" if reason else self._before_wait or self.phase
        self._before_wait = self._before_wait if reason else ""
        self._status()

    # Bookkeeping.

    def _env_metrics(self) -> dict[str, float]:
        """What the env measures about itself, its pace for instance."""
        measured = getattr(self.env.unwrapped, "metrics", dict)
        return {f"env/{name}": value for name, value in measured().items()}

    def status(self) -> dict[str, Any]:
        """The state of things, for the live view."""
        return {
            "phase": self.phase,
            "env_steps": self.env_steps,
            "env_steps_per_s": self._rate.per_s(),
            "episodes": self.episodes,
            "success_last_20": self.window.successes,
            "episodes_in_window": len(self.window.recent),
            "policy_version": self.policy.version,
            "policy_age_s": self.policy.age_s,
            "evaluation_done": self.evaluation_done if self.evaluation_total else None,
            "evaluation_total": self.evaluation_total or None,
            "gates": self.window.gates_run,
            **self.attendance.status(),
        }

    def _status(self, force: bool = False) -> None:
        now = time.monotonic()
        if force or now >= self._next_status:
            self._next_status = now + STATUS_EVERY_S
            self._on_status(self.status())

    def _save_state(self) -> None:
        self.run.write(
            self.run.actor_state,
            {
                "env_steps": self.env_steps,
                "episodes": self.episodes,
                "window": self.window.state(),
                "interventions": self.attendance.interventions.state(),
            },
        )

    def _restore(self) -> None:
        if self.run.actor_state.exists():
            state = self.run.read(self.run.actor_state)
            self.env_steps, self.episodes = state["env_steps"], state["episodes"]
            self.window.restore(state["window"])
            self.attendance.interventions.restore(state.get("interventions", {}))

    def _close(self) -> None:
        self.client.close()
        self.env.close()
        self.metrics.close()
        self._status(force=True)


def run_actor(experiment: Experiment, **options: Any) -> dict[str, Any]:
    """Make an Actor and run it to its end; see `Actor` for the options."""
    try:
        actor = Actor(experiment, **options)
    except Interrupted as error:
        log.info("%s", error)
        return {"env_steps": 0, "episodes": 0, "unsent_records": 0, "finished": False}
    return actor.run_until_done()
