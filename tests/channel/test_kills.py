"""Nothing is lost and nothing is there twice, whoever is killed and whenever."""

from __future__ import annotations

from benchmarks.kills import torture


def test_twenty_kills_lose_no_record_and_double_none(tmp_path):
    """SERL lost an actor's first records after its restart and doubled them after the learner's
    (reference/serl.md 5.5, both ran)."""
    outcome = torture(kills=20, seed=0, folder=tmp_path)
    assert outcome.sent > 100
    assert outcome.versions > 0
    assert outcome.clean, outcome
