"""What the learner keeps of one connected actor: what it has sent, and what to tell it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from serl.channel import channel_pb2 as pb
from serl.channel.codec import Key

HELLO_GRACE_S = 10.0
"""A session without its step stream counts as live this long after Hello."""


@dataclass(frozen=True, kw_only=True)
class ActorStatus:
    """One line of the learner's live table."""

    actor_id: str
    peer: str
    records: int
    """Committed in this session."""
    high_water: Key | None
    """(episode, index) of its last committed record."""
    policy_version: int
    """Newest version it has; -1 for none."""
    quiet_s: float
    """Since its last record, or Hello."""
    trouble: str
    """Why its records are not committed just now; empty when they are."""


class Session:
    """One actor from Hello to the end of its step stream. All methods are thread-safe."""

    def __init__(self, actor_id: str, instance_id: str, peer: str, high_water: Key | None) -> None:
        self.id = secrets.token_hex(16)
        self.actor_id = actor_id
        self.instance_id = instance_id
        self.peer = peer
        self.policy_version = -1
        self.last_report = 0
        self.high_water = high_water
        self.committed = 0
        self.streaming = False
        self.ended = threading.Event()
        self.refusal = ""
        """Why the stream was ended by the learner; empty when the actor ended it."""
        self.failure: BaseException | None = None
        self._trouble = ""
        self._heard_ns = self._hello_ns = time.monotonic_ns()
        self._changed = threading.Condition()
        self._dirty = True

    @property
    def live(self) -> bool:
        """Whether a second actor with this id must be turned away."""
        if self.ended.is_set():
            return False
        return self.streaming or time.monotonic_ns() - self._hello_ns < HELLO_GRACE_S * 1e9

    def begin_stream(self) -> bool:
        """Claim the session's one step stream; False when it is taken."""
        with self._changed:
            claimed, self.streaming = not self.streaming, True
        return claimed

    def advance(self, count: int, high_water: Key) -> None:
        """`count` more records are committed, the last being `high_water`."""
        with self._changed:
            self.committed += count
            self.high_water = high_water
            self._trouble = ""
            self._heard_ns = time.monotonic_ns()
        self.wake()

    def report_trouble(self, text: str) -> None:
        """Tell the actor why nothing is committed."""
        with self._changed:
            self._trouble = text
        self.wake()

    def wake(self) -> None:
        """Something the actor should know has changed."""
        with self._changed:
            self._dirty = True
            self._changed.notify_all()

    def end(self, refusal: str = "") -> None:
        """End the stream; with a reason if the learner refuses what was sent."""
        self.refusal = self.refusal or refusal
        self.ended.set()
        self.wake()

    def replies(self) -> Iterator[pb.StepsReply]:
        """A snapshot after every change, changes that pile up told once; ends with the session."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._dirty)
                self._dirty = False
                over = self.ended.is_set()
                reply = pb.StepsReply(committed=self.committed, trouble=self._trouble)
                if self.high_water is not None:
                    reply.high_water.episode, reply.high_water.index = self.high_water
            yield reply
            if over:
                return

    def status(self) -> ActorStatus:
        with self._changed:
            return ActorStatus(
                actor_id=self.actor_id,
                peer=self.peer,
                records=self.committed,
                high_water=self.high_water,
                policy_version=self.policy_version,
                quiet_s=(time.monotonic_ns() - self._heard_ns) / 1e9,
                trouble=self._trouble,
            )
