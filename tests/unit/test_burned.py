"""Burned-in pictures: the right result on the right picture, one decoder for all, none for nobody, nothing stale."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from streamer.clock import SystemClock
from tests.fakes.numbered_camera import NumberedCamera, box_left, left_drawn, number_painted, pixels
from tests.fakes.web_store import MemoryStore
from web.app import WebSettings, create_app
from web.audience import RETRY_AFTER_S, Audience
from web.burned import Burned
from web.burned_routes import BOUNDARY, FASTEST_FPS, BurnedServer
from web.looks import NONE, Look

Scene = Callable[[BurnedServer, NumberedCamera, FastAPI], Awaitable[None]]
PATIENCE_S = 10


def played(scene: Scene, *, audience: Audience | None = None, **camera: Any) -> None:
    """Run `scene` beside a camera; afterwards no task and no thread of a decoder may be left."""

    async def run() -> None:
        gate = NumberedCamera(**camera)
        server = BurnedServer(gate, audience=audience)
        app = create_app(WebSettings(), MemoryStore(), burned=server, clock=SystemClock())
        async with gate.running():
            await asyncio.wait_for(scene(server, gate, app), 4 * PATIENCE_S)
        await server.aclose()
        assert not [
            t.get_name() for t in asyncio.all_tasks() if "burn" in t.get_name() or "feed" in t.get_name()
        ]

    asyncio.run(run())
    assert not decoder_threads()


def decoder_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("burn ")]


async def take(server: BurnedServer, look: Look, n: int) -> list[Burned]:
    found: list[Burned] = []
    async with server.watching("gate", look, FASTEST_FPS) as (_, place):
        while len(found) < n:
            burned = await place.next(PATIENCE_S)
            assert burned is not None, "no picture came"
            found.append(burned)
    return found


async def until(holds: Callable[[], object], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, what
        await asyncio.sleep(0.01)


async def get(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        return await http.get(path)


@pytest.mark.parametrize("width", [0, 160, 320])
def test_each_picture_carries_the_result_made_from_it(width: int) -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        for burned in await take(server, Look(width, quality=90), 30):
            picture = pixels(burned.jpeg)
            assert picture.shape[1] == (width or 320)
            number = number_painted(picture)
            assert burned.seq == number
            left = left_drawn(picture)
            assert left is not None and abs(left - box_left(number)) <= 6, (number, left)

    played(scene)


def test_without_overlay_nothing_is_drawn_and_nothing_waited_for() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        camera.results_given = False
        for burned in await take(server, Look(layers=NONE), 8):
            assert burned.seq is None and left_drawn(pixels(burned.jpeg)) is None

    played(scene)


def test_a_picture_whose_result_never_comes_is_shown_bare_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.burned.HOLD_S", 0.3)

    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        camera.results_given = False
        async with server.watching("gate", Look(), FASTEST_FPS) as (stream, place):
            burned = await place.next(PATIENCE_S)
            assert burned is not None and burned.seq is None and left_drawn(pixels(burned.jpeg)) is None
            await until(lambda: stream.counts["unmatched"] >= 1, "it is counted")
            camera.results_given = True
            while (burned := await place.next(PATIENCE_S)) is not None and burned.seq is None:
                pass
            assert burned is not None and burned.seq == number_painted(pixels(burned.jpeg))

    played(scene)


def test_a_reconnect_of_the_camera_goes_on_with_the_new_epoch() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        async with server.watching("gate", Look(), FASTEST_FPS) as (_, place):
            assert await place.next(PATIENCE_S) is not None
            camera.reconnect()
            while (burned := await place.next(PATIENCE_S)) is not None and burned.stamp[0] == 1:
                pass
            assert burned is not None and burned.stamp[0] == 2
            assert burned.seq == number_painted(pixels(burned.jpeg)) < 200

    played(scene)


def test_all_share_one_decoder_and_it_ends_with_the_last() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        assert not server.decoders and not decoder_threads() and not camera.watched
        looks = [Look(), Look(), Look(160), Look(layers=NONE), Look(quality=30)]
        async with server.watching("gate", Look(), FASTEST_FPS) as (stream, first):
            await asyncio.gather(*(take(server, look, 5) for look in looks))
            assert list(server.decoders) == ["gate"] and len(decoder_threads()) == 1
            assert camera.watched >= 1
            decoded = stream.counts["decoded"]
            assert decoded <= camera.number  # once each, however many watch
            assert await first.next(PATIENCE_S) is not None
        assert not server.decoders and not decoder_threads()
        shot = camera.number
        await until(lambda: camera.number > shot + 5, "the camera goes on")
        assert stream.counts["decoded"] <= shot  # and nobody decodes it

    played(scene)


def test_a_slow_viewer_keeps_only_the_newest_and_the_rate_is_bounded() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        async with (
            server.watching("gate", Look(), FASTEST_FPS) as (_, slow),
            server.watching("gate", Look(), 5.0) as (_, rare),
        ):
            assert await slow.next(PATIENCE_S) is not None
            times: list[float] = []
            while len(times) < 6:
                assert await rare.next(PATIENCE_S) is not None
                times.append(time.monotonic())
            assert (times[-1] - times[0]) / 5 > 0.15
            assert slow.overwritten > 3
            before = camera.number
            burned = await slow.next(PATIENCE_S)
            assert burned is not None and number_painted(pixels(burned.jpeg)) > before - 20

    played(scene)


def test_a_snapshot_is_of_now() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        await until(lambda: camera.number > 15, "some pictures were taken before anybody asked")
        asked_at = camera.number
        answer = await get(app, "/api/v1/streams/gate/snapshot.jpg?overlay=true")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        picture = pixels(answer.content)
        number = number_painted(picture)
        assert number >= asked_at - 1 and answer.headers["sightline-result"] == f"1:{number}"
        assert abs((left_drawn(picture) or -9) - box_left(number)) <= 6
        plain = await get(app, "/api/v1/streams/gate/snapshot.jpg?overlay=false&width=160")
        assert left_drawn(pixels(plain.content)) is None and pixels(plain.content).shape == (90, 160, 3)
        assert "sightline-result" not in plain.headers
        assert not server.decoders

    played(scene)


def test_a_snapshot_is_refused_in_words_rather_than_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.burned_routes.SNAPSHOT_WAIT_S", 0.5)
    path = "/api/v1/streams/gate/snapshot.jpg"

    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        await until(lambda: camera.number > 5, "some pictures")
        camera.frozen = True
        frozen = await get(app, path)
        assert frozen.status_code == 503 and "no new picture came" in frozen.json()["detail"]
        camera.state_hash |= {"state": "RESTARTING", "error": "the camera closed the connection"}
        down = await get(app, path)
        assert down.status_code == 409
        assert "RESTARTING: the camera closed the connection" in down.json()["detail"]
        missing = await get(app, "/api/v1/streams/yard/snapshot.jpg")
        assert missing.status_code == 404

    played(scene)


@pytest.mark.parametrize("wish", ["fps=0", "fps=31", "width=-1", "width=5000", "quality=5", "quality=100"])
def test_what_may_be_asked_for_is_bounded(wish: str) -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        answer = await get(app, f"/gate/mjpeg?{wish}")
        assert answer.status_code == 422 and wish.partition("=")[0] in answer.json()["detail"]

    played(scene)


def test_too_many_viewers_are_refused_in_words() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        async with server.watching("gate", Look(), FASTEST_FPS):
            for path in ("/gate/mjpeg", "/api/v1/streams/gate/snapshot.jpg"):
                answer = await get(app, path)
                assert answer.status_code == 503 and "1 watch burned-in pictures" in answer.json()["detail"]
                assert answer.headers["retry-after"] == str(RETRY_AFTER_S)
        assert (await get(app, "/yard/mjpeg")).status_code == 404

    played(scene, audience=Audience(most_pictures=1))


class Reader:
    """Reads `/gate/mjpeg` as a server's client does: bytes as they come, until it leaves."""

    def __init__(self, app: FastAPI) -> None:
        self.data = b""
        self.headers: dict[str, str] = {}
        self._leaving = asyncio.Event()
        scope = {"type": "http", "method": "GET", "path": "/gate/mjpeg", "raw_path": b"/gate/mjpeg"}
        scope |= {"query_string": b"fps=30", "headers": [(b"host", b"127.0.0.1")], "scheme": "http"}
        scope |= {
            "http_version": "1.1",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "root_path": "",
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._leaving.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
        self.data += message.get("body", b"")

    def parts(self) -> list[bytes]:
        """The JPEGs of the whole parts so far."""
        whole = self.data.split(f"--{BOUNDARY}\r\n".encode())[1:-1]
        heads_and_bodies = [part.split(b"\r\n\r\n", 1) for part in whole]
        for head, body in heads_and_bodies:
            assert b"Content-Type: image/jpeg" in head
            assert f"Content-Length: {len(body) - 2}".encode() in head
        return [body[:-2] for _, body in heads_and_bodies]

    async def leave(self) -> None:
        self._leaving.set()
        await self.task


def test_mjpeg_is_the_moving_picture_with_its_results() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        reader = Reader(app)
        await until(lambda: len(reader.parts()) >= 10, "ten pictures")
        assert reader.headers["content-type"] == f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        assert "content-length" not in reader.headers
        pictures = [pixels(jpeg) for jpeg in reader.parts()]
        numbers = [number_painted(picture) for picture in pictures]
        assert numbers == sorted(set(numbers))
        for picture, number in zip(pictures, numbers, strict=True):
            assert abs((left_drawn(picture) or -9) - box_left(number)) <= 6
        await reader.leave()
        assert not server.decoders and not decoder_threads()

    played(scene)


def test_an_mjpeg_that_stops_says_so_in_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.burned_routes.STALE_S", 0.4)
    monkeypatch.setattr("web.burned_routes.NOTE_EVERY_S", 0.2)

    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        reader = Reader(app)
        await until(lambda: len(reader.parts()) >= 3, "some pictures")
        camera.frozen = True
        await until(lambda: pixels(reader.parts()[-1]).mean() < 60, "the picture is darkened")
        note = pixels(reader.parts()[-1]).astype(int)
        assert np.ptp(note, axis=2).max() < 12  # grey: it cannot be taken for a live one
        assert note[70:120].max() > 200  # and says why
        camera.frozen = False
        await until(lambda: pixels(reader.parts()[-1]).mean() > 90, "it goes on")
        await reader.leave()

    played(scene)


def test_the_end_of_the_server_ends_the_pictures() -> None:
    async def scene(server: BurnedServer, camera: NumberedCamera, app: FastAPI) -> None:
        reader = Reader(app)
        await until(lambda: reader.parts(), "a picture")
        app.state.stopping.set()
        await asyncio.wait_for(reader.task, PATIENCE_S)
        assert not server.decoders

    played(scene)
