"""Import and export: a set of ours and a file of another project's, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serl.data.formats.base import FORMATS, PARTS, Options, Steps, ended
from serl.data.formats.native import DemoSet, write_episode
from serl.data.formats.steps import SpecOf, meta_of, records_of, steps_of
from serl.data.formats.target import whole
from serl.errors import UserError
from serl.types import Source


@dataclass(frozen=True, kw_only=True)
class Exchanged:
    """What an import or export did."""

    episodes: int
    steps: int
    notes: tuple[str, ...] = ()
    """What was assumed, and what could not be kept; a line each."""


def import_demos(
    source: Path, name: str, target: Path, *, who: Source = Source.HUMAN, experiment: str = ""
) -> Exchanged:
    """Read a file of the format `name` into a new set of ours.

    It is read twice: the spec, which every episode of ours carries, follows from all of them.

    Args:
        who: chose the actions, where the file does not say.
        experiment: what the episodes are filed under; the file's name where empty.

    Raises:
        CorruptFile: the source is damaged. UserError: `target` is not free, or there is no episode.
    """
    if not source.exists():
        raise UserError(f"there is nothing at {source}.")
    form = FORMATS.get(name)()
    notes: dict[str, None] = {}
    gathered = SpecOf(str(source))
    for steps in _whole_episodes(form.read(source)):
        gathered.see(steps)
        notes |= dict.fromkeys(steps.notes)
    spec, line = gathered.made()
    episodes = count = 0
    with whole(target) as folder:
        folder.mkdir()
        for steps in _whole_episodes(form.read(source)):
            records = records_of(steps, spec, who)
            write_episode(folder, records, spec, meta_of(steps, experiment or source.stem))
            episodes, count = episodes + 1, count + steps.count
    return Exchanged(episodes=episodes, steps=count, notes=(line, *notes))


def export_demos(
    demos: DemoSet, name: str, target: Path, options: Options | None = None
) -> Exchanged:
    """Write a set of ours in the format `name`.

    Raises:
        UserError: `target` is not free, or the format cannot hold this set.
    """
    form = FORMATS.get(name)()
    options = options or Options(control_hz=demos.control_hz)
    with whole(target) as part:
        form.write(part, demos.spec, (steps_of(episode) for episode in demos), options)
    return Exchanged(
        episodes=len(demos),
        steps=sum(header.steps for header in demos.headers),
        notes=lost(name, demos, options),
    )


def lost(name: str, demos: DemoSet, options: Options) -> tuple[str, ...]:
    """What of this set the format cannot hold, in one line; none where it holds everything."""
    gone = [p for p in PARTS if p not in FORMATS.get(name).keeps]
    if not demos.spec.extras:
        gone = [p for p in gone if p != "extras"]
    if options.video:
        gone = ["frames", *gone]
    return (f"not kept by {name}: {'; '.join(PARTS[p] for p in gone)}.",) if gone else ()


def _whole_episodes(found: Iterator[Steps]) -> Iterator[Steps]:
    """Episodes up to their ends; those without a step are no episodes."""
    for steps in found:
        if steps.count:
            yield ended(steps)
