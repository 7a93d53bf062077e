"""`sightline doctor --ice`: real ports, a real STUN and TURN server, and each way in which they can be of no use."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streamer.commands import doctor_ice
from streamer.commands.doctor_ice import Report, examine_ice
from streamer.network import IceServer, WebRtcConfig
from tests.fakes.turn_server import PASSWORD, USER, TurnServer, turn_server


@pytest.fixture(scope="module")
def turn(tool: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[TurnServer]:
    with turn_server(tool("turnserver"), tmp_path_factory.mktemp("turn")) as server:
        yield server


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is no container, with one address, and little patience."""
    monkeypatch.setattr(doctor_ice, "_CONTAINER_MARKS", ())
    monkeypatch.setattr(doctor_ice, "host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    monkeypatch.setattr(doctor_ice, "ANSWER_WITHIN_S", 0.5)


def said(report: Report, area: str) -> dict[str, tuple[str, str, str]]:
    return {f.name: (f.state, f.value, f.note) for f in report.findings if f.area == area}


def test_a_stun_and_a_turn_server_that_answer(turn: TurnServer, bare: None) -> None:
    report = examine_ice(WebRtcConfig(ice_servers=(turn.stun, turn.config("tcp"), turn.config("udp"))), 64)
    servers = said(report, "servers")
    assert servers[turn.stun.url][0] == servers[turn.url("tcp")][0] == "ok"
    assert "sees this host as 127.0.0.1:" in servers[turn.stun.url][1]
    assert f"relays at {turn.address}:" in servers[turn.url("tcp")][1]
    assert servers[turn.url("udp")][1:] == ("for players only", "a second one of its kind")
    assert [c.kind for c in report.candidates] == ["host", "srflx", "relay"]
    assert report.can_work


def test_only_the_relay_counts_where_nothing_else_is_shown(turn: TurnServer, bare: None) -> None:
    good = examine_ice(WebRtcConfig(ice_servers=(turn.stun, turn.config()), relay_only=True), 64)
    assert ([c.kind for c in good.candidates], good.can_work) == (["relay"], True)
    wrong = turn.config().model_copy(update={"credential": SecretStr("wrong")})
    bad = examine_ice(WebRtcConfig(ice_servers=(wrong,), relay_only=True), 64)
    assert said(bad, "servers")[turn.url()][:2] == ("bad", "refuses the name and password")
    assert not bad.can_work
    assert said(bad, "advice")["nothing"][1] == "no browser can be reached"


def test_each_reason_why_a_server_is_of_no_use(bare: None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute, socket.socket() as closed:
        mute.bind(("127.0.0.1", 0))
        closed.bind(("127.0.0.1", 0))
        silent = f"stun:127.0.0.1:{mute.getsockname()[1]}"
        refusing = f"turn:127.0.0.1:{closed.getsockname()[1]}?transport=tcp"
        who = {"username": "u", "credential": SecretStr("p")}
        servers = (IceServer(url=silent), IceServer(url=refusing, **who), IceServer(url="stuns:a.example"))
        found = said(examine_ice(WebRtcConfig(ice_servers=servers), 64), "servers")
    assert found[silent][:2] == ("bad", "no answer within 0.5 s")
    assert found[refusing][:2] == ("bad", "nobody listens there")
    assert found["stuns:a.example"][1:] == ("for players only", "a kind that this side does not speak")
    unknown = examine_ice(WebRtcConfig(ice_servers=(IceServer(url="stun:no.such.host.invalid"),)), 64)
    assert said(unknown, "servers")["stun:no.such.host.invalid"][1] in (
        "its name is not known here",
        "no answer within 0.5 s",  # a name server that does not answer either
    )


def test_ports_that_others_hold(bare: None) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        lost = examine_ice(WebRtcConfig(udp_ports=str(port)), 64)
        assert said(lost, "host")["127.0.0.1"] == (
            "bad",
            f"udp {port}: 0 of 1 free",
            "1 held by other programs",
        )
        assert not lost.can_work and lost.candidates == []
        low = port - 1 if port > 1024 else port
        partly = examine_ice(WebRtcConfig(udp_ports=f"{low}-{port}"), 64)
        assert partly.can_work and said(partly, "host")["127.0.0.1"][0] == "warn"
        assert said(partly, "ports")[f"udp {low}-{port}"][:2] == ("warn", "room for 2 viewers")
    free = examine_ice(WebRtcConfig(udp_ports=str(port), hosts=("203.0.113.7", "2001:db8::7")), 64)
    assert [(c.address, c.port) for c in free.candidates] == [("127.0.0.1", port), ("203.0.113.7", port)]
    assert said(free, "hosts")["2001:db8::7"][0] == "warn"


def test_nat_and_containers_are_told_with_their_mend(
    turn: TurnServer, bare: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def as_from_outside(at: Any, own: list[str]) -> Any:
        return doctor_ice.Candidate("198.51.100.9", 4000, "srflx")

    monkeypatch.setattr(doctor_ice, "_reflected", as_from_outside)
    report = examine_ice(WebRtcConfig(ice_servers=(turn.stun,)), 64)
    _, value, note = said(report, "advice")["NAT"]
    assert value == "this host is seen as 198.51.100.9" and "set webrtc.hosts: [198.51.100.9]" in note
    monkeypatch.setattr(doctor_ice, "_CONTAINER_MARKS", (tmp_path,))
    assert "publish webrtc.udp_ports" in said(examine_ice(WebRtcConfig(), 64), "advice")["container"][2]
    whole = WebRtcConfig(udp_ports="50000-50100", hosts=("198.51.100.9",))
    assert "container" not in said(examine_ice(whole, 64), "advice")


def test_the_command_says_one_line_each_and_no_password(
    turn: TurnServer, sightline: Any, tmp_path: Path
) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(
        f"webrtc:\n  relay_only: true\n  ice_servers:\n    - url: {turn.url()}\n"
        f"      username: {USER}\n      credential: {PASSWORD}\n"
    )
    done = sightline("doctor", "--ice", str(config))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert lines[0] == "· host addresses: not shown  relay_only is set"
    assert lines[1].startswith(f"✓ servers {turn.url()}: answers in ")
    assert PASSWORD not in done.stdout + done.stderr
    report = json.loads(sightline("doctor", "--ice", "--json", str(config)).stdout)
    assert (report["schema"], report["can_work"]) == ("sightline.doctor-ice/1", True)
    assert [c["kind"] for c in report["candidates"]] == ["relay"]
    config.write_text(config.read_text().replace(PASSWORD, "wrong"))
    refused = sightline("doctor", "--ice", str(config))
    assert refused.returncode == 1 and "refuses the name and password" in refused.stdout
    alone = sightline("doctor", str(config))
    assert alone.returncode != 0 and "--ice" in alone.stderr and alone.stderr.count("\n") == 1
