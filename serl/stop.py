"""Why a learner asks its actors to end; the words travel with the channel's stop flag.

A learner that is merely stopped asks for nothing: its actors wait for it and go on spooling.
"""

from __future__ import annotations

FINISHED = "the run is finished"


def training_over(why: str) -> str:
    """Training is over: the evaluating actor runs the final test, the others end."""
    return f"training is over: {why}"
