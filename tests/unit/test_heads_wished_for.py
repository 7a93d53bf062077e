"""Heads and action events as wishes: what a model cannot say is refused before anything is built, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamer.commands.check import _unknown_to_models
from streamer.commands.heads import heads_of_text, refuse_unknown
from streamer.commands.prepare import prepare_engines
from streamer.commands.worker import Models
from streamer.config import Config, EventWishes, StreamConfig
from streamer.errors import SightlineError
from tests.model.test_build import write_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of boxes and masks."""
    return str(write_weights(tmp_path_factory.mktemp("weights") / "plain.safetensors"))


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with every head."""
    from engines.build.samples import sample

    return str(sample("street", tmp_path_factory.mktemp("talking"), full=False))


def stream(model: str, **wishes: Any) -> StreamConfig:
    return StreamConfig(name="door", url="world://street", model=model, **wishes)


def test_what_a_model_can_say_is_granted(weights: str, talking: str) -> None:
    refuse_unknown(stream(weights))
    refuse_unknown(stream(weights, heads=("masks",)))
    refuse_unknown(stream(talking, events=EventWishes(actions=("fall", "wave"))))
    refuse_unknown(stream(talking, heads=("actions",), events=EventWishes(actions=("fall",))))


def refusals(weights: str, talking: str) -> list[tuple[StreamConfig, str]]:
    falls = EventWishes(actions=("fall",))
    return [
        (
            stream(weights, heads=("actions",)),
            "these weights have no head 'actions' — the heads here are masks",
        ),
        (
            stream(weights, events=falls),
            f"{weights} does not know the action 'fall' — leave events.actions out",
        ),
        (
            stream(talking, events=EventWishes(actions=("fal",))),
            "does not know the action 'fal' — it knows walk",
        ),
        (
            stream(talking, heads=("masks",), events=falls),
            "streams.door.heads: events of actions need the head",
        ),
    ]


def test_what_it_cannot_is_one_line_and_check_says_it(weights: str, talking: str, tmp_path: Path) -> None:
    for wish, says in refusals(weights, talking):
        with pytest.raises(SightlineError) as caught:
            refuse_unknown(wish)
        assert says in str(caught.value) and "\n" not in str(caught.value)
        [found] = _unknown_to_models([wish])
        assert (
            found.problem is not None and found.problem.startswith("stream door: ") and says in found.problem
        )
        with pytest.raises(type(caught.value)):
            prepare_engines(Config(streams=[wish], data_dir=tmp_path), lambda line: None)


@pytest.mark.parametrize(
    ("text", "heads"),
    [(None, None), ("", ()), ("masks", ("masks",)), ("masks, actions,masks", ("masks", "actions"))],
)
def test_heads_on_the_command_line(text: str | None, heads: tuple[str, ...] | None) -> None:
    assert heads_of_text(text) == heads


def test_a_model_is_opened_once_for_each_choice_of_heads() -> None:
    made: list[tuple[str, Any]] = []

    class Pipe:
        def start(self) -> None:
            pass

    def make(model: str, heads: Any) -> Any:
        made.append((model, heads))
        return object(), Pipe()

    models = Models(make)
    wished = [stream("a"), stream("a", heads=("actions", "masks")), stream("a", heads=("masks", "actions"))]
    first, second, third = (models.pipeline_for(one) for one in wished)
    assert first is models.pipeline_for(stream("a")) and second is third and first is not second
    assert made == [("a", None), ("a", ("masks", "actions"))]
