"""WHEP as a player meets it: pictures and results in step, late viewers, loss, silence, and every refusal."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import httpx
import orjson
import pytest

from streamer.client import VideoPacket
from streamer.network import WebRtcConfig
from tests.fakes.whep_rig import SDP, STEP, Camera, MemoryStore, Player, played, until
from web.ice import OwnServers
from web.results import ResultMessage
from web.subscription import FeedPacket, Subscription
from web.webrtc import Peer
from web.whep import WhepServer


def test_a_player_sees_the_pictures_and_their_results_in_step() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        response = await player.open(http)
        assert response.headers["content-type"] == "application/sdp"
        assert response.headers["location"].startswith("/gate/whep/")
        await until(lambda: len(player.pictures) >= 50 and player.told("origin"), "50 pictures")
        assert server.viewers("gate") == 1
        assert player.messages[0] == {"t": "hello", "stream": "gate"}
        await until(lambda: len(player.told("result")) >= 50, "50 results")
        (origin,) = player.told("origin")
        assert origin["epoch"] == 1
        edge_of = {
            (m["data"]["pts90k"] + origin["rtp"]) % 2**32: m["data"]["at"] for m in player.told("result")
        }
        matched = [(edge_of[pts], seen) for pts, seen in player.pictures if pts in edge_of]
        assert len(matched) >= 45
        # The origin is right only if each picture's own bar is where the matched result says.
        assert all(abs(told - seen) <= 3 for told, seen in matched), matched
        assert player.told("state")[0]["data"] == {"state": "RUNNING"}

        assert (await http.delete(response.headers["location"])).status_code == 200
        assert server.viewers("gate") == 0
        assert (await http.delete(response.headers["location"])).status_code == 404
        await player.close()

    played(scene)


def test_a_player_that_reads_compressed_results_gets_them_so_and_others_get_text() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        players = [Player(), Player(protocol="deflate"), Player(protocol="brotli")]
        for player in players:
            await player.open(http)
            await until(lambda player=player: len(player.told("result")) >= 20, "20 results")
        assert [player.kinds for player in players] == [
            {str},
            {str, bytes},
            {str},
        ]  # what is no result stays text
        seqs = [[m["data"]["seq"] for m in player.told("result")] for player in players]
        assert all(seq == list(range(seq[0], seq[0] + len(seq))) for seq in seqs)
        shared = set(seqs[0]) & set(seqs[1])
        told = [{m["data"]["seq"]: m for m in player.told("result")} for player in players]
        assert shared and all(told[0][seq] == told[1][seq] for seq in shared)
        for player in players:
            await player.close()

    played(scene)


class Channel:
    """A data channel that nothing leaves: what is sent stays in its buffer."""

    label, protocol, readyState = "results", "", "open"

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.bufferedAmount = 0

    def send(self, message: str) -> None:
        self.sent.append(orjson.loads(message))
        self.bufferedAmount += len(message)


def test_results_wait_for_a_picture_and_of_too_many_the_newest_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = [ResultMessage(orjson.dumps({"epoch": 1, "pts90k": n * STEP, "seq": n})) for n in range(50)]

    class Feed:
        told_state = '{"t":"state","data":{}}'

        def replay(self, subscription: Subscription) -> list[ResultMessage]:
            return (
                []
                if subscription.begins is None
                else [one for one in results if one.at >= subscription.begins]
            )

    async def scene() -> None:
        peer, channel, subscription = (
            Peer("s", "gate", WebRtcConfig(), OwnServers(WebRtcConfig())),
            Channel(),
            place(),
        )
        monkeypatch.setattr(peer, "_feed", Feed())
        monkeypatch.setattr(peer, "_subscription", subscription)
        peer._on_channel(channel)
        subscription.on_message(results[3])
        assert [message["t"] for message in channel.sent] == ["hello", "state"], "no picture, no result"
        subscription.put(FeedPacket(VideoPacket("1", b"", True, 20 * STEP, 1, 20), 0))
        monkeypatch.setattr(
            "web.webrtc.CHANNEL_BACKLOG_BYTES", channel.bufferedAmount + 10 * len(results[30].text)
        )
        peer._on_packet(await subscription.next())
        assert [message["data"]["seq"] for message in channel.sent[2:]] == list(range(40, 50))
        monkeypatch.undo()
        subscription.on_message(results[49])
        assert len(channel.sent) == 13, "from now on as they come, and never the old ones again"
        await peer.close()

    def place() -> Subscription:
        return Subscription(lambda: None, [])

    asyncio.run(scene())


def test_late_viewers_start_at_the_last_key_frame_and_cost_no_encoder() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        first = Player()
        await first.open(http)
        await until(lambda: len(first.pictures) >= 10, "10 pictures")
        late = [Player(channel=False), Player(audio=True)]
        for player in late:
            await player.open(http)
        key = max(p.pts90k for p in store.video if p.key)
        for player in late:
            await until(lambda player=player: len(player.pictures) >= 10, "10 pictures for a late viewer")
        assert server.viewers("gate") == 3
        assert camera.publisher.encoders_started == 1
        # Both began with the key frame that was last when they came: the bar of their first picture is its bar.
        keys = [p.pts90k // STEP * 4 % 200 for p in store.video if p.key and p.pts90k <= key]
        for player in late:
            assert any(abs(player.pictures[0][1] - edge) <= 3 for edge in keys)
            steps = {
                (b[0] - a[0]) % 2**32 for a, b in zip(player.pictures, player.pictures[1:], strict=False)
            }
            assert steps == {STEP}
        for player in (first, *late):
            await player.close()

    played(scene)


def test_a_reconnect_of_the_camera_goes_on_in_the_same_session() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        await player.open(http)
        await until(lambda: len(player.pictures) >= 20, "20 pictures")
        camera.reconnect()
        await until(lambda: len(player.told("origin")) == 2, "an origin for the new epoch")
        seen = len(player.pictures)
        await until(lambda: len(player.pictures) >= seen + 20, "pictures of the new epoch")
        origins = {m["epoch"]: m["rtp"] for m in player.told("origin")}
        assert set(origins) == {1, 2}
        edge_of = {
            (m["data"]["pts90k"] + origins[m["data"]["epoch"]]) % 2**32: m["data"]["at"]
            for m in player.told("result")
        }
        matched = [(edge_of[pts], at) for pts, at in player.pictures[-15:] if pts in edge_of]
        assert len(matched) >= 10
        assert all(abs(told - at) <= 3 for told, at in matched)
        stamps = [pts for pts, _ in player.pictures]
        assert all(0 < (b - a) % 2**32 < 2**31 for a, b in itertools.pairwise(stamps))
        await player.close()

    played(scene)


def test_a_picture_loss_reaches_the_worker_as_one_request() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        await player.open(http)
        await until(lambda: len(player.pictures) >= 5, "5 pictures")
        asked = store.keys_asked
        receiver = player.pc.getReceivers()[0]
        ssrc = next(iter(receiver.getSynchronizationSources())).source
        for _ in range(5):
            await receiver._send_rtcp_pli(ssrc)
        await until(lambda: store.keys_asked > asked, "a request for a key frame")
        assert store.keys_asked <= asked + 2
        await player.close()

    played(scene)


def test_a_viewer_that_vanishes_is_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.whep.SILENT_FOR_S", 2.0)
    monkeypatch.setattr("web.whep.REAP_EVERY_S", 0.1)

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        await player.open(http)
        await until(lambda: len(player.pictures) >= 5, "5 pictures")
        # Gone without a word: no BYE, no close; its reports just stop.
        (receiver,) = player.pc.getReceivers()

        async def mute(_: bytes) -> None: ...

        receiver.transport._send_rtp = mute  # type: ignore[method-assign]
        await until(lambda: server.viewers("gate") == 0, "the silent viewer to be reaped")
        await player.close()

    played(scene)


def test_a_host_without_a_network_is_reached_over_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.ifaddr.get_adapters", list)

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        response = await player.open(http)
        addresses = {line.split()[4] for line in response.text.splitlines() if line.startswith("a=candidate")}
        assert addresses == {"127.0.0.1"}
        await until(lambda: len(player.pictures) >= 5, "5 pictures")
        await player.close()

    played(scene)


def _offer(*, codec: str = "H264", fmtp: str = "packetization-mode=1;profile-level-id=42e01f") -> str:
    lines = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "m=video 9 UDP/TLS/RTP/SAVPF 96"]
    return "\r\n".join([*lines, "a=mid:0", f"a=rtpmap:96 {codec}/90000", f"a=fmtp:96 {fmtp}", ""])


@pytest.mark.parametrize(
    ("path", "kind", "body", "status", "says"),
    [
        ("/none/whep", "application/sdp", _offer(), 404, "no stream 'none'"),
        ("/gate/whep", "text/plain", _offer(), 415, "send Content-Type: application/sdp"),
        ("/gate/whep", "application/sdp", _offer(codec="AV1", fmtp="x=1"), 406, "nor VP8"),
        ("/gate/whep", "application/sdp", _offer(fmtp="packetization-mode=0"), 406, "packetization-mode 1"),
        ("/gate/whep", "application/sdp", "hello", 400, "no session description"),
        ("/gate/whep", "application/sdp", "v=0\r\ns=-\r\n", 400, "no video"),
        ("/gate/whep", "application/sdp", _offer(), 400, "cannot be read"),
        ("/gate/whep", "application/sdp", "v=0" + "x" * 70_000, 413, "longer than"),
    ],
)
def test_a_bad_offer_is_refused_in_one_line(path: str, kind: str, body: str, status: int, says: str) -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        response = await http.post(path, content=body, headers={"Content-Type": kind})
        assert response.status_code == status, response.text
        assert says in response.json()["detail"]
        assert "\n" not in response.json()["detail"]
        assert server.viewers("gate") == 0
        assert not store.watched, "a refused offer must not start the encoder"

    played(scene)


def test_the_other_verbs() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        options = await http.options("/gate/whep")
        assert (options.status_code, options.headers["accept-post"]) == (204, "application/sdp")
        player = Player()
        response = await player.open(http)
        where, tag = response.headers["location"], response.headers["etag"]
        trickle = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": tag}
        candidate = (
            "a=mid:0\r\na=candidate:1 1 UDP 2122252543 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n"
        )
        assert (await http.patch(where, content=candidate, headers=trickle)).status_code == 204
        assert (await http.patch(where, content="a=candidate:x\r\n", headers=trickle)).status_code == 422
        restart = await http.patch(where, content="a=ice-ufrag:zzzz\r\n", headers=trickle)
        assert (restart.status_code, "restart" in restart.json()["detail"]) == (422, True)
        other = {**trickle, "If-Match": '"other"'}
        assert (await http.patch(where, content=candidate, headers=other)).status_code == 412
        assert (await http.patch(where, content=candidate, headers=SDP)).status_code == 415
        assert (await http.delete("/gate/whep/nobody")).status_code == 404
        await player.close()

    played(scene)
