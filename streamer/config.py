"""What the user wishes: one YAML, checked as a whole, each mistake one line with file, line, field and mend.

`load_config` reads a file; `stream_config` checks one stream given by an API or a command. Secrets stay out of every
repr, message and log: show a URL only through `redact_url`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from streamer.access import StreamHosts, Tokens, TrustedProxies, access_mistakes
from streamer.addresses import checked_url, local_file, redact_url
from streamer.errors import ConfigError
from streamer.evidence import EvidenceConfig
from streamer.mistakes import ConfigFileError, field_name, place, said_plainly
from streamer.model_names import placed_model
from streamer.network import WebRtcConfig
from streamer.regions import Line, Zone, said_of_region, with_own_names
from streamer.strict import Strict, keys_beside
from streamer.yaml_lines import Path_, YamlText, read_yaml

__all__ = [
    "Config",
    "ConfigFileError",
    "StreamConfig",
    "config_schema",
    "default_data_dir",
    "load_config",
    "redact_url",
    "stream_config",
]

MODEL_FORMS = (
    "A name of `sightline models ls`, hf://owner/name, hf://./folder, a .safetensors file, "
    "or an .onnx file with its card (the same name in .yaml) beside it"
)
MAX_STREAMS = 256  # of one server, those added at run time included
STREAM_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


def default_data_dir() -> Path:
    """`$SIGHTLINE_DATA`, else `~/.local/share/sightline` (the XDG data home where it is set)."""
    if data := os.environ.get("SIGHTLINE_DATA"):
        return Path(data).expanduser()
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "sightline"


Head = Literal["masks", "keypoints", "semantic", "actions"]


def _in_order(heads: tuple[Head, ...] | None) -> tuple[Head, ...] | None:
    """Each once and in one order, so that the same wish is the same engine."""
    return None if heads is None else tuple(head for head in get_args(Head) if head in heads)


class EventWishes(Strict):
    """Which further things that happen are events."""

    actions: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        Field(description="Somebody starts one of these, such as [fall, wave]; the model must know them"),
    ] = ()


class StreamConfig(Strict):
    """One stream: where it comes from and what is done with it. Times in seconds."""

    name: Annotated[str, Field(pattern=STREAM_NAME, description="Unique; letters, digits, - _ and .")]
    url: Annotated[
        str,
        AfterValidator(checked_url),
        Field(
            repr=False,
            description="rtsp(s)://…, http(s)://… (file or HLS), a file, /dev/video0, world://street?seed=7; "
            "whip://NAME for what is published to POST /NAME/whip (whip:// for the stream's own name)",
        ),
    ]
    task: Annotated[Literal["track"], Field(description="What to do with each picture")] = "track"
    model: Annotated[str, Field(min_length=1, description=MODEL_FORMS)] = "street-nano"
    heads: Annotated[
        tuple[Head, ...] | None,
        AfterValidator(_in_order),
        Field(description="What the model says beside boxes and tracks; default: all that it can"),
    ] = None
    events: Annotated[EventWishes, Field(description="Events beside appear and leave")] = EventWishes()
    zones: Annotated[tuple[Zone, ...], Field(max_length=32)] = ()
    lines: Annotated[tuple[Line, ...], Field(max_length=32)] = ()
    loop: Annotated[bool, Field(description="Files: start again at the end")] = False
    realtime: Annotated[
        bool | None, Field(description="Files: pace by their clock; default: as fast as possible")
    ] = None
    transport: Annotated[Literal["tcp", "udp"], Field(description="How RTSP carries the media")] = "tcp"
    max_fps: Annotated[float | None, Field(gt=0, description="Analyse at most this many frames a second")] = (
        None
    )
    open_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    read_timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    paused: bool = False
    guard: StreamHosts | None = None  # set for what comes in through the API, whatever it says itself

    _names_of_regions = model_validator(mode="after")(with_own_names)

    @property
    def safe_url(self) -> str:
        """The address without its secrets."""
        return redact_url(self.url)


class Config(Strict):
    """Everything one server is told. Times in seconds (`_s`) or milliseconds (`_ms`)."""

    streams: Annotated[list[StreamConfig], Field(max_length=MAX_STREAMS)] = Field(default_factory=list)
    host: Annotated[str, Field(min_length=1, description="Any but a loopback address needs a token")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Field(ge=1, le=65535)] = 7860
    token: Annotated[SecretStr | None, Field(description="One token that may do all")] = None
    tokens: Tokens = ()
    stream_hosts: StreamHosts = ()
    trusted_proxies: TrustedProxies = ()
    max_viewers: Annotated[
        int, Field(ge=1, le=10_000, description="Players at once, all streams together")
    ] = 64
    max_viewers_per_stream: Annotated[
        int | None, Field(ge=1, le=10_000, description="Likewise of any one stream; default: no fewer")
    ] = None
    webrtc: WebRtcConfig = WebRtcConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    redis_url: Annotated[
        str | None,
        Field(
            repr=False,
            pattern=r"^(redis|rediss|unix)://",
            description="Default: REDIS_URL, else our own Redis",
        ),
    ] = None
    data_dir: Path = Field(default_factory=default_data_dir)
    media_root: Annotated[Path | None, Field(description="Files added at run time must lie under it")] = None
    backend: Literal["openvino", "onnx", "torch", "tensorrt", "tensorrt-rtx"] = "openvino"
    precision: Literal["auto", "f16", "bf16", "f32"] = "auto"
    lanes: Annotated[
        int | None, Field(ge=1, le=64, description="Inferences side by side; default: one per CPU, at most 8")
    ] = None
    threads: Annotated[
        int | None, Field(ge=1, le=256, description="CPU threads of all lanes together; default: one a lane")
    ] = None
    max_batch_size: Annotated[int, Field(ge=1, le=64)] = 8
    max_queue_delay_ms: Annotated[float, Field(ge=0, le=10_000)] = 20.0
    results_maxlen: Annotated[int, Field(ge=1)] = 300
    events_maxlen: Annotated[int, Field(ge=1)] = 100_000
    drain_deadline_s: Annotated[float, Field(gt=0, le=600)] = 5.0

    @property
    def engine_cache(self) -> Path:
        """Where compiled engines are kept: every process of a server and every command looks here."""
        return self.data_dir / "engines"

    @model_validator(mode="after")
    def _holds_together(self) -> Config:
        # ConfigError is no ValueError: pydantic lets it pass as it is, and it names the field itself.
        told = {"host": self.host, "token": self.token and self.token.get_secret_value()}
        for at, what, mend in access_mistakes({**told, "tokens": [dict(token) for token in self.tokens]}):
            raise ConfigError(what, where=field_name(at), mend=mend)
        names = [stream.name for stream in self.streams]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ConfigError(
                    f"the name {name} is taken", where=f"streams.{i}.name", mend="names are unique"
                )
        return self


def load_config(path: Path | str, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read, fill in `${ENV}` and check a YAML file. Raises ConfigError with a line for every mistake in it.

    Relative paths in the file (media, `data_dir`, `media_root`) start at the file's own folder.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError("not a text file", where=str(path), mend="give a YAML file") from None
    except OSError as error:
        what = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise ConfigError(what, where=str(path), mend="give the path of a YAML file") from None
    read = read_yaml(text, environ)
    problems: list[tuple[int, ConfigError]] = []

    def refuse(line: int, field: str, what: str, mend: str) -> None:
        where = f"{path}:{line}: {field}" if field else f"{path}:{line}"
        problems.append((line, ConfigError(what, where=where, mend=mend)))

    for found in read.problems:
        refuse(found.line, field_name(found.path), found.what, found.mend)
    if read.data is None and not problems:
        refuse(1, "", "the file is empty", "write at least streams: {door: rtsp://camera/stream}")
    elif read.data is not None and not isinstance(read.data, dict):
        refuse(1, "", "the file is not a mapping of fields", "start with streams:")
    config: Config | None = None
    if isinstance(read.data, dict):
        data, origins = _with_stream_list(read)
        broken = {found.path for found in read.problems}
        for at, what, mend in _missing_and_doubled(data, path.parent):
            refuse(read.line_of(origins(at)), field_name(origins(at)), what, mend)
        try:
            config = Config.model_validate(data)
        except ConfigError as error:
            at = tuple(int(p) if p.isdigit() else p for p in error.where.split("."))
            if not problems:
                refuse(read.line_of(origins(at)), error.where, error.what, error.mend)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_context=True, include_input=False):
                at = origins(place(detail))
                if at not in broken:
                    what, mend = _said_plainly(detail, Config)
                    refuse(read.line_of(at), field_name(at), what, mend)
    if problems or config is None:
        problems.sort(key=lambda item: item[0])
        raise ConfigFileError([problem for _, problem in problems])
    return config


def stream_config(fields: Mapping[str, Any], *, where: str = "") -> StreamConfig:
    """Check one stream's fields. Raises ConfigError that names the first wrong one."""
    try:
        return StreamConfig.model_validate(dict(fields))
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        what, mend = _said_plainly(detail, StreamConfig)
        field = field_name(place(detail))
        raise ConfigError(what, where=f"{where}: {field}" if where else field, mend=mend) from None


def config_schema() -> dict[str, Any]:
    """The JSON Schema of the YAML file, both forms of `streams` included. `data_dir` has no default in it: that is this
    machine's own."""
    made = Config.model_json_schema()
    listed = made["properties"]["streams"]
    rest = {**made["$defs"]["StreamConfig"], "title": "Stream without its name"}
    rest["properties"] = {key: value for key, value in rest["properties"].items() if key != "name"}
    rest["required"] = ["url"]
    by_name = {
        "type": "object",
        "propertyNames": {"pattern": STREAM_NAME},
        "additionalProperties": {"anyOf": [{"type": "string", "description": "The address"}, rest]},
    }
    made["properties"]["streams"] = {"title": "Streams", "anyOf": [listed, by_name]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sightline's YAML file",
        **made,
    }


def _with_stream_list(read: YamlText) -> tuple[dict[str, Any], Callable[[Path_], Path_]]:
    """The file's data with `streams` as a list, and the way back from a path in it to the path in the file.

    The short form `{door: rtsp://…}` and the middle form `{door: {url: rtsp://…}}` become lists of mappings.
    """
    data = dict(read.data)
    streams = data.get("streams")
    if not isinstance(streams, dict):
        return data, lambda path: path
    names = list(streams)
    short = {name for name in names if not isinstance(streams[name], dict)}
    data["streams"] = [
        {"name": name, "url": streams[name]} if name in short else {"name": name, **streams[name]}
        for name in names
    ]

    def origin(path: Path_) -> Path_:
        if len(path) < 2 or path[0] != "streams" or not isinstance(path[1], int):
            return path
        name = names[path[1]]
        rest = path[2:]
        if name in short or rest == ("name",):
            return ("streams", name)
        return ("streams", name, *rest)

    return data, origin


def _missing_and_doubled(data: dict[str, Any], folder: Path) -> Iterator[tuple[Path_, str, str]]:
    """Make relative paths absolute (in place) and yield (path, what, mend) for absent files and names used twice."""
    for key in ("data_dir", "media_root"):
        if isinstance(data.get(key), str):
            data[key] = str(folder.absolute() / Path(data[key]).expanduser())
    yield from access_mistakes(data)
    streams = data.get("streams")
    if not isinstance(streams, list):
        return
    names: set[str] = set()
    for i, stream in enumerate(streams):
        if not isinstance(stream, dict):
            continue
        name, url = stream.get("name"), stream.get("url")
        if isinstance(name, str):
            if name in names:
                yield (
                    ("streams", i, "name"),
                    f"the name {name} is taken by a stream above",
                    "give each its own name",
                )
            names.add(name)
        if isinstance(model := stream.get("model"), str):
            stream["model"], wrong = placed_model(model, folder.absolute())
            if wrong:
                yield ("streams", i, "model"), *wrong
        if isinstance(url, str) and url.strip() and (file := local_file(url)) is not None:
            file = folder.absolute() / file
            stream["url"] = str(file)
            if not file.is_file():
                mend = "paths start at the YAML's folder; give a video file that is there"
                yield ("streams", i, "url"), f"there is no file {file}", mend


_TYPES = {
    "tuple_type": "a list, such as [masks, actions]",
    "list_type": "a list (- name: …) or a mapping (door: rtsp://…)",
    "model_type": "a mapping such as {name: door, url: rtsp://camera/stream}",
    "model_attributes_type": "a mapping such as {name: door, url: rtsp://camera/stream}",
}


def _said_plainly(detail: ErrorDetails, model: type[Strict]) -> tuple[str, str]:
    if (said := said_of_region(detail)) is not None:
        return said
    kind, loc = detail["type"], tuple(detail["loc"])
    last = loc[-1] if loc else ""
    if kind == "extra_forbidden" and model is Config and len(loc) == 1 and last in StreamConfig.model_fields:
        return "this key belongs to a stream", "move it under the stream's name"
    if kind == "string_pattern_mismatch" and last == "name":
        return "not a name", "use up to 64 letters, digits, - _ and ., starting with a letter or digit"
    if kind == "string_pattern_mismatch":
        return "not an address of Redis", "write redis://host:port, rediss://… or unix:///path"
    return said_plainly(detail, keys_beside(model, loc), _TYPES)
