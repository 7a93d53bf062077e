"""Offers as browsers make them, cut down to H.264; and the small texts of trickle ICE."""

from __future__ import annotations

import asyncio

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription

from web.sdp import BadOffer, Fragment, NoH264, h264_only, ice_ufrag, parse_fragment, video_codec

# The codec lines of a Chromium offer (VP8 first, H.264 in several profiles and modes, repair formats).
CHROMIUM_VIDEO = """\
m=video 9 UDP/TLS/RTP/SAVPF 96 97 103 104 107 108 109 114 39 40 98 99 112 113 116
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:ab12
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=mid:0
a=recvonly
a=rtcp-mux
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:103 H264/90000
a=rtcp-fb:103 nack
a=rtcp-fb:103 nack pli
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:104 rtx/90000
a=fmtp:104 apt=103
a=rtpmap:107 H264/90000
a=fmtp:107 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f
a=rtpmap:108 rtx/90000
a=fmtp:108 apt=107
a=rtpmap:109 H264/90000
a=rtcp-fb:109 nack
a=rtcp-fb:109 nack pli
a=fmtp:109 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:114 rtx/90000
a=fmtp:114 apt=109
a=rtpmap:39 H264/90000
a=fmtp:39 level-asymmetry-allowed=1; packetization-mode=1; profile-level-id=4d001f
a=rtpmap:40 rtx/90000
a=fmtp:40 apt=39
a=rtpmap:98 VP9/90000
a=fmtp:98 profile-id=0
a=rtpmap:99 rtx/90000
a=fmtp:99 apt=98
a=rtpmap:112 red/90000
a=rtpmap:113 rtx/90000
a=fmtp:113 apt=112
a=rtpmap:116 ulpfec/90000
"""
AUDIO = """\
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:ab12
a=ice-pwd:0123456789abcdefghijklmn
a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF
a=setup:actpass
a=mid:1
a=recvonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
"""
SESSION = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0\n"
CHROMIUM = (SESSION + CHROMIUM_VIDEO).replace("\n", "\r\n")


def test_only_h264_and_its_repair_stay() -> None:
    (video,) = SessionDescription.parse(h264_only(CHROMIUM)).media
    assert video.fmt == [103, 104, 109, 114, 39, 40]
    assert [c.mimeType for c in video.rtp.codecs] == ["video/H264", "video/rtx"] * 3
    assert video.rtp.codecs[0].rtcpFeedback, "the codec's own lines stay"
    assert "VP8" not in h264_only(CHROMIUM)


def test_other_sections_are_left_alone() -> None:
    offer = SESSION.replace("BUNDLE 0", "BUNDLE 0 1") + CHROMIUM_VIDEO + AUDIO
    cut = h264_only(offer)
    assert cut.endswith(AUDIO.replace("\n", "\r\n"))
    assert cut.startswith(SESSION.replace("BUNDLE 0", "BUNDLE 0 1").replace("\n", "\r\n"))


def test_cutting_twice_changes_nothing() -> None:
    assert h264_only(h264_only(CHROMIUM)) == h264_only(CHROMIUM)


@pytest.mark.parametrize("offer", ["", "hello", "v=0\r\n", SESSION, SESSION + AUDIO])
def test_what_asks_for_no_video_is_refused(offer: str) -> None:
    with pytest.raises(BadOffer) as caught:
        h264_only(offer)
    assert not isinstance(caught.value, NoH264)


def test_an_offer_without_h264_says_what_it_holds() -> None:
    offer = SESSION + "m=video 9 UDP/TLS/RTP/SAVPF 96 98\na=rtpmap:96 VP8/90000\na=rtpmap:98 AV1/90000\n"
    with pytest.raises(NoH264, match="av1, vp8"):
        h264_only(offer)


@pytest.mark.parametrize(("cut", "codec"), [(False, "vp8"), (True, "h264")])
def test_the_codec_of_the_answer(cut: bool, codec: str) -> None:
    """Without the cut the answer is VP8, which is the trap; with it, H.264."""

    async def negotiate() -> str:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        pc.addTransceiver("video", direction="sendonly")
        await pc.setRemoteDescription(
            RTCSessionDescription(h264_only(CHROMIUM) if cut else CHROMIUM, "offer")
        )
        answer = await pc.createAnswer()
        await pc.close()
        return answer.sdp

    assert video_codec(asyncio.run(negotiate())) == codec


def test_an_answer_that_refuses_video_has_no_codec() -> None:
    assert video_codec(SESSION + "m=video 0 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 H264/90000\n") is None
    assert (
        video_codec(SESSION + "m=video 9 UDP/TLS/RTP/SAVPF 96\na=inactive\na=rtpmap:96 H264/90000\n") is None
    )
    assert video_codec(SESSION + AUDIO) is None


def test_a_trickled_fragment() -> None:
    body = (
        "a=ice-ufrag:ab12\r\na=ice-pwd:x\r\nm=video 9 RTP/AVP 0\r\na=mid:0\r\n"
        "a=candidate:1 1 UDP 1 10.0.0.1 5000 typ host\r\na=mid:1\r\na=candidate:2 1 UDP 1 10.0.0.2 5001 typ host\r\n"
        "a=end-of-candidates\r\n"
    )
    first, second = "1 1 UDP 1 10.0.0.1 5000 typ host", "2 1 UDP 1 10.0.0.2 5001 typ host"
    assert parse_fragment(body) == Fragment((("0", first), ("1", second)), "ab12")
    assert ice_ufrag(CHROMIUM) == "ab12"
    assert ice_ufrag(SESSION) is None
