"""Through a TURN server and nothing else: both sides show only their relayed addresses, and the video arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCIceTransportPolicy

from streamer.network import WebRtcConfig
from tests.fakes.turn_server import PASSWORD, USER, TurnServer, turn_server
from tests.fakes.whep_rig import SDP, Camera, MemoryStore, Player, played, until
from web.sdp import candidates
from web.whep import WhepServer


@pytest.fixture(scope="module")
def turn(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TurnServer]:
    with turn_server(tool("turnserver"), tmp_path_factory.mktemp("turn")) as server:
        yield server


def relayed(turn: TurnServer, transport: str = "udp") -> RTCConfiguration:
    server = RTCIceServer(urls=turn.url(transport), username=USER, credential=PASSWORD)
    return RTCConfiguration(iceServers=[server], iceTransportPolicy=RTCIceTransportPolicy.RELAY)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_video_arrives_when_both_sides_may_only_be_relayed(
    turn: TurnServer, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    network = WebRtcConfig(ice_servers=(turn.config(transport),), relay_only=True, hosts=("203.0.113.7",))

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player(ice=relayed(turn, transport))
        answer = await player.open(http)
        for side, sdp in (("server", answer.text), ("player", player.pc.localDescription.sdp)):
            assert {(c.kind, c.address) for c in candidates(sdp)} == {("relay", turn.address)}, side
            assert " typ host" not in sdp and "203.0.113.7" not in sdp
        await until(lambda: len(player.pictures) >= 25, "25 pictures", 20)
        await until(lambda: len(player.told("result")) >= 25, "25 results")
        assert f'username="{USER}"; credential="{PASSWORD}"' in answer.headers["link"]
        await player.close()

    played(scene, network=network)
    assert PASSWORD not in caplog.text


def test_a_server_with_a_stun_server_shows_how_it_is_seen(turn: TurnServer) -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        answer = await player.open(http)
        seen = [found for found in candidates(answer.text) if found.kind == "srflx"]
        assert (turn.address, True) in [(found.address, found.port > 0) for found in seen]
        await until(lambda: len(player.pictures) >= 5, "5 pictures")
        await player.close()

    played(scene, network=WebRtcConfig(ice_servers=(turn.stun,)))


def test_a_wrong_password_leaves_no_way_and_that_is_said(turn: TurnServer) -> None:
    wrong = turn.config().model_copy(update={"username": "nobody"})

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        refused = await http.post("/gate/whep", content=await player.offer(), headers=SDP)
        assert refused.status_code == 503
        assert "TURN server" in refused.json()["detail"] and PASSWORD not in refused.text
        assert server.viewers("gate") == 0
        await player.close()

    played(scene, network=WebRtcConfig(ice_servers=(wrong,), relay_only=True))
