"""A web process at its most talkative, shown tokens in every way there is: nothing that it says holds one."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from streamer.access import Role, TokenConfig, hash_token, new_token
from streamer.commands.web_wishes import WEB_WISHES
from web.sessions import COOKIE

ROOT = Path(__file__).parent.parent.parent
PLAIN = "plain-hunter2-token"
MADE = {role: new_token() for role in Role}
COOKIE_SECRET = "c00k1e" * 8
WRONG = "sl_wrong-token-of-somebody-else-0123456789abcdefg"
CAMERA = "camera-hunter3"
HASHES = {role: hash_token(MADE[role]) for role in Role}


@contextmanager
def talkative(output: Path) -> Iterator[str]:
    """A real web process at DEBUG, with no Redis behind it (each refusal of the store is logged as well)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tokens = [TokenConfig(name=f"a-{role}", role=role, hash=HASHES[role]) for role in Role]
    wishes = {"tokens": [token.model_dump(mode="json") for token in tokens], "secret": COOKIE_SECRET}
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LOG_LEVEL": "DEBUG",
        "SIGHTLINE_TOKEN": PLAIN,
        WEB_WISHES: json.dumps(wishes),
        "REDIS_URL": f"unix://{output.parent}/nothing.sock",
    }
    argv = [sys.executable, "-m", "streamer.cli", "--debug", "web", "--port", str(port)]
    with output.open("wb") as file:
        process = subprocess.Popen(argv, env=environ, stdout=file, stderr=file, cwd=ROOT)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline_s = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline_s:
                try:
                    httpx.get(f"{url}/healthz", timeout=5)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            assert process.poll() is None, output.read_text()
            yield url
        finally:
            process.terminate()
            process.wait(30)


def use_tokens_in_every_way(url: str) -> Iterator[httpx.Response]:
    for token in (PLAIN, *MADE.values(), WRONG, PLAIN + "x"):
        with httpx.Client(base_url=url, timeout=10) as client:
            bearer = {"Authorization": f"Bearer {token}"}
            yield client.get("/api/v1/me", headers=bearer)
            yield client.get("/api/v1/streams", headers=bearer)
            yield client.get(f"/api/v1/streams?token={token}&access_token={token}")
            yield client.get(f"/api/v1/events?after={token}", headers=bearer)  # in a query by mistake
            yield client.get(f"/api/v1/streams/{token}")
            yield client.get("/api/v1/me", headers={"Authorization": f"Basic {token}"})
            yield client.get("/api/v1/me", headers={"Cookie": f"{COOKIE}={token}"})
            body = {"name": "door", "url": f"rtsp://admin:{CAMERA}@10.0.0.7/x?token={CAMERA}"}
            yield client.post("/api/v1/streams", json=body, headers=bearer)
            bad = {"name": "door", "url": f"rtps://admin:{CAMERA}@10.0.0.7/x", "token": CAMERA}
            yield client.post("/api/v1/streams", json=bad, headers=bearer)
            sdp = {"Content-Type": "application/sdp"}
            yield client.post("/door/whep", content=f"v=0 {CAMERA}", headers={**bearer, **sdp})
            yield client.post("/login", data={"token": token})
            yield client.get("/api/v1/me")  # with the cookie, if there is one
            yield client.post("/api/v1/streams", json=body, headers={"Origin": url})
            yield client.post("/logout", headers={"Origin": url})
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as line:
        line.sendall(f"GET /\x01 {PLAIN} HTTP/9\r\nAuthorization: Bearer {PLAIN}\r\n\r\n".encode())
        line.recv(1000)


def test_no_token_is_ever_said(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with talkative(output) as url:
        answers = list(use_tokens_in_every_way(url))
        cookies = {answer.cookies[COOKIE] for answer in answers if COOKIE in answer.cookies}
    statuses = {answer.status_code for answer in answers}
    assert {200, 303, 400, 401, 403, 503} <= statuses, statuses
    assert 500 not in statuses and len(cookies) == 3  # publish gets none
    said = output.read_text("utf-8", "replace")
    assert " DEBUG " in said and re.search(r"a-view signed in from 127\.0\.0\.1", said)
    assert "a wrong token came from 127.0.0.1" in said
    secrets = {PLAIN, WRONG, CAMERA, COOKIE_SECRET, *MADE.values(), *HASHES.values(), *cookies}
    assert [secret for secret in secrets if secret in said] == []
    # nor is it said back: what a page shows or a client logs of an answer
    for answer in answers:
        told = f"{answer.text} {answer.headers.get('location', '')}"
        assert [
            secret for secret in secrets if secret in told and secret not in str(answer.request.url)
        ] == []
