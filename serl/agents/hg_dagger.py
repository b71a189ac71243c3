"""HG-DAgger: clone the demonstrations, then let the person who takes over be the teacher.

The policy rolls out; only the person's own steps, and the demonstrations, are learned from, and the
learner goes on publishing. Source: arXiv:1810.02890.
"""

from __future__ import annotations

from dataclasses import dataclass

from serl.agents.base import AGENTS, check_range
from serl.agents.bc import BCConfig


@AGENTS.register("hg_dagger")
@dataclass(frozen=True, kw_only=True)
class HGDAggerConfig(BCConfig):
    """Settings of behaviour cloning, and how long it learns before the arm moves."""

    pretrain_updates: int = 2000
    """Gradient steps on the demonstrations before the first policy is published; with 0, and
    without demonstrations, the person begins alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("pretrain_updates", self.pretrain_updates, 0, 10_000_000)
