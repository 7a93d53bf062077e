"""Event streets count for the events alone: no other figure is touched. They begin where they are told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from engines.evaluation.facts import Seen
from engines.evaluation.page import write_page
from engines.evaluation.scores import Measures, told
from engines.evaluation.split import SplitRun, run_split
from streamer.commands.evaluate_rules import served_rules
from streamer.commands.evaluate_tables import show
from streamer.world import World
from streamer.world.splits import EVENT_CLIPS, EVENT_SEEDS, SPLITS, event_street
from tests.model.test_evaluation_split import HW, STREETS, Oracle, measure

CLIP = 147, 40
FRAMES = 65
HOW = {"model": "oracle", "split": "heldout", "backend": "none", "precision": "f32"}


@pytest.fixture(scope="module")
def run() -> SplitRun:
    return measure(Oracle())


@pytest.fixture(scope="module")
def staged() -> SplitRun:
    (index, begin), oracle = CLIP, Oracle()
    config = event_street(index, *HW)
    world = World(config)
    world.skip(begin)
    oracle.worlds, oracle.late_frames = {f"street-{STREETS}": world}, begin
    return run_split(oracle.infer, oracle, [config], frames=FRAMES, begin=[begin], index_from=STREETS)


def test_no_figure_but_those_of_events_is_touched(run: SplitRun, staged: SplitRun) -> None:
    alone = told(Measures(run))
    with_them = told(Measures(run, staged=staged, rules=served_rules))
    events = with_them["details"].pop("events")
    assert alone["details"].pop("events") is None
    assert with_them == alone and with_them["streets"] == STREETS
    assert (events["streets"], events["event_streets"]) == (STREETS, 1)
    assert events["wrong_way"]["happened"] >= 1 and events["wrong_way"]["noticed"] >= 1
    for kind in ("intrusion", "wrong_way"):
        # the oracle's tracks are the true boxes
        ideal = events[kind]["of_true_boxes"]
        assert {name: events[kind][name] for name in ideal} == ideal


def test_they_are_shown(run: SplitRun, staged: SplitRun, tmp_path: Path) -> None:
    blind = SplitRun(staged.labels, staged.clips, staged.streets, [_unseen(seen) for seen in staged.frames])
    measures = Measures(run, staged=blind, rules=served_rules)
    numbers = told(measures)
    assert numbers["details"]["events"]["wrong_way"]["recall"] == 0.0
    console = Console(record=True, width=160)
    show({**HOW, **numbers}, console)
    shown = console.export_text()
    for words in ("wrong way", "intrusion", "left bag: cannot be told", "no model has a class for bags"):
        assert words in shown, words
    write_page(tmp_path, measures, numbers, "worst")
    page = (tmp_path / "index.html").read_text()
    assert "Intrusions and cars on the wrong way" in page
    assert list(tmp_path.glob(f"street{STREETS:02d}-*.png"))


def _unseen(seen: Seen) -> Seen:
    """No track stands for anything."""
    return replace(seen, partner=np.full(len(seen.ids), -1, np.int64))


def test_event_streets_are_held_out_and_the_same_at_every_size() -> None:
    assert all(EVENT_SEEDS.start >= seeds.stop for seeds in SPLITS.values())
    small, large = event_street(4, 144, 256), event_street(4, 256, 448, fps=25.0)
    assert (small.seed, small.weather, small.hour, small.theme) == (
        large.seed,
        large.weather,
        large.hour,
        large.theme,
    )
    assert len({index for index, _ in EVENT_CLIPS}) == len(EVENT_CLIPS) == 8
    for index, _ in EVENT_CLIPS:
        config = event_street(index, 144, 256)
        assert config.seed == EVENT_SEEDS[index] and config.events == 1.0
        assert config.shake == config.zoom == 0.0
    with pytest.raises(Exception, match="there is no event street"):
        event_street(len(EVENT_SEEDS), 144, 256)
