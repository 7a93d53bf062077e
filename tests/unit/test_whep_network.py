"""The media's way: a range of ports, one port for all, addresses behind NAT, codecs, limits, what players are told."""

from __future__ import annotations

import asyncio
import socket

import aiortc.rtcrtpsender
import httpx
import pytest
from starlette.testclient import TestClient

from streamer.network import IceServer, WebRtcConfig
from tests.fakes.web_store import MemoryStore as WebStore
from tests.fakes.whep_rig import SDP, Camera, MemoryStore, Player, ServersLoop, played, until
from web.app import WebSettings, create_app
from web.audience import RETRY_AFTER_S, Audience
from web.ice import REST_S, SLOW_S, Addresses, OwnServers, ice_view, link_header
from web.sdp import candidates, video_codec
from web.webrtc import HISTORY_PACKETS
from web.whep import WhepServer


def free_ports(n: int) -> range:
    """A run of UDP ports that nobody on this machine holds now."""
    for first in range(42_000, 60_000, 64):
        held = []
        try:
            for port in range(first, first + n):
                held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                held[-1].bind(("0.0.0.0", port))
            return range(first, first + n)
        except OSError:
            continue
        finally:
            for sock in held:
                sock.close()
    raise AssertionError("no free ports")


@pytest.fixture
def one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has one local address, whatever this machine has."""
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])


def media_ports(sdp: str) -> set[int]:
    return {found.port for found in candidates(sdp) if found.kind == "host"}


def open_udp(ports: range) -> set[int]:
    """Which of these ports this process' sockets hold, as the kernel says."""
    found = set()
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                found.add(port)
    return found


def test_each_viewer_takes_a_port_of_the_range_and_the_last_one_is_refused(one_address: None) -> None:
    ports = free_ports(2)
    network = WebRtcConfig(udp_ports=f"{ports[0]}-{ports[-1]}")

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        assert open_udp(ports) == set()
        first, second, third = Player(), Player(), Player()
        answers = [await first.open(http), await second.open(http)]
        used = [media_ports(answer.text) for answer in answers]
        assert used == [{ports[0]}, {ports[1]}]
        assert open_udp(ports) == set(ports)
        for player in (first, second):
            await until(lambda player=player: len(player.pictures) >= 5, "5 pictures")
            (pair,) = [t for t in [player.pc.getReceivers()[0].transport.transport] if t.state == "completed"]
            assert {c.port for c in pair.getRemoteCandidates()} <= set(ports)
        refused = await http.post("/gate/whep", content=await third.offer(), headers=SDP)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, str(RETRY_AFTER_S))
        assert f"all UDP ports of {ports[0]}-{ports[-1]} are in use" in refused.json()["detail"]
        assert server.viewers("gate") == 2
        # A port comes back with the end of its session.
        assert (await http.delete(answers[0].headers["location"])).status_code == 200
        again = await http.post("/gate/whep", content=await third.offer(), headers=SDP)
        assert (again.status_code, media_ports(again.text)) == (201, {ports[0]})
        for player in (first, second, third):
            await player.close()

    played(scene, network=network, loop=lambda: ServersLoop(network.ports))
    assert open_udp(ports) == set()


def test_one_port_serves_all_viewers(one_address: None) -> None:
    (port,) = ports = free_ports(1)
    network = WebRtcConfig(udp_ports=str(port))

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        players = [Player(), Player(), Player()]
        answers = [await player.open(http) for player in players]
        assert {port for answer in answers for port in media_ports(answer.text)} == {port}
        for player in players:
            await until(lambda player=player: len(player.pictures) >= 10, "10 pictures")
            await until(lambda player=player: len(player.told("result")) >= 10, "10 results")
        # One leaves, the others see on; who comes then is served too.
        await http.delete(answers[0].headers["location"])
        seen = len(players[1].pictures)
        await until(lambda: len(players[1].pictures) >= seen + 5, "5 more pictures")
        late = Player()
        await late.open(http)
        await until(lambda: len(late.pictures) >= 5, "5 pictures for the late viewer")
        for player in (*players, late):
            await player.close()

    played(scene, network=network, loop=lambda: ServersLoop(network.ports))
    assert open_udp(ports) == set(), "the last viewer closes the socket"


def test_a_port_that_another_program_holds_is_said(one_address: None) -> None:
    (port,) = free_ports(1)
    network = WebRtcConfig(udp_ports=str(port))

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        refused = await http.post("/gate/whep", content=await player.offer(), headers=SDP)
        assert refused.status_code == 503
        assert f"all UDP ports of {port} are in use on 127.0.0.1" in refused.json()["detail"]
        await player.close()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        played(scene, network=network, loop=lambda: ServersLoop(network.ports))


def test_datagrams_of_strangers_reach_no_session(one_address: None) -> None:
    (port,) = free_ports(1)
    network = WebRtcConfig(udp_ports=str(port))

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        await player.open(http)
        await until(lambda: len(player.pictures) >= 5, "5 pictures")
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ServersLoop)
        (shared,) = loop._shared.values()
        before = shared.strangers
        stun_without_attributes = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"t" * 12
        truncated = b"\x00\x01\x00\x08\x21\x12\xa4\x42" + b"t" * 12 + b"\x00\x06\x00\x40\x00\x00\x00\x00"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for datagram in (b"x", b"", b"\x80" * 100, stun_without_attributes, truncated):
                stranger.sendto(datagram, ("127.0.0.1", port))
            await until(lambda: shared.strangers == before + 5, "all five to be turned away")
        seen = len(player.pictures)
        await until(lambda: len(player.pictures) >= seen + 5, "5 more pictures")
        await player.close()

    played(scene, network=network, loop=lambda: ServersLoop(network.ports))


def test_addresses_behind_nat_are_in_the_answer_at_the_same_ports(one_address: None) -> None:
    network = WebRtcConfig(hosts=("203.0.113.7", "localhost", "no.such.host.invalid"))

    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        answer = await player.open(http)
        (port,) = media_ports(answer.text)
        found = list(dict.fromkeys((c.address, c.port) for c in candidates(answer.text)))
        assert found == [("127.0.0.1", port), ("203.0.113.7", port)], (
            "localhost is the same address once more"
        )
        await until(lambda: len(player.pictures) >= 5, "5 pictures")
        await player.close()

    played(scene, network=network)


def test_hosts_are_looked_up_again_after_a_minute_and_keep_their_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[list[str] | Exception] = [["192.0.2.1"], OSError("gone"), ["192.0.2.9"]]
    asked: list[str] = []

    async def look_up(host: str) -> list[str]:
        asked.append(host)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("web.ice.resolve", look_up)
    now = [100.0]

    async def ask() -> list[list[str]]:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0], raising=False)
        addresses = Addresses(["cam.example"])
        found = []
        for at in (100.0, 130.0, 161.0, 222.0):
            now[0] = at
            found.append(await addresses.now())
        return found

    assert asyncio.run(ask()) == [["192.0.2.1"], ["192.0.2.1"], ["192.0.2.1"], ["192.0.2.9"]]
    assert asked == ["cam.example"] * 3


def test_a_player_without_h264_is_sent_vp8_from_its_own_key() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player(codecs=["video/VP8"])
        answer = await player.open(http)
        assert video_codec(answer.text) == "vp8"
        await until(lambda: len(player.pictures) >= 30 and player.told("origin"), "30 pictures")
        assert (set(store.watched), camera.publisher.encoders_started) == ({"gate vp8"}, 0)
        (origin,) = player.told("origin")
        await until(lambda: len(player.told("result")) >= 30, "30 results")
        edge_of = {
            (m["data"]["pts90k"] + origin["rtp"]) % 2**32: m["data"]["at"] for m in player.told("result")
        }
        matched = [(edge_of[pts], seen) for pts, seen in player.pictures if pts in edge_of]
        assert len(matched) >= 20
        # VP8 blurs the bar's edge by a few pixels more than H.264.
        assert all(abs(told - seen) <= 6 for told, seen in matched), matched
        # One who takes both is sent H.264 at the same time, and each is counted.
        both = Player(codecs=["video/VP8", "video/H264"])
        assert video_codec((await both.open(http)).text) == "h264"
        await until(lambda: len(both.pictures) >= 5, "5 pictures")
        assert server.viewers("gate") == 2
        for one in (player, both):
            await one.close()

    played(scene)


def test_viewers_over_the_limit_are_asked_to_come_again() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        first, second = Player(), Player()
        answer = await first.open(http)
        refused = await http.post("/gate/whep", content=await second.offer(), headers=SDP)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, str(RETRY_AFTER_S))
        assert "1 viewers are watching" in refused.json()["detail"]
        await http.delete(answer.headers["location"])
        assert (await http.post("/gate/whep", content=await second.offer(), headers=SDP)).status_code == 201
        for player in (first, second):
            await player.close()

    played(scene, audience=Audience(1))


TURN = IceServer(url="turn:turn.example:3478?transport=tcp", username='an"n', credential="pass\\word")  # type: ignore[arg-type]
STUN = IceServer(url="stun:stun.example")


def test_players_are_told_of_the_servers_in_the_drafts_words() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        links = (await http.options("/gate/whep")).headers["link"].split(", ")
        assert links == [
            '<stun:stun.example>; rel="ice-server"',
            '<turn:turn.example:3478?transport=tcp>; rel="ice-server"; username="an\\"n"; '
            'credential="pass\\\\word"; credential-type="password"',
        ]

    played(scene, network=WebRtcConfig(ice_servers=(STUN, TURN)))
    assert link_header((STUN, TURN), secrets=False) == '<stun:stun.example>; rel="ice-server"'


def test_the_page_is_told_of_the_servers() -> None:
    network = WebRtcConfig(ice_servers=(STUN, TURN), relay_only=True)
    client = TestClient(create_app(WebSettings(webrtc=network), WebStore()), base_url="http://127.0.0.1:7860")
    assert client.get("/api/v1/ice").json() == {
        "ice_servers": [
            {"urls": "stun:stun.example"},
            {"urls": TURN.url, "username": 'an"n', "credential": "pass\\word"},
        ],
        "relay_only": True,
    }
    assert "pass" not in repr(WebSettings(webrtc=network))


def test_passwords_stay_out_of_reprs() -> None:
    network = WebRtcConfig(ice_servers=(STUN, TURN), relay_only=True)
    view = ice_view(network)
    assert view.ice_servers[1].credential == "pass\\word"
    for shown in (network, TURN, view):
        assert "pass" not in repr(shown).replace("password", "") and "word" not in str(shown)


@pytest.mark.parametrize(
    ("urls", "own"),
    [
        (["stuns:a", "stun:b:1", "stun:c"], ["stun:b:1"]),
        (["turn:[2001:db8::1]:3478", "turns:a", "turn:b?transport=udp"], ["turns:a"]),
        (["turns:a?transport=udp", "turn:b?transport=tls", "stun:s"], ["stun:s"]),
    ],
)
def test_this_side_takes_the_first_of_each_kind_that_it_can_use(urls: list[str], own: list[str]) -> None:
    servers = tuple(IceServer(url=url, username="u", credential="p") for url in urls)  # type: ignore[arg-type]
    assert [server.url for server in OwnServers(WebRtcConfig(ice_servers=servers)).now(0.0)] == own


def test_a_server_that_gives_nothing_rests_for_a_minute() -> None:
    own = OwnServers(WebRtcConfig(ice_servers=(STUN, TURN)))
    asked = own.now(5.0)
    own.judge(asked, {"host"}, SLOW_S - 0.1, 5.0)
    assert own.now(5.0) == [STUN, TURN], "there was no answer, but nobody waited for it"
    own.judge(asked, {"host", "relay"}, SLOW_S, 10.0)
    assert (own.now(10.0), own.now(10.0 + REST_S)) == ([TURN], [STUN, TURN])
    only_way = OwnServers(WebRtcConfig(ice_servers=(TURN,), relay_only=True))
    only_way.judge([TURN], set(), SLOW_S, 10.0)
    assert only_way.now(10.0) == [TURN]


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"udp_ports": "50100-50000"}, "write 1 to 65535, the lower end first"),
        ({"udp_ports": "70000"}, "write 1 to 65535"),
        ({"udp_ports": "0"}, "write 1 to 65535"),
        ({"relay_only": True}, "there is no TURN server"),
        ({"ice_servers": [{"url": "turn:t", "username": "u"}]}, "give username and credential"),
    ],
)
def test_a_network_that_cannot_be_is_refused_with_the_mend(wish: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        WebRtcConfig.model_validate(wish)


def test_a_session_says_what_it_takes() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        options = await http.options("/gate/whep/x")
        assert (options.status_code, options.headers["accept-patch"]) == (
            204,
            "application/trickle-ice-sdpfrag",
        )

    played(scene)


def test_a_sender_keeps_as_many_packets_as_browsers_ask_for() -> None:
    async def scene(http: httpx.AsyncClient, server: WhepServer, store: MemoryStore, camera: Camera) -> None:
        player = Player()
        await player.open(http)
        await until(lambda: len(player.pictures) >= 5, "5 pictures")
        (peer,) = server._peers.values()
        (sender,) = peer._pc.getSenders()
        history = sender._RTCRtpSender__rtp_history  # type: ignore[attr-defined]
        await until(lambda: len(history) > 128, "more than aiortc would keep")
        asked = min(history)  # the oldest
        sent: list[bytes] = []
        send = sender.transport._send_rtp

        async def note(data: bytes) -> None:
            sent.append(data)
            await send(data)

        sender.transport._send_rtp = note  # type: ignore[method-assign]
        await sender._retransmit(history[asked].sequence_number)
        assert any(int.from_bytes(data[8:12], "big") == sender._rtx_ssrc for data in sent), "sent again"
        await player.close()

    assert aiortc.rtcrtpsender.RTP_HISTORY_SIZE == HISTORY_PACKETS
    played(scene)
