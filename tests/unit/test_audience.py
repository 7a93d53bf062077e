"""How many may watch: of all streams, of one, with pictures; who is refused is told in a line, and counted."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from streamer.config import Config
from streamer.errors import ConfigError
from tests.fakes.numbered_camera import NumberedCamera
from tests.fakes.web_store import MemoryStore
from tests.fakes.whep_rig import SDP, Player
from web.app import WebSettings, create_app
from web.audience import RETRY_AFTER_S, Audience, With
from web.burned_routes import BurnedServer
from web.looks import Look
from web.problems import Refused
from web.whep import WhepServer


def refused(audience: Audience, stream: str, by: With) -> str:
    with pytest.raises(Refused) as found:
        audience.take(stream, by)
    assert (found.value.status, found.value.headers) == (503, {"Retry-After": str(RETRY_AFTER_S)})
    return str(found.value.error)


def counted(audience: Audience) -> dict[tuple[str, ...], float]:
    (family,) = audience.families()
    return {tuple(one["labels"].values()): one["value"] for one in family["samples"]}


def test_one_stream_full_leaves_the_others_open() -> None:
    audience = Audience(most=4, most_of_one=2)
    seats = [audience.take("gate", With.WEBRTC), audience.take("gate", With.PICTURES)]
    for by in With:
        assert "2 viewers watch this stream" in refused(audience, "gate", by)
    audience.take("yard", With.WEBRTC)
    seats[0].leave()
    seats[0].leave()  # a second time gives nothing back
    assert (audience.watching("gate"), audience.watching(), audience.watching(by=With.WEBRTC)) == (1, 2, 1)
    audience.take("gate", With.WEBRTC)
    assert "2 viewers watch this stream" in refused(audience, "gate", With.WEBRTC)
    assert counted(audience) == {("gate", "webrtc", "stream"): 2, ("gate", "pictures", "stream"): 1}


def test_all_streams_together_and_pictures_have_limits_of_their_own() -> None:
    audience = Audience(most=3, most_pictures=1)
    audience.take("gate", With.PICTURES)
    assert "1 watch burned-in pictures" in refused(audience, "yard", With.PICTURES)
    audience.take("gate", With.WEBRTC)
    audience.take("yard", With.WEBRTC)
    said = refused(audience, "yard", With.WEBRTC)
    assert "3 viewers are watching" in said and "\n" not in said
    assert counted(audience) == {("yard", "pictures", "pictures"): 1, ("yard", "webrtc", "all"): 1}


def test_the_file_may_say_how_many_of_one_stream() -> None:
    assert Config().max_viewers_per_stream is None
    assert Config(max_viewers_per_stream=3).max_viewers_per_stream == 3
    with pytest.raises((ConfigError, ValueError), match="max_viewers_per_stream"):
        Config(max_viewers_per_stream=0)


def test_whep_and_mjpeg_share_a_streams_seats_and_metrics_tell_who_found_none() -> None:
    async def run() -> None:
        gate, audience = NumberedCamera(), Audience(most_of_one=1)
        pictures, whep = BurnedServer(gate, audience=audience), WhepServer(gate, audience=audience)
        app: FastAPI = create_app(WebSettings(), MemoryStore(), whep=whep, burned=pictures, audience=audience)
        transport = httpx.ASGITransport(app)
        async with (
            gate.running(),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
        ):
            player, late = Player(), Player()
            async with pictures.watching("gate", Look(), 12.5):
                turned_away = await http.post("/gate/whep", content=await late.offer(), headers=SDP)
                assert (turned_away.status_code, turned_away.headers["retry-after"]) == (503, "10")
            await late.close()
            assert (await player.open(http)).status_code == 201
            for path in ("/gate/mjpeg", "/api/v1/streams/gate/snapshot.jpg"):
                turned_away = await http.get(path)
                assert (turned_away.status_code, turned_away.headers["retry-after"]) == (503, "10")
                assert "1 viewers watch this stream" in turned_away.json()["detail"]
            told = (await http.get("/metrics")).text
            name = "sightline_web_viewers_refused_total"
            assert f'{name}{{stream="gate",with="pictures",limit="stream"}} 2' in told
            assert f'{name}{{stream="gate",with="webrtc",limit="stream"}} 1' in told
            assert (await http.post("/nowhere/whep", content="v=0", headers=SDP)).status_code == 404
            await player.close()
        await whep.aclose()
        await pictures.aclose()
        assert audience.watching() == 0

    asyncio.run(run())
