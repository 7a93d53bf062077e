"""A WHEP player that knows nothing of us: a browser's own offer, VP8 first, with audio and without a data channel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from streamer.network import WebRtcConfig
from tests.browser.conftest import STREAM, LiveSite, serving
from tests.fakes.turn_server import PASSWORD, USER, turn_server

# By the draft: offer, answer, candidates with the session's tag, their end, a restart that is refused, DELETE twice.
PLAY = """async ({ path, codecs, ice }) => {
  const pc = new RTCPeerConnection(ice);
  pc.addTransceiver('video', { direction: 'recvonly' });
  pc.addTransceiver('audio', { direction: 'recvonly' });
  if (codecs) pc.getTransceivers()[0].setCodecPreferences(
    RTCRtpReceiver.getCapabilities('video').codecs.filter((c) => codecs.includes(c.mimeType)));
  const video = document.createElement('video');
  video.muted = video.autoplay = true;
  pc.ontrack = ({ track }) => { if (track.kind === 'video') video.srcObject = new MediaStream([track]); };
  document.body.append(video);
  const offer = await pc.createOffer();
  let told = () => {};
  const waiting = [];
  pc.onicecandidate = ({ candidate }) => { waiting.push(candidate); told(); };
  await pc.setLocalDescription(offer);
  const answer = await fetch(path, {
    method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: offer.sdp });
  if (answer.status !== 201) return { status: answer.status, why: await answer.text() };
  const location = answer.headers.get('Location');
  const patch = async (body, tag = answer.headers.get('ETag')) => (await fetch(location, { method: 'PATCH', body,
    headers: { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': tag } })).status;
  const ufrag = /a=ice-ufrag:(\\S+)/.exec(offer.sdp)[1];
  const trickled = [];
  told = async () => {
    while (waiting.length) {
      const candidate = waiting.shift();
      const line = candidate?.candidate ? `a=${candidate.candidate}` : 'a=end-of-candidates';
      const mid = candidate?.sdpMid ?? '0';
      trickled.push(await patch(`a=ice-ufrag:${ufrag}\\r\\nm=video 9 RTP/AVP 0\\r\\na=mid:${mid}\\r\\n${line}\\r\\n`));
    }
  };
  const sdp = await answer.text();
  await pc.setRemoteDescription({ type: 'answer', sdp });
  await told();
  const seen = async () => {
    const found = { decoded: 0, codec: '', pair: [] };
    const stats = await pc.getStats();
    for (const s of stats.values()) {
      if (s.type === 'inbound-rtp' && s.kind === 'video') {
        found.decoded = s.framesDecoded ?? 0;
        found.codec = stats.get(s.codecId)?.mimeType ?? '';
      }
      if (s.type === 'transport' && s.selectedCandidatePairId) {
        const pair = stats.get(s.selectedCandidatePairId);
        found.pair = [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.get(id).candidateType);
      }
    }
    return found;
  };
  const until = performance.now() + 20000;
  let last = await seen();
  while (last.decoded < 30 && performance.now() < until) {
    await new Promise((next) => setTimeout(next, 50));
    last = await seen();
  }
  const restarted = await patch('a=ice-ufrag:anew\\r\\na=ice-pwd:0123456789abcdefghijklmn\\r\\n', '*');
  const stale = await patch('a=end-of-candidates\\r\\n', '"another"');
  const size = [video.videoWidth, video.videoHeight];
  const deleted = [];
  for (let i = 0; i < 2; i++) deleted.push((await fetch(location, { method: 'DELETE' })).status);
  const local = pc.localDescription.sdp;
  pc.close();
  return { ...last, offeredFirst: /a=rtpmap:\\d+ ([^/]+)/.exec(offer.sdp.slice(offer.sdp.indexOf('m=video')))[1],
    status: answer.status, size, deleted, trickled, restarted, stale, sdp, local, link: answer.headers.get('Link') };
}"""


def play(site: LiveSite, chromium: Browser, **how: Any) -> dict[str, Any]:
    context = chromium.new_context(bypass_csp=True)  # the probe page lets a script do nothing
    page = context.new_page()
    page.goto(f"{site.url}/healthz")
    found: dict[str, Any] = page.evaluate(PLAY, {"path": f"/{STREAM}/whep", "ice": {}, **how})
    context.close()
    return found


def test_a_standard_player_that_prefers_vp8_is_sent_h264(site: LiveSite, chromium: Browser) -> None:
    found = play(site, chromium)
    assert (found["status"], found["deleted"]) == (201, [200, 404]), found
    assert found["offeredFirst"] == "VP8", "else this test says nothing"
    assert found["codec"] == "video/H264"
    assert found["decoded"] >= 30, found
    assert found["size"][0] > 100
    assert found["trickled"] and set(found["trickled"]) == {204}, found
    assert (found["restarted"], found["stale"]) == (422, 412)


def test_a_standard_player_without_h264_is_sent_vp8(site: LiveSite, chromium: Browser) -> None:
    found = play(site, chromium, codecs=["video/VP8", "video/rtx"])
    assert found["status"] == 201, found
    assert found["codec"] == "video/VP8"
    assert found["decoded"] >= 30, found


def test_a_player_of_neither_is_refused_in_words(site: LiveSite, chromium: Browser) -> None:
    found = play(site, chromium, codecs=["video/VP9"])
    assert found["status"] == 406 and "nor VP8 (it holds vp9)" in found["why"], found


def test_a_browser_plays_through_a_turn_server_alone(
    chromium: Browser, tool: Callable[[str], str], tmp_path: Path
) -> None:
    with turn_server(tool("turnserver"), tmp_path) as turn:
        network = WebRtcConfig(ice_servers=(turn.config(),), relay_only=True)
        server = {"urls": turn.url(), "username": USER, "credential": PASSWORD}
        with serving(network=network) as site:
            found = play(site, chromium, ice={"iceServers": [server], "iceTransportPolicy": "relay"})
    assert found["status"] == 201, found
    assert found["decoded"] >= 30, found
    assert found["pair"] == ["relay", "relay"], found
    for sdp in (found["sdp"], found["local"]):
        assert " typ relay" in sdp and " typ host" not in sdp and " typ srflx" not in sdp
    assert f'credential="{PASSWORD}"' in found["link"]
