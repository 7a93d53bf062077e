"""The names in Redis. Braces around a stream's name are literal: in a cluster they keep its keys on one node."""

from __future__ import annotations

from typing import Final

STREAMS: Final = "sl:streams"  # hash: name -> StreamConfig JSON, the desired state
SEEDED: Final = "sl:streams:seeded"  # set: names that came from the configuration file, not at run time
FILED: Final = "sl:streams:file"  # hash: name -> StreamConfig JSON as the configuration file said last
# pubsub: {"op": "streams"} | {"op": "watch" | "keyframe", "stream": s, "codec": c} | {"op": "why", "stream": s, …}
CONTROL: Final = "sl:control"
MODELS: Final = "sl:models"  # hash: name -> card JSON of every model that the worker knows
WORKER: Final = "sl:worker"  # hash: pid, started_wall_ns, heartbeat_wall_ns, backend, metrics
EVENTS_PATTERN: Final = "sl:{*}:events"
WATCH_TTL_S: Final = 5


def events(stream: str) -> str:
    """Stream of id, kind, data (Event JSON). Entry ids are <ms>-<n>: the n-th event, so a gap can be seen."""
    return f"sl:{{{stream}}}:events"


def results(stream: str) -> str:
    """Stream of data (Result JSON), capped to the newest."""
    return f"sl:{{{stream}}}:results"


def state(stream: str) -> str:
    """Hash of what users see of a stream."""
    return f"sl:{{{stream}}}:state"


def epoch(stream: str) -> str:
    """The last epoch given out."""
    return f"sl:{{{stream}}}:epoch"


def video(stream: str, codec: str = "h264") -> str:
    """Stream of d (H.264 Annex B, or a VP8 frame), k (b"1" at key frames), p (90 kHz), e (epoch), q (seq), w (Unix ns),
    c (codec; absent: h264)."""
    return f"sl:{{{stream}}}:video" + ("" if codec == "h264" else f":{codec}")


def video_key(stream: str, codec: str = "h264") -> str:
    """The entry id of the newest key frame in `video`."""
    return f"{video(stream, codec)}:key"


def watch(stream: str, codec: str = "h264") -> str:
    """Exists (for WATCH_TTL_S after the last renewal) while somebody watches in this codec."""
    return f"sl:{{{stream}}}:watch" + ("" if codec == "h264" else f":{codec}")


def published(stream: str) -> str:
    """Stream of packets that a publisher (WHIP) sends: d, k, p (90 kHz), c (codec), n (publication, +1 a session),
    i (0, 1, … within it: a gap is a loss), w (Unix ns of arrival); at its end one entry of n and end."""
    return f"sl:{{{stream}}}:published"


def publication(stream: str) -> str:
    """The number of the last publication."""
    return f"sl:{{{stream}}}:publication"


def publisher(stream: str) -> str:
    """The session that publishes; gone soon after it fell silent."""
    return f"sl:{{{stream}}}:publisher"


def publisher_asked(stream: str) -> str:
    """Exists for a moment when a reader asked the publisher for a key frame."""
    return f"sl:{{{stream}}}:publisher:asked"


def evidence(stream: str, event: str) -> str:
    """Hash of what is kept to look at of one event, expires: `event` and `path` (JSON), `jpg` or `no_jpg` (a word: why
    none), `clip` (mp4) and `clip_span` (JSON, first and last wall_ns), or `clip_of` (another event's id) or `no_clip`;
    `clip_due` (Unix ns) while one is in the making; `why` (JSON)."""
    return f"sl:{{{stream}}}:evidence:{event}"


def evidence_index(stream: str) -> str:
    """Sorted set of the event ids that have a record, by the Unix ns at which it was kept."""
    return f"sl:{{{stream}}}:evidence"


def evidence_clips(stream: str) -> str:
    """The same of those that have a clip of their own."""
    return f"sl:{{{stream}}}:evidence_clips"


def why(stream: str, question: str) -> str:
    """String, JSON with a time to live: the answer to a question asked on `sl:control`."""
    return f"sl:{{{stream}}}:why:{question}"


def whys(stream: str) -> str:
    """List of the event ids whose evidence has `why`, the newest first."""
    return f"sl:{{{stream}}}:whys"


def stream_of(key: str) -> str:
    """The stream's name in one of these keys."""
    return key[key.index("{") + 1 : key.rindex("}")]
