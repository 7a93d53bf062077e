"""What is kept to look at of events."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from streamer.strict import Strict


class EvidenceConfig(Strict):
    """What is kept to look at of the events of each stream: the newest so many pictures and clips, in Redis."""

    pictures: Annotated[int, Field(ge=0, le=100_000, description="Pictures of events a stream; 0: none")] = (
        500
    )
    clips: Annotated[int, Field(ge=0, le=10_000, description="Short clips of events a stream; 0: none")] = 50
    why: Annotated[bool, Field(description="Where the model looked, of one event a second and stream")] = True
