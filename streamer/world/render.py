"""A clip of a world and its truth, as files: H.264 in any container that PyAV knows by its suffix, and JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import orjson

from streamer.errors import SightlineError
from streamer.masks import rle_from_crop
from streamer.world.street import World
from streamer.world.truth import ACTIONS, KEYPOINTS, LABELS, Truth, WorldConfig

QUALITY_CRF = "18"


def truth_line(truth: Truth) -> dict[str, Any]:
    """One frame's truth as plain JSON values.

    `objects` holds for each object id, label, action (or None), visibility, `box` and `full_box` as x0 y0 x1 y1 in
    pixels, `mask` (COCO's uncompressed run lengths, column-major, over the whole picture), and for people `keypoints`
    (x, y, v by the order of `keypoint_names`). `events` holds for each that goes on kind, start_frame, id and `box`;
    `forbidden` the corners x y of the ground that nobody may enter, empty if there is none.
    """
    height, width = truth.instances.shape
    objects: list[dict[str, Any]] = []
    for row in range(len(truth.ids)):
        x0, y0, x1, y1 = (int(v) for v in truth.boxes_xyxy[row])
        mask = rle_from_crop(truth.instances[y0:y1, x0:x1] == row, (y0, x0), (height, width))
        action, label = int(truth.actions[row]), int(truth.labels[row])
        entry: dict[str, Any] = {
            "id": int(truth.ids[row]),
            "label": LABELS[label],
            "action": ACTIONS[action] if action >= 0 else None,
            "visibility": round(float(truth.visibility[row]), 4),
            "box": [x0, y0, x1, y1],
            "full_box": [round(float(v), 3) for v in truth.full_boxes_xyxy[row]],
            "mask": {"size": [height, width], "counts": list(mask.counts)},
        }
        if label == LABELS.index("person"):
            entry["keypoints"] = [
                [round(x, 3), round(y, 3), int(v)] for x, y, v in truth.keypoints[row].tolist()
            ]
        objects.append(entry)
    return {
        "frame": truth.frame,
        "time_s": round(truth.time_s, 6),
        "size": [height, width],
        "caption": truth.caption,
        "keypoint_names": list(KEYPOINTS),
        "objects": objects,
        "events": [
            {
                "kind": event.kind,
                "start_frame": event.start_frame,
                "id": event.id,
                "box": [round(v, 3) for v in event.box_xyxy],
            }
            for event in truth.events
        ],
        "forbidden": [[round(x, 3), round(y, 3)] for x, y in truth.forbidden_xy.tolist()],
    }


def render_clip(
    config: WorldConfig,
    seconds: float,
    out_path: Path,
    truth_path: Path | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write `seconds` of the world to `out_path` (H.264, yuv420p) and its truth, one line per frame, to `truth_path`.

    `progress(done, total)` is called after each frame. Returns the number of frames. What was written is removed if
    anything fails. Raises SightlineError for an odd picture size, no time, or a path that cannot be written.
    """
    frames = round(seconds * config.fps)
    if frames < 1:
        raise SightlineError(
            f"{seconds:g} s at {config.fps:g} frames a second hold no frame", mend="ask for more seconds"
        )
    if config.width % 2 or config.height % 2:
        raise SightlineError(
            f"H.264 video needs an even size, not {config.width}x{config.height}",
            mend=f"use {config.width & ~1}x{config.height & ~1}",
        )
    try:
        _write(config, frames, out_path, truth_path, progress)
    except BaseException as error:
        for path in (out_path, truth_path):
            if path is not None and path.is_file():
                path.unlink()
        if isinstance(error, OSError | av.error.FFmpegError | ValueError):
            reason = getattr(error, "strerror", None) or str(error)
            raise SightlineError(
                f"the clip cannot be written ({reason})",
                where=str(getattr(error, "filename", None) or out_path),
                mend="give a path in a folder that exists, ending in .mp4 or .mkv",
            ) from error
        raise
    return frames


def _write(
    config: WorldConfig,
    frames: int,
    out_path: Path,
    truth_path: Path | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    rate = Fraction(config.fps).limit_denominator(1001)
    with ExitStack() as stack:
        lines = stack.enter_context(truth_path.open("wb")) if truth_path is not None else None
        container = stack.enter_context(av.open(str(out_path), "w"))
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": QUALITY_CRF, "preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        world = World(config)
        for index in range(frames):
            picture, truth = world.step()
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
            if lines is not None:
                lines.write(orjson.dumps(truth_line(truth)) + b"\n")
            if progress is not None:
                progress(index + 1, frames)
        container.mux(stream.encode(None))
