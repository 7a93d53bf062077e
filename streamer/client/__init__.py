"""The subscriber's side: events that resume where you left off, results, video packets, and the streams themselves.

`Client` blocks, `AsyncClient` awaits; both say the same. Neither shows that it is Redis they talk to.
"""

from streamer.client.asynchronous import AsyncClient, AsyncEvents
from streamer.client.calls import Page, VideoPacket
from streamer.client.cursor import Cursor
from streamer.client.evidence import Evidence
from streamer.client.publishing import Publication, PublishedFrame, PublishedPacket, Receipt
from streamer.client.sync import Client, Events

__all__ = [
    "AsyncClient",
    "AsyncEvents",
    "Client",
    "Cursor",
    "Events",
    "Evidence",
    "Page",
    "Publication",
    "PublishedFrame",
    "PublishedPacket",
    "Receipt",
    "VideoPacket",
]
