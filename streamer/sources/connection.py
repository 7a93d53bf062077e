"""Dials: one url becomes one open FFmpeg container with one video stream to read, before a deadline.

Everything that FFmpeg is told about a kind of source stands here.
"""

from __future__ import annotations

import logging
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import av
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from streamer.errors import SourceCode
from streamer.sources.address import Address, Kind
from streamer.sources.failure import source_error
from streamer.sources.guarded import guarded
from streamer.sources.interrupt import Guard, install

_FULL_HD_PX = 1920 * 1088

# FFmpeg complains on stderr of each broken packet; we count them.
logging.getLogger("libav").setLevel(logging.CRITICAL)


class SourceSpec(Protocol):
    """What a source needs to know of a stream's configuration."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def loop(self) -> bool: ...
    @property
    def realtime(self) -> bool | None: ...
    @property
    def transport(self) -> str: ...
    @property
    def max_fps(self) -> float | None: ...
    @property
    def open_timeout_s(self) -> float: ...
    @property
    def read_timeout_s(self) -> float: ...
    @property
    def guard(self) -> tuple[str, ...] | None: ...  # not None: its host is judged, but for these


@dataclass(frozen=True, slots=True)
class Connection:
    """An open container and its video stream; `finite` if it ends by itself, as files do and cameras do not."""

    container: InputContainer
    stream: VideoStream
    finite: bool


def connect(spec: SourceSpec, address: Address, guard: Guard, *, where: str) -> Connection:
    """Dial and read enough to know what comes. Raises SourceError, or FFmpeg's own error for the caller to map."""
    dialled, options = address.ffmpeg, _options(spec, address.kind)
    if address.host is not None:
        found = _resolve(address, spec.open_timeout_s, guard, where)
        if spec.guard is not None:
            dialled, more = guarded(address, found, spec.guard, where=where)
            options |= more
    elif address.kind is Kind.FILE and Path(address.shown).exists() and not Path(address.shown).is_file():
        # A folder, or a pipe that would block for ever in the kernel where no deadline reaches.
        raise source_error(
            address, SourceCode.INVALID, "it is no regular file", where=where, mend="name a video file"
        )
    install()
    container = av.open(
        dialled,
        mode="r",
        format="v4l2" if address.kind is Kind.DEVICE else None,
        options=options,
        # Only with a timeout does PyAV arm the interrupt callback at all, and files are quicker without it.
        timeout=None if address.kind is Kind.FILE else (spec.open_timeout_s, spec.read_timeout_s),
    )
    try:
        stream = _video_of(container, address, where)
        finite = _is_finite(container, address.kind)
        context = stream.codec_context
        large = context.width * context.height > _FULL_HD_PX
        context.thread_type = "SLICE"
        context.thread_count = 0 if large and not finite else 1
        context.copy_opaque = True
    except BaseException:
        container.close()
        raise
    return Connection(container, stream, finite)


def _video_of(container: InputContainer, address: Address, where: str) -> VideoStream:
    """The video stream to read; everything else is left unread."""
    stream = next((s for s in container.streams.video if not _is_cover_art(s)), None)
    elsewhere = "check that it plays elsewhere"
    if stream is None:
        raise source_error(address, SourceCode.INVALID, "it holds no video", where=where, mend=elsewhere)
    if stream.codec_context is None:
        what = "its video codec is not supported"
        raise source_error(
            address, SourceCode.CODEC_UNSUPPORTED, what, where=where, mend="convert it to H.264"
        )
    if stream.codec_context.width <= 0 or stream.codec_context.height <= 0:
        raise source_error(address, SourceCode.INVALID, "no picture came", where=where, mend=elsewhere)
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def _options(spec: SourceSpec, kind: Kind) -> dict[str, str]:
    if kind is Kind.RTSP:
        return {
            "rtsp_transport": spec.transport,
            "allowed_media_types": "video",
            # FFmpeg reads until it knows the size and the order of pictures: some eight of them, with a camera that
            # hides its parameters until the next key frame up to five seconds. It need not guess the rate as well.
            "fpsprobesize": "0",
            "buffer_size": str(1 << 20),
            "timeout": str(int(spec.read_timeout_s * 1e6)),
        }
    if kind is Kind.HTTP:
        return {"rw_timeout": str(int(spec.read_timeout_s * 1e6))}
    return {}


def _is_finite(container: InputContainer, kind: Kind) -> bool:
    if kind is not Kind.HTTP:
        return kind is Kind.FILE
    # A playlist has a size of its own, which says nothing of what it lists.
    return container.duration is not None or (container.format.name != "hls" and container.size > 0)


def _is_cover_art(stream: VideoStream) -> bool:
    return bool(stream.disposition & type(stream.disposition).attached_pic)


def _resolve(address: Address, timeout_s: float, guard: Guard, where: str) -> list[str]:
    """The host's addresses, on a thread of its own: FFmpeg would look them up in a call that no deadline can end.

    A resolver that hangs keeps that one thread until the system's own limit; the stream is free at the deadline.
    """
    done = threading.Event()
    outcome: list[OSError | None] = []
    found: list[str] = []

    def look_up() -> None:
        try:
            infos = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
            found.extend(str(info[4][0]) for info in infos)
            outcome.append(None)
        except OSError as error:
            outcome.append(error)
        except UnicodeError:
            outcome.append(OSError("not a host name"))
        done.set()

    threading.Thread(target=look_up, name=f"resolve {address.host}", daemon=True).start()
    waited_s, tick_s = 0.0, 0.05
    while not done.wait(tick_s):
        waited_s += tick_s
        if guard.cancelled.is_set() or waited_s >= timeout_s:
            raise source_error(
                address,
                SourceCode.TIMEOUT,
                f"the name {address.host} was not resolved in time",
                where=where,
                mend="check the name server",
            )
    if outcome[0] is not None:
        raise source_error(
            address,
            SourceCode.NOT_FOUND,
            f"there is no host {address.host}",
            where=where,
            mend="check the name",
        )
    return found
