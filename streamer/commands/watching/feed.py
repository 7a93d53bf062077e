"""The worker's part for viewers alone, without an engine: `python -m … feed REDIS_URL DATA_DIR CAMERA`.

The real source, the real tap and the real Redis sink; pictures are decoded and fitted as always and then let go. So
what viewers cost is told from what analysing costs. A line on stdin is answered with the encoders started so far.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from streamer.clock import SystemClock
from streamer.commands.watching.camera import HW
from streamer.config import StreamConfig
from streamer.sinks.redis import RedisSink
from streamer.sinks.video import VideoPublisher
from streamer.sources import open_source
from streamer.types import StreamState

STREAM = "cam"
LOOK_EVERY_S = 0.2


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
        for seen, _ in enumerate(source.frames()):
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
