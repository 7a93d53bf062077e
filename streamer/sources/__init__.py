"""Where frames come from: network cameras, files, devices and the synthetic world."""

from streamer.sources.backoff import Backoff
from streamer.sources.factory import open_source

__all__ = ["Backoff", "open_source"]
