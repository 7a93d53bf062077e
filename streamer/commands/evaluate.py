"""`sightline eval MODEL`: how good a model is on streets it has never seen, with the numbers of kept metrics."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from engines.evaluation.scores import Measures
    from streamer.ports import Engine
    from streamer.types import U8

SHIPPED = "street-nano"  # what `eval street` means
FPS = 12.5


class Split(StrEnum):
    """Which streets: `heldout` is what is reported, `validation` what settings are chosen on."""

    HELDOUT = "heldout"
    VALIDATION = "validation"


def register(app: typer.Typer) -> None:
    app.command("eval", epilog="Example: `sightline eval street-nano --split heldout --json | jq .ap50`")(
        evaluate
    )


def evaluate(
    model: Annotated[
        str, typer.Argument(help="A name of `sightline models ls`, or a .safetensors file.")
    ] = SHIPPED,
    split: Annotated[
        Split, typer.Option(help="heldout: what is reported; validation: what settings are chosen on.")
    ] = Split.HELDOUT,
    streets: Annotated[int, typer.Option(min=1, max=1000, help="Streets of the split.")] = 12,
    frames: Annotated[int, typer.Option(min=1, help="Frames of each, at 12.5 a second.")] = 150,
    event_streets: Annotated[
        int,
        typer.Option(
            min=0,
            max=8,
            help="Held-out streets besides, 100 frames each, where somebody trespasses or a car drives the wrong way: "
            "they count for the events alone.",
        ),
    ] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    page: Annotated[
        Path | None,
        typer.Option(help="A folder for a page with pictures of the worst cases.", show_default=False),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            help="A clip (.mp4 or .mkv) of one street, truth and answer side by side.", show_default=False
        ),
    ] = None,
    video_street: Annotated[int, typer.Option(min=0, help="Which street of the split the clip shows.")] = 1,
    without: Annotated[
        str | None,
        typer.Option(
            help="Leave one idea of the model out, such as `vote`: see docs/accuracy.md.", show_default=False
        ),
    ] = None,
    backend: Annotated[
        str, typer.Option(help="openvino, onnx, torch, tensorrt or tensorrt-rtx.")
    ] = "openvino",
    precision: Annotated[str, typer.Option(help="auto, f16, bf16 or f32.")] = "auto",
) -> None:
    """Measure detection, masks, tracks, the class map, key points, actions and events on streets never trained on.

    Numbers are of clear objects: at least 48 pixels and a quarter of the object visible. Accuracy in the synthetic
    world is not accuracy on your camera.
    """
    from streamer.errors import SightlineError

    if video is not None and video_street >= streets:
        raise SightlineError(
            f"street {video_street} is not among the {streets} measured",
            where="--video-street",
            mend=f"use 0 to {streets - 1}",
        )
    measures, numbers = _measure(
        SHIPPED if model == "street" else model,
        split,
        streets,
        frames,
        event_streets if split is Split.HELDOUT else 0,  # what is reported is not for choosing settings
        backend,
        precision,
        without,
    )
    if as_json:
        import orjson

        typer.echo(orjson.dumps(numbers, option=orjson.OPT_INDENT_2).decode())
    else:
        from streamer.commands.evaluate_tables import show

        show(numbers)
    if page is not None:
        from engines.evaluation.page import write_page

        count = write_page(page, measures, numbers, f"{numbers['model']}: worst cases, {split.value}")
        typer.echo(f"{page / 'index.html'}: {count} pictures", err=True)
    if video is not None:
        from streamer.world.clip_file import write_pictures

        count = write_pictures(_overlaid(measures, video_street), FPS, video)
        typer.echo(f"{video}: {count} frames of street {video_street}", err=True)


def _measure(
    model: str,
    split: Split,
    streets: int,
    frames: int,
    event_streets: int,
    backend: str,
    precision: str,
    without: str | None,
) -> tuple[Measures, dict[str, Any]]:
    """Run the model; what was seen, and its numbers with how they were made in front."""
    from engines.evaluation.scores import Measures, told
    from engines.evaluation.split import MOST_SIDE_BY_SIDE, Clips, run_split
    from engines.tasks.track import TrackTask
    from engines.zoo import open_engine
    from streamer.commands.bars import LateBar
    from streamer.commands.evaluate_rules import served_rules
    from streamer.config import Config
    from streamer.errors import ParityError
    from streamer.world.splits import EVENT_CLIPS, EVENT_FRAMES, event_street, split_config
    from streamer.world.truth import TEST_THEMES

    def opened(precision: str) -> Engine:
        return open_engine(
            model,
            backend="torch" if without else backend,  # only there can an idea be left out
            precision="f32" if without else precision,
            max_batch_size=MOST_SIDE_BY_SIDE,
            cache_dir=Config().engine_cache,
            on_progress=lambda line: typer.echo(line, err=True),
        )

    try:
        engine = opened(precision)
    except ParityError as refusal:  # as in service: the quickest precision that answers as the reference does
        if precision != "auto":
            raise
        typer.echo(f"{refusal.what}: f32 is used instead, which is slower", err=True)
        engine = opened("f32")
    try:
        spec = engine.spec
        if without is not None:
            from engines.evaluation.knockouts import knock_out

            knock_out(getattr(engine, "module", None), without)
        height, width = spec.input_hw
        task = TrackTask.from_spec(spec)
        with LateBar(f"{split.value} streets") as bar:
            run = run_split(
                engine.infer,
                task,
                [split_config(split.value, i, height, width, FPS) for i in range(streets)],
                frames=frames,
                clips=Clips.from_config(spec.meta.get("config", {})),
                watch=lambda done, total: bar.show(done, total, f"{split.value} streets"),
            )
        clips = EVENT_CLIPS[:event_streets]
        with LateBar("event streets") as bar:
            staged = run_split(
                engine.infer,
                task,
                [event_street(i, height, width, FPS) for i, _ in clips],
                frames=EVENT_FRAMES,
                watch=lambda done, total: bar.show(done, total, "event streets"),
                begin=[first for _, first in clips],
                index_from=streets,
            )
    finally:
        engine.close()
    how = {
        "model": spec.name,
        "split": split.value,
        "backend": spec.backend,
        "precision": spec.precision,
        "digest": spec.digest,
        **({"without": without} if without else {}),
    }
    measures = Measures(run, staged=staged, rules=served_rules)
    return measures, {**how, **told(measures, TEST_THEMES)}


def _overlaid(measures: Measures, street: int) -> Iterator[U8]:
    """Each frame of one street, truth and answer side by side; the street is drawn anew."""
    from engines.evaluation.matching import difficult
    from engines.evaluation.overlay import draw_answer, draw_truth, side_by_side

    world = measures.run.streets[street].drawn_anew()
    for seen in measures.frames[street]:
        picture, truth = world.step()
        yield side_by_side([draw_truth(picture, truth, difficult(truth)), draw_answer(picture, seen)])
