"""Publishing by WHIP with aiortc at the other end: packets as they came, one publisher, the silent one, refusals."""

from __future__ import annotations

import threading
from itertools import pairwise

import aiortc.rtcrtpreceiver
import httpx
import pytest

from streamer.config import StreamConfig
from tests.fakes.publishers import Camera, PublishedMemory, decoded, published, until
from tests.fakes.whep_rig import SDP, Player
from web import publication, whip
from web.publishing import as_baseline
from web.whip import WhipServer


@pytest.mark.parametrize("codec", ["video/H264", "video/VP8"])
def test_packets_come_as_they_were_sent_and_are_not_decoded(
    codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The self-test of the private parts of aiortc that this leans on: should one move, no frame comes."""
    store = PublishedMemory("desk")
    made: list[object] = []
    get_decoder = aiortc.rtcrtpreceiver.get_decoder
    monkeypatch.setattr(aiortc.rtcrtpreceiver, "get_decoder", lambda c: made.append(c) or get_decoder(c))

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        camera = Camera(codec, audio=True)
        try:
            response = await camera.publish(http)
            assert response.headers["location"].startswith("/desk/whip/")
            assert response.headers["etag"].strip('"') == response.headers["location"].rsplit("/", 1)[1]
            await until(lambda: len(store.frames) >= 40, "forty frames")
            ended = await http.delete(response.headers["location"])
            assert ended.status_code == 200
            await until(lambda: store.ended, "the end is said")
            assert (await http.delete(response.headers["location"])).status_code == 404
        finally:
            await camera.close()

    published(scene, store)
    frames = [frame for _, frame in store.frames]
    assert frames[0].key
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert {frame.codec for frame in frames} == {codec.partition("/")[2].lower()}
    pictures = decoded(frames)
    assert len(pictures) >= len(frames) - 1
    steps = [b - a for (a, _), (b, _) in pairwise(pictures)]
    assert all(2900 <= step <= 3100 for step in steps), steps  # 30 a second in 90 kHz ticks
    # VP8's and H.264's blur moves an edge by a pixel or two; the bar walks four a picture.
    walked = [(b - a) % 200 for (_, a), (_, b) in pairwise(pictures)]
    assert sum(abs(step - 4) <= 2 for step in walked) > 0.9 * len(walked), walked
    assert not made, "aiortc decoded what was published"
    assert not [t for t in threading.enumerate() if "decoder" in t.name]


def test_a_key_frame_is_asked_for_when_a_reader_wants_one() -> None:
    store = PublishedMemory("desk")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        camera = Camera("video/VP8")
        try:
            await camera.publish(http)
            await until(lambda: len(store.frames) > 15, "frames")
            before, keys = camera.keys_asked, sum(frame.key for _, frame in store.frames)
            store.asked = True
            await until(lambda: camera.keys_asked > before, "a PLI")
            await until(lambda: sum(frame.key for _, frame in store.frames) > keys, "a key frame", 15)
        finally:
            await camera.close()

    published(scene, store)
    assert store.kept_from


def test_a_second_publisher_is_refused_until_the_first_has_lost_its_place() -> None:
    store = PublishedMemory("desk")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        first, second = Camera("video/VP8"), Camera("video/VP8")
        try:
            await first.publish(http)
            await until(lambda: store.frames, "frames of the first")
            refused = await http.post("/desk/whip", content=await second.offer(), headers=SDP)
            assert refused.status_code == 409
            assert "somebody publishes to this stream already" in refused.json()["detail"]
            store.holder = None  # it lapsed, as it does after three silent seconds
            third = Camera("video/VP8")
            await third.publish(http)
            await until(lambda: any(n == 2 for n, _ in store.frames), "frames of the next")
            await until(lambda: 1 in store.ended, "the first is ended")
            assert store.holder is not None
            await third.close()
        finally:
            await first.close()
            await second.close()

    published(scene, store)


def test_who_publishes_no_more_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that vanishes without a word; the limits are shortened, their sum is 9.5 s."""
    assert whip.SILENT_FOR_S + whip.REAP_EVERY_S <= 10
    monkeypatch.setattr(whip, "SILENT_FOR_S", 0.6)
    store = PublishedMemory("desk")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        camera = Camera("video/VP8")
        try:
            await camera.publish(http)
            await until(lambda: store.frames, "frames")

            async def nothing(data: bytes) -> None:
                return None

            camera.sender.transport._send_rtp = nothing  # type: ignore[method-assign]
            await until(lambda: store.ended == [1], "the end is said")
            assert not server.publishes("desk")
        finally:
            await camera.close()

    published(scene, store)


def test_a_publisher_that_closes_its_connection_ends_at_once() -> None:
    store = PublishedMemory("desk")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        camera = Camera("video/VP8")
        await camera.publish(http)
        await until(lambda: store.frames, "frames")
        await camera.close()
        await until(lambda: store.ended == [1], "the end is said", 3)

    published(scene, store)


def test_a_stream_that_is_not_there_is_made_for_who_may_and_refused_to_others() -> None:
    store = PublishedMemory()
    store.configs["door"] = StreamConfig(name="door", url="rtsp://user:pass@camera/1")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        camera = Camera("video/VP8")
        try:
            with pytest.raises(whip.Refused) as refused:
                await server.open_session("desk", await camera.offer(), may_create=False)
            assert (refused.value.status, str(refused.value.error)) == (
                404,
                "there is no stream 'desk' — have somebody who manages add it with the url whip://desk",
            )
            taken = await http.post("/door/whip", content=await camera.offer(), headers=SDP)
            assert taken.status_code == 409
            assert "pass" not in taken.text
            named = await http.post("/a%20b/whip", content=await camera.offer(), headers=SDP)
            assert named.status_code == 422
            await camera.publish(http)
            assert store.configs["desk"].url == "whip://desk"
        finally:
            await camera.close()

    published(scene, store)


def test_bad_offers_are_refused_and_leave_the_place_free() -> None:
    store = PublishedMemory("desk")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        async def status(body: str) -> int:
            return (await http.post("/desk/whip", content=body, headers=SDP)).status_code

        assert await status("hello") == 400
        player = Player(channel=False)
        watching = await player.offer()
        assert await status(watching) == 400  # it wants to receive
        sent = watching.replace("a=recvonly", "a=sendonly")
        assert await status(sent.replace(" H264/", " AV1/").replace(" VP8/", " VP9/")) == 406
        assert (await http.post("/desk/whip", content="x")).status_code == 415
        assert store.holder is None
        assert (await http.options("/desk/whip")).headers["accept-post"] == "application/sdp"
        assert (await http.patch("/desk/whip/none", content="")).status_code == 404
        await player.close()

    published(scene, store)


def test_redis_away_costs_pictures_and_not_the_session() -> None:
    store = PublishedMemory("desk")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        camera = Camera("video/VP8")
        try:
            await camera.publish(http)
            await until(lambda: len(store.frames) > 5, "frames")
            store.broken = True
            peer = next(iter(server._peers.values()))
            await until(lambda: peer.dropped["store away"] > 1, "frames that were let go")
            seen = len(store.frames)
            store.broken = False
            await until(lambda: len(store.frames) > seen, "frames again", 15)
            assert store.frames[seen][1].key, "it goes on with a key frame"
            assert store.frames[seen][1].index > seen, "readers see that some are missing"
        finally:
            await camera.close()

    published(scene, store)


def test_two_groups_of_pictures_are_kept_and_no_more_bytes_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def frame(size: int, key: bool) -> publication.PublishedFrame:
        return publication.PublishedFrame(b"x" * size, key, 0, "vp8", 0, 0)

    kept = publication.Kept()
    assert kept.add(["0", "1"], [frame(1, True), frame(1, False)]) == "0", "what lay there before may go"
    assert kept.add(["2", "3"], [frame(1, True), frame(1, False)]) is None
    assert kept.add(["4"], [frame(1, True)]) == "2"
    assert kept.add(["5"], [frame(1, False)]) is None
    monkeypatch.setattr(publication, "MAX_KEPT_BYTES", 10)
    assert kept.add(["6"], [frame(9, False)]) == "5", "no more than ten bytes"


def test_ffmpegs_profile_is_answered_as_it_was_offered() -> None:
    line = "a=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={}\r\n"
    assert as_baseline(line.format("640c1f")) == (line.format("42e01f"), "640c1f")
    assert as_baseline(line.format("42e01f")) == (line.format("42e01f"), None)


def test_h264_of_another_profile_is_received() -> None:
    store = PublishedMemory("desk")

    async def scene(http: httpx.AsyncClient, server: WhipServer) -> None:
        camera = Camera("video/H264")
        try:
            offer = (await camera.offer()).replace("42001f", "640c1f").replace("42e01f", "640c1f")
            response = await http.post("/desk/whip", content=offer, headers=SDP)
            assert response.status_code == 201, response.text
            assert "profile-level-id=640c1f" in response.text
            assert "42e01f" not in response.text
        finally:
            await camera.close()

    published(scene, store)
