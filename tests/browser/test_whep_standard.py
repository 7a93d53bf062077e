"""A WHEP player that knows nothing of us: a browser's own offer, VP8 first, with audio and without a data channel."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Browser

from tests.browser.conftest import STREAM, LiveSite

PLAY = """async (path) => {
  const pc = new RTCPeerConnection();
  pc.addTransceiver('video', { direction: 'recvonly' });
  pc.addTransceiver('audio', { direction: 'recvonly' });
  const video = document.createElement('video');
  video.muted = video.autoplay = true;
  pc.ontrack = ({ track }) => { if (track.kind === 'video') video.srcObject = new MediaStream([track]); };
  document.body.append(video);
  const offer = await pc.createOffer();
  await pc.setLocalDescription(offer);
  const answer = await fetch(path, {
    method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: offer.sdp });
  const location = answer.headers.get('Location');
  pc.onicecandidate = ({ candidate }) => {
    if (!candidate?.candidate) return;
    const body = `a=mid:${candidate.sdpMid}\\r\\na=${candidate.candidate}\\r\\n`;
    fetch(location, { method: 'PATCH', headers: { 'Content-Type': 'application/trickle-ice-sdpfrag' }, body });
  };
  await pc.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
  const seen = async () => {
    const found = { decoded: 0, codec: '' };
    const stats = await pc.getStats();
    for (const s of stats.values()) if (s.type === 'inbound-rtp' && s.kind === 'video') {
      found.decoded = s.framesDecoded ?? 0;
      found.codec = stats.get(s.codecId)?.mimeType ?? '';
    }
    return found;
  };
  const until = performance.now() + 20000;
  let last = await seen();
  while (last.decoded < 30 && performance.now() < until) {
    await new Promise((next) => setTimeout(next, 50));
    last = await seen();
  }
  const size = [video.videoWidth, video.videoHeight];
  const deleted = (await fetch(location, { method: 'DELETE' })).status;
  pc.close();
  return { ...last, offeredFirst: /a=rtpmap:\\d+ ([^/]+)/.exec(offer.sdp.slice(offer.sdp.indexOf('m=video')))[1],
    status: answer.status, size, deleted };
}"""


def test_a_standard_player_that_prefers_vp8_is_sent_h264(site: LiveSite, chromium: Browser) -> None:
    context = chromium.new_context(bypass_csp=True)  # the probe page lets a script do nothing
    page = context.new_page()
    page.goto(f"{site.url}/healthz")
    found: dict[str, Any] = page.evaluate(PLAY, f"/{STREAM}/whep")
    context.close()
    assert (found["status"], found["deleted"]) == (201, 200), found
    assert found["offeredFirst"] == "VP8", "else this test says nothing"
    assert found["codec"] == "video/H264"
    assert found["decoded"] >= 30, found
    assert found["size"][0] > 100
