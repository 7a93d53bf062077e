"""The worker's part for viewers alone, without an engine: `python -m … feed REDIS_URL DATA_DIR CAMERA`.

The real source, the real tap and the real Redis sink; pictures are decoded and fitted as always and then let go, and
the truth of the drawn street takes the place of results. So what viewers cost is told from what analysing costs. A line
on stdin is answered with the encoders started so far.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from streamer.clock import SystemClock
from streamer.commands.watching.camera import HW
from streamer.commands.watching.truths import truths
from streamer.config import StreamConfig
from streamer.sinks.redis import RedisSink
from streamer.sinks.video import VideoPublisher
from streamer.sources import open_source
from streamer.types import FrameRef, Perception, Result, StreamState, Timing

STREAM = "cam"
LOOK_EVERY_S = 0.2


def told(ref: FrameRef, said: Perception) -> Result:
    """What was said of the frame, as a worker tells it."""
    now = ref.captured_ns
    at = Timing(*(now + step * 7_123_457 for step in range(6)))
    return Result(ref, HW, said, at, {"model": "street-nano", "digest": "f" * 64, "backend": "openvino f32"})


def main(redis_url: str, data_dir: str, camera: str) -> None:
    """Feed until stdin ends."""
    clock = SystemClock()
    with RedisSink(redis_url, Path(data_dir), clock=clock) as sink:
        tap = VideoPublisher(STREAM, sink, clock)
        source = open_source(
            StreamConfig(name=STREAM, url=camera), epoch=1, input_hw=(144, 256), clock=clock, tap=tap
        )
        source.open()
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(LOOK_EVERY_S):
                tap.set_watched(bool(sink.watched([STREAM])))

        def hear() -> None:
            print("READY", flush=True)
            for _ in sys.stdin:
                print(json.dumps({"encoders": tap.encoders_started}), flush=True)
            source.close()

        sink.listen(lambda said: tap.request_keyframe() if said.get("op") == "keyframe" else None)
        threading.Thread(target=look, daemon=True).start()
        said = truths()
        for seen, frame in enumerate(source.frames()):
            sink.emit_results([told(frame.ref, next(said))])
            if seen == 0:
                height, width = HW
                sink.emit_state(
                    STREAM, StreamState.RUNNING, {"epoch": "1", "width": str(width), "height": str(height)}
                )
                threading.Thread(target=hear, daemon=True).start()
        stop.set()
        tap.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
