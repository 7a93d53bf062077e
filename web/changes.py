"""What may be changed of a stream that runs, and the configuration that comes of it.

Zones, lines and events change while the source stays connected; all else makes that stream start anew, alone.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from streamer.config import EventWishes, Head, StreamConfig, stream_config
from streamer.errors import ConfigError
from streamer.regions import Line, Zone
from streamer.strict import Strict

STREAMS = "/api/v1/streams"


class StreamChange(Strict):
    """The fields that shall be different; what is not named stays as it is."""

    paused: bool | None = None
    model: str | None = None
    heads: Annotated[tuple[Head, ...] | None, Field(description="null: all that the model can")] = None
    events: EventWishes | None = None
    zones: Annotated[tuple[Zone, ...] | None, Field(description="All of them, in place of those before")] = (
        None
    )
    lines: Annotated[tuple[Line, ...] | None, Field(description="All of them, in place of those before")] = (
        None
    )
    max_fps: Annotated[float | None, Field(gt=0, description="null: as many as there are")] = None
    url: Annotated[str | None, Field(repr=False, description="The whole address, with its secrets")] = None

    def asked(self) -> dict[str, Any]:
        """Only what was named, null included."""
        return self.model_dump(exclude_unset=True)


def changed(
    config: StreamConfig, change: StreamChange, *, url: str | None = None, guard: tuple[str, ...] = ()
) -> StreamConfig:
    """The configuration after `change`. `url` is the admitted form of its address, whose host is judged when it is
    dialled as well, but for those of `guard`. Raises ConfigError."""
    asked = change.asked()
    if url is not None:
        asked |= {"url": url, "guard": guard}
    return stream_config(config.model_dump() | asked)


def refuse_masked(url: str) -> None:
    """Raises ConfigError for an address as the API shows it: its secrets would be lost."""
    if "//***@" in url or "=***" in url:
        raise ConfigError(
            "the address is a masked one", where="url", mend="write it with its secrets, or leave url out"
        )


def said_of_body(path: str, body: object) -> ConfigError | None:
    """What is wrong with a refused body that describes a stream or a change, in the configuration's own words.

    None for another route's, and where the configuration finds nothing wrong.
    """
    if not isinstance(body, dict) or not path.startswith(STREAMS):
        return None
    if path != STREAMS:
        if "/" in path.removeprefix(f"{STREAMS}/"):
            return None
        for name in body:
            if name in StreamConfig.model_fields and name not in StreamChange.model_fields:
                return ConfigError(
                    "this cannot be changed", where=name, mend="remove the stream and add it as it shall be"
                )
        body = {"name": "any", "url": "world://street", **body}
    try:
        stream_config(body)
    except ConfigError as error:
        return error
    return None
