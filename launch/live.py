"""What a person sees while a run goes on: a live panel on a terminal, plain lines elsewhere.

It only reads the status files of the run's processes, so it can be stopped, and started again
beside a run, without anyone noticing.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from launch.runs import Run
from serl.experiment import BudgetConfig
from serl.metrics import read_status
from serl.timing import Every

STALE_S = 5.0
"""A status older than this is shown as such: its process is busy, starting again or gone."""


class LiveView:
    """Shows a run; use with `with`, and call it often.

    Args:
        run: whose status files to read.
        budget: what the progress bar counts against.
        worked_s: how long this run has been going, in seconds, all sessions together.
        out: the terminal; where it is none, one line comes every `line_every_s`.
    """

    def __init__(
        self,
        run: Run,
        budget: BudgetConfig,
        worked_s: Callable[[], float],
        *,
        out: IO[str] | None = None,
        line_every_s: float = 10.0,
    ) -> None:
        self.run = run
        self.budget = budget
        self._worked_s = worked_s
        self._out = sys.stdout if out is None else out
        self._messages: deque[str] = deque(maxlen=6)
        self._refresh = Every(0.25)
        self._line = Every(line_every_s)
        self._live: Any = None

    def __enter__(self) -> LiveView:
        if self._out.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._out), auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self.panel(), refresh=True)
            self._live.stop()

    def __call__(self) -> None:
        """Show the newest state, if it is time to."""
        if self._live is not None:
            if self._refresh():
                self._live.update(self.panel(), refresh=True)
        elif self._line():
            print(self.line(), file=self._out, flush=True)

    def say(self, text: str) -> None:
        """One message for the person; stays visible for a while."""
        if self._live is None:
            print(text, file=self._out, flush=True)
        else:
            self._messages.append(f"{time.strftime('%H:%M:%S')}  {text}")
            self._live.update(self.panel(), refresh=True)

    def line(self) -> str:
        """The state in one plain line."""
        state = State.read(self.run)
        fraction, left_s = progress(state, self.budget, self._worked_s())
        return (
            f"{minutes(self._worked_s())}  {state.phase}: "
            f"{state.number('actor', 'env_steps')} steps "
            f"({state.number('actor', 'env_steps_per_s', '.0f')}/s), "
            f"{state.number('learner', 'updates')} updates "
            f"({state.number('learner', 'updates_per_s', '.0f')}/s), "
            f"success {state.success}{state.helped}, "
            f"policy v{state.number('actor', 'policy_version')} "
            f"({state.number('actor', 'policy_age_s', '.1f')} s old), "
            f"replay {state.replay}, "
            f"{fraction:.0%} of the budget, at most {minutes(left_s)} left"
        )

    def panel(self) -> Any:
        """The state as a panel with a progress bar."""
        from rich.console import Group
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        state = State.read(self.run)
        fraction, left_s = progress(state, self.budget, self._worked_s())
        grid = Table.grid(padding=(0, 2))
        for justify in ("left", "right", "left", "right"):
            grid.add_column(justify=justify, min_width=12)
        for left, right in state.rows():
            grid.add_row(Text(left[0], "dim"), left[1], Text(right[0], "dim"), right[1])
        bar = Table.grid(padding=(0, 2), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        bar.add_row(
            ProgressBar(total=1.0, completed=fraction),
            f"{minutes(self._worked_s())}, at most {minutes(left_s)} left",
        )
        messages = [Text(text, "dim") for text in self._messages]
        return Panel(
            Group(Text(state.phase, "bold"), "", grid, "", bar, *messages),
            title=str(self.run.path),
            border_style="green",
        )


class State:
    """The newest status of each process, with words for what is not there yet."""

    def __init__(self, statuses: dict[str, dict[str, Any]], now_s: float) -> None:
        self.statuses = statuses
        self.now_s = now_s

    @staticmethod
    def read(run: Run) -> State:
        """Read the status files of a run."""
        found = {}
        for role in ("recorder", "learner", "actor"):
            status = read_status(run.status_path(role))
            if status is not None:
                found[role] = status
        return State(found, time.time())

    def get(self, role: str, key: str) -> Any:
        return self.statuses.get(role, {}).get(key)

    def number(self, role: str, key: str, form: str = ",d") -> str:
        """A number as text; '-' before it is known."""
        value = self.get(role, key)
        if not isinstance(value, int | float):
            return "-"
        return format(int(value) if form.endswith("d") else value, form)

    @property
    def replay(self) -> str:
        """Records, and how many crops of frames wait for the encoder, if any do."""
        waiting = self.get("learner", "encoder/backlog_crops")
        records = self.number("learner", "replay_records")
        return f"{records}, {waiting:,.0f} crops to encode" if waiting else records

    @property
    def success(self) -> str:
        """Success over the last 20 training episodes, as 17/20."""
        successes, episodes = (
            self.get("actor", key) for key in ("success_last_20", "episodes_in_window")
        )
        return f"{successes}/{episodes}" if episodes else "-"

    @property
    def helped(self) -> str:
        """The share of steps that a person made, where one is there."""
        rate = self.get("actor", "intervention_rate")
        return "" if rate is None else f" ({rate:.0%} of steps by hand)"

    @property
    def phase(self) -> str:
        """What is going on: recording first, then what the actor does, and how far a test is."""
        recording = self.get("recorder", "phase")
        if recording and self.get("recorder", "stored") != self.get("recorder", "wanted"):
            return recording
        phase = self.get("actor", "phase") or self.get("learner", "phase") or "starting"
        total = self.get("actor", "evaluation_total")
        return (
            f"{phase}: episode {self.get('actor', 'evaluation_done')}/{total}" if total else phase
        )

    def rows(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """Label and value, actor on the left and learner on the right."""
        return [
            (
                ("env steps", self.number("actor", "env_steps")),
                ("updates", self.number("learner", "updates")),
            ),
            (
                ("env steps/s", self._fresh("actor", "env_steps_per_s", ",.0f")),
                ("updates/s", self._fresh("learner", "updates_per_s", ",.0f")),
            ),
            (
                ("episodes", self.number("actor", "episodes")),
                ("replay records", self.replay),
            ),
            (
                ("success, last 20", self.success),
                ("demonstrations", self.number("learner", "demos")),
            ),
            *self._person(),
            (
                ("policy version", self.number("actor", "policy_version")),
                ("policy age [s]", self._fresh("actor", "policy_age_s", ".1f")),
            ),
        ]

    def _person(self) -> list[tuple[tuple[str, str], tuple[str, str]]]:
        """Where a person stands beside the actor: what they did, and how long a success takes."""
        if self.get("actor", "intervention_rate") is None:
            return []
        return [
            (
                ("interventions, last 20", self.number("actor", "intervention_rate", ".0%")),
                ("cycle time [s]", self.number("actor", "cycle_s", ".2f")),
            )
        ]

    def _fresh(self, role: str, key: str, form: str) -> str:
        """A rate, unless its process has been silent for a while."""
        silent_s = self.now_s - self.statuses.get(role, {}).get("t_s", self.now_s)
        return (
            f"silent for {silent_s:.0f} s" if silent_s > STALE_S else self.number(role, key, form)
        )


def progress(state: State, budget: BudgetConfig, worked_s: float) -> tuple[float, float]:
    """Share of the budget that is spent, by whichever of its parts is nearest, and seconds left."""
    shares = [
        worked_s / budget.wall_s,
        (state.get("learner", "updates") or 0) / budget.updates,
        (state.get("actor", "env_steps") or 0) / budget.env_steps,
    ]
    fraction = min(1.0, max(shares))
    by_share = worked_s * (1 - fraction) / fraction if fraction > 0 else budget.wall_s
    return fraction, max(0.0, min(by_share, budget.wall_s - worked_s))


def minutes(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    text = f"{rest // 60:02d}:{rest % 60:02d}"
    return f"{hours}:{text}" if hours else text.removeprefix("0")
