"""What the API says of a stream: its configuration without secrets, its state, and whether that is still true.

The state hash is what the worker last wrote. A dead worker cannot take its RUNNING back, so `live` asks for more: the
worker's heartbeat is fresh as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from streamer.addresses import NETWORK_SCHEMES, local_file
from streamer.config import EventWishes, Head, StreamConfig
from streamer.regions import Line, Zone
from streamer.types import StreamState

T = TypeVar("T")

HEARTBEAT_FRESH_S = 5.0
SourceKind = Literal["world", "rtsp", "http", "file", "device", "whip"]


class EventScoreView(BaseModel):
    """One kind of event over the last ten minutes."""

    told: int
    right: int
    there: int
    noticed: int
    precision: float | None = Field(None, description="right / told")
    recall: float | None = Field(None, description="noticed / there")
    delay_frames: float | None = Field(None, description="Mean, from when it happened to when it was told")


class AccuracyView(BaseModel):
    """The shown tracks of the last half minute against the truth of a drawn world. It says nothing of a real camera."""

    world: str = Field(description="Which world knows the truth: synthetic")
    frames: int
    seconds: float
    objects: int = Field(description="Clear objects, frame by frame")
    ap: float | None = Field(None, description="COCO AP, IoU .50 to .95, of the tracks that are shown")
    ap50: float | None = None
    hota: float | None = None
    deta: float | None = None
    assa: float | None = None
    switches: int = Field(description="Identity switches in these frames")
    switches_total: int
    events: dict[str, EventScoreView | None] = Field(
        description="appear, leave, fall, intrusion, wrong_way; null: no head, zone or line tells it"
    )
    scored_total: int
    unscored_total: int = Field(description="Frames that came faster than they could be scored")


class CrossingsView(BaseModel):
    """Of one line: `in` is from its left to its right, as seen from its start to its end."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    inwards: int = Field(0, alias="in")
    out: int = 0


class StateView(BaseModel):
    """The state hash, typed. Ages in seconds by the server's clock; None means not known."""

    state: StreamState
    live: bool = Field(description="RUNNING, and the worker's heartbeat is fresh")
    error_code: str | None = None
    error: str | None = None
    epoch: int | None = None
    fps: float | None = Field(None, description="Frames analysed per second")
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    backend: str | None = None
    last_frame_age_s: float | None = None
    latency_p50_ms: float | None = Field(None, description="Capture to result")
    latency_p95_ms: float | None = None
    ledger: dict[str, int] | None = Field(None, description="Frames by how they ended; the counts balance")
    accuracy: AccuracyView | None = Field(None, description="Only of a stream whose source knows the truth")
    zone_objects: dict[str, int] = Field({}, description="How many are in each zone now")
    line_crossings: dict[str, CrossingsView] = Field({}, description="Of each line, since the worker started")
    viewer_video: str | None = Field(
        None, description="How viewers get the picture: `pass-through` or `encoded`; None until it is known"
    )
    viewer_video_why: str | None = Field(None, description="Why it is encoded")
    viewer_encoders: int | None = Field(None, description="Encoders that run for viewers now")


class StreamView(BaseModel):
    """One desired stream and how it does."""

    name: str
    url: str = Field(description="Secrets masked")
    source: SourceKind
    task: str
    model: str
    loop: bool
    paused: bool
    heads: tuple[Head, ...] | None = Field(description="null: all that the model can")
    events: EventWishes
    zones: tuple[Zone, ...]
    lines: tuple[Line, ...]
    max_fps: float | None
    viewers: int | None = Field(None, description="Browsers that watch through this web process")
    state: StateView


class WorkerView(BaseModel):
    """Whether the worker's heartbeat is fresh."""

    alive: bool
    heartbeat_age_s: float | None = None
    backend: str | None = None


class StreamList(BaseModel):
    """All desired streams, by name."""

    streams: list[StreamView]
    worker: WorkerView


class EventList(BaseModel):
    """Events, newest first, and the cursors to go on from."""

    events: list[dict[str, Any]]
    next: str = Field(description="`after` for what comes behind the newest of these")
    previous: str | None = Field(description="`before` for older ones; null at the end")


def worker_view(fields: Mapping[str, str], now_ns: int) -> WorkerView:
    """The worker's hash as seen now (Unix ns)."""
    beat = _number(fields.get("heartbeat_wall_ns"))
    age_s = None if beat is None else max(0.0, (now_ns - beat) / 1e9)
    alive = age_s is not None and age_s < HEARTBEAT_FRESH_S
    return WorkerView(alive=alive, heartbeat_age_s=age_s, backend=fields.get("backend"))


def stream_view(
    config: StreamConfig, fields: Mapping[str, str], *, worker_alive: bool, viewers: int | None, now_ns: int
) -> StreamView:
    """One stream's configuration and state hash as seen now (Unix ns)."""
    return StreamView(
        name=config.name,
        url=config.safe_url,
        source=source_kind(config.url),
        task=config.task,
        model=config.model,
        loop=config.loop,
        paused=config.paused,
        heads=config.heads,
        events=config.events,
        zones=config.zones,
        lines=config.lines,
        max_fps=config.max_fps,
        viewers=viewers,
        state=_state_view(fields, worker_alive=worker_alive, now_ns=now_ns),
    )


def source_kind(url: str) -> SourceKind:
    """What sort of source an address names."""
    if local_file(url) is not None:
        return "file"
    scheme = url.partition(":")[0].lower()
    if scheme in NETWORK_SCHEMES:
        return "rtsp" if scheme.startswith("rtsp") else "http"
    return "world" if scheme == "world" else "whip" if scheme == "whip" else "device"


def _state_view(fields: Mapping[str, str], *, worker_alive: bool, now_ns: int) -> StateView:
    word = fields.get("state", "")
    state = StreamState(word) if word in StreamState.__members__ else StreamState.INITIALISING
    last_ns = _number(fields.get("last_frame_wall_ns"))
    return StateView(
        state=state,
        live=state is StreamState.RUNNING and worker_alive,
        error_code=fields.get("error_code") or None,
        error=fields.get("error") or None,
        epoch=_whole(fields.get("epoch")),
        fps=_number(fields.get("fps")),
        width=_whole(fields.get("width")),
        height=_whole(fields.get("height")),
        codec=fields.get("codec") or None,
        backend=fields.get("backend") or None,
        last_frame_age_s=None if not last_ns else max(0.0, (now_ns - last_ns) / 1e9),
        latency_p50_ms=_number(fields.get("latency_p50_ms")),
        latency_p95_ms=_number(fields.get("latency_p95_ms")),
        ledger=_counts(fields.get("ledger")),
        accuracy=_read(_ACCURACY, fields.get("accuracy")),
        zone_objects=_read(_OBJECTS, fields.get("zone_objects")) or {},
        line_crossings=_read(_CROSSINGS, fields.get("line_crossings")) or {},
        viewer_video=fields.get("viewer_video") or None,
        viewer_video_why=fields.get("viewer_video_why") or None,
        viewer_encoders=_whole(fields.get("viewer_encoders")),
    )


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


_ACCURACY = TypeAdapter(AccuracyView)
_OBJECTS = TypeAdapter(dict[str, int])
_CROSSINGS = TypeAdapter(dict[str, CrossingsView])


def _read(adapter: TypeAdapter[T], text: str | None) -> T | None:
    """JSON as the adapter's value; None if it is none."""
    try:
        return adapter.validate_json(text) if text else None
    except ValidationError:
        return None


def _counts(text: str | None) -> dict[str, int] | None:
    """The ledger's counts; nested ones (drops by reason) become `dropped.reason`."""
    try:
        data = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict):
        return None
    flat: dict[str, int] = {}
    for name, count in data.items():
        if isinstance(count, dict):
            flat |= {f"{name}.{reason}": int(n) for reason, n in count.items()}
        else:
            flat[name] = int(count)
    return flat
