"""`sightline schema`: the JSON Schemas of what goes in (config, model-card) and what comes out (event, result)."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Subject(StrEnum):
    """What has a schema."""

    CONFIG = "config"
    EVENT = "event"
    RESULT = "result"
    MODEL_CARD = "model-card"


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: `sightline schema config > sightline.schema.json`")(schema)


def schema(
    subject: Annotated[Subject, typer.Argument(help="config, event, result or model-card.")] = Subject.CONFIG,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FOLDER", help="Write all of them into a folder instead."),
    ] = None,
) -> None:
    """Print a JSON Schema: of the YAML file, of the card of an ONNX graph, or of the events and results in Redis."""
    if write is None:
        typer.echo(schema_text(subject), nl=False)
        return
    write.mkdir(parents=True, exist_ok=True)
    for each in Subject:
        (write / f"{each}.schema.json").write_text(schema_text(each), "utf-8")


def schema_text(subject: Subject) -> str:
    """The schema as it stands in docs/schemas: indented, keys in a fixed order, a newline at the end."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS
    return orjson.dumps(_schema(subject), option=options).decode()


def _schema(subject: Subject) -> dict[str, Any]:
    if subject is Subject.CONFIG:
        from streamer.config import config_schema

        return config_schema()
    if subject is Subject.MODEL_CARD:
        from streamer.model_card import card_schema

        return card_schema()
    from streamer.wire import EVENT_JSON_SCHEMA, RESULT_JSON_SCHEMA

    return dict(EVENT_JSON_SCHEMA if subject is Subject.EVENT else RESULT_JSON_SCHEMA)
