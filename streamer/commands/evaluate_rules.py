"""The rules that serve, for `sightline eval`: zones and lines over one street's results, as a publisher runs them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from streamer.regions import Line, Zone
from streamer.rules.lines import Lines, LineState
from streamer.rules.zones import Zones
from streamer.types import Event, Result


def served_rules(
    frames: Iterable[tuple[Result, tuple[Zone, ...], tuple[Line, ...]]],
) -> Iterator[Sequence[Event]]:
    """The events of each frame; its zones and lines may lie elsewhere than those of the frame before."""
    zones: tuple[Zone, ...] = ()
    lines: tuple[Line, ...] = ()
    in_zones, over_lines = Zones(lambda stream: zones), Lines(lambda stream: lines)
    stays, walks = in_zones.initial_state(), over_lines.initial_state()
    for result, zones_now, lines_now in frames:
        zones, lines = zones_now, lines_now  # what the rules ask for
        stays, entered = in_zones.step(stays, result)
        walks, crossed = over_lines.step(_moved(walks, lines), result)
        yield [*entered, *crossed]


def _moved(before: LineState, lines: Sequence[Line]) -> LineState:
    """The walks beside these lines. A line that a user draws anew begins anew; one that lies on the ground has only
    moved in a picture that sways, and who walks beside it is still where he was."""
    by_name = {place[0]: walks for place, walks in before.walks.items()}
    return LineState(
        {(line.name, line.start, line.end): by_name[line.name] for line in lines if line.name in by_name}
    )
