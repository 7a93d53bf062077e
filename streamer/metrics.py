"""What the worker counts, kept in its own process and carried elsewhere as a snapshot.

The worker has no web server: it writes `Metrics.snapshot()` as JSON beside its heartbeat, and the web tier turns that
into Prometheus text with `prometheus_text`. Counting is a dictionary lookup and an addition under a lock.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from streamer.accuracy import WORLD, Accuracy
from streamer.ports import ViewerCounts

Labels = tuple[str, ...]

LATENCY_BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)
BATCH_BUCKETS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0)


class Number:
    """A counter or gauge with labels."""

    def __init__(self, name: str, text: str, kind: Literal["counter", "gauge"], labels: Labels) -> None:
        self.name, self.text, self.kind, self.labels = name, text, kind, labels
        self._lock = threading.Lock()
        self._values: dict[Labels, float] = {}

    def add(self, amount: float = 1.0, *labels: str) -> None:
        with self._lock:
            self._values[labels] = self._values.get(labels, 0.0) + amount

    def set(self, value: float, *labels: str) -> None:
        """Gauges, and counters that are counted elsewhere and copied here."""
        with self._lock:
            self._values[labels] = value

    def put(self, value: float | None, *labels: str) -> None:
        """As `set`; what is not known has no sample."""
        if value is not None:
            self.set(value, *labels)
            return
        with self._lock:
            self._values.pop(labels, None)

    def forget(self, first: str) -> None:
        """Drop all samples whose first label is `first`."""
        with self._lock:
            self._values = {labels: v for labels, v in self._values.items() if labels[:1] != (first,)}

    def value(self, *labels: str) -> float:
        with self._lock:
            return self._values.get(labels, 0.0)

    def snapshot(self) -> dict[str, Any]:
        with self._lock:
            values = list(self._values.items())
        samples = [{"labels": dict(zip(self.labels, key, strict=True)), "value": v} for key, v in values]
        return {"name": self.name, "help": self.text, "type": self.kind, "samples": samples}


class Histogram:
    """Observations counted in buckets of given upper bounds (same unit as the observations)."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Labels) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._bounds = tuple(bounds)
        self._lock = threading.Lock()
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}

    def observe(self, value: float, *labels: str) -> None:
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            counts = self._counts.get(labels)
            if counts is None:
                counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
                self._sums[labels] = 0.0
            counts[bucket] += 1
            self._sums[labels] += value

    def forget(self, first: str) -> None:
        """Drop all samples whose first label is `first`."""
        with self._lock:
            self._counts = {labels: c for labels, c in self._counts.items() if labels[:1] != (first,)}
            self._sums = {labels: s for labels, s in self._sums.items() if labels[:1] != (first,)}

    def snapshot(self) -> dict[str, Any]:
        with self._lock:
            rows = [(key, list(counts), self._sums[key]) for key, counts in self._counts.items()]
        samples = []
        for key, counts, total in rows:
            running, buckets = 0, []
            for bound, count in zip(self._bounds, counts, strict=False):
                running += count
                buckets.append([bound, running])
            labels = dict(zip(self.labels, key, strict=True))
            samples.append({"labels": labels, "buckets": buckets, "sum": total, "count": sum(counts)})
        return {"name": self.name, "help": self.text, "type": "histogram", "samples": samples}


class Metrics:
    """The worker's metrics. Names and labels are part of what users see: change them only with a note."""

    def __init__(self) -> None:
        by_stream: Labels = ("stream",)
        self.frames = Number(
            "sightline_frames_total", "Frames by how they ended", "counter", ("stream", "end")
        )
        self.dropped = Number("sightline_dropped_total", "Frames dropped", "counter", ("stream", "reason"))
        self.in_flight = Number("sightline_frames_in_flight", "Frames not ended yet", "gauge", by_stream)
        self.fps = Number("sightline_stream_fps", "Results per second, lately", "gauge", by_stream)
        self.up = Number("sightline_stream_up", "1 while the stream is running", "gauge", by_stream)
        self.reconnects = Number(
            "sightline_reconnects_total", "Connections lost and tried again", "counter", ("stream", "code")
        )
        self.events = Number("sightline_events_total", "Events by kind", "counter", ("stream", "kind"))
        self.zone_objects = Number(
            "sightline_zone_objects", "Objects in a zone now", "gauge", ("stream", "zone")
        )
        self.line_crossings = Number(
            "sightline_line_crossings_total",
            "Crossings of a line",
            "counter",
            ("stream", "line", "direction"),
        )
        self.spooled = Number("sightline_spooled_events", "Events waiting on disk for Redis", "gauge", ())
        self.errors = Number(
            "sightline_errors_total", "Errors that cost a batch or a message", "counter", ("at",)
        )
        self.latency = Histogram(
            "sightline_latency_seconds", "Capture to published result", LATENCY_BUCKETS_S, by_stream
        )
        self.engine = Histogram(
            "sightline_engine_seconds", "One inference call", LATENCY_BUCKETS_S, ("model",)
        )
        self.batch = Histogram(
            "sightline_batch_size", "Frames in one inference call", BATCH_BUCKETS, ("model",)
        )
        self.why = Number(
            "sightline_why_total", "Questions why, by how they ended", "counter", ("stream", "end")
        )
        self.why_seconds = Histogram(
            "sightline_why_seconds", "One question why", LATENCY_BUCKETS_S, ("model",)
        )
        by_codec: Labels = ("stream", "codec")
        self.encoders_started = Number(
            "sightline_viewer_encoders_started_total", "Encoders started for viewers", "counter", by_codec
        )
        self.encoders_running = Number(
            "sightline_viewer_encoders_running", "Encoders that run for viewers", "gauge", by_codec
        )
        self.viewer_packets = Number(
            "sightline_viewer_packets_total",
            "Packets for viewers, passed on from the camera or encoded",
            "counter",
            (*by_codec, "how"),
        )
        self.viewer_dropped = Number(
            "sightline_viewer_dropped_total",
            "Pictures and packets that viewers never saw",
            "counter",
            (*by_codec, "reason"),
        )
        self.viewer_groups = Number(
            "sightline_viewer_groups_given_up_total",
            "Groups of pictures not kept for a late viewer",
            "counter",
            by_stream,
        )
        self.evidence_pictures = Number(
            "sightline_evidence_pictures_total", "Events whose picture was kept", "counter", by_stream
        )
        self.evidence_clips = Number("sightline_evidence_clips_total", "Clips kept", "counter", by_stream)
        self.evidence_dropped = Number(
            "sightline_evidence_dropped_total",
            "Pictures and clips of events that were not kept",
            "counter",
            ("stream", "what", "reason"),
        )
        self.evidence_ring = Number(
            "sightline_evidence_ring_bytes", "Pictures in memory for events to come", "gauge", by_stream
        )
        by_world: Labels = ("stream", "world")
        by_event: Labels = ("stream", "world", "event")

        def lately(name: str, what: str, labels: Labels = by_world) -> Number:
            return Number(f"sightline_world_{name}", f"{what}, on the synthetic world", "gauge", labels)

        def since(name: str, what: str) -> Number:
            return Number(f"sightline_world_{name}", f"{what}, on the synthetic world", "counter", by_world)

        self.world_ap = lately("ap", "COCO AP of shown tracks in the last half minute")
        self.world_ap50 = lately("ap50", "The same at IoU .50")
        self.world_hota = lately("hota", "HOTA of the last half minute")
        self.world_deta = lately("deta", "Its detection part")
        self.world_assa = lately("assa", "Its association part")
        self.world_switches = since("id_switches_total", "Identity switches")
        self.world_scored = since("scored_frames_total", "Frames compared with the truth")
        self.world_unscored = since(
            "unscored_frames_total", "Frames that came faster than they could be scored"
        )
        self.world_precision = lately("event_precision", "Share of told events that are right", by_event)
        self.world_recall = lately("event_recall", "Share of true events that were told", by_event)
        self.world_delay = lately("event_delay_frames", "Mean delay until an event was told", by_event)

    def forget(self, stream: str) -> None:
        """The stream was removed: its samples would stand still for ever."""
        for family in vars(self).values():
            if family.labels[:1] == ("stream",):
                family.forget(stream)

    def show_zones(self, stream: str, inside: Mapping[str, int]) -> None:
        """How many objects are in each of the zones that the stream has now; those that it had have no sample."""
        self.zone_objects.forget(stream)
        for zone, objects in inside.items():
            self.zone_objects.set(objects, stream, zone)

    def crossings(self, stream: str, line: str) -> dict[str, int]:
        """Those of a line by direction, since the worker started. A line has its samples from when it is asked for."""
        for way in ("in", "out"):
            self.line_crossings.add(0, stream, line, way)
        return {way: int(self.line_crossings.value(stream, line, way)) for way in ("in", "out")}

    def show_viewers(self, stream: str, by_codec: Mapping[str, ViewerCounts], groups_given_up: int) -> None:
        """What became of a stream's picture, by codec; a codec that nobody ever asked for has no sample."""
        self.viewer_groups.set(groups_given_up, stream)
        for codec, counts in by_codec.items():
            if not (counts.encoders_started or counts.passed):
                continue
            self.encoders_started.set(counts.encoders_started, stream, codec)
            self.encoders_running.set(counts.encoders_running, stream, codec)
            self.viewer_packets.set(counts.passed, stream, codec, "passed")
            self.viewer_packets.set(counts.encoded, stream, codec, "encoded")
            for reason, many in counts.dropped.items():
                self.viewer_dropped.set(many, stream, codec, reason)

    def show_accuracy(self, stream: str, accuracy: Accuracy | None) -> None:
        """The newest numbers of a stream that knows its truth. None: gauges are dropped, totals stand."""
        at = (stream, WORLD)
        for family in (self.world_precision, self.world_recall, self.world_delay):
            family.forget(stream)
        if accuracy is None:
            for family in (self.world_ap, self.world_ap50, self.world_hota, self.world_deta, self.world_assa):
                family.forget(stream)
            return
        a = accuracy
        self.world_ap.put(a.ap, *at)
        self.world_ap50.put(a.ap50, *at)
        self.world_hota.put(a.hota, *at)
        self.world_deta.put(a.deta, *at)
        self.world_assa.put(a.assa, *at)
        self.world_switches.set(a.switches_total, *at)
        self.world_scored.set(a.scored_total, *at)
        self.world_unscored.set(a.unscored_total, *at)
        for kind, score in a.events.items():
            if score is not None:
                self.world_precision.put(score.precision, *at, kind)
                self.world_recall.put(score.recall, *at, kind)
                self.world_delay.put(score.delay_frames, *at, kind)

    def snapshot(self) -> list[dict[str, Any]]:
        """All families as plain data for JSON; `prometheus_text` reads this."""
        return [family.snapshot() for family in vars(self).values()]


def prometheus_text(families: Iterable[Mapping[str, Any]]) -> str:
    """A snapshot in Prometheus' text format, version 0.0.4. Families without samples are left out."""
    lines: list[str] = []
    for family in families:
        name, samples = family["name"], family["samples"]
        if not samples:
            continue
        lines.append(f"# HELP {name} {family['help']}")
        lines.append(f"# TYPE {name} {family['type']}")
        for sample in samples:
            labels = sample["labels"]
            if family["type"] != "histogram":
                lines.append(f"{name}{_labels(labels)} {sample['value']:.15g}")
                continue
            for bound, count in sample["buckets"]:
                lines.append(f"{name}_bucket{_labels({**labels, 'le': f'{bound:g}'})} {count}")
            lines.append(f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {sample['count']}")
            lines.append(f"{name}_sum{_labels(labels)} {sample['sum']:.9g}")
            lines.append(f"{name}_count{_labels(labels)} {sample['count']}")
    return "\n".join(lines) + "\n" if lines else ""


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    escaped = (f'{key}="{str(value).translate(_ESCAPES)}"' for key, value in labels.items())
    return "{" + ",".join(escaped) + "}"


_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
