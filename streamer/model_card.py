"""The card of a user's own ONNX graph: which pictures go in, what the numbers mean that come out.

A YAML file beside the graph, checked as a whole: each mistake is one line with file, line, field and mend.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamer.errors import ConfigError
from streamer.mistakes import ConfigFileError, field_name, said_plainly
from streamer.yaml_lines import Path_, YamlText, read_yaml

Three = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
Side = Annotated[int, Field(ge=16, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CardInput(_Strict):
    """The picture as the graph takes it: pixels 0..255 times `scale`, minus `mean`, by `std`."""

    name: Annotated[str | None, Field(description="Default: the graph's only picture input")] = None
    layout: Annotated[Literal["nchw", "nhwc"], Field(description="Order of axes")] = "nchw"
    dtype: Annotated[
        Literal["float32", "float16", "uint8"] | None, Field(description="Default: as the graph says")
    ] = None
    size: Annotated[
        tuple[Side, Side] | None, Field(description="Height and width; default: as the graph says")
    ] = None
    colour: Annotated[Literal["rgb", "bgr"], Field(description="Order of channels")] = "rgb"
    scale: Annotated[float, Field(gt=0, description="What a pixel's value is multiplied by first")] = 1 / 255
    mean: Annotated[Three, Field(description="In the order of `colour`")] = (0.0, 0.0, 0.0)
    std: Annotated[tuple[Positive, Positive, Positive], Field(description="In the order of `colour`")] = (
        1.0,
        1.0,
        1.0,
    )
    fit: Annotated[
        Literal["stretch", "pad", "letterbox", "crop"],
        Field(description="How a source's picture is laid into that size, as the model was trained"),
    ] = "stretch"
    picture_wh: Annotated[
        str | None,
        Field(description="An input that wants the picture's width and height, such as orig_target_sizes"),
    ] = None


class DetrHead(_Strict):
    """Logits and boxes of a set of queries: logits (B, Q, C or C + 1), boxes (B, Q, 4) cxcywh in 0..1."""

    kind: Literal["detr"]
    scores: Annotated[
        Literal["softmax", "sigmoid"],
        Field(description="softmax where the last class is nothing (DETR), else sigmoid"),
    ]
    logits: str = "pred_logits"
    boxes: str = "pred_boxes"


class BoxesHead(_Strict):
    """Finished objects: labels (B, N), boxes (B, N, 4), scores (B, N), N always the same (RT-DETR, D-FINE, RF-DETR)."""

    kind: Literal["boxes"]
    labels: str = "labels"
    boxes: str = "boxes"
    scores: str = "scores"
    corners: Annotated[Literal["xyxy", "cxcywh"], Field(description="What the four numbers are")] = "xyxy"
    unit: Annotated[
        Literal["pixel", "share"], Field(description="Pixels of the input's picture, or 0..1 of it")
    ] = "pixel"


class YoloHead(_Strict):
    """A box cxcywh and a score for each class on every anchor: (B, 4 + C, A) or (B, A, 4 + C)."""

    kind: Literal["yolo"]
    rows: Annotated[str | None, Field(description="Default: the graph's only output")] = None
    objectness: Annotated[
        bool, Field(description="A fifth number multiplies all scores (5 + C numbers a row)")
    ] = False
    unit: Annotated[
        Literal["pixel", "share"], Field(description="Pixels of the input's picture, or 0..1 of it")
    ] = "pixel"
    nms: Annotated[
        float,
        Field(gt=0, le=1, description="Of two boxes of one class that overlap this much, the surer stays"),
    ] = 0.5


class ModelCard(_Strict):
    """All that a graph does not say of itself."""

    task: Annotated[Literal["detect"], Field(description="What the graph is for")]
    input: CardInput = Field(default_factory=CardInput)
    outputs: Annotated[DetrHead | BoxesHead | YoloHead, Field(discriminator="kind")]
    labels: Annotated[
        Annotated[list[str], Field(min_length=1)]
        | Annotated[dict[Annotated[int, Field(ge=0, le=9999)], str], Field(min_length=1)],
        Field(description="Names of the classes, from 0, or by number"),
    ]
    threshold: Annotated[Share, Field(description="What scores above this is told")] = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names by number; a number without a name is `N/A`."""
        if isinstance(self.labels, list):
            return tuple(self.labels)
        return tuple(self.labels.get(i, "N/A") for i in range(max(self.labels, default=-1) + 1))


_TYPES = {
    "list_type": "a list, such as [person, car]",
    "dict_type": "a mapping, such as {0: person, 2: car}",
    "tuple_type": "a list of numbers",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
}
_HEADS: Mapping[str, type[_Strict]] = {"detr": DetrHead, "boxes": BoxesHead, "yolo": YoloHead}


def load_card(path: Path) -> ModelCard:
    """Read and check a card. Raises ConfigError with a line for every mistake in it."""
    try:
        read = read_yaml(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read: {error.strerror if isinstance(error, OSError) else 'not a text file'}"
        raise ConfigError(
            what, where=str(path), mend="write the graph's card there (`sightline schema model-card`)"
        ) from None
    problems: dict[tuple[int, str], ConfigError] = {}

    def refuse(at: Path_, what: str, mend: str, line: int | None = None) -> None:
        line = read.line_of(at) if line is None else line
        where = f"{path}:{line}: {field_name(at)}" if at else f"{path}:{line}"
        problems.setdefault((line, field_name(at)), ConfigError(what, where=where, mend=mend))

    for found in read.problems:
        refuse(found.path, found.what, found.mend, found.line)
    card: ModelCard | None = None
    if not problems and not isinstance(read.data, dict):
        refuse((), "the card is not a mapping of fields", "start with task: detect")
    if isinstance(read.data, dict):
        try:
            card = ModelCard.model_validate(read.data)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                at = _in_the_file(tuple(detail["loc"]), read)
                if detail["type"] == "union_tag_invalid":
                    at = (*at, "kind")
                what, mend = said_plainly(detail, _known(at, read), _TYPES)
                refuse(at, what, mend)
    if problems or card is None:
        raise ConfigFileError([problem for _, problem in sorted(problems.items(), key=lambda item: item[0])])
    return card


def _in_the_file(loc: Path_, read: YamlText) -> Path_:
    """Pydantic's path without what it adds for unions: the kind of a head, the form of a list."""
    if loc[:1] == ("outputs",) and len(loc) > 1 and loc[1] in _HEADS:
        return ("outputs", *loc[2:])
    if loc[:1] == ("labels",):
        return ("labels", *loc[2:3]) if ("labels", *loc[2:3]) in read.lines else ("labels",)
    return loc


def _known(at: Path_, read: YamlText) -> list[str]:
    """The keys that may stand beside the one at this path."""
    if at[:1] == ("input",):
        return list(CardInput.model_fields)
    if at[:1] == ("outputs",) and len(at) > 1:
        head = _HEADS.get(read.data["outputs"].get("kind"))
        return list(head.model_fields) if head else ["kind"]
    return list(ModelCard.model_fields)


def card_schema() -> dict[str, Any]:
    """The JSON Schema of a card."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ModelCard.model_json_schema(),
        "title": "The card of a user's own ONNX graph",
    }
