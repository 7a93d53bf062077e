"""HTTP sources: files, playlists that end and playlists that do not, and what a playlist may not reach."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest

from streamer.errors import SourceError
from tests.fakes.clips import bar_index, write_clip
from tests.fakes.sources import Spec, play, source_of


@contextlib.contextmanager
def folder_server(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def write_hls(folder: Path, frames: int, *, ended: bool) -> None:
    """`list.m3u8` over MPEG-TS segments of ten frames; without `ended` it looks like a live one."""
    clip = write_clip(folder / "a.ts", frames)
    with (
        av.open(str(clip)) as source,
        av.open(
            str(folder / "list.m3u8"),
            "w",
            format="hls",
            options={
                "hls_time": "0.4",
                "hls_list_size": "0",
                "hls_flags": "independent_segments" if ended else "omit_endlist",
            },
        ) as out,
    ):
        video = source.streams.video[0]
        copy = out.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)


def test_a_playlist_that_ends_is_a_file(tmp_path: Path) -> None:
    write_hls(tmp_path, 40, ended=True)
    with folder_server(tmp_path) as url:
        source = source_of(Spec(f"{url}/list.m3u8"))
        assert not source.open().live
        frames = list(source.frames())
    assert [bar_index(f.image) for f in frames] == list(range(40))


def test_a_playlist_that_goes_on_is_live(tmp_path: Path) -> None:
    write_hls(tmp_path, 50, ended=False)
    with folder_server(tmp_path) as url:
        source = source_of(Spec(f"{url}/list.m3u8"))
        assert source.open().live
        # Live playlists are joined near their end: three segments before it.
        seen = [bar_index(f.image) for f in islice(source.frames(), 20)]
        source.close()
    assert seen == list(range(seen[0], seen[0] + 20))
    assert seen[0] > 0


def test_a_file_over_http_loops(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", 10)
    with folder_server(tmp_path) as url:
        frames = play(Spec(f"{url}/a.mp4", loop=True), limit=25)
    assert [bar_index(f.image) for f in frames] == [i % 10 for i in range(25)]


@pytest.mark.parametrize("suffix", ["m3u8", "mp4"])
def test_a_playlist_from_outside_cannot_read_our_disk(tmp_path: Path, suffix: str) -> None:
    secret = write_clip(tmp_path / "secret.ts", 10)
    served = tmp_path / "served"
    served.mkdir()
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:0.4,", f"file://{secret}", "#EXT-X-ENDLIST", ""]
    (served / f"evil.{suffix}").write_text("\n".join(lines))
    with folder_server(served) as url, pytest.raises(SourceError):
        play(Spec(f"{url}/evil.{suffix}"))
