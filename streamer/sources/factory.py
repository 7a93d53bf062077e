"""Which source reads this url? The one place that knows."""

from __future__ import annotations

from streamer.clock import Clock
from streamer.ports import PictureTap, Source
from streamer.sources.address import Kind, parse_address
from streamer.sources.connection import SourceSpec
from streamer.sources.publish import OpenPublications, PublishedSource
from streamer.sources.video import VideoSource
from streamer.types import Fit, Hw


def open_source(
    spec: SourceSpec,
    *,
    epoch: int,
    input_hw: Hw,
    clock: Clock,
    tap: PictureTap | None = None,
    fit: Fit = Fit.STRETCH,
    publications: OpenPublications | None = None,
) -> Source:
    """A source for `spec.url`, not yet opened; its frames are laid into `input_hw` as `fit` says.

    Knows rtsp, rtsps, http, https, file (or a path), device (or /dev/videoN), world, and whip where `publications`
    says where what is published can be read. Raises SourceError (INVALID) that names them for any other url.
    """
    address = parse_address(spec.url, where=f"stream {spec.name}")
    if address.kind is Kind.WORLD:
        from streamer.sources.world import WorldSource

        return WorldSource(spec, epoch=epoch, input_hw=input_hw, clock=clock, tap=tap, fit=fit)
    if address.kind is Kind.WHIP:
        return PublishedSource(
            spec, publications, epoch=epoch, input_hw=input_hw, clock=clock, tap=tap, fit=fit
        )
    return VideoSource(spec, address, epoch=epoch, input_hw=input_hw, clock=clock, tap=tap, fit=fit)
