"""The worst cases as pictures: a folder with index.html and PNGs that needs nothing else.

Frames are ranked by each kind of mistake; the streets are drawn anew up to the frames that are shown, since a world is
the same each time, and truth and answer are laid side by side.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.evaluation.actions import told_of
from engines.evaluation.facts import PERSON, Seen, Street, by_street
from engines.evaluation.matching import difficult, sampled
from engines.evaluation.overlay import draw_answer, draw_classes, draw_truth, side_by_side
from engines.evaluation.scores import FLAT, Measures
from streamer.errors import SightlineError
from streamer.types import U8
from streamer.world import ACTIONS, SEMANTIC, Truth

SHOWN = 6  # frames of each kind
APART = 12  # frames that two shown ones of a street lie apart
KINDS: Mapping[str, str] = {
    "misses": "Clear objects for which no track stands",
    "false": "Tracks that stand for no object",
    "masks": "Masks that fit worst (mean IoU of the frame's clear matched objects)",
    "switches": "Objects that changed their identity",
    "actions": "People whose action is told wrongly",
    "semantic": "Class maps with most cells wrong",
    "events": "Intrusions and cars on the wrong way that were missed, told twice or told for nothing",
}
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1500px;padding:0 1rem;color:#1c2430}
img{width:100%;border:1px solid #ccd}figure{margin:1.2rem 0}figcaption{color:#456}table{border-collapse:collapse}
td,th{padding:.15rem .8rem;text-align:right;border-bottom:1px solid #dde}td:first-child{text-align:left}"""


def badness(measures: Measures) -> dict[str, list[tuple[float, Seen]]]:
    """Of each kind the frames with such a mistake and how bad it is, the worst first."""
    switched = measures.switched
    warm_up = measures.warm_up if measures.run.clips.labels else None
    bad: dict[str, list[tuple[float, Seen]]] = {kind: [] for kind in KINDS}
    for seen in measures.run.frames:
        stands = np.zeros(len(seen.tracks), bool)
        stands[seen.partner[seen.partner >= 0]] = True
        fits = seen.mask_iou[seen.met]
        fits = fits[~np.isnan(fits)]
        values: dict[str, float] = {
            "misses": float(((seen.partner < 0) & ~seen.hard).sum()),
            "false": float((~stands).sum()),
            "masks": 1 - float(fits.mean()) if len(fits) else 0.0,
            "switches": float((seen.street, seen.frame) in switched),
            "actions": float(_wrong_actions(seen, warm_up)) if warm_up is not None else 0.0,
            "semantic": seen.cells_wrong,
        }
        for kind, value in values.items():
            if value > 0:
                bad[kind].append((value, seen))
    mistakes = measures.alarms.mistakes()
    for seen in chain(measures.run.frames, measures.staged.frames):
        if (seen.street, seen.frame) in mistakes:
            bad["events"].append((float(mistakes[seen.street, seen.frame]), seen))
    for rows in bad.values():
        rows.sort(key=lambda row: (-row[0], row[1].street, row[1].frame))
    return bad


def _wrong_actions(seen: Seen, warm_up: int) -> int:
    """Clear people with a track old enough whose action is another than the one told."""
    told = told_of(seen)
    wrong = 0
    for row in np.flatnonzero(seen.met & (seen.labels == PERSON) & (seen.actions >= 0)).tolist():
        column = int(seen.partner[row])
        said = told.get(int(seen.tracks.track_ids[column]))
        real = ACTIONS[seen.actions[row]]
        wrong += bool(seen.tracks.ages[column] >= warm_up) and (said is None or said.name != real)
    return wrong


def spread(rows: Sequence[tuple[float, Seen]], most: int = SHOWN) -> list[tuple[float, Seen]]:
    """The worst ones, but not the same scene over and over: APART frames between two of a street."""
    chosen: list[tuple[float, Seen]] = []
    for value, seen in rows:
        near = any(s.street == seen.street and abs(s.frame - seen.frame) < APART for _, s in chosen)
        if not near:
            chosen.append((value, seen))
        if len(chosen) == most:
            break
    return chosen


def write_page(folder: Path, measures: Measures, numbers: Mapping[str, Any], heading: str) -> int:
    """Write the page; returns the number of pictures. Raises SightlineError if the folder cannot be written."""
    chosen = {kind: spread(rows) for kind, rows in badness(measures).items()}
    wanted = {(seen.street, seen.frame): seen for rows in chosen.values() for _, seen in rows}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _draw(folder, measures, list(wanted.values()), {s for _, s in _keys(chosen["semantic"])})
        (folder / "index.html").write_text(_document(measures, numbers, heading, chosen), "utf-8")
    except OSError as error:
        raise SightlineError(
            f"the page cannot be written ({error.strerror or error})",
            where=str(folder),
            mend="give a folder that can be written",
        ) from error
    return len(wanted)


def _streets(measures: Measures) -> dict[int, Street]:
    return {street.index: street for street in chain(measures.run.streets, measures.staged.streets)}


def _keys(rows: Sequence[tuple[float, Seen]]) -> list[tuple[float, tuple[int, int]]]:
    return [(value, (seen.street, seen.frame)) for value, seen in rows]


def _draw(folder: Path, measures: Measures, wanted: Sequence[Seen], with_map: set[tuple[int, int]]) -> None:
    """One PNG for each frame that is shown."""
    streets = _streets(measures)
    for index, rows in by_street(wanted).items():
        world = streets[index].drawn_anew()
        done = 0
        for seen in rows:
            world.skip(seen.frame - done)
            picture, truth = world.step()
            done = seen.frame + 1
            panels = [draw_truth(picture, truth, difficult(truth)), draw_answer(picture, seen)]
            shown = side_by_side(panels)
            if (seen.street, seen.frame) in with_map:
                shown = np.concatenate([shown, _maps(truth, seen, panels[0])[:, : shown.shape[1]]], axis=0)
            path = folder / _file_of(seen)
            if not cv2.imwrite(str(path), cv2.cvtColor(shown, cv2.COLOR_RGB2BGR)):
                raise OSError(f"{path} cannot be written")


def _maps(truth: Truth, seen: Seen, like: U8) -> U8:
    """The true class map, on the grid of the answer, and the answered one."""
    answer = seen.payload.semantic
    assert answer is not None
    size = (like.shape[1], like.shape[0])
    return side_by_side(
        [
            draw_classes(sampled(truth.semantic, answer.shape), SEMANTIC, size),
            draw_classes(answer, seen.payload.semantic_names, size),
        ]
    )


def _file_of(seen: Seen) -> str:
    return f"street{seen.street:02d}-frame{seen.frame:04d}.png"


def _document(
    measures: Measures,
    numbers: Mapping[str, Any],
    heading: str,
    chosen: Mapping[str, Sequence[tuple[float, Seen]]],
) -> str:
    streets = _streets(measures)
    rows = "".join(
        f"<tr><td>{name}</td><td>{'no such head' if numbers[name] is None else format(numbers[name], '.3f')}</td></tr>"
        for name in FLAT
    )
    parts = [
        f"<h1>{html.escape(heading)}</h1>",
        f"<p>{numbers['streets']} streets, {numbers['frames']} frames. Left the truth, right the answer; grey are "
        "objects too small or too hidden to be asked for, thick red boxes stand for no object, white ones were missed. "
        "Accuracy in the synthetic world is not accuracy on a real camera.</p>",
        f"<table>{rows}</table>",
    ]
    for kind, title in KINDS.items():
        if not chosen[kind]:
            continue
        parts.append(f"<h2>{title}</h2>")
        for value, seen in chosen[kind]:
            street = streets[seen.street]
            hour = "night" if street.night else "day"
            caption = (
                f"street {seen.street} (seed {street.config.seed}), frame {seen.frame}: {street.theme}, "
                f"{street.weather}, {hour}; {value:.3g}"
            )
            parts.append(
                f'<figure><img src="{_file_of(seen)}" alt="{kind}" loading="lazy">'
                f"<figcaption>{html.escape(caption)}</figcaption></figure>"
            )
    body = "\n".join(parts)
    title = html.escape(heading)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><body>{body}</body></html>\n"
    )
